package badgerstore

import (
	"errors"
	"fmt"

	"perigee/bundle/store"
)

// The store has two logs. The log of bundles tells everything as it happens. What is
// only remembered, namely bundles that left, moves from there to the log of gone
// bundles when a segment is cleaned: it outlives the bundles by far, and would
// otherwise be moved again and again. That log is replayed first, since what the log
// of bundles says of an ID is newer.

// goneLog marks the numbers of segments of the log of gone bundles.
const goneLog = 1 << 63

// goneShare is how many times smaller the segments of that log are.
const goneShare = 4

// tail is the end of a log, where it is written.
type tail struct {
	active     File
	num        uint64 // of the active segment, with the mark of its log
	key        uint64 // of its frames
	size       int64  // bytes of it that are durable
	reach      int64  // size of its file, if larger: what is behind is of an earlier segment
	seq        uint64 // of the last frame
	last       int64  // offset of the last frame in the active segment, or 0
	sign       uint64 // signature of that frame
	frame      frameBuilder
	checkpoint uint64 // segment of the last checkpoint
}

// position is a boundary of frames in a log. The header of the frame that ends there
// tells whether log and index belong together.
type position struct {
	segment   uint64
	offset    int64
	last      int64  // offset of the frame that ends at offset; 0 when there is none
	signature uint64 // of that frame's header
	seq       uint64 // of the last frame
}

func (t *tail) position() position { return position{t.num, t.size, t.last, t.sign, t.seq} }

// add appends a record to the frame that will be written next.
func (t *tail) add(k kind, meta, data []byte, dataCRC uint32) place {
	p := t.frame.add(k, meta, data, dataCRC)
	p.segment = t.num
	return p
}

// beginFrames begins the next frame of each log, in new segments where the old ones
// are full. The log of gone bundles has no segment before it is first needed.
func (s *Store) beginFrames() error {
	k := &s.committer
	if k.bundles.size >= s.o.SegmentSize {
		if err := s.nextSegment(&k.bundles); err != nil {
			return err
		}
	}
	if k.gone.active != nil && k.gone.size >= s.o.SegmentSize/goneShare {
		if err := s.nextSegment(&k.gone); err != nil {
			return err
		}
	}
	k.bundles.frame.reset(k.bundles.size)
	k.gone.frame.reset(k.gone.size)
	return nil
}

// remember appends a record to the log of gone bundles.
func (s *Store) remember(meta []byte) (place, error) {
	k := &s.committer
	k.scratch = meta // keep the grown buffer
	if k.gone.active == nil {
		if err := s.nextSegment(&k.gone); err != nil {
			return place{}, err
		}
		k.gone.frame.reset(k.gone.size)
	}
	return k.gone.add(kindGone, meta, nil, 0), nil
}

// writeFrames makes the frames of both logs durable.
func (s *Store) writeFrames() error {
	for _, t := range []*tail{&s.committer.gone, &s.committer.bundles} {
		if t.frame.count == 0 {
			continue
		}
		if err := s.writeFrame(t); err != nil {
			return err
		}
	}
	return nil
}

// writeFrame appends the frame of t to its active segment and syncs it.
func (s *Store) writeFrame(t *tail) error {
	head := t.frame.finish(t.seq+1, t.key)
	if err := t.frame.writeTo(t.active); err != nil {
		err = fmt.Errorf("write %s: %w", segmentName(t.num), err)
		if !isFull(err) {
			return s.fail(err)
		}
		if cut := t.active.Truncate(t.size); cut != nil {
			return s.fail(fmt.Errorf("take back what was written of %s: %w", segmentName(t.num), cut))
		}
		t.reach = 0
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	// A sync that failed is never tried again: the kernel may have dropped the
	// pages and would report success.
	if err := t.active.Sync(); err != nil {
		return s.fail(fmt.Errorf("sync %s: %w", segmentName(t.num), err))
	}
	t.seq++
	t.last, t.sign = t.size, signature(head)
	t.size += t.frame.size()
	s.committer.logged += t.frame.size()
	s.commits.Add(1)
	s.mu.Lock()
	s.segments[t.num].size = t.size
	s.mu.Unlock()
	return nil
}

// nextSegment begins a new segment of a log.
func (s *Store) nextSegment(t *tail) error {
	if err := s.endSegment(t); err != nil {
		return err
	}
	num := t.num + 1
	var f File
	var reach int64
	var err error
	if num&goneLog == 0 {
		f, reach, err = s.reuse(num)
	}
	if f == nil && err == nil {
		f, err = s.createSegment(num)
	}
	if err != nil {
		return err
	}
	if t.active != nil {
		if err := t.active.Close(); err != nil {
			s.log.Warn("cannot close a segment that is done", "segment", segmentName(t.num), "error", err)
		}
	}
	t.active, t.num, t.size, t.reach, t.last, t.sign = f, num, segmentHeaderSize, reach, 0, 0
	t.key = frameKey(s.committer.salt, num)
	s.mu.Lock()
	s.segments[num] = &segment{size: segmentHeaderSize, key: t.key}
	s.mu.Unlock()
	return nil
}

// createSegment makes a segment file with its header durable.
func (s *Store) createSegment(num uint64) (File, error) {
	f, err := s.fs.Create(s.segmentFile(num))
	if err == nil {
		if _, err = f.WriteAt(appendSegmentHeader(nil, num, s.committer.salt), 0); err != nil {
			f.Close()
			if removed := s.fs.Remove(s.segmentFile(num)); removed != nil {
				return nil, s.fail(errors.Join(err, removed))
			}
		}
	}
	if err != nil {
		err = fmt.Errorf("begin %s: %w", segmentName(num), err)
		if isFull(err) {
			return nil, fmt.Errorf("%w: %w", store.ErrFull, err)
		}
		return nil, s.fail(err)
	}
	if err := errors.Join(f.Sync(), s.fs.SyncDir(s.folderOf(num))); err != nil {
		f.Close()
		return nil, s.fail(fmt.Errorf("sync %s: %w", segmentName(num), err))
	}
	return f, nil
}
