// Package badgerstore is the bundle store of a node with a disk.
//
// Append-only segment files, the logs, are the truth: every change is a checksummed
// record in them and synced before anyone is told. Concurrent commits share one
// write and one sync. Bundles above Options.SmallLimit go to files of their own
// while they arrive. Badger holds an index over the logs, which is made again from
// them whenever it is lost, damaged or behind.
//
// It refuses to know what bundles mean, which to keep, and what time it is.
package badgerstore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// Errors that callers branch on, beside those of package store.
var (
	// ErrLocked: another process has the store open.
	ErrLocked = errors.New("store is in use")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed; open it again")
)

// Defaults of Options.
const (
	DefaultSmallLimit  = 2 << 20
	DefaultStageMemory = 32 << 20
	DefaultReserve     = 16 << 20
)

// The default SegmentSize is a part of the quota within bounds: to end a segment, to
// clean one and to begin another takes several syncs, and what is kept beside the
// bundles is a few segments.
const (
	leastSegment = 32 << 20
	mostSegment  = 64 << 20
	segmentShare = 100
)

// Options are the choices for a store. Zero values stand for the defaults.
type Options struct {
	// Quota is the most bytes of bundles the store takes, staged ones
	// included; 0 means that only the disk limits it.
	Quota int64
	// Shares are the parts of Quota that some bundles may take.
	Shares store.Shares
	// MaxGone is how many bundles that left are remembered; 0 stands for
	// store.DefaultMaxGone. A little fewer are kept when it is reached.
	MaxGone int64
	// SegmentSize is the size at which a segment of the log is ended, in
	// bytes. The default is a hundredth of the quota, from 32 to 64 MiB.
	SegmentSize int64
	// SmallLimit is the largest bundle that is staged in memory and stored in
	// the log, in bytes.
	SmallLimit int64
	// StageMemory is the most memory that all staged small bundles may take
	// together, in bytes; what does not fit is staged on disk.
	StageMemory int64
	// Reserve is the free space that new bundles do not touch, so that deletes
	// and the index find room, in bytes. As much is held by a ballast file that
	// is let go when the disk is full.
	Reserve int64
	// Logger is told of repairs and failures.
	Logger *slog.Logger
	// FS is the file system of the log. The lock and the index are always on
	// the machine's own.
	FS FS
	// Rand gives the salt of new segments.
	Rand io.Reader
}

