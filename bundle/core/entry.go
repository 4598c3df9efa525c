package core

import (
	"fmt"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
	"perigee/bundle/route"
	"perigee/bundle/schedule"
	"perigee/bundle/store"
)

// place is where a stored bundle stands.
type place uint8

const (
	placeNone     place = iota
	placeLimbo          // no route takes it for now
	placeQueue          // waits for a neighbour
	placeFlying         // being transmitted
	placeAwait          // sent, its custody signal is awaited
	placeReady          // waits for an application
	placeLeased         // handed to an application
	placeFragment       // waits for the rest of its bundle
	placeGroup          // waits for several neighbours and applications; see spread
	placeGone           // not in memory any more
)

// isWaiting tells whether a bundle there waits to go on.
func (p place) isWaiting() bool { return p == placeLimbo || p == placeQueue || p == placeReady }

// isOut tells whether a bundle there was handed to a neighbour.
func (p place) isOut() bool { return p == placeFlying || p == placeAwait }

// entry is a stored bundle.
type entry struct {
	rec   store.Record
	place place
	via   *neighbour   // under placeQueue, placeFlying and placeAwait
	hold  dtntime.Time // under placeLimbo and placeGroup: when to try again, or 0
	// excluded are the neighbours that will not take the bundle as it is.
	excluded []bundle.EID
	avoided  []avoidance  // neighbours that it is kept from for a while
	sentTo   []bundle.EID // neighbours that a transmission began to
	refusals int
	// piece is the part of the payload that is under way. rest is when the contact
	// ends that it fills, or 0. whole tells that the bundle cannot be cut.
	piece Piece
	rest  dtntime.Time
	whole bool

	booking route.Booking // of the contacts on its way, from placeQueue on
	flight  route.Flight  // under placeAwait
	spread  *spread       // under placeGroup

	lane          *lane
	before, after *entry // in the list of the lane's residents
}

// admit takes up a bundle that has become durable: into memory, or parked.
func (c *Core) admit(rec store.Record) {
	l := c.lane(rec.Lane())
	if c.keeps(l, &rec) {
		c.enter(l, rec)
	} else {
		c.park(l, rec.Handle, rec.Expiry)
	}
}

// enter takes a stored bundle into memory.
func (c *Core) enter(l *lane, rec store.Record) {
	e := &entry{rec: rec, lane: l}
	c.entries[rec.Handle] = e
	l.residents.add(e)
	if isOwnRecord(&rec) {
		c.reports.waiting++
	}
	c.remember(&rec)
	c.expiries.Add(rec.Expiry, rec.Handle)
	c.expiries.Prune(len(c.entries), func(at dtntime.Time, h store.Handle) bool {
		e := c.entries[h]
		return e != nil && e.rec.Expiry == at
	})
	switch rec.Duty {
	case store.DutyDeliver:
		c.offer(e)
		return
	case store.DutyAssemble:
		c.gather(e)
		return
	case store.DutyGroup:
		c.spreadOut(e)
		return
	}
	if rec.Custodial {
		c.book.Hold(rec.Handle, rec.Own.SeqID, rec.Own.SeqNum)
	}
	c.dispatch(e, false)
}

// move puts an entry into another place.
func (c *Core) move(e *entry, to place, via *neighbour) {
	waited := e.place.isWaiting()
	if e.place.isOut() {
		e.via.out--
	}
	switch to {
	case placeFlying:
		c.router.Leave(&e.booking)
	case placeLimbo, placeGroup, placeReady, placeGone:
		c.router.Return(&e.booking)
	}
	e.place, e.via = to, via
	if to.isOut() {
		via.out++
	}
	switch waits := to.isWaiting(); {
	case waits && !waited:
		e.lane.waiting++
	case waited && !waits:
		e.lane.waiting--
		c.want(e.lane)
	}
}

// strike takes a bundle out of memory.
func (c *Core) strike(e *entry) {
	if e.place == placeGone {
		return
	}
	c.withdraw(e)
	c.move(e, placeGone, nil)
	delete(c.entries, e.rec.Handle)
	e.lane.residents.remove(e)
	if isOwnRecord(&e.rec) {
		c.reports.waiting--
	}
	c.book.Drop(e.rec.Handle)
	if c.unread && c.resident() <= c.cfg.MaxResident/2-c.chunk() {
		c.unread, c.reviewing = false, true
	}
	c.tidyLane(e.lane)
}

// drop takes a bundle out of the node's state and the store.
func (c *Core) drop(e *entry, token Token, reason store.GoneReason, then commit) {
	if e.place.isOut() {
		c.router.Settle(&e.booking) // others go its way
	}
	c.strike(e)
	until := e.rec.Expiry.Add(c.cfg.ClockError)
	switch {
	case reason == store.GoneExpired && e.rec.Duty != store.DutyGroup:
		until = 0 // a copy that comes again has expired as well, and nobody has had it
	case e.rec.Duty == store.DutyAssemble:
		until = 0 // what is known of its bundle tells whether it is of use
	case e.rec.Flags&bundle.FlagAdminRecord != 0 && e.rec.Previous.IsNull():
		until = 0 // signals and reports are many, and none is worth remembering
	}
	c.persist(token, nil, then, store.Delete{Handle: e.rec.Handle, Gone: store.Gone{
		ID: e.rec.ID, From: e.rec.From, Reason: reason, At: c.now, Until: until,
	}})
}

// withdraw takes a bundle off whatever list its place puts it on.
func (c *Core) withdraw(e *entry) {
	switch e.place {
	case placeQueue:
		e.via.queue.Remove(e.rec.Handle)
	case placeReady:
		c.endpoints[e.rec.Destination].remove(e.rec.Handle)
		c.tidy(e.rec.Destination)
	case placeFragment:
		c.ungather(e)
	case placeGroup:
		c.leaveGroups(e)
	}
}

