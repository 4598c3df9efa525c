package badgerstore

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"perigee/bundle/store"
)

// errStale says that the index does not fit the log and must be made again.
var errStale = errors.New("index does not fit the log")

// Open opens the store in dir, or makes one. It brings the index up to the log and
// cuts off what a crash left half written. It fails with ErrLocked when another
// process has the store open.
func Open(dir string, o Options) (*Store, error) {
	s, err := prepare(dir, o)
	if err != nil {
		return nil, err
	}
	if err := s.load(); err != nil {
		if s.index != nil {
			err = errors.Join(err, s.index.close())
		}
		for _, t := range []*tail{&s.committer.bundles, &s.committer.gone} {
			if t.active != nil {
				t.active.Close()
			}
		}
		return nil, fmt.Errorf("open store %s: %w", dir, errors.Join(err, s.lock.Close()))
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.life, s.stop = ctx, cancel
	s.wait.Go(func() { s.commitLoop(ctx) })
	s.wait.Go(func() { s.janitorLoop(ctx) })
	s.wakeJanitor()
	return s, nil
}

// Rebuild makes the index of the store in dir again from its log, while no daemon
// has the store open, and tells what the store then holds. It fails with ErrLocked
// when one has.
//
// The log does not say what was forgotten. So a bundle that left may be remembered
// again: one that came and left several times by any of these, until the Until that it
// was given then.
func Rebuild(dir string, o Options) (store.Stats, error) {
	s, err := prepare(dir, o)
	if err != nil {
		return store.Stats{}, err
	}
	err = os.RemoveAll(s.indexDir())
	if err := errors.Join(err, s.lock.Close()); err != nil {
		return store.Stats{}, fmt.Errorf("rebuild store %s: %w", dir, err)
	}
	if s, err = Open(dir, o); err != nil {
		return store.Stats{}, err
	}
	return s.Stats(), s.Close()
}

// prepare makes the folders and takes the lock.
func prepare(dir string, o Options) (*Store, error) {
	s := &Store{layout: layout{dir}, o: o.withDefaults()}
	s.fs, s.log = s.o.FS, s.o.Logger
	s.quota = store.Quota{Bytes: s.o.Quota, Shares: s.o.Shares}
	s.memory = newMemory(s.o.SmallLimit)
	s.hot = newHot(s.memory.put)
	s.queue = make(chan []*request, maxQueue)
	s.chores = make(chan []*request)
	s.wake = make(chan struct{}, 1)
	s.rested = make(chan struct{}, 1)
	s.closed = make(chan struct{})
	s.idle = make(chan struct{})
	s.segments = map[uint64]*segment{}
	s.totals = newTally()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	lock, err := lockDir(s.lockFile())
	if err != nil {
		return nil, err
	}
	s.lock = lock
	err = errors.Join(s.fs.MkdirAll(s.logDir()), s.fs.MkdirAll(s.goneDir()), s.fs.MkdirAll(s.largeDir()), s.fs.SyncDir(dir))
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, errors.Join(err, lock.Close()))
	}
	return s, nil
}

// load brings the store from its files into memory.
func (s *Store) load() error {
	s.checkSpace()
	if free, err := s.fs.Free(s.dir); err != nil {
		return err
	} else if free < s.o.Reserve/2 {
		return fmt.Errorf("%w: %d bytes are free and the index may need %d; free some space", store.ErrFull, free, s.o.Reserve/2)
	}
	if err := s.removeSpares(); err != nil {
		return err
	}
	nums, err := s.listSegments()
	if err != nil {
		return err
	}
	s.committer.gone.num = goneLog // before its first segment
	if err := s.loadIndex(nums); err != nil {
		return err
	}
	if err := s.countAll(); err != nil {
		return err
	}
	if err := s.forgetExcess(context.Background()); err != nil {
		return err
	}
	return s.openActive()
}

