package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"perigee/bundle/core"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
	"perigee/convergence"
)

// maxSleep bounds how long the loop sleeps, so that a clock that is set is
// noticed.
const maxSleep = time.Second

// loop is the one goroutine that touches the core.
func (n *Node) loop(ctx context.Context) {
	defer close(n.stopped)
	defer n.abandon()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		n.measure()
		select {
		case in := <-n.inputs:
			n.noticeStep()
			n.take(in)
			// What came meanwhile goes before the timer is set anew.
			for range len(n.inputs) {
				n.take(<-n.inputs)
			}
		case <-timer.C:
			n.noticeStep()
			n.step(core.Tick{})
		case <-ctx.Done():
			return
		}
		timer.Reset(n.untilWake())
	}
}

// SteppingClock is a clock that notices when it is set.
type SteppingClock interface {
	dtntime.Clock
	// Step tells whether the clock was set since Step was last called, and what
	// it would show now otherwise.
	Step() (was dtntime.Time, stepped bool)
}

// noticeStep tells the core when the clock was set.
func (n *Node) noticeStep() {
	c, ok := n.cfg.Clock.(SteppingClock)
	if !ok {
		return
	}
	if was, stepped := c.Step(); stepped {
		n.log.Warn("the clock was set", "from", was, "to", n.now())
		n.step(core.ClockStepped{Was: was})
	}
}

func (n *Node) untilWake() time.Duration {
	return min(n.core.NextWake().Sub(n.cfg.Clock.Now()).Std(), maxSleep)
}

// abandon answers everyone who still waits when the loop ends.
func (n *Node) abandon() {
	for _, r := range n.pending {
		r.fail(core.ErrStopped)
	}
	for {
		select {
		case in := <-n.inputs:
			in.request.fail(core.ErrStopped)
		default:
			return
		}
	}
}

// take gives one input to the core.
func (n *Node) take(in input) {
	switch {
	case in.call != nil:
		in.call(n.core)
		return
	case in.request == nil:
		n.step(in.event)
		return
	case in.request.cancel:
		n.withdraw(in.request.of)
		return
	}
	r := in.request
	n.lastToken++
	r.token = n.lastToken
	n.pending[r.token] = r
	switch e := in.event.(type) {
	case core.Arrival:
		e.Token = r.token
		if r.incoming != nil { // the IDs of bundles made here are new, see compose
			if err := n.lookUp(&e); err != nil {
				n.reply(core.Reply{Token: r.token, Err: err})
				return
			}
		}
		n.step(e)
	case core.Assembled:
		e.Token = r.token
		known, err := n.cfg.Store.Find(e.Whole)
		if err != nil && e.Err == nil {
			e.Err = fmt.Errorf("looking up %s: %w", e.Whole, err)
		}
		e.Known = known
		n.step(e)
	case core.Receive:
		e.Token = r.token
		n.step(e)
	case core.HoldLink:
		e.Token = r.token
		n.step(e)
	case core.Ack:
		e.Token = r.token
		n.step(e)
	case core.Remove:
		e.Token = r.token
		rec, err := n.cfg.Store.Get(e.Record.Handle)
		if err != nil {
			n.reply(core.Reply{Token: r.token, Err: err})
			return
		}
		e.Record = rec
		n.step(e)
	}
}

// lookUp adds what the store knows of a bundle that came.
func (n *Node) lookUp(e *core.Arrival) (err error) {
	id := e.Bundle.ID()
	if e.Known, err = n.cfg.Store.Find(id); err != nil {
		return fmt.Errorf("looking up %s: %w", id, err)
	}
	dest := e.Bundle.Primary.Destination
	if !id.Fragment || dest.IsSingleton() && dest.Node() != n.cfg.Node {
		return nil
	}
	if e.Whole, err = n.cfg.Store.Find(id.Whole()); err != nil {
		return fmt.Errorf("looking up %s: %w", id.Whole(), err)
	}
	return nil
}