// dispatch finds the next hop of a bundle and queues it there, or leaves it in
// limbo when there is none.
func (c *Core) dispatch(e *entry, again bool) {
	c.router.Return(&e.booking)
	d, err := c.next(e)
	if err != nil {
		c.toLimbo(e, e.allowed()) // routes may have changed while it is kept from one
		return
	}
	n := c.neighbour(d.Next)
	item := c.item(e, again)
	item.Size, item.Least = c.size(e), c.least(e)
	err = n.queue.Push(item)
	if err != nil {
		c.toLimbo(e, 0)
		return
	}
	c.move(e, placeQueue, n)
	c.reserve(e, &d)
}

// reserve books what a queued bundle takes of the contacts on its way. Less urgent bundles
// that have no room beside it any more find other ways, or wait whether there is some.
func (c *Core) reserve(e *entry, d *route.Decision) {
	c.router.Book(&e.booking, e.rec.Handle, d)
	displaced := c.router.Displaced(&e.booking, c.now)
	again := make([]bool, len(displaced))
	for i, h := range displaced {
		other := c.entries[h]
		item, _ := other.via.queue.Remove(h)
		again[i] = item.Retransmission
		c.router.Return(&other.booking)
	}
	for i, h := range displaced {
		c.dispatch(c.entries[h], again[i])
	}
}

// maxSignal is the largest administrative record that goes before everything else, in
// bytes: what a node gathers into one is smaller.
const maxSignal = 64 << 10

// item is how a bundle stands in line for a neighbour.
func (c *Core) item(e *entry, again bool) schedule.Item {
	rec := &e.rec
	return schedule.Item{
		Handle: rec.Handle, Size: rec.Size, Priority: rec.Priority, Retransmission: again, Expiry: rec.Expiry,
		Signal: rec.Flags&bundle.FlagAdminRecord != 0 && rec.Priority == bundle.PriorityExpedited && rec.Size <= maxSignal,
		Value:  rec.Value, Tenant: c.cfg.Shares.TenantOf(rec.ID.Source),
	}
}

// toLimbo sets a bundle aside until a route turns up, or until a time that is not
// 0.
func (c *Core) toLimbo(e *entry, until dtntime.Time) {
	c.move(e, placeLimbo, nil)
	e.hold = until
	if l := e.lane; l.more && l.waiting > c.window()-c.chunk() {
		c.reviewing = true // it may keep others of its lane from being read
	}
	if until != 0 {
		c.holdTill(e, until)
	}
}

// holdTill has a bundle tried again at a time.
func (c *Core) holdTill(e *entry, until dtntime.Time) {
	e.hold = until
	c.holds.Add(until, e.rec.Handle)
	c.holds.Prune(len(c.entries), func(at dtntime.Time, h store.Handle) bool {
		e := c.entries[h]
		return e != nil && e.isHeld() && e.hold == at
	})
}

// isHeld tells whether a bundle waits for a time.
func (e *entry) isHeld() bool { return e.hold != 0 && (e.place == placeLimbo || e.place == placeGroup) }

// expire deletes what has outlived its lifetime.
func (c *Core) expire() {
	for {
		_, h, ok := c.expiries.Due(c.now)
		if !ok {
			return
		}
		e := c.entries[h]
		if e == nil || e.rec.Expiry > c.now || e.place == placeLeased || c.isBusy(e) {
			continue // what has it may still make it its own
		}
		if e.place == placeGroup && len(e.spread.leased) > 0 {
			c.narrowToLeased(e)
			continue
		}
		c.outlived(e)
	}
}

// outlived deletes a bundle whose lifetime is over.
func (c *Core) outlived(e *entry) {
	c.counters.BundlesDeleted++
	if e.rec.Custodial {
		c.alarm(e, "its lifetime ended in custody here")
	}
	why, reason := "lifetime expired", bundle.ReasonLifetimeExpired
	if e.rec.Pared {
		why, reason = "kept here as long as it may be", bundle.ReasonTrafficPared
	}
	c.notify(app.EventDeleted, e.rec.ID, bundle.EID{}, e.rec.Size, why)
	c.report(&e.rec, bundle.FlagReportDeleted, reason)
	c.drop(e, 0, store.GoneExpired, nil)
}

// remove deletes a bundle at the operator's wish.
func (c *Core) remove(ev Remove) {
	h := ev.Record.Handle
	e := c.entries[h]
	switch {
	case c.storing[h]:
		c.do(Reply{Token: ev.Token, Err: fmt.Errorf("removing %s: %w", ev.Record.ID, ErrBusy)})
		return
	case c.leaving[h]:
		c.do(Reply{Token: ev.Token, Err: store.ErrNotFound})
		return
	case e == nil: // parked
		e = &entry{rec: ev.Record, place: placeGone}
	}
	if c.isBusy(e) {
		c.do(Reply{Token: ev.Token, Err: fmt.Errorf("removing %s while it is put together with others: %w", e.rec.ID, ErrBusy)})
		return
	}
	c.counters.BundlesDeleted++
	if e.rec.Custodial {
		c.alarm(e, "the operator gave up its custody")
	}
	c.notify(app.EventDeleted, e.rec.ID, bundle.EID{}, e.rec.Size, "removed by the operator")
	c.report(&e.rec, bundle.FlagReportDeleted, bundle.ReasonCanceled)
	c.drop(e, ev.Token, store.GoneRemoved, func(err error) { c.do(Reply{Token: ev.Token, Err: err}) })
}