// numbered returns the files of dir whose names are a number and ext, by number.
func numbered(fs FS, dir, ext string) (map[uint64]int64, error) {
	sizes, err := fs.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	out := map[uint64]int64{}
	for name, size := range sizes {
		if base, ok := strings.CutSuffix(name, ext); ok {
			if num, err := strconv.ParseUint(base, 16, 64); err == nil && num > 0 {
				out[num] = size
			}
		}
	}
	return out, nil
}

// allSegments finds the segments of both logs and their sizes.
func allSegments(fs FS, l layout) (map[uint64]int64, error) {
	sizes, err := numbered(fs, l.logDir(), ".seg")
	if err != nil {
		return nil, fmt.Errorf("list the segments: %w", err)
	}
	gone, err := numbered(fs, l.goneDir(), ".seg")
	if err != nil {
		return nil, fmt.Errorf("list the segments of gone bundles: %w", err)
	}
	for num, size := range gone {
		sizes[num|goneLog] = size
	}
	return sizes, nil
}

// inOrder returns the numbers of segments in the order in which they are replayed:
// those of gone bundles first.
func inOrder(segments iter.Seq[uint64]) []uint64 {
	return slices.SortedFunc(segments, func(a, b uint64) int {
		if a&goneLog != b&goneLog {
			return cmp.Compare(b, a)
		}
		return cmp.Compare(a, b)
	})
}

// isLast tells whether the segment at i is the last one of its log.
func isLast(nums []uint64, i int) bool {
	return i == len(nums)-1 || nums[i]&goneLog != nums[i+1]&goneLog
}

// listSegments finds the segments and the salt. It removes a last segment whose
// creation a crash cut short.
func (s *Store) listSegments() ([]uint64, error) {
	sizes, err := allSegments(s.fs, s.layout)
	if err != nil {
		return nil, err
	}
	nums := inOrder(maps.Keys(sizes))
	salted := false
	keys := map[uint64]uint64{}
	for i, num := range nums {
		salt, key, err := readSegmentHeader(s.fs, s.segmentFile(num), num)
		switch {
		case err == nil:
			s.committer.salt, salted = salt, true
			keys[num] = key
		case !errors.Is(err, errSegmentHeader):
			return nil, err
		case isLast(nums, i) && sizes[num] <= segmentHeaderSize:
			if err := errors.Join(s.fs.Remove(s.segmentFile(num)), s.fs.SyncDir(s.folderOf(num))); err != nil {
				return nil, fmt.Errorf("remove a segment that was never begun: %w", err)
			}
			s.log.Info("removed a segment that was never begun", "segment", segmentName(num))
			delete(sizes, num)
		default:
			s.damaged(num, damage{0, segmentHeaderSize, err.Error()})
		}
	}
	if !salted {
		if len(sizes) > 0 {
			return nil, fmt.Errorf("no segment in %s has a good header, so none can be read: %w; restore the log or move it away", s.logDir(), store.ErrCorrupt)
		}
		if err := binary.Read(s.o.Rand, binary.LittleEndian, &s.committer.salt); err != nil {
			return nil, fmt.Errorf("draw a salt: %w", err)
		}
	}
	for num, size := range sizes {
		key, ok := keys[num]
		if !ok {
			key = frameKey(s.committer.salt, num)
		}
		s.segments[num] = &segment{size: size, key: key}
	}
	return inOrder(maps.Keys(sizes)), nil
}

func readSegmentHeader(fs FS, name string, num uint64) (salt, key uint64, err error) {
	f, err := fs.Open(name, false)
	if err != nil {
		return 0, 0, fmt.Errorf("read %s: %w", segmentName(num), err)
	}
	defer f.Close() // read only
	return segmentHeaderOf(f, num)
}

func segmentHeaderOf(f io.ReaderAt, num uint64) (salt, key uint64, err error) {
	head := make([]byte, segmentHeaderSize)
	if n, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return 0, 0, fmt.Errorf("read %s: %w", segmentName(num), err)
	} else if n < len(head) {
		return 0, 0, errSegmentHeader
	}
	return parseSegmentHeader(head, num)
}

