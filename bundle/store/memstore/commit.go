package memstore

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, ops []store.Op) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	puts, err := s.take(ops)
	defer func() {
		for _, p := range puts {
			p.release()
		}
	}()
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("commit %d changes: %w", len(ops), err)
	}
	if err := s.writable(); err != nil {
		return err
	}
	if err := s.failNext; err != nil {
		s.failNext = nil
		if errors.Is(err, store.ErrFailed) {
			s.failed = err
		}
		return fmt.Errorf("commit %d changes: %w", len(ops), err)
	}
	if err := s.check(ops); err != nil {
		return err
	}
	for _, op := range ops {
		s.apply(op)
	}
	s.commits++
	return nil
}

// CommitEach implements store.Store.
func (s *Store) CommitEach(ctx context.Context, lists [][]store.Op) []error {
	errs := make([]error, len(lists))
	for i, ops := range lists {
		errs[i] = s.Commit(ctx, ops)
	}
	return errs
}

// take spends the staged bytes of every Put.
func (s *Store) take(ops []store.Op) ([]*staged, error) {
	var puts []*staged
	var bad error
	for _, op := range ops {
		put, ok := op.(store.Put)
		if !ok {
			continue
		}
		st, ok := put.Staged.(*staged)
		switch {
		case !ok || st.s != s:
			bad = fmt.Errorf("put bundle %s: its bytes were not staged in this store", put.Record.ID)
		case st.spent:
			bad = fmt.Errorf("put bundle %s: its staged bytes were put or discarded before", put.Record.ID)
		default:
			st.spent = true
			puts = append(puts, st)
			if put.Record.Size != int64(len(st.data)) {
				bad = fmt.Errorf("put bundle %s: record says %d bytes, %d are staged", put.Record.ID, put.Record.Size, len(st.data))
			}
		}
	}
	return puts, bad
}

// check tells whether ops can be applied in order. It looks at what the ops before
// each one change without changing anything.
func (s *Store) check(ops []store.Op) error {
	type state struct {
		record store.Record
		live   bool
	}
	usage := s.usage
	handles := map[store.Handle]state{}
	ids := map[bundle.ID]bool{}
	look := func(h store.Handle) state {
		if st, ok := handles[h]; ok {
			return st
		}
		it, ok := s.live[h]
		return state{it.record, ok}
	}
	for _, op := range ops {
		switch op := op.(type) {
		case store.Put:
			h, id := op.Record.Handle, op.Record.ID
			_, live := s.byID[id]
			if changed, ok := ids[id]; ok {
				live = changed
			}
			switch {
			case h == 0 || h >= s.next:
				return fmt.Errorf("put bundle %s: handle %d was not reserved with NextHandle", id, h)
			case live || look(h).live:
				return fmt.Errorf("put bundle %s under handle %d: %w", id, h, store.ErrExists)
			}
			if err := s.quota.AdmitPut(usage, &op.Record); err != nil {
				return fmt.Errorf("put bundle %s: %w", id, err)
			}
			usage.Add(&op.Record, 1)
			handles[h], ids[id] = state{op.Record, true}, true
		case store.Update:
			st := look(op.Record.Handle)
			if !st.live {
				return fmt.Errorf("update bundle %d: %w", op.Record.Handle, store.ErrNotFound)
			}
			if st.record.ID != op.Record.ID {
				return fmt.Errorf("update bundle %d: its ID is %s, not %s", op.Record.Handle, st.record.ID, op.Record.ID)
			}
			if old, lane := st.record.Lane(), op.Record.Lane(); old != lane {
				return fmt.Errorf("update bundle %d: its lane is %s, not %s", op.Record.Handle, old, lane)
			}
			r := op.Record
			r.Size = st.record.Size
			if !st.record.Custodial {
				if err := s.quota.AdmitCustody(usage, &r); err != nil {
					return fmt.Errorf("update bundle %d: %w", r.Handle, err)
				}
			}
			usage.Add(&st.record, -1)
			usage.Add(&r, 1)
			handles[r.Handle] = state{r, true}
		case store.Delete:
			st := look(op.Handle)
			if !st.live {
				return fmt.Errorf("delete bundle %d: %w", op.Handle, store.ErrNotFound)
			}
			if op.Gone.Until != 0 && op.Gone.ID != st.record.ID {
				return fmt.Errorf("delete bundle %d: its ID is %s, not %s", op.Handle, st.record.ID, op.Gone.ID)
			}
			usage.Add(&st.record, -1)
			handles[op.Handle], ids[st.record.ID] = state{}, false
		case store.SetCounter:
		default:
			return fmt.Errorf("commit: unknown change %T", op)
		}
	}
	return nil
}

func (s *Store) apply(op store.Op) {
	switch op := op.(type) {
	case store.Put:
		s.put(op)
	case store.Update:
		it := s.live[op.Record.Handle]
		s.custody += custodial(op.Record) - custodial(it.record)
		op.Record.Size = it.record.Size
		s.usage.Add(&it.record, -1)
		s.usage.Add(&op.Record, 1)
		it.record = op.Record
		s.live[op.Record.Handle] = it
	case store.Delete:
		s.remove(op)
	case store.SetCounter:
		s.counters[op.Name] = op.Value
	}
}

