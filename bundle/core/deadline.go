package core

import (
	"fmt"

	"perigee/bundle/app"
	"perigee/bundle/custody"
	"perigee/bundle/dtntime"
	"perigee/bundle/route"
)

// alarmAttempts is after how many transmissions without an answer somebody is told.
// The node goes on trying.
const alarmAttempts = 5

// await puts a bundle in flight: the neighbour has it, and the signal of the next
// custodian is awaited.
func (c *Core) await(n *neighbour, e *entry) {
	c.move(e, placeAwait, n)
	e.flight = route.Flight{
		Next: n.Peer, Sent: c.now, Light: n.light, ContactEnd: n.end, Attempt: int(e.rec.Attempts), Expiry: e.rec.Expiry,
		Processing: route.DefaultProcessing, Aggregation: c.cfg.PeerAggregate, ClockError: c.cfg.ClockError,
	}
	deadline, _ := c.router.Deadline(c.expects(e))
	c.book.Sent(e.rec.Handle, n.Peer, deadline)
}

// expects names the custodian that is to answer for a flight. Of a neighbour that
// has never answered and does not now, nothing is to be expected: it may take no
// custody, so the destination has to answer.
func (c *Core) expects(e *entry) route.Flight {
	f := e.flight
	f.Custodian = f.Next
	if !e.via.answers && f.Attempt > 1 || c.peerOf(f.Next).Off {
		f.Custodian = e.rec.Destination.Node()
	}
	return f
}

// redate computes anew the deadlines of what is in flight to a neighbour, or to all
// if n is nil: the plan, the clock or what is known of the neighbour has changed.
// Flights of the same second share one search.
func (c *Core) redate(n *neighbour) {
	known := make(map[route.Flight]dtntime.Time)
	for _, h := range sortedKeys(c.entries) {
		e := c.entries[h]
		if e.place != placeAwait || n != nil && e.via != n {
			continue
		}
		f := c.expects(e)
		f.Sent = f.Sent.Add(dtntime.Second-1) / dtntime.Time(dtntime.Second) * dtntime.Time(dtntime.Second)
		f.Expiry -= f.Expiry % dtntime.Time(dtntime.Minute)
		at, ok := known[f]
		if !ok {
			at, _ = c.router.Deadline(f)
			known[f] = at
		}
		c.book.Sent(h, f.Next, at)
	}
}

func (c *Core) redateAll() { c.redate(nil) }

// overdue takes back a bundle whose signal did not come.
func (c *Core) overdue(e *entry) {
	c.notify(app.EventRetransmit, e.rec.ID, e.via.Peer, e.rec.Size, "no custody signal came in time")
	if e.rec.Attempts == alarmAttempts {
		c.alarm(e, fmt.Sprintf("sent %d times and never answered", alarmAttempts))
	}
	c.dispatch(e, true)
}

// alarm tells that somebody should look at a bundle in custody, or that it is lost.
func (c *Core) alarm(e *entry, detail string) {
	c.counters.CustodyAlarms++
	peer := e.rec.Destination.Node()
	if e.via != nil {
		peer = e.via.Peer
	}
	c.notify(app.EventAlarm, e.rec.ID, peer, e.rec.Size, detail)
}

// clockStepped takes up that the clock was set. What is waited for is waited for as
// long as before; what happens at a time of day, such as contacts and expiry,
// follows the clock.
func (c *Core) clockStepped(was dtntime.Time) {
	ahead, behind := c.now.Sub(was), was.Sub(c.now)
	shift := func(t dtntime.Time) dtntime.Time { return t.Add(ahead) - min(t, dtntime.Time(behind)) }
	for _, n := range c.order {
		n.since = shift(n.since)
		n.refusedTill = shift(n.refusedTill)
		n.heldSince, n.graceTill = shift(n.heldSince), shift(n.graceTill)
		n.pace.Shift(shift)
	}
	for _, h := range sortedKeys(c.entries) {
		e := c.entries[h]
		e.flight.Sent = shift(e.flight.Sent)
		for i := range e.avoided {
			e.avoided[i].till = shift(e.avoided[i].till)
		}
		if e.isHeld() {
			e.hold = shift(e.hold)
			c.holds.Add(e.hold, h)
		}
	}
	c.contactsTill = 0
	c.repage()
	c.signals.Shift(shift)
	c.told.Shift(shift)
	c.allowance = custody.NewAllowance()
	c.flushNext = 0
	c.redateAll()
}
