// Package memstore is a bundle store in memory, for tests and simulations. It
// keeps the promises of store.Store as if memory were a disk: Crash tells what a
// restart would find, and commits can be made to fail.
//
// It refuses to know time and randomness: the same calls give the same answers.
package memstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// Options are the choices for a new store.
type Options struct {
	// Quota is the most bytes of bundles the store takes, staged ones
	// included; 0 means no limit.
	Quota int64
	// Shares are the parts of Quota that some bundles may take.
	Shares store.Shares
	// MaxGone is how many bundles that left are remembered; 0 stands for
	// store.DefaultMaxGone.
	MaxGone int64
}

// Store is a bundle store in memory. Its methods may be called concurrently.
type Store struct {
	maxGone int64

	mu       sync.Mutex // guards everything below
	quota    store.Quota
	next     store.Handle
	live     map[store.Handle]item
	order    []store.Handle // handles in order; may name bundles that left
	lanes    map[store.Lane][]store.Handle
	byID     map[bundle.ID]store.Handle
	left     map[bundle.ID]store.Gone
	forget   untilHeap
	counters map[string]uint64
	usage    store.Usage
	staged   int64 // bytes of the bundles on their way
	custody  int64
	commits  int64
	failNext error // what the next commit fails with
	failed   error // why the store takes no more writes
	closed   bool
}

// item is one stored bundle. Its data is never written to again.
type item struct {
	record store.Record
	data   []byte
}

var _ store.Store = (*Store)(nil)

// New returns an empty store.
func New(o Options) *Store {
	if o.MaxGone <= 0 {
		o.MaxGone = store.DefaultMaxGone
	}
	return &Store{
		quota:    store.Quota{Bytes: o.Quota, Shares: o.Shares},
		maxGone:  o.MaxGone,
		next:     1,
		live:     map[store.Handle]item{},
		lanes:    map[store.Lane][]store.Handle{},
		byID:     map[bundle.ID]store.Handle{},
		left:     map[bundle.ID]store.Gone{},
		counters: map[string]uint64{},
	}
}

// FailNextCommit makes the next Commit fail with err, which should wrap one of the
// store's errors, and change nothing. After ErrFailed the store stays read-only,
// as a real one would.
func (s *Store) FailNextCommit(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failNext = err
}

// SetQuota changes the quota, 0 meaning no limit. What is stored stays.
func (s *Store) SetQuota(quota int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quota.Bytes = quota
}

// Crash ends s as a loss of power would and returns the store that a restart finds:
// everything that was committed and nothing that was staged. s fails from then on.
func (s *Store) Crash() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	after := &Store{
		quota:    s.quota,
		maxGone:  s.maxGone,
		next:     s.next,
		live:     maps.Clone(s.live),
		order:    slices.Clone(s.order),
		lanes:    map[store.Lane][]store.Handle{},
		byID:     maps.Clone(s.byID),
		left:     maps.Clone(s.left),
		forget:   slices.Clone(s.forget),
		counters: maps.Clone(s.counters),
		usage:    s.usage,
		custody:  s.custody,
	}
	for l, handles := range s.lanes {
		after.lanes[l] = slices.Clone(handles)
	}
	s.closed = true
	return after
}

// NextHandle implements store.Store.
func (s *Store) NextHandle() store.Handle {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.next
	s.next++
	return h
}

// Open implements store.Store.
func (s *Store) Open(h store.Handle) (store.Content, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	it, ok := s.live[h]
	if !ok {
		return nil, fmt.Errorf("open bundle %d: %w", h, store.ErrNotFound)
	}
	return content{bytes.NewReader(it.data)}, nil
}

// Get implements store.Store.
func (s *Store) Get(h store.Handle) (store.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.Record{}, errClosed
	}
	it, ok := s.live[h]
	if !ok {
		return store.Record{}, fmt.Errorf("get bundle %d: %w", h, store.ErrNotFound)
	}
	return it.record, nil
}