func (o Options) withDefaults() Options {
	setDefault(&o.SegmentSize, min(max(o.Quota/segmentShare, leastSegment), mostSegment))
	setDefault(&o.SmallLimit, DefaultSmallLimit)
	setDefault(&o.StageMemory, DefaultStageMemory)
	setDefault(&o.Reserve, DefaultReserve)
	setDefault(&o.MaxGone, store.DefaultMaxGone)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.FS == nil {
		o.FS = osFS{}
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	return o
}

func setDefault(v *int64, d int64) {
	if *v <= 0 {
		*v = d
	}
}

// layout names the files of a store.
type layout struct{ dir string }

func (l layout) lockFile() string { return filepath.Join(l.dir, "LOCK") }
func (l layout) ballast() string  { return filepath.Join(l.dir, "BALLAST") }
func (l layout) indexDir() string { return filepath.Join(l.dir, "index") }
func (l layout) logDir() string   { return filepath.Join(l.dir, "log") }
func (l layout) largeDir() string { return filepath.Join(l.dir, "large") }
func (l layout) goneDir() string  { return filepath.Join(l.dir, "gone") }

// folderOf returns the folder of the log that segment num belongs to.
func (l layout) folderOf(num uint64) string {
	if num&goneLog != 0 {
		return l.goneDir()
	}
	return l.logDir()
}

func (l layout) segmentFile(num uint64) string {
	return filepath.Join(l.folderOf(num), fmt.Sprintf("%016x.seg", num&^goneLog))
}

// segmentName names a segment for people.
func segmentName(num uint64) string {
	if num&goneLog != 0 {
		return fmt.Sprintf("segment %d of gone bundles", num&^goneLog)
	}
	return fmt.Sprintf("segment %d", num)
}

func (l layout) largeFile(n uint64) string {
	return filepath.Join(l.largeDir(), fmt.Sprintf("%016x.big", n))
}

// Store is a bundle store on disk. Its methods may be called concurrently.
type Store struct {
	layout
	o     Options
	quota store.Quota
	fs    FS
	log   *slog.Logger
	lock  *os.File
	index *index

	reading reading // segments that bundles are read from
	memory  memory  // of staged bundles
	hot     *hot

	queue  chan []*request // to the committer
	chores chan []*request // to the committer, from the janitor, ahead of queue
	wake   chan struct{}   // to the janitor; holds one
	rested chan struct{}   // from the janitor when it has nothing to do; holds one
	life   context.Context // ends with Close
	stop   context.CancelFunc
	closed chan struct{} // closed by Close
	idle   chan struct{} // closed when the committer has ended
	open   sync.RWMutex  // held by readers; Close takes it to shut the index
	once   sync.Once
	wait   sync.WaitGroup // committer and janitor
	end    error          // of Close

	nextHandle  atomic.Uint64
	nextFile    atomic.Uint64
	commits     atomic.Int64
	quarantined atomic.Int64
	uncleanable atomic.Bool // the janitor tried last and could not clean the log
	ballasted   atomic.Bool // the ballast file is there, or cannot be made
	failure     atomic.Pointer[error]

	// committer is the state of the one goroutine that writes the log.
	committer committer

	mu       sync.Mutex // guards everything below
	segments map[uint64]*segment
	totals   tally // its inUse is not used; see segment
	reserved int64 // bytes staged, on disk or in memory
	inMemory int64 // bytes staged in memory
	freed    []uint64

	spares    []spare
	spareUsed bool // since restSpares was last called
}

var _ store.Store = (*Store)(nil)

// segment is a file of the log.
type segment struct {
	size int64  // bytes written and synced
	key  uint64 // of its frames
	inUse
}

// NextHandle implements store.Store. Handles that were never put may come again
// after a restart.
func (s *Store) NextHandle() store.Handle {
	return store.Handle(s.nextHandle.Add(1) - 1)
}

// Get implements store.Store.
func (s *Store) Get(h store.Handle) (store.Record, error) {
	e, err := s.lookup(h)
	if err != nil {
		return store.Record{}, fmt.Errorf("get bundle %d: %w", h, err)
	}
	return e.record, nil
}

func (s *Store) lookup(h store.Handle) (*entry, error) {
	done, err := s.enter()
	if err != nil {
		return nil, err
	}
	defer done()
	e, err := s.index.entry(h)
	if err == nil && e == nil {
		err = store.ErrNotFound
	}
	return e, err
}

// Find implements store.Store.
func (s *Store) Find(id bundle.ID) (store.Trace, error) {
	done, err := s.enter()
	if err != nil {
		return store.Trace{}, err
	}
	defer done()
	t, e, err := s.index.find(idKey(id))
	switch {
	case err != nil:
		return store.Trace{}, fmt.Errorf("find bundle %s: %w", id, err)
	case e != nil:
		return store.Trace{Live: &e.record}, nil
	case t.isGone():
		return store.Trace{Gone: &t.gone}, nil
	}
	return store.Trace{}, nil
}

// Scan implements store.Store.
func (s *Store) Scan(after store.Handle, limit int) ([]store.Record, error) {
	done, err := s.enter()
	if err != nil {
		return nil, err
	}
	defer done()
	var out []store.Record
	if limit <= 0 || after+1 == 0 {
		return nil, nil
	}
	start := entryKey(after + 1)[1:]
	err = s.index.each(context.Background(), prefixEntry, []byte(start), func(_, value []byte) (bool, error) {
		e, err := decodeEntry(value)
		if err != nil {
			return false, err
		}
		out = append(out, e.record)
		return len(out) < limit, nil
	})
	if err != nil {
		return nil, fmt.Errorf("scan bundles behind %d: %w", after, err)
	}
	return out, nil
}

// Counter implements store.Store.
func (s *Store) Counter(name string) (uint64, error) {
	done, err := s.enter()
	if err != nil {
		return 0, err
	}
	defer done()
	n, err := s.index.counter(userCounter(name))
	if err != nil {
		return 0, fmt.Errorf("read counter %q: %w", name, err)
	}
	return n.value, nil
}

// Counters of callers and the store's own share the log.
const handleCounter = "s/handle" // handles below it may have been used

func userCounter(name string) string { return "u/" + name }

// Forget implements store.Store. It writes only the index: entries that come back
// with a rebuilt index are forgotten again the next time.
func (s *Store) Forget(ctx context.Context, now dtntime.Time) error {
	for {
		more := false
		err := s.ask(ctx, s.queue, &request{do: func() error {
			n, err := s.forgetSome(ctx, forgetBatch, now)
			more = n == forgetBatch
			return err
		}})
		if err != nil {
			return fmt.Errorf("forget bundles gone before %s: %w", now, err)
		}
		if !more {
			return nil
		}
	}
}

// forgetBatch is how many bundles that left are forgotten in one change.
const forgetBatch = 1000

// forgetExcess forgets those that may be forgotten first while there are too many.
// It goes a little below the limit, so that not every commit has to.
func (s *Store) forgetExcess(ctx context.Context) error {
	s.mu.Lock()
	excess := s.totals.gone - s.o.MaxGone
	s.mu.Unlock()
	if excess <= 0 {
		return nil
	}
	for excess += s.o.MaxGone / 100; excess > 0; {
		n, err := s.forgetSome(ctx, min(excess, forgetBatch), math.MaxUint64)
		if err != nil || n == 0 {
			return err
		}
		excess -= n
	}
	return nil
}

// forgetSome forgets up to limit of what may be forgotten before now, in order of
// time, and returns how many it looked at. The committer runs it, so nothing else
// changes the index meanwhile.
func (s *Store) forgetSome(ctx context.Context, limit int64, now dtntime.Time) (int64, error) {
	var keys []string
	err := s.index.each(ctx, prefixExpiry, nil, func(key, _ []byte) (bool, error) {
		if len(key) < 8 {
			return false, fmt.Errorf("read the index: expiry key: %w", errEncoding)
		}
		if dtntime.Time(binary.BigEndian.Uint64(key)) >= now {
			return false, nil
		}
		keys = append(keys, string(key))
		return int64(len(keys)) < limit, nil
	})
	if err != nil {
		return 0, err
	}
	c := newChange(s.index)
	for _, key := range keys {
		id := key[8:]
		t, err := c.trace(id)
		if err != nil {
			return 0, err
		}
		if t.isGone() && expiryKey(&t, id) == key {
			if err := c.setTrace(id, trace{}); err != nil {
				return 0, err
			}
		}
		c.expiry[key] = false
	}
	if c.size() == 0 {
		return 0, nil
	}
	if err := s.index.apply(c); err != nil {
		return 0, s.fail(err)
	}
	s.settle(c)
	return int64(len(keys)), nil
}

// Stats implements store.Store.
func (s *Store) Stats() store.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := store.Stats{
		Bundles:     s.totals.bundles,
		Bytes:       s.totals.usage.Bytes,
		Quota:       s.o.Quota,
		Custodial:   s.totals.custodial,
		Gone:        s.totals.gone,
		Segments:    int64(len(s.segments)),
		DiskBytes:   s.totals.large,
		Commits:     s.commits.Load(),
		Quarantined: s.quarantined.Load(),

		CustodyBytes: s.totals.usage.Custody, CustodyQuota: s.quota.CustodyBytes(), PriorityBytes: s.totals.usage.Priority,
	}
	for _, sp := range s.spares {
		st.DiskBytes += sp.size
	}
	for _, seg := range s.segments {
		st.DiskBytes += seg.size
	}
	if err := s.failure.Load(); err != nil {
		st.FailedReason = (*err).Error()
	}
	return st
}