func (s *Store) put(op store.Put) {
	r := op.Record
	delete(s.left, r.ID)
	s.live[r.Handle] = item{record: r, data: op.Staged.(*staged).data}
	s.byID[r.ID] = r.Handle
	if i, found := slices.BinarySearch(s.order, r.Handle); !found {
		s.order = slices.Insert(s.order, i, r.Handle)
	}
	lane := r.Lane()
	i, _ := slices.BinarySearch(s.lanes[lane], r.Handle)
	s.lanes[lane] = slices.Insert(s.lanes[lane], i, r.Handle)
	s.usage.Add(&r, 1)
	s.custody += custodial(r)
}

func (s *Store) remove(op store.Delete) {
	r := s.live[op.Handle].record
	delete(s.live, op.Handle)
	delete(s.byID, r.ID)
	s.leaveLane(r.Lane(), r.Handle)
	s.usage.Add(&r, -1)
	s.custody -= custodial(r)
	if len(s.order) > 64 && len(s.order) > 2*len(s.live) {
		s.order = slices.DeleteFunc(s.order, func(h store.Handle) bool {
			_, ok := s.live[h]
			return !ok
		})
	}
	if op.Gone.Until == 0 {
		return
	}
	s.left[r.ID] = op.Gone
	s.forget.push(untilEntry{op.Gone.Until, r.ID})
	for int64(len(s.left)) > s.maxGone {
		s.forgetFirst()
	}
}

// leaveLane takes a bundle out of its lane, and the lane away with its last one.
func (s *Store) leaveLane(lane store.Lane, h store.Handle) {
	handles := s.lanes[lane]
	switch i, _ := slices.BinarySearch(handles, h); {
	case len(handles) == 1:
		delete(s.lanes, lane)
	case i == 0: // the usual case, and one that need not move the others
		s.lanes[lane] = handles[1:]
	default:
		s.lanes[lane] = slices.Delete(handles, i, i+1)
	}
}

func custodial(r store.Record) int64 {
	if r.Custodial {
		return 1
	}
	return 0
}

// Stage implements store.Store.
func (s *Store) Stage(size int64) (store.Staged, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(); err != nil {
		return nil, err
	}
	if size > 0 && !s.quota.Fits(s.usage.Bytes+s.staged, size) {
		return nil, fmt.Errorf("stage bundle of %d bytes: %w", size, store.ErrQuota)
	}
	return &staged{s: s}, nil
}

// staged is the bytes of a bundle on their way into s. s.mu guards its fields.
type staged struct {
	s     *Store
	data  []byte
	held  int64 // bytes counted in s.staged
	spent bool
}

// Write implements store.Staged.
func (st *staged) Write(p []byte) (int, error) {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	if st.spent {
		return 0, errors.New("write to staged bundle: it was put or discarded before")
	}
	if !st.s.quota.Fits(st.s.usage.Bytes+st.s.staged, int64(len(p))) {
		return 0, fmt.Errorf("stage %d more bytes: %w", len(p), store.ErrQuota)
	}
	st.data = append(st.data, p...)
	st.held += int64(len(p))
	st.s.staged += int64(len(p))
	return len(p), nil
}

var _ store.Buffered = (*staged)(nil)

// Buffer implements store.Buffered.
func (st *staged) Buffer(n int64) []byte { return make([]byte, 0, n) }

// Fill implements store.Buffered. All memory is this store's own, so b may come from
// anywhere, as long as nobody writes to it any more.
func (st *staged) Fill(b []byte) error {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	switch {
	case st.spent:
		return errors.New("fill staged bundle: it was put or discarded before")
	case len(st.data) > 0:
		return errors.New("fill staged bundle: something was written to it before")
	case !st.s.quota.Fits(st.s.usage.Bytes+st.s.staged, int64(len(b))):
		return fmt.Errorf("stage %d more bytes: %w", len(b), store.ErrQuota)
	}
	st.data = b
	st.held += int64(len(b))
	st.s.staged += int64(len(b))
	return nil
}

// Size implements store.Staged.
func (st *staged) Size() int64 {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	return int64(len(st.data))
}

// Discard implements store.Staged.
func (st *staged) Discard() {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	if !st.spent {
		st.spent = true
		st.release()
	}
}

// release stops counting the staged bytes. The caller holds s.mu.
func (st *staged) release() {
	st.s.staged -= st.held
	st.held, st.data = 0, nil
}

// untilEntry says when a bundle ID may be forgotten.
type untilEntry struct {
	until dtntime.Time
	id    bundle.ID
}

// untilHeap is a binary heap with the earliest entry first. Entries whose Gone was
// replaced stay in it until their time comes.
type untilHeap []untilEntry

func (h *untilHeap) push(e untilEntry) {
	q := append(*h, e)
	i := len(q) - 1
	for i > 0 && q[i].until < q[(i-1)/2].until {
		q[i], q[(i-1)/2] = q[(i-1)/2], q[i]
		i = (i - 1) / 2
	}
	*h = q
}

func (h *untilHeap) pop() untilEntry {
	q := *h
	top := q[0]
	q[0] = q[len(q)-1]
	q = q[:len(q)-1]
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(q); c++ {
			if q[c].until < q[least].until {
				least = c
			}
		}
		if least == i {
			break
		}
		q[i], q[least] = q[least], q[i]
		i = least
	}
	*h = q
	return top
}