// Find implements store.Store.
func (s *Store) Find(id bundle.ID) (store.Trace, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.Trace{}, errClosed
	}
	if h, ok := s.byID[id]; ok {
		r := s.live[h].record
		return store.Trace{Live: &r}, nil
	}
	if g, ok := s.left[id]; ok {
		return store.Trace{Gone: &g}, nil
	}
	return store.Trace{}, nil
}

// Scan implements store.Store.
func (s *Store) Scan(after store.Handle, limit int) ([]store.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	i, found := slices.BinarySearch(s.order, after)
	if found {
		i++
	}
	var out []store.Record
	for ; i < len(s.order) && len(out) < limit; i++ {
		if it, ok := s.live[s.order[i]]; ok {
			out = append(out, it.record)
		}
	}
	return out, nil
}

// Lanes implements store.Store.
func (s *Store) Lanes(after store.Lane, limit int) ([]store.Lane, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	var out []store.Lane
	for l := range s.lanes {
		if compareLanes(l, after) > 0 {
			out = append(out, l)
		}
	}
	slices.SortFunc(out, compareLanes)
	return out[:min(len(out), max(limit, 0))], nil
}

func compareLanes(a, b store.Lane) int {
	return cmp.Or(
		cmp.Compare(a.Duty, b.Duty),
		cmp.Compare(a.Destination.String(), b.Destination.String()),
		cmp.Compare(a.Priority, b.Priority),
	)
}

// ScanLane implements store.Store.
func (s *Store) ScanLane(lane store.Lane, after store.Handle, limit int) ([]store.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	handles := s.lanes[lane]
	i, found := slices.BinarySearch(handles, after)
	if found {
		i++
	}
	var out []store.Record
	for ; i < len(handles) && len(out) < limit; i++ {
		out = append(out, s.live[handles[i]].record)
	}
	return out, nil
}

// Counter implements store.Store.
func (s *Store) Counter(name string) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, errClosed
	}
	return s.counters[name], nil
}

// Forget implements store.Store.
func (s *Store) Forget(ctx context.Context, now dtntime.Time) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("forget bundles gone before %s: %w", now, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	for len(s.forget) > 0 && s.forget[0].until < now {
		s.forgetFirst()
	}
	return nil
}

// forgetFirst forgets the bundle that may be forgotten first.
func (s *Store) forgetFirst() {
	e := s.forget.pop()
	if g, ok := s.left[e.id]; ok && g.Until == e.until {
		delete(s.left, e.id)
	}
}

// Stats implements store.Store.
func (s *Store) Stats() store.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := store.Stats{
		Bundles:   int64(len(s.live)),
		Bytes:     s.usage.Bytes,
		Quota:     s.quota.Bytes,
		Custodial: s.custody,
		Gone:      int64(len(s.left)),
		DiskBytes: s.usage.Bytes,
		Commits:   s.commits,

		CustodyBytes: s.usage.Custody, CustodyQuota: s.quota.CustodyBytes(), PriorityBytes: s.usage.Priority,
	}
	if s.failed != nil {
		st.FailedReason = s.failed.Error()
	}
	return st
}

// Verify implements store.Store. Memory does not rot, so it only counts.
func (s *Store) Verify(ctx context.Context, progress func(done, total int64)) (store.Report, error) {
	if err := ctx.Err(); err != nil {
		return store.Report{}, fmt.Errorf("verify store: %w", err)
	}
	s.mu.Lock()
	report := store.Report{Records: int64(len(s.live)), Bytes: s.usage.Bytes}
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return store.Report{}, errClosed
	}
	if progress != nil {
		progress(report.Bytes, report.Bytes)
	}
	return report, nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

var errClosed = errors.New("store is closed; open it again")

// writable tells why the store takes no writes, if it does not.
func (s *Store) writable() error {
	switch {
	case s.closed:
		return errClosed
	case s.failed != nil:
		return s.failed
	}
	return nil
}

type content struct{ *bytes.Reader }

func (content) Close() error { return nil }
