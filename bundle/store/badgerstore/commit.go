package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"perigee/bundle/store"
)

// Limits on the committer.
const (
	maxQueue = 1024     // commits waiting
	maxGroup = 16 << 20 // bytes of small bundles in one group, a single commit excepted
	// leastGroup is how many such bytes a segment that is all but full still takes.
	leastGroup = 1 << 20
	// handleBlock is how many handles are written off at once, so that few
	// commits must write the mark.
	handleBlock = 4096
	// checkpointStep is how much log may have to be replayed at the next start.
	checkpointStep = 64 << 20
)

// request is something for the committer to do: ops or moves to log, or do.
type request struct {
	ops   []store.Op
	moves []move
	do    func() error

	staged []*staged   // what ops put; spent
	taken  atomic.Bool // by the committer, or by a caller that gave up
	weight int64       // bytes of small bundles
	large  bool        // some put has a file of its own
	done   chan error
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, ops []store.Op) error {
	return s.CommitEach(ctx, [][]store.Op{ops})[0]
}

// CommitEach implements store.Store.
func (s *Store) CommitEach(ctx context.Context, lists [][]store.Op) []error {
	errs := make([]error, len(lists))
	requests := make([]*request, len(lists))
	for i, ops := range lists {
		requests[i] = &request{ops: ops}
		errs[i] = s.take(requests[i])
	}
	s.finish(ctx, requests, errs)
	s.submit(ctx, s.queue, requests, errs)
	for i, r := range requests {
		// After a failed sync the record may yet be found durable at the next
		// start, which also removes the file if it is not.
		remove := errs[i] != nil && !errors.Is(errs[i], store.ErrFailed)
		for _, st := range r.staged {
			st.drop(remove)
		}
		if errs[i] != nil {
			errs[i] = fmt.Errorf("commit %d changes: %w", len(r.ops), errs[i])
		}
	}
	return errs
}

// warm keeps the bytes of what was stored in memory, and lets go of what has left.
func (s *Store) warm(r *request) {
	for _, op := range r.ops {
		switch op := op.(type) {
		case store.Put:
			if st := op.Staged.(*staged); st.data != nil {
				s.hot.add(op.Record.Handle, st.release())
			}
		case store.Delete:
			s.hot.drop(op.Handle)
		}
	}
}

// take spends the staged bytes of every Put.
func (s *Store) take(r *request) error {
	var bad error
	for _, op := range r.ops {
		put, ok := op.(store.Put)
		if !ok {
			continue
		}
		st, ok := put.Staged.(*staged)
		switch {
		case !ok || st.s != s:
			bad = fmt.Errorf("put bundle %s: its bytes were not staged in this store", put.Record.ID)
			continue
		case st.spent:
			bad = fmt.Errorf("put bundle %s: its staged bytes were put or discarded before", put.Record.ID)
			continue
		case put.Record.Size != st.size:
			bad = fmt.Errorf("put bundle %s: record says %d bytes, %d are staged", put.Record.ID, put.Record.Size, st.size)
		}
		st.spent = true
		r.staged = append(r.staged, st)
		r.large = r.large || st.num != 0
		r.weight += int64(len(st.data))
	}
	if r.weight > maxFrame/2 {
		bad = fmt.Errorf("%d bytes of small bundles are too many for one commit; the limit is %d", r.weight, maxFrame/2)
	}
	return bad
}

// finish syncs the files of large bundles, here and not in the committer, so that
// no other commit waits for them.
func (s *Store) finish(ctx context.Context, requests []*request, errs []error) {
	var syncs sync.WaitGroup
	for i, r := range requests {
		if errs[i] != nil {
			continue
		}
		if errs[i] = ctx.Err(); errs[i] != nil || !r.large {
			errs[i] = errors.Join(errs[i], r.stagedError())
			continue
		}
		syncs.Go(func() {
			for _, st := range r.staged {
				errs[i] = errors.Join(errs[i], st.finish())
			}
		})
	}
	syncs.Wait()
}

// stagedError tells why the bytes of a put are not all there.
func (r *request) stagedError() error {
	for _, st := range r.staged {
		if st.err != nil {
			return st.err
		}
	}
	return nil
}

