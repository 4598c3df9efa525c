package core

import (
	"errors"
	"fmt"

	"perigee/bundle/store"
	"perigee/convergence"
)

// commit is what follows when a Persist is durable, or is not.
type commit func(err error)

// pending is a Persist that is not durable yet.
type pending struct {
	then commit
	ops  []store.Op
}

// persist asks for ops to be made durable under a token; then follows.
func (c *Core) persist(token Token, inline []byte, then commit, ops ...store.Op) {
	if token == 0 {
		c.lastToken++
		token = c.lastToken
	}
	for _, op := range ops {
		switch op := op.(type) {
		case store.Put:
			c.storing[op.Record.Handle] = true
			c.lane(op.Record.Lane()).storing++
		case store.Update:
			u := c.updating[op.Record.Handle]
			if u == nil {
				u = new(update)
				c.updating[op.Record.Handle] = u
			}
			u.pending++
		case store.Delete:
			c.leaving[op.Handle] = true
			if u := c.updating[op.Handle]; u != nil {
				u.left = true
			}
		}
	}
	c.commits[token] = pending{then, ops}
	c.do(Persist{Token: token, Ops: ops, Inline: inline})
}

// update counts the Updates of a bundle that are not committed. left tells that the
// bundle was asked to leave the store behind them.
type update struct {
	pending int
	left    bool
}

func (c *Core) committed(e Committed) {
	p := c.commits[e.Token]
	delete(c.commits, e.Token)
	for _, op := range p.ops {
		switch op := op.(type) {
		case store.Put:
			delete(c.storing, op.Record.Handle)
			c.lane(op.Record.Lane()).storing--
		case store.Update:
			if e.Err == nil && !c.updating[op.Record.Handle].left {
				c.change(op.Record.Handle, &op.Record)
			}
		case store.Delete:
			delete(c.leaving, op.Handle)
			if e.Err == nil {
				c.change(op.Handle, nil)
			}
		}
	}
	if p.then != nil {
		p.then(e.Err)
	}
	for _, op := range p.ops {
		switch op := op.(type) {
		case store.Put:
			c.tidyLane(c.lane(op.Record.Lane()))
		case store.Update:
			u := c.updating[op.Record.Handle]
			if u.pending--; u.pending == 0 {
				delete(c.updating, op.Record.Handle)
			}
		}
	}
}

// change notes what has become of a record, for loads that may have read it before.
func (c *Core) change(h store.Handle, rec *store.Record) {
	for _, ld := range c.loads {
		ld.changed[h] = rec
	}
}

// storeError turns a failed commit into a refusal.
func storeError(err error) error {
	if errors.Is(err, store.ErrQuota) || errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrFailed) {
		err = fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	reason := convergence.RefuseNoResources
	if errors.Is(err, store.ErrExists) {
		reason = convergence.RefuseRetransmit // the other copy will be seen by then
	}
	return refuse(reason, err)
}
