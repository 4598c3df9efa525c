package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"perigee/bundle/core"
	"perigee/bundle/store"
)

// maxGroup is how many Persists are committed at a time.
const maxGroup = 1024

// errUnstaged is the fate of a Put without bytes.
var errUnstaged = errors.New("bundle has no bytes staged")

// committer makes the core's Persists durable in their order. Those that wait
// together are committed together, with one sync. Its queue is bounded by what the
// links and applications may have unanswered.
type committer struct {
	store store.Store
	post  func(input)
	wake  chan struct{} // of capacity 1

	mu    sync.Mutex // guards queue and busy
	queue []core.Persist
	busy  bool
	quiet *sync.Cond // signalled when queue is empty and nothing is busy
}

func newCommitter(s store.Store, post func(input)) *committer {
	c := &committer{store: s, post: post, wake: make(chan struct{}, 1)}
	c.quiet = sync.NewCond(&c.mu)
	return c
}

// add queues p. It never blocks.
func (c *committer) add(p core.Persist) {
	c.mu.Lock()
	c.queue = append(c.queue, p)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// idle tells whether everything queued is durable.
func (c *committer) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue) == 0 && !c.busy
}

// drain waits until everything queued is durable.
func (c *committer) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) > 0 || c.busy {
		c.quiet.Wait()
	}
}

// run commits until ctx ends.
func (c *committer) run(ctx context.Context) {
	for {
		select {
		case <-c.wake:
		case <-ctx.Done():
			return
		}
		for {
			group := c.next()
			if len(group) == 0 {
				break
			}
			c.commit(group)
			c.mu.Lock()
			c.busy = false
			if len(c.queue) == 0 {
				c.quiet.Broadcast()
			}
			c.mu.Unlock()
		}
	}
}

func (c *committer) next() []core.Persist {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := min(len(c.queue), maxGroup)
	group := c.queue[:k:k]
	c.queue = c.queue[k:]
	c.busy = k > 0
	return group
}

// commit makes a group durable. Counters go first, since numbers count as reserved
// once a bundle that bears one is durable. Everything else goes at once: the store
// syncs it together, and no bundle without room takes others down.
func (c *committer) commit(group []core.Persist) {
	// A commit that has begun is not given up: its outcome would be unknown.
	ctx := context.Background()
	var counters []store.Op
	outcomes := make([]error, len(group))
	var lists [][]store.Op
	var of []int // the Persist of each list
	for i, p := range group {
		for _, op := range p.Ops {
			switch op := op.(type) {
			case store.SetCounter:
				counters = append(counters, op)
			case store.Put:
				if op.Staged == nil {
					outcomes[i] = fmt.Errorf("storing %s: %w: %w", op.Record.ID, errUnstaged, store.ErrQuota)
				}
			}
		}
		if outcomes[i] == nil {
			lists, of = append(lists, withoutCounters(p.Ops)), append(of, i)
		}
	}
	if len(counters) > 0 {
		if err := c.store.Commit(ctx, counters); err != nil {
			c.answer(group, func(int) error { return err })
			return
		}
	}
	for k, err := range c.store.CommitEach(ctx, lists) {
		outcomes[of[k]] = err
	}
	c.answer(group, func(i int) error { return outcomes[i] })
}

func (c *committer) answer(group []core.Persist, outcome func(i int) error) {
	for i, p := range group {
		c.post(input{event: core.Committed{Token: p.Token, Err: outcome(i)}})
	}
}

func withoutCounters(ops []store.Op) []store.Op {
	isCounter := func(op store.Op) bool { _, ok := op.(store.SetCounter); return ok }
	if !slices.ContainsFunc(ops, isCounter) {
		return ops
	}
	return slices.DeleteFunc(slices.Clone(ops), isCounter)
}