// settle moves the totals by a change that was applied and wakes the janitor.
func (s *Store) settle(c *change) {
	s.mu.Lock()
	s.totals.add(&tally{
		bundles: c.tally.bundles, usage: c.tally.usage, custodial: c.tally.custodial,
		gone: c.tally.gone, large: c.tally.large,
	})
	for num, u := range c.tally.inUse {
		if seg := s.segments[num]; seg != nil {
			seg.inUse = seg.plus(u)
		}
	}
	s.freed = append(s.freed, c.freed...)
	s.mu.Unlock()
	s.wakeJanitor()
}

func (s *Store) wakeJanitor() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// fail makes the store read-only and returns the error for the caller.
func (s *Store) fail(cause error) error {
	err := fmt.Errorf("%w: %w; reopen the store, and check the disk", store.ErrFailed, cause)
	if s.failure.CompareAndSwap(nil, &err) {
		s.log.Error("store has failed and is read-only", "dir", s.dir, "error", cause)
	}
	return err
}

// enter keeps the index open until done is called.
func (s *Store) enter() (done func(), err error) {
	if !s.open.TryRLock() { // only Close locks it for writing
		return nil, ErrClosed
	}
	if s.life.Err() != nil {
		s.open.RUnlock()
		return nil, ErrClosed
	}
	return s.open.RUnlock, nil
}

// writable tells why the store takes no writes, if it does not.
func (s *Store) writable() error {
	select {
	case <-s.closed:
		return ErrClosed
	default:
	}
	if err := s.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.once.Do(func() {
		close(s.closed)
		s.stop()
		s.wait.Wait()
		s.end = s.shut()
	})
	return s.end
}
