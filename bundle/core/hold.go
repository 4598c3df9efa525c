package core

import (
	"fmt"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
)

// holdGrace is how long transfers that are under way may go on when the operator takes a
// link down: first those of this node, and then those of the neighbour.
const holdGrace = 30 * dtntime.Second

// holdLink takes up the operator's wish about a link. What holds already stays so.
func (c *Core) holdLink(e HoldLink) {
	n := c.neighbours[e.Peer.Node()]
	switch {
	case n == nil:
		c.do(Reply{Token: e.Token, Err: fmt.Errorf("%w as %s", ErrNoNeighbour, e.Peer)})
		return
	case e.Held && !n.held:
		c.takeDown(n)
	case !e.Held && n.held:
		c.giveBack(n)
	case !e.Held && n.wanted && n.link == 0:
		c.do(Connect{n.Peer})
	}
	c.do(Reply{Token: e.Token})
}

// takeDown takes a link down: nothing more is handed to it, and its session ends when what is
// flying has landed. To routing, there is no contact any more.
func (c *Core) takeDown(n *neighbour) {
	n.held, n.heldSince, n.graceTill = true, c.now, c.now.Add(holdGrace)
	c.notifyLink(app.EventLinkHeld, n.Peer, "by the operator")
	c.setHeld()
}

// giveBack gives a link back to its plan. A session that has not ended yet stays.
func (c *Core) giveBack(n *neighbour) {
	n.held, n.heldSince = false, c.now
	c.notifyLink(app.EventLinkReleased, n.Peer, "by the operator")
	c.setHeld()
	if n.link == 0 {
		c.forget(n)
	}
}

// setHeld tells the router which links are held down, and finds other ways.
func (c *Core) setHeld() {
	var held []bundle.EID
	for _, n := range c.order {
		if n.held {
			held = append(held, n.Peer)
		}
	}
	c.router.SetHeld(held)
	c.rerouteAll()
	c.contactsTill, c.flushNext = 0, 0
}

// isEnding tells whether the session of a link that is held down waits for what is flying.
// Without a contact, nothing lands.
func (n *neighbour) isEnding() bool {
	return n.held && n.link != 0 && len(n.flying) > 0 && n.meeting
}

// endHeld ends the session of a link that is held down, as soon as that cuts nothing
// off.
func (c *Core) endHeld(n *neighbour) {
	if n.isEnding() && c.now < n.graceTill {
		return
	}
	c.do(Hangup{Peer: n.Peer, Link: n.link, Grace: holdGrace})
	c.lose(n)
	c.notifyLink(app.EventLinkDown, n.Peer, "the operator holds it down")
}
