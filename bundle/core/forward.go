package core

import (
	"cmp"
	"errors"
	"maps"
	"slices"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
	"perigee/bundle/route"
	"perigee/bundle/schedule"
	"perigee/bundle/store"
	"perigee/convergence"
)

// holdDown is how long a refusal keeps a bundle from a neighbour, doubled with
// each refusal up to maxHoldDown.
const (
	holdDown    = 30 * dtntime.Second
	maxHoldDown = 64 * holdDown
)

// query asks the router about a bundle. A bundle goes back to the node it came from
// only when that is its destination.
func (c *Core) query(rec *store.Record, excluded []bundle.EID) route.Query {
	return route.Query{
		Dest: rec.Destination, Size: rec.Size, Priority: rec.Priority, Expiry: rec.Expiry, Previous: rec.Previous,
		Astray: rec.Astray, Exclude: excluded,
	}
}

// next decides about the next hop of a bundle. A bundle in custody that has come to a
// dead end, because a plan was wrong or has changed, goes back where it came from. One
// that only a link which is held down keeps here stays.
func (c *Core) next(e *entry) (route.Decision, error) {
	shunned, some := e.shunned(c.now)
	q := c.query(&e.rec, joined(shunned, c.narrow(e)))
	q.Size, q.Least = c.size(e), c.least(e)
	d, err := c.router.Next(q, c.now)
	if err != nil && !errors.Is(err, route.ErrHeld) && !some && e.rec.Custodial && !q.Previous.IsNull() {
		q.Previous = bundle.EID{}
		d, err = c.router.Next(q, c.now)
	}
	return d, err
}

func isTooLarge(err error) bool { return errors.Is(err, route.ErrTooLarge) }

// rerouteAll finds next hops anew for everything that is not under way.
func (c *Core) rerouteAll() {
	// First everything is given back, since a search is remembered until something is.
	for _, l := range c.laneOrder {
		for e := l.residents.first; e != nil && l.waiting > 0; e = e.after {
			if e.place == placeQueue {
				c.router.Return(&e.booking)
			}
		}
	}
	for _, l := range c.laneOrder {
		if l.waiting == 0 {
			continue
		}
		for e := l.residents.first; e != nil; e = e.after {
			switch {
			case e.place == placeQueue:
				d, err := c.next(e)
				if err == nil && d.Next == e.via.Peer {
					c.router.Return(&e.booking) // it may have been displaced and queued anew meanwhile
					c.reserve(e, &d)
					continue
				}
				item, _ := e.via.queue.Remove(e.rec.Handle)
				c.dispatch(e, item.Retransmission)
			case e.place == placeLimbo && e.hold <= c.now:
				c.dispatch(e, c.isAgain(e))
			}
		}
	}
	c.reviewing, c.rewinding = true, true
}

// isAgain tells whether sending the bundle now would be a retransmission.
func (c *Core) isAgain(e *entry) bool { return e.rec.Attempts > 0 }

// retry takes up bundles whose hold is over and those whose signal did not come.
func (c *Core) retry() {
	for {
		_, h, ok := c.holds.Due(c.now)
		if !ok {
			break
		}
		switch e := c.entries[h]; {
		case e == nil || e.hold > c.now:
		case e.place == placeLimbo:
			c.dispatch(e, c.isAgain(e))
		case e.place == placeGroup && e.hold != 0:
			e.hold = 0
			c.fanOut(e)
			c.progress(e)
		}
	}
	for _, h := range c.book.Due(c.now) {
		e := c.entries[h]
		if e == nil || e.place != placeAwait {
			continue
		}
		c.overdue(e)
	}
}

// share is how many bundles may be handed to one neighbour and still be in custody
// here, so that those whose signals are late leave memory to others.
func (c *Core) share() int {
	sending := 0
	for _, n := range c.order {
		if n.isSending() {
			sending++
		}
	}
	return max(c.cfg.MaxResident/4*3/max(sending, 1), 1)
}

// pump hands bundles to the links that can take them.
func (c *Core) pump() {
	share := c.share()
	for _, n := range c.order {
		n.paceTill = 0
		if n.link == 0 {
			continue
		}
		n.window.Most = n.most
		for n.out < share && c.canSend(n) && c.isTime(n) {
			// The window counts from when what is ahead has left.
			start := n.pace.Free(c.now)
			room := n.window.Room(start)
			item, ok := n.queue.Take(&n.window, start)
			if !ok {
				break
			}
			c.transmit(n, item, room)
		}
	}
}

// isTime tells whether what goes next to a neighbour is to be handed over now: the link
// is about to be free, and nothing more urgent is being read from the store.
func (c *Core) isTime(n *neighbour) bool {
	urgent := c.urgentLoad(n)
	if n.rate == 0 && urgent == bundle.PriorityBulk {
		return true
	}
	start := n.pace.Free(c.now)
	item, ok := n.queue.Next(&n.window, start)
	if !ok || item.Priority < urgent {
		return false
	}
	size := min(item.Size, n.window.Room(start))
	if n.pace.Ready(size) > c.now {
		n.paceTill = n.pace.Wake(size)
		return false
	}
	return true
}

func (c *Core) canSend(n *neighbour) bool {
	if n.link == 0 || !n.sending || n.queue.Len() == 0 || n.refusedTill > c.now || len(n.flying) >= maxFlying {
		return false
	}
	return len(n.flying) == 0 || n.flyingBytes < n.flyingLimit()
}