// damaged counts and reports damage of the log.
func (s *Store) damaged(num uint64, d damage) {
	s.quarantined.Add(1)
	s.log.Error("log is damaged; what was there is left out", "segment", segmentName(num), "damage", d.String())
}

// loadIndex opens the index and replays what it lacks. An index that cannot be
// used is made again.
func (s *Store) loadIndex(nums []uint64) error {
	err := s.tryIndex(nums)
	if err == nil || errors.Is(err, errLog) {
		return err
	}
	s.log.Warn("the index is made again from the log", "dir", s.dir, "reason", err)
	if s.index != nil {
		if err := s.index.close(); err != nil {
			s.log.Warn("cannot close the index that is thrown away", "error", err)
		}
		s.index = nil
	}
	if err := os.RemoveAll(s.indexDir()); err != nil {
		return fmt.Errorf("throw the index away: %w", err)
	}
	return s.tryIndex(nums)
}

// errLog marks errors that a new index would not mend.
var errLog = errors.New("log cannot be replayed")

func (s *Store) tryIndex(nums []uint64) error {
	var err error
	if s.index, err = openIndex(s.indexDir(), s.log); err != nil {
		return err
	}
	cp, ok, err := s.index.loadCheckpoint()
	if err != nil {
		return err
	}
	if ok {
		if err = s.checkPosition(cp.bundles); err == nil && cp.gone.segment != goneLog {
			err = s.checkPosition(cp.gone)
		}
	} else if cp = (checkpoint{}); !s.index.empty() {
		err = fmt.Errorf("%w: it has no checkpoint", errStale)
	}
	if err != nil {
		return err
	}
	replayed, err := s.replay(nums, cp)
	if err != nil {
		return fmt.Errorf("%w: %w", errLog, err)
	}
	if replayed {
		s.log.Info("replayed the log", "dir", s.dir, "from_segment", cp.bundles.segment, "from_offset", cp.bundles.offset)
	}
	return nil
}

// signature is a checksum of the frame header at the front of b, and with it of
// the frame.
func signature(b []byte) uint64 {
	return uint64(binary.LittleEndian.Uint32(b[24:]))<<32 | uint64(crc32.Checksum(b[:frameHeaderSize], newCRC()))
}

// checkPosition tells whether the frame that ends at p is the one that the index
// remembers.
func (s *Store) checkPosition(p position) error {
	seg := s.segments[p.segment]
	if seg == nil || p.offset > seg.size || p.offset < segmentHeaderSize {
		return fmt.Errorf("%w: the log has no byte %d of %s", errStale, p.offset, segmentName(p.segment))
	}
	if p.last == 0 {
		return nil
	}
	f, err := s.fs.Open(s.segmentFile(p.segment), false)
	if err != nil {
		return fmt.Errorf("%w: %w", errStale, err)
	}
	defer f.Close() // read only
	head := make([]byte, frameHeaderSize)
	if _, err := f.ReadAt(head, p.last); err != nil || signature(head) != p.signature {
		return fmt.Errorf("%w: %s was written by another store", errStale, segmentName(p.segment))
	}
	return nil
}

