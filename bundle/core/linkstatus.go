package core

import (
	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

// linkStatus is the core's part of the state of a link.
func (c *Core) linkStatus(n *neighbour) app.Link {
	l := app.Link{
		Peer: n.Peer, Physical: n.physical(), Since: n.since, Held: n.held, HeldSince: n.heldSince,
		Queued: int64(n.queue.Len()), QueuedBytes: n.queue.Bytes(),
	}
	l.Until = max(c.passEnd(c.cfg.Node, n.Peer), c.passEnd(n.Peer, c.cfg.Node))
	out, ok := c.plan.Next(c.cfg.Node, n.Peer, c.now)
	if ok {
		l.Next = out.Start
	}
	if in, ok := c.plan.Next(n.Peer, c.cfg.Node, c.now); ok && (l.Next == 0 || in.Start < l.Next) {
		l.Next = in.Start
	}
	switch {
	case l.Until != 0:
		l.Scheduled = app.LinkInContact
	case c.standing(n):
		l.Scheduled = app.LinkAlways
	case l.Next != 0:
		l.Scheduled = app.LinkWaiting
	default:
		l.Scheduled = app.LinkUnscheduled
	}
	if open, ok := c.plan.Active(c.cfg.Node, n.Peer, c.now); ok {
		out = open
	}
	if l.Scheduled != app.LinkAlways {
		l.RateBPS = uint64(out.Rate)
	}
	return l
}

// passEnd returns when the pass from one node to another ends that is open now, 0 for
// none.
func (c *Core) passEnd(from, to bundle.EID) dtntime.Time {
	pass := c.plan.Pass(from, to, c.now)
	if pass.Equal(contact.Pass{}) {
		return 0
	}
	return pass.End()
}

// physical is what there is of a link.
func (n *neighbour) physical() app.Physical {
	switch {
	case n.link != 0 && n.held:
		return app.LinkClosing
	case n.link != 0 && n.lasting && !n.follows.Open:
		return app.LinkSuspended
	case n.link != 0:
		return app.LinkUp
	case n.wanted:
		return app.LinkConnecting
	}
	return app.LinkDown
}