// submit hands those requests to the committer that have no error yet, and waits for
// its answers. When ctx ends before the committer has begun with one, that one is
// withdrawn.
func (s *Store) submit(ctx context.Context, queue chan<- []*request, requests []*request, errs []error) {
	err := s.writable()
	if err == nil {
		err = ctx.Err()
	}
	var asked []*request
	for i, r := range requests {
		switch {
		case errs[i] != nil:
		case err != nil:
			errs[i] = err
		default:
			r.done = make(chan error, 1)
			asked = append(asked, r)
		}
	}
	for batch := range slices.Chunk(asked, maxQueue) {
		select {
		case queue <- batch:
		case <-ctx.Done():
			withdraw(batch, ctx.Err())
		case <-s.closed:
			withdraw(batch, ErrClosed)
		}
	}
	for i, r := range requests {
		if r.done != nil {
			errs[i] = s.await(ctx, r)
		}
	}
}

// withdraw answers requests that the committer has not seen.
func withdraw(batch []*request, err error) {
	for _, r := range batch {
		r.taken.Store(true)
		r.done <- err
	}
}

// await returns the committer's answer to r.
func (s *Store) await(ctx context.Context, r *request) error {
	var err error
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		err = ctx.Err()
	case <-s.idle:
		err = ErrClosed
	}
	if r.taken.CompareAndSwap(false, true) {
		return err
	}
	return <-r.done
}

// ask hands one request to the committer and waits for its answer.
func (s *Store) ask(ctx context.Context, queue chan<- []*request, r *request) error {
	var errs [1]error
	s.submit(ctx, queue, []*request{r}, errs[:])
	return errs[0]
}

// committer is the state of the goroutine that writes the logs.
type committer struct {
	bundles, gone tail
	salt          uint64
	scratch       []byte
	logged        int64        // bytes since the last checkpoint
	handleMark    uint64       // handles below it are written off in the log
	topHandle     store.Handle // no bundle was ever put under a higher one
}

// commitLoop is the committer's goroutine. When ctx ends it serves what is queued
// and returns.
func (s *Store) commitLoop(ctx context.Context) {
	defer close(s.idle)
	for {
		s.awaitJanitor(ctx)
		select {
		case batch := <-s.queue:
			s.serve(batch)
			continue
		default:
		}
		select {
		case chore := <-s.chores:
			s.serveChore(chore)
		case batch := <-s.queue:
			s.serve(batch)
		case <-ctx.Done():
			return
		}
	}
}

// awaitJanitor does the janitor's chores first, and nothing else while the log is
// far over its bound and can be cleaned: commits must not make it grow faster than
// it shrinks.
func (s *Store) awaitJanitor(ctx context.Context) {
	select {
	case chore := <-s.chores:
		s.serveChore(chore)
	default:
	}
	for s.overfull() && !s.uncleanable.Load() && s.failure.Load() == nil {
		select {
		case chore := <-s.chores:
			s.serveChore(chore)
		case <-s.rested:
		case <-ctx.Done():
			return
		}
	}
}

func (s *Store) serveChore(chore []*request) {
	for _, r := range chore {
		switch {
		case !r.taken.CompareAndSwap(false, true):
		case r.do != nil:
			r.done <- r.do()
		default:
			s.commitGroup([]*request{r})
		}
	}
}

// serve answers the requests of a batch and, in one group with them, whatever
// commits are waiting.
func (s *Store) serve(batch []*request) {
	var group []*request
	weight := int64(0)
	commit := func() {
		s.commitGroup(group)
		group, weight = nil, 0
	}
	for batch != nil {
		for _, r := range batch {
			switch {
			case !r.taken.CompareAndSwap(false, true):
			case r.do != nil:
				commit()
				r.done <- r.do()
			default:
				group = append(group, r)
				if weight += r.weight; weight >= s.groupLimit() {
					commit()
				}
			}
		}
		batch = nil
		if len(group) < maxQueue {
			select {
			case batch = <-s.queue:
			default:
			}
		}
	}
	commit()
}

// groupLimit is how many bytes of bundles a group should have: what the active segment
// has room for, within limits. Segments of one size are used again as they are.
func (s *Store) groupLimit() int64 {
	return min(max(s.o.SegmentSize-s.committer.bundles.size, leastGroup), maxGroup)
}