// transmit hands a bundle to a link, or the piece of it that room bytes are enough
// for.
func (c *Core) transmit(n *neighbour, item schedule.Item, room int64) {
	e := c.entries[item.Handle]
	if e.place == placeGroup {
		c.transmitCopy(n, e)
		return
	}
	c.move(e, placeFlying, n)
	piece, size := c.piece(n, e, room)
	e.piece = piece
	n.handOver(item.Handle, size, c.now)
	if !slices.Contains(e.sentTo, n.Peer) {
		e.sentTo = append(e.sentTo, n.Peer)
	}
	e.rec.Attempts++
	if e.rec.Attempts > 1 {
		c.counters.Retransmissions++
	}
	if e.rec.Custodial {
		c.book.Attempt(item.Handle)
	}
	c.do(Transmit{Link: n.link, Record: e.rec, Piece: piece, Changes: c.changes(n, e)})
}

// changes are those of a bundle's header on the way to a neighbour.
func (c *Core) changes(n *neighbour, e *entry) Forwarding {
	to, from := c.peerOf(n.Peer), c.peerOf(e.rec.Previous)
	f := Forwarding{
		Previous: c.cfg.Node, BareDiscard: to.ION, ReportingAs: to.Points.Reporting, ReportingFrom: from.Points.Reporting,
	}
	if e.rec.Custodial {
		f.CustodyAs, f.CustodyFrom = to.Points.Custody, from.Points.Custody
		f.Custody = &bundle.Custody{Custodian: e.rec.Own.Custodian, SeqID: e.rec.Own.SeqID, SeqNum: e.rec.Own.SeqNum}
	}
	return f
}

// sent takes the fate of a transmission.
func (c *Core) sent(ev Sent) {
	n := c.links[ev.Link]
	if n == nil || n.link != ev.Link {
		return // the session was given up, and its bundles taken back
	}
	size, ok := n.flying[ev.Handle]
	if !ok {
		return
	}
	delete(n.flying, ev.Handle)
	n.flyingBytes -= size
	if n.held && len(n.flying) == 0 {
		c.contactsTill = 0 // the session may end now
	}
	e := c.entries[ev.Handle]
	if e != nil && e.place == placeGroup {
		c.copySent(n, e, ev.Err)
		return
	}
	if e == nil || e.place != placeFlying {
		return // deleted or released meanwhile
	}
	var refused *convergence.RefusedError
	switch {
	case ev.Err == nil || errors.As(ev.Err, &refused) && refused.Reason == convergence.RefuseCompleted:
		c.reached(n, e)
	case refused != nil:
		c.notify(app.EventSendFailed, e.rec.ID, n.Peer, size, ev.Err.Error())
		c.refusedBy(n, e, refused.Reason)
	case errors.Is(ev.Err, bundle.ErrNotFragmentable):
		n.pace.Unbook(size, c.now)
		c.wholeAgain(e)
	default:
		// Not at once: the news that the session has ended may be on its way,
		// and what cannot be read fails again.
		c.notify(app.EventSendFailed, e.rec.ID, n.Peer, size, ev.Err.Error())
		c.toLimbo(e, c.now.Add(dtntime.Second))
	}
}

// reached goes on with a bundle that the neighbour has. Its acknowledgement is no
// release from custody: that takes a signal.
func (c *Core) reached(n *neighbour, e *entry) {
	n.refusals = 0
	c.counters.BundlesSent++
	if e.piece != (Piece{}) {
		c.pieceReached(n, e)
		return
	}
	c.notify(app.EventSent, e.rec.ID, n.Peer, e.rec.Size, "")
	c.report(&e.rec, bundle.FlagReportForwarded, bundle.ReasonNone)
	if !e.rec.Custodial {
		c.drop(e, 0, store.GoneForwarded, nil)
		return
	}
	c.await(n, e)
}

// refusedBy goes on with a bundle that the neighbour did not take.
func (c *Core) refusedBy(n *neighbour, e *entry, reason convergence.RefuseReason) {
	switch reason {
	case convergence.RefuseNotAcceptable, convergence.RefuseExtensionFailure:
		e.excluded = append(e.excluded, n.Peer)
		c.dispatch(e, true)
	case convergence.RefuseNoResources:
		n.pause(c.now)
		// It waits in the neighbour's queue, because a new session, perhaps after
		// a restart of the neighbour, ends the pause for all.
		c.dispatch(e, c.isAgain(e))
	case convergence.RefuseRetransmit, convergence.RefuseSessionTerminating:
		c.toLimbo(e, c.now.Add(dtntime.Second))
	default:
		c.toLimbo(e, c.now.Add(backoff(e.refusals)))
		e.refusals++
	}
}

// pause leaves a neighbour without room in peace for a while. What was on its way
// together is refused together: that counts once.
func (n *neighbour) pause(now dtntime.Time) {
	if n.refusedTill <= now {
		n.refusedTill = now.Add(backoff(n.refusals))
		n.refusals++
	}
}

// backoff is the hold-down after so many refusals before.
func backoff(refusals int) dtntime.Duration {
	return min(holdDown<<min(refusals, 16), maxHoldDown)
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
