package core

import (
	"fmt"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/custody"
	"perigee/bundle/store"
)

// isOver tells whether this node is done with a bundle that it no longer holds.
//
// A bundle that comes under another custody episode may be its last copy and is
// taken anew, unless it was delivered here. A node that takes no custody passes on
// whatever a custodian sends, however often: the copy before may have been lost
// behind it.
func (c *Core) isOver(a *Arrival) bool {
	gone := a.Known.Gone
	if gone.Reason == store.GoneDelivered || gone.Reason == store.GoneRemoved {
		return true
	}
	points := c.peerOf(c.from(a)).Points
	blk, custodial := points.CustodyOf(a.Bundle)
	if !custodial || blk.Custodian.Node() == c.cfg.Node || isCustodyMalformed(a.Bundle, points) {
		return true
	}
	asked, ok := c.asked(a)
	return ok && asked == gone.From && !c.peerOf(c.from(a)).ION
}

// discard drops a copy of a bundle that this node is done with, and tells its
// custodian that it can be.
func (c *Core) discard(a *Arrival, id bundle.ID) {
	if asked, ok := c.asked(a); ok && a.Known.Gone.Reason != store.GoneRemoved && asked.Custodian.Node() != c.cfg.Node {
		c.owe(asked, a.Bundle.Primary.Destination, true, c.expiry(a.Bundle))
	}
	c.duplicate(a, id)
}

// again handles a copy of a bundle that this node holds.
//
// A copy under the episode that this node took over is a retransmission. A copy
// under another is a custody of its own: the bundle may have come back in a loop,
// and then the custodian that took it from here has let go of it. So it gets a new
// number, and what still comes about the old one releases nothing.
func (c *Core) again(a *Arrival, id bundle.ID) {
	asked, ok := c.asked(a)
	rec := *a.Known.Live
	if e := c.entries[rec.Handle]; e != nil {
		rec = e.rec
	}
	if e := c.entries[rec.Handle]; e != nil && e.place == placeGroup {
		c.heldBy(c.from(a), e)
	}
	switch {
	case !ok || asked.Custodian.Node() == c.cfg.Node || c.leaving[rec.Handle] || rec.Flags&bundle.FlagFragment != 0:
		c.duplicate(a, id)
	case rec.Custodial && (asked == rec.From || rec.Duty == store.DutyDeliver):
		c.owe(asked, rec.Destination, true, rec.Expiry)
		c.duplicate(a, id)
	default:
		c.assume(a, rec, asked)
	}
}

// assume takes custody of a bundle that is here already, under another episode or
// none.
func (c *Core) assume(a *Arrival, rec store.Record, asked store.Episode) {
	if why := c.declines(&rec, asked); why != custody.RefusalNone {
		c.decline(asked, &rec, why)
		c.duplicate(a, rec.ID)
		return
	}
	rec.From, rec.Custodial, rec.Forwarded, rec.Astray = asked, true, 0, true
	if rec.Pared {
		rec.Expiry, rec.Pared = c.expiry(a.Bundle), false
	}
	var ops []store.Op
	var keep []custody.Reservation
	if rec.Duty == store.DutyForward {
		var err error
		if ops, keep, err = c.number(&rec); err != nil {
			c.turnAway(a, rec.ID, err)
			return
		}
	}
	c.arriving[rec.ID] = true
	token, peer := a.Token, c.from(a)
	c.persist(token, nil, func(err error) {
		delete(c.arriving, rec.ID)
		if err != nil {
			c.do(Reply{token, storeError(fmt.Errorf("taking custody of %s: %w", rec.ID, err))})
			return
		}
		c.numbers.Kept(keep)
		c.counters.Duplicates++
		c.notify(app.EventDuplicate, rec.ID, peer, rec.Size, "")
		c.do(Reply{Token: token})
		if c.updating[rec.Handle].left {
			return // sent on meanwhile, so the custodian must not rely on this node
		}
		c.counters.CustodyAccepted++
		c.notify(app.EventCustodyAccepted, rec.ID, asked.Custodian, 0, "a copy was here already")
		c.note(&rec, bundle.StatusCustodyAccepted)
		c.owe(asked, rec.Destination, true, rec.Expiry)
		e := c.entries[rec.Handle]
		if e == nil {
			return // parked; it is read as it is now
		}
		e.rec.From, e.rec.Custodial, e.rec.Own, e.rec.Forwarded, e.rec.Astray = rec.From, true, rec.Own, 0, true
		if e.rec.Pared {
			e.rec.Expiry, e.rec.Pared = rec.Expiry, false
			c.expiries.Add(rec.Expiry, rec.Handle)
		}
		if rec.Duty == store.DutyForward {
			c.book.Hold(rec.Handle, rec.Own.SeqID, rec.Own.SeqNum)
			c.book.Renumber(rec.Handle, rec.Own.SeqID, rec.Own.SeqNum)
		}
	}, append(ops, store.Update{Record: rec})...)
}

// duplicate acknowledges a copy and keeps nothing of it.
func (c *Core) duplicate(a *Arrival, id bundle.ID) {
	c.counters.Duplicates++
	c.notify(app.EventDuplicate, id, c.from(a), a.Size, "")
	c.do(Reply{Token: a.Token})
}