// commitGroup makes a group of commits durable and answers each.
func (s *Store) commitGroup(group []*request) {
	if len(group) == 0 {
		return
	}
	answers := make([]error, len(group))
	err := s.writable()
	if err == nil || errors.Is(err, ErrClosed) { // what was queued is still served
		err = s.logGroup(group, answers)
	}
	for i, r := range group {
		if answers[i] == nil {
			answers[i] = err
		}
		if answers[i] == nil {
			s.warm(r)
		}
		r.done <- answers[i]
	}
}

// logGroup writes the commits of a group that can be applied, syncs, and updates
// the index. It sets the answers of those that cannot; what it returns is the
// answer to the others.
func (s *Store) logGroup(group []*request, answers []error) error {
	if f := s.failure.Load(); f != nil {
		return *f
	}
	s.checkSpace()
	free, err := s.fs.Free(s.dir)
	if err != nil {
		return err
	}
	defer s.committer.bundles.frame.letGo()
	c, err := s.tryGroup(group, answers, free-s.o.Reserve)
	if errors.Is(err, store.ErrFull) {
		// Once more without the puts: deletes must find room.
		s.dropBallast()
		clear(answers)
		c, err = s.tryGroup(group, answers, math.MinInt64)
	}
	if err != nil || c == nil {
		return err
	}
	if err := s.index.apply(c); err != nil {
		return s.fail(err)
	}
	s.settle(c)
	if err := s.forgetExcess(context.Background()); err != nil {
		s.log.Error("cannot forget the oldest bundles that left", "error", err) // the group is durable
	}
	if s.committer.logged >= checkpointStep {
		if err := s.saveCheckpoint(); err != nil {
			s.log.Error("cannot checkpoint the index", "error", err) // the store has failed; the group is durable
		}
	}
	return nil
}

// tryGroup writes and syncs the group. It returns nil when there is nothing to
// write.
func (s *Store) tryGroup(group []*request, answers []error, room int64) (*change, error) {
	k := &s.committer
	if err := s.beginFrames(); err != nil {
		return nil, err
	}
	c := newChange(s.index)
	large := false
	for i, r := range group {
		if len(r.staged) > 0 && k.bundles.frame.body()+r.weight > room {
			answers[i] = fmt.Errorf("%w; free some space", store.ErrFull)
			continue
		}
		bundles, gone := k.bundles.frame.mark(), k.gone.frame.mark()
		if err := s.planInto(c, r); err != nil {
			k.bundles.frame.rewind(bundles)
			k.gone.frame.rewind(gone)
			answers[i] = err
			continue
		}
		large = large || r.large
	}
	if k.bundles.frame.count+k.gone.frame.count == 0 {
		return nil, nil
	}
	if err := s.markHandles(c); err != nil {
		return nil, err
	}
	if large {
		if err := s.fs.SyncDir(s.largeDir()); err != nil {
			return nil, s.fail(fmt.Errorf("sync the folder of large bundles: %w", err))
		}
	}
	if err := s.writeFrames(); err != nil {
		return nil, err
	}
	return c, nil
}

// markHandles writes off a block of handles when a put has reached the end of the
// last one, so that none is used again after a restart.
func (s *Store) markHandles(c *change) error {
	k := &s.committer
	top := uint64(0)
	for h, e := range c.entries {
		if e.entry != nil {
			top = max(top, uint64(h))
		}
	}
	if top < k.handleMark {
		return nil
	}
	k.handleMark = top + handleBlock
	return c.setCounter(handleCounter, k.handleMark, k.bundles.add(kindCounter, appendCounter(nil, handleCounter, k.handleMark), nil, 0))
}

// saveCheckpoint makes the index durable and notes how far it reaches.
func (s *Store) saveCheckpoint() error {
	k := &s.committer
	if err := s.index.sync(); err != nil {
		return s.fail(err)
	}
	if err := s.index.saveCheckpoint(checkpoint{k.bundles.position(), k.gone.position()}); err != nil {
		return s.fail(err)
	}
	k.bundles.checkpoint, k.gone.checkpoint, k.logged = k.bundles.num, k.gone.num, 0
	return nil
}