// withdraw takes back a receive request. If a bundle was handed over just before,
// it is released.
func (n *Node) withdraw(r *request) {
	if n.pending[r.token] == r {
		delete(n.pending, r.token)
		n.step(core.Cancel{Token: r.token})
		return
	}
	select {
	case x := <-r.deliver:
		n.step(core.Release{Handle: x.Record.Handle, Registration: x.Registration})
	default:
	}
}

// step gives an event to the core and carries out the effects.
func (n *Node) step(e core.Event) {
	var follow []core.Event
	for _, effect := range n.core.Step(n.now(), e) {
		switch x := effect.(type) {
		case core.Persist:
			n.persist(x)
		case core.Load:
			n.loads <- x // there is room for all that the core has open
		case core.Reply:
			n.reply(x)
		case core.Transmit:
			if !n.transmit(x) {
				follow = append(follow, core.Sent{Link: x.Link, Handle: x.Record.Handle, Err: convergence.ErrClosed})
			}
		case core.Deliver:
			if !n.deliver(x) {
				follow = append(follow, core.Release{Handle: x.Record.Handle, Registration: x.Registration})
			}
		case core.Assemble:
			n.assemble(x)
		case core.Connect:
			if d := n.dialers[x.Peer]; d != nil {
				d.want(true)
			}
		case core.Hangup:
			n.hangup(x)
		case core.Follow:
			n.follow(x)
		case core.Notify:
			n.hub.publish(x.Event)
		}
	}
	for _, f := range follow {
		n.step(f)
	}
}

func (n *Node) now() dtntime.Time { return n.cfg.Clock.Now() }

// persist hands ops to the committer, with the bytes that belong to them.
func (n *Node) persist(p core.Persist) {
	for i, op := range p.Ops {
		put, ok := op.(store.Put)
		if !ok {
			continue
		}
		if p.Inline != nil {
			put.Staged = n.stageInline(p.Inline)
		} else if r := n.pending[p.Token]; r != nil {
			put.Staged, r.staged = r.staged, nil
		}
		p.Ops[i] = put
	}
	n.committer.add(p)
}

// stageInline stages a small bundle that the core made itself. When there is no
// room, the commit fails for want of the bytes.
func (n *Node) stageInline(raw []byte) store.Staged {
	staged, err := n.cfg.Store.Stage(int64(len(raw)))
	if err != nil {
		n.log.Warn("no room for an administrative record", "error", err)
		return nil
	}
	if _, err := staged.Write(raw); err != nil {
		n.log.Warn("no room for an administrative record", "error", err)
		staged.Discard()
		return nil
	}
	return staged
}

// reply answers a request.
func (n *Node) reply(x core.Reply) {
	r := n.pending[x.Token]
	if r == nil {
		return
	}
	delete(n.pending, x.Token)
	if r.staged != nil {
		r.staged.Discard()
		r.staged = nil
	}
	if r.reply != nil {
		r.reply <- x.Err
	}
	if r.incoming == nil {
		if r.reply == nil && x.Err != nil {
			n.log.Warn("could not put a bundle together from its fragments; will try again", "error", x.Err)
		}
		return
	}
	if x.Err == nil {
		if err := r.incoming.Accept(); err != nil {
			n.log.Debug("could not acknowledge a bundle; the neighbour will send it again", "error", err)
		}
		return
	}
	n.log.Info("refused a bundle", "error", x.Err)
	reason := convergence.RefuseUnknown
	var refused *core.RefusedError
	if errors.As(x.Err, &refused) {
		reason = refused.Reason
	}
	if err := r.incoming.Refuse(reason); err != nil {
		n.log.Debug("could not refuse a bundle", "error", err)
	}
}

// deliver hands a bundle to the application that asked for one. It returns false
// when that has gone.
func (n *Node) deliver(x core.Deliver) bool {
	r := n.pending[x.Token]
	if r == nil {
		return false
	}
	delete(n.pending, x.Token)
	r.deliver <- x
	return true
}