// countAll makes the totals from the index and removes large files that nothing
// names.
func (s *Store) countAll() error {
	files, err := numbered(s.fs, s.largeDir(), ".big")
	if err != nil {
		return fmt.Errorf("list the large bundles: %w", err)
	}
	for num := range files {
		s.nextFile.Store(max(s.nextFile.Load(), num))
	}
	t := newTally()
	maxHandle, lost, err := s.countEntries(&t, files)
	if err != nil {
		return err
	}
	ctx := context.Background()
	err = s.index.each(ctx, prefixTrace, nil, func(key, value []byte) (bool, error) {
		if len(value) > 0 && value[0] == 1 { // live
			return true, nil
		}
		tr, err := decodeTrace(string(key), value)
		t.remember(tr.at)
		return true, err
	})
	if err == nil {
		err = s.index.each(ctx, prefixCounter, nil, func(_, value []byte) (bool, error) {
			n, err := decodeCounter(value)
			t.use(n.at, 1)
			return true, err
		})
	}
	if err != nil {
		return err
	}
	mark, err := s.index.counter(handleCounter)
	if err != nil {
		return err
	}
	s.committer.handleMark = mark.value
	s.nextHandle.Store(max(mark.value, uint64(maxHandle)+1))
	s.committer.topHandle = store.Handle(s.nextHandle.Load() - 1)
	s.nextFile.Add(1)
	for num, seg := range s.segments {
		seg.inUse = t.inUse[num]
		seg.told = math.MinInt64 / 2 // superseded ones were not counted
	}
	s.totals = t
	return s.dropLost(lost, files)
}

// countEntries counts the bundles. It takes from files what they name, and returns
// the bundles whose bytes are not there.
func (s *Store) countEntries(t *tally, files map[uint64]int64) (top store.Handle, lost []*entry, err error) {
	err = s.index.each(context.Background(), prefixEntry, nil, func(_, value []byte) (bool, error) {
		e, err := decodeEntry(value)
		if err != nil {
			return false, err
		}
		top = max(top, e.record.Handle)
		s.nextFile.Store(max(s.nextFile.Load(), e.file))
		t.count(e, 1)
		seg := s.segments[e.put.segment]
		there := seg != nil && e.put.offset+e.put.size <= seg.size
		if e.file != 0 {
			size, ok := files[e.file]
			there = ok && size >= e.record.Size
			delete(files, e.file)
		}
		if !there {
			lost = append(lost, e)
		}
		return true, nil
	})
	return top, lost, err
}

// dropLost takes bundles whose bytes are not there out of the index, and removes
// the files that no bundle names. When the log is damaged those files stay: one may
// belong to a record that cannot be read.
func (s *Store) dropLost(lost []*entry, orphans map[uint64]int64) error {
	if len(lost) > 0 {
		c := newChange(s.index)
		for _, e := range lost {
			s.quarantined.Add(1)
			s.log.Error("bundle is lost: its stored bytes are not there", "bundle", e.record.ID, "handle", e.record.Handle)
			if err := c.remove(e.record.Handle, store.Gone{ID: e.record.ID}, place{}); err != nil {
				return err
			}
		}
		if err := s.index.apply(c); err != nil {
			return err
		}
		c.freed = nil // what is left of a damaged bundle stays for whoever looks into it
		s.settle(c)
	}
	if s.quarantined.Load() > 0 {
		return nil
	}
	for num := range orphans {
		if err := s.fs.Remove(s.largeFile(num)); err != nil {
			return fmt.Errorf("remove the file of a bundle that was never stored: %w", err)
		}
	}
	return nil
}

// openActive begins segments where the replay has left none to write on.
func (s *Store) openActive() error {
	for _, t := range []*tail{&s.committer.bundles, &s.committer.gone} {
		if t.active == nil && t.num != goneLog {
			if err := s.nextSegment(t); err != nil {
				return err
			}
		}
	}
	return s.saveCheckpoint()
}

// shut closes what Open opened, after the goroutines have ended.
func (s *Store) shut() error {
	s.removeFreed()
	var errs []error
	if s.failure.Load() == nil {
		errs = append(errs, s.saveCheckpoint())
	}
	s.open.Lock() // readers are done; later ones are told that the store is closed
	defer s.open.Unlock()
	for _, t := range []*tail{&s.committer.bundles, &s.committer.gone} {
		if t.active != nil {
			if s.failure.Load() == nil {
				errs = append(errs, s.endSegment(t))
			}
			errs = append(errs, t.active.Close())
		}
	}
	errs = append(errs, s.reading.close(), s.index.close(), s.lock.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close store %s: %w", filepath.Clean(s.dir), err)
	}
	return nil
}
