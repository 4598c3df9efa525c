package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"

	"perigee/bundle/store"
)

// Limits on the committer.
const (
	maxQueue = 1024     // commits waiting
	maxGroup = 16 << 20 // bytes of small bundles in one group, a single commit excepted
	// handleBlock is how many handles are written off at once, so that few
	// commits must write the mark.
	handleBlock = 4096
	// checkpointStep is how much log may have to be replayed at the next start.
	checkpointStep = 16 << 20
)

// request is something for the committer to do: ops or moves to log, or do.
type request struct {
	ops   []store.Op
	moves []move
	do    func() error

	taken  atomic.Bool // by the committer, or by a caller that gave up
	weight int64       // bytes of small bundles
	puts   bool
	large  bool // some put has a file of its own
	done   chan error
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, ops []store.Op) error {
	r := &request{ops: ops}
	puts, err := s.take(r)
	if err == nil {
		err = s.finish(ctx, puts)
	}
	if err == nil {
		err = s.submit(ctx, r)
	}
	// After a failed sync the record may yet be found durable at the next start,
	// which also removes the file if it is not.
	remove := err != nil && !errors.Is(err, store.ErrFailed)
	for _, st := range puts {
		st.drop(remove)
	}
	if err != nil {
		return fmt.Errorf("commit %d changes: %w", len(ops), err)
	}
	return nil
}

// take spends the staged bytes of every Put.
func (s *Store) take(r *request) ([]*staged, error) {
	var puts []*staged
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
		puts = append(puts, st)
		r.puts = true
		r.large = r.large || st.num != 0
		r.weight += int64(len(st.data))
	}
	if r.weight > maxFrame/2 {
		bad = fmt.Errorf("%d bytes of small bundles are too many for one commit; the limit is %d", r.weight, maxFrame/2)
	}
	return puts, bad
}

// finish syncs the files of large bundles, here and not in the committer, so that
// no other commit waits for them.
func (s *Store) finish(ctx context.Context, puts []*staged) error {
	for _, st := range puts {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := st.finish(); err != nil {
			return err
		}
	}
	return nil
}

// submit hands r to the committer and waits for its answer. When ctx ends before
// the committer has begun with r, r is withdrawn.
func (s *Store) submit(ctx context.Context, r *request) error {
	return s.submitTo(ctx, s.queue, r)
}

