package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"
)

// A segment that was cleaned is used again for a later one: to write over blocks that a
// file has takes half as long as to have the file system find new ones, and to note them
// at each sync. Some files wait for that in the log's folder, under names of their own.
// The frames that they still hold are of segments with other numbers, and so never taken
// for frames of the new one.

// Limits on the files that wait. Segments become free in bursts: of many bundles at once
// when a neighbour has answered for them.
const (
	leastSpares = 4
	mostSpares  = 32
	// spareShare is the part of the quota that they may take together, where that is
	// between the two. Without a quota it is the least.
	spareShare = 8
	// spareRest is how long more than leastSpares wait while none comes or goes, at least.
	spareRest = time.Minute
)

// spare is a file that waits to be used again.
type spare struct {
	segment uint64 // that it was
	size    int64
}

func (l layout) spareFile(segment uint64) string {
	return filepath.Join(l.logDir(), fmt.Sprintf("%016x.spare", segment))
}

// keepSpare tells whether a segment that was cleaned should wait to be used again.
// There is nothing to keep on a disk that runs full, nor more than a few where log and
// files that wait would take more than the log of a full store does.
func (s *Store) keepSpare() bool {
	free, err := s.fs.Free(s.dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting, segment := int64(len(s.spares)), s.o.SegmentSize
	switch {
	case err != nil || free <= 4*s.o.Reserve+max(waiting, leastSpares)*segment:
		return false
	case waiting < leastSpares:
		return true
	}
	var log int64
	for _, seg := range s.segments {
		log += seg.size
	}
	return waiting < min(s.o.Quota/spareShare/segment, mostSpares) && log+waiting*segment < s.o.Quota+s.o.Quota/4
}

// retire takes the file of segment num, which holds nothing in use, out of its log. A
// damaged one is kept for whoever wants to look at the damage.
func (s *Store) retire(num uint64, damaged bool) error {
	name, wait := s.segmentFile(num), !damaged && num&goneLog == 0 && s.keepSpare()
	var err error
	switch {
	case damaged:
		err = s.fs.Rename(name, name+".bad")
	case wait:
		err = s.fs.Rename(name, s.spareFile(num))
	default:
		err = s.fs.Remove(name)
	}
	if err == nil {
		err = s.fs.SyncDir(s.folderOf(num))
	}
	if err != nil {
		// A segment may not leave before an older one.
		return s.fail(fmt.Errorf("remove %s: %w", segmentName(num), err))
	}
	read, err := s.reading.forget(num) // it cannot be opened again
	if err != nil {
		s.log.Warn("cannot close a segment that was removed", "segment", segmentName(num), "error", err)
	}
	switch {
	case !wait:
	case read: // its bytes stay until they are read
		s.removeSpare(num)
	default:
		s.offerSpare(num)
	}
	return nil
}

// offerSpare lets the file of what was segment num be used again.
func (s *Store) offerSpare(num uint64) {
	f, err := s.fs.Open(s.spareFile(num), false)
	var size int64
	if err == nil {
		size, err = f.Size()
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		s.log.Warn("cannot use a segment again", "file", s.spareFile(num), "error", err)
		s.removeSpare(num)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spares, s.spareUsed = append(s.spares, spare{num, size}), true
}

// takeSpare takes a file from those that wait.
func (s *Store) takeSpare() (spare, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.spares) - 1
	if last < 0 {
		return spare{}, false
	}
	sp := s.spares[last]
	s.spares, s.spareUsed = s.spares[:last], true
	return sp, true
}

// dropSpares gives back the space of all files that wait but some.
func (s *Store) dropSpares(but int) {
	s.mu.Lock()
	excess := slices.Clone(s.spares[min(but, len(s.spares)):])
	s.spares = s.spares[:len(s.spares)-len(excess)]
	s.mu.Unlock()
	for _, sp := range excess {
		s.removeSpare(sp.segment)
	}
}

// restSpares drops what a burst has left, unless files came or went since it was last
// asked.
func (s *Store) restSpares() {
	s.mu.Lock()
	used := s.spareUsed
	s.spareUsed = false
	s.mu.Unlock()
	if !used {
		s.dropSpares(leastSpares)
	}
}

func (s *Store) removeSpare(num uint64) {
	if err := s.fs.Remove(s.spareFile(num)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("cannot remove a segment that was cleaned; it goes at the next start", "file", s.spareFile(num), "error", err)
	}
}

// removeSpares removes what an earlier run has left.
func (s *Store) removeSpares() error {
	left, err := numbered(s.fs, s.logDir(), ".spare")
	if err != nil {
		return fmt.Errorf("list the segments that were cleaned: %w", err)
	}
	for num := range left {
		s.removeSpare(num)
	}
	return nil
}

// reuse makes segment num of a file that waits and returns it with its size, or nil when
// there is none that can be used. The file has the new header before it has the new
// name, so that no crash leaves a segment with the header of another.
func (s *Store) reuse(num uint64) (File, int64, error) {
	sp, ok := s.takeSpare()
	if !ok {
		return nil, 0, nil
	}
	f, err := s.beginSpare(sp.segment, num)
	if err != nil {
		s.log.Warn("cannot use a segment again", "file", s.spareFile(sp.segment), "error", err)
		s.removeSpare(sp.segment)
		return nil, 0, nil
	}
	err = s.fs.Rename(s.spareFile(sp.segment), s.segmentFile(num))
	if err == nil {
		err = s.fs.SyncDir(s.folderOf(num))
	}
	if err != nil {
		f.Close()
		return nil, 0, s.fail(fmt.Errorf("begin %s: %w", segmentName(num), err))
	}
	return f, sp.size, nil
}

// beginSpare gives the file of what was segment old the header of segment num.
func (s *Store) beginSpare(old, num uint64) (File, error) {
	f, err := s.fs.Open(s.spareFile(old), true)
	if err != nil {
		return nil, err
	}
	_, err = f.WriteAt(appendSegmentHeader(nil, num, s.committer.salt), 0)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// endSegment cuts off what an earlier segment left in the file of t behind its frames.
// It must be durable before a newer segment is there, since only the last one may have
// an end that makes no sense.
func (s *Store) endSegment(t *tail) error {
	if t.active == nil || t.reach <= t.size {
		return nil
	}
	if err := errors.Join(t.active.Truncate(t.size), t.active.Sync()); err != nil {
		return s.fail(fmt.Errorf("end %s: %w", segmentName(t.num), err))
	}
	t.reach = t.size
	return nil
}