func (s *Store) submitTo(ctx context.Context, queue chan<- *request, r *request) error {
	if err := s.writable(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r.done = make(chan error, 1)
	select {
	case queue <- r:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closed:
		return ErrClosed
	}
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

// committer is the state of the goroutine that writes the log.
type committer struct {
	active File
	num    uint64 // of the active segment
	size   int64  // bytes of it that are durable
	salt   uint64
	seq    uint64 // of the last frame
	last   int64  // offset of the last frame in the active segment, or 0
	sign   uint64 // signature of that frame

	frame      frameBuilder
	scratch    []byte
	checkpoint uint64 // segment of the last checkpoint
	logged     int64  // bytes since then
	handleMark uint64 // handles below it are written off in the log
}

// commitLoop is the committer's goroutine. When ctx ends it serves what is queued
// and returns.
func (s *Store) commitLoop(ctx context.Context) {
	defer close(s.idle)
	for {
		s.awaitJanitor(ctx)
		select {
		case r := <-s.queue:
			s.serve(r)
			continue
		default:
		}
		select {
		case r := <-s.chores:
			s.serveChore(r)
		case r := <-s.queue:
			s.serve(r)
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
	case r := <-s.chores:
		s.serveChore(r)
	default:
	}
	for s.overfull() && !s.uncleanable.Load() && s.failure.Load() == nil {
		select {
		case r := <-s.chores:
			s.serveChore(r)
		case <-s.rested:
		case <-ctx.Done():
			return
		}
	}
}

func (s *Store) serveChore(r *request) {
	switch {
	case !r.taken.CompareAndSwap(false, true):
	case r.do != nil:
		r.done <- r.do()
	default:
		s.commitGroup([]*request{r})
	}
}

// serve answers r and, in one group with it, whatever commits are waiting.
func (s *Store) serve(r *request) {
	var group []*request
	weight := int64(0)
	for r != nil {
		if r.taken.CompareAndSwap(false, true) {
			if r.do != nil {
				s.commitGroup(group)
				group, weight = nil, 0
				r.done <- r.do()
			} else {
				group = append(group, r)
				weight += r.weight
			}
		}
		r = nil
		if len(group) < maxQueue && weight < maxGroup {
			select {
			case r = <-s.queue:
			default:
			}
		}
	}
	s.commitGroup(group)
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
	defer s.committer.frame.letGo()
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
	if k.size >= s.o.SegmentSize {
		if err := s.nextSegment(); err != nil {
			return nil, err
		}
	}
	k.frame.reset(k.size)
	c := newChange(s.index)
	large := false
	for i, r := range group {
		if r.puts && k.frame.body()+r.weight > room {
			answers[i] = fmt.Errorf("%w; free some space", store.ErrFull)
			continue
		}
		m := k.frame.mark()
		part := newChange(c)
		err := s.plan(part, r)
		if err == nil && k.frame.body() > maxFrame-maxMeta {
			err = fmt.Errorf("the changes are too many for one commit; the limit is %d bytes", maxFrame)
		}
		if err != nil {
			k.frame.rewind(m)
			answers[i] = err
			continue
		}
		c.merge(part)
		large = large || r.large
	}
	if k.frame.count == 0 {
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
	if err := s.writeFrame(); err != nil {
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
		if e != nil {
			top = max(top, uint64(h))
		}
	}
	if top < k.handleMark {
		return nil
	}
	k.handleMark = top + handleBlock
	p := k.frame.add(kindCounter, appendCounter(nil, handleCounter, k.handleMark), nil, 0)
	p.segment = k.num
	return c.setCounter(handleCounter, k.handleMark, p)
}

// writeFrame appends the frame to the active segment and syncs it.
func (s *Store) writeFrame() error {
	k := &s.committer
	head := k.frame.finish(k.seq+1, k.salt)
	if err := k.frame.writeTo(k.active); err != nil {
		err = fmt.Errorf("write segment %d: %w", k.num, err)
		if !isFull(err) {
			return s.fail(err)
		}
		if cut := k.active.Truncate(k.size); cut != nil {
			return s.fail(fmt.Errorf("take back what was written of segment %d: %w", k.num, cut))
		}
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	// A sync that failed is never tried again: the kernel may have dropped the
	// pages and would report success.
	if err := k.active.Sync(); err != nil {
		return s.fail(fmt.Errorf("sync segment %d: %w", k.num, err))
	}
	k.seq++
	k.last, k.sign = k.size, signature(head)
	k.size += k.frame.size()
	k.logged += k.frame.size()
	s.commits.Add(1)
	s.mu.Lock()
	s.segments[k.num].size = k.size
	s.mu.Unlock()
	return nil
}

// nextSegment begins a new segment of the log.
func (s *Store) nextSegment() error {
	k := &s.committer
	num := k.num + 1
	f, err := s.createSegment(num)
	if err != nil {
		return err
	}
	if k.active != nil {
		if err := k.active.Close(); err != nil {
			s.log.Warn("cannot close a segment that is done", "segment", k.num, "error", err)
		}
	}
	k.active, k.num, k.size, k.last, k.sign = f, num, segmentHeaderSize, 0, 0
	s.mu.Lock()
	s.segments[num] = &segment{size: segmentHeaderSize}
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
		err = fmt.Errorf("begin segment %d: %w", num, err)
		if isFull(err) {
			return nil, fmt.Errorf("%w: %w", store.ErrFull, err)
		}
		return nil, s.fail(err)
	}
	if err := errors.Join(f.Sync(), s.fs.SyncDir(s.logDir())); err != nil {
		f.Close()
		return nil, s.fail(fmt.Errorf("sync segment %d: %w", num, err))
	}
	return f, nil
}

// saveCheckpoint makes the index durable and notes how far it reaches.
func (s *Store) saveCheckpoint() error {
	k := &s.committer
	if err := s.index.sync(); err != nil {
		return s.fail(err)
	}
	cp := checkpoint{segment: k.num, offset: k.size, last: k.last, signature: k.sign, seq: k.seq}
	if err := s.index.saveCheckpoint(cp); err != nil {
		return s.fail(err)
	}
	k.checkpoint, k.logged = k.num, 0
	return nil
}
