package core

import (
	"fmt"
	"slices"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/custody"
	"perigee/bundle/dtntime"
	"perigee/bundle/route"
	"perigee/bundle/store"
	"perigee/convergence"
)

// flushLead is how long before the end of a contact, beside the light time, owed
// signals go out whatever their age.
const flushLead = 5 * dtntime.Second

// flushTogether is how much sooner than necessary a signal goes out with another.
const flushTogether = 250 * dtntime.Millisecond

// reject counts a signal, or a part of one, that is not honoured.
func (c *Core) reject(why custody.Rejection) { c.rejected[why]++ }

// signalled takes a custody signal. The bundles that it releases are gone from the
// store before it is acknowledged. What it costs depends on what is outstanding
// here, never on the numbers that it announces.
func (c *Core) signalled(a *Arrival, s *bundle.CustodySignal) {
	c.counters.SignalsReceived++
	from := a.Bundle.Primary.Source.Node()
	if why, ok := c.trusts(a, from); !ok {
		c.reject(why)
		c.do(Reply{Token: a.Token})
		return
	}
	if !c.isKnown(from) && !c.allowance.Take(from, c.now) {
		c.reject(custody.RejectFlood)
		c.do(Reply{Token: a.Token})
		return
	}
	if s.Ignored > 0 {
		c.reject(custody.RejectReserved)
	}
	accepted, refused := c.book.Match(s.Accepted), c.book.Match(s.Refused)
	if len(accepted) == 0 && len(refused) == 0 {
		c.reject(custody.RejectUnknown)
	}
	strange := false
	var ops []store.Op
	for _, h := range accepted {
		e := c.entries[h]
		if e == nil || !c.mayTake(from, e) {
			strange = true
			continue
		}
		c.answers(from, e)
		ops = append(ops, c.released(from, e))
	}
	for _, h := range refused {
		e := c.entries[h]
		switch {
		case e == nil: // released by the same signal
		case !c.mayTake(from, e):
			strange = true
		default:
			c.answers(from, e)
			c.custodyRefused(from, e, custody.RefusalUnspecified)
		}
	}
	if strange {
		c.reject(custody.RejectStranger)
	}
	if len(ops) == 0 {
		c.do(Reply{Token: a.Token})
		return
	}
	token := a.Token
	c.persist(token, nil, func(err error) {
		if err != nil {
			err = refuse(convergence.RefuseNoResources, fmt.Errorf("storing what a custody signal released: %w", err))
		}
		c.do(Reply{token, err})
	}, ops...)
}

// trusts tells whether a signal may come from a node at all, and if not, why.
func (c *Core) trusts(a *Arrival, from bundle.EID) (custody.Rejection, bool) {
	switch {
	case c.peerOf(from).Off:
		return custody.RejectOff, false
	case !c.isProven(a, from):
		return custody.RejectUnauthenticated, false
	}
	return 0, true
}

// released lets go of a bundle that another node has taken custody of. What is
// left of it answers for copies that still come.
func (c *Core) released(to bundle.EID, e *entry) store.Op {
	c.counters.CustodyReleased++
	c.notify(app.EventCustodyReleased, e.rec.ID, to, e.rec.Size, "")
	c.strike(e)
	return store.Delete{Handle: e.rec.Handle, Gone: store.Gone{
		ID: e.rec.ID, From: e.rec.From, Reason: store.GoneReleased, At: c.now, Until: e.rec.Expiry.Add(c.cfg.ClockError),
	}}
}

// isKnown tells whether a node stands in the configuration or the plan.
func (c *Core) isKnown(node bundle.EID) bool {
	if n := c.neighbours[node]; n != nil && n.configured {
		return true
	}
	for range c.plan.Involving(node) {
		return true
	}
	return false
}

// mayTake tells whether a node can have become custodian of a bundle: it was sent
// there, is its destination, or stands in the configuration or the plan. Signals
// of strangers release nothing, not even of those that have a session.
func (c *Core) mayTake(node bundle.EID, e *entry) bool {
	return slices.Contains(e.sentTo, node) || e.rec.Destination.Node() == node || c.isKnown(node)
}

// answers notes that a neighbour answers for bundles of others. What it answers as
// their destination says nothing of that.
func (c *Core) answers(from bundle.EID, e *entry) {
	n := c.neighbours[from]
	if n == nil || n.answers || e.rec.Destination.Node() == from {
		return
	}
	n.answers = true
	c.redate(n) // it is this node whose answers are awaited now
}

// owe notes that the custodian of an episode is to be told whether this node
// accepted a bundle. Its own custody it need not tell itself.
func (c *Core) owe(e store.Episode, destination bundle.EID, accepted bool, expiry dtntime.Time) {
	if e.Custodian.Node() == c.cfg.Node || c.peerOf(e.Custodian).Off {
		return
	}
	c.signals.Add(e, destination, accepted, c.now, expiry)
	if c.signals.Large(e.Custodian) {
		c.flushNext = 0
		return
	}
	if c.signals.Since(e.Custodian) == c.now {
		c.flushNext = min(c.flushNext, c.flushAt(e.Custodian, c.now))
	}
}

// flushSignals sends the custody signals whose time has come, and those whose time
// is near with them; and compressed reports.
func (c *Core) flushSignals() {
	if c.now < c.flushNext {
		return
	}
	c.signals.Forget(c.now)
	c.flushNext = dtntime.Forever
	near := c.now.Add(min(flushTogether, c.cfg.Aggregate/20))
	for _, custodian := range c.signals.Custodians() {
		at := c.flushAt(custodian, c.signals.Since(custodian))
		if at > near && !c.signals.Large(custodian) {
			c.flushNext = min(c.flushNext, at)
			continue
		}
		signals, until := c.signals.Take(custodian)
		lifetime := min(max(until.Sub(c.now), dtntime.Minute), custody.MaxSignalLifetime)
		peer := c.peerOf(custodian)
		for i := range signals {
			for _, record := range peer.Points.CustodyRecords(&signals[i]) {
				c.counters.SignalsSent++
				c.originate(custodian, record, lifetime, peer.Key)
			}
		}
	}
	c.flushReports()
}

// flushAt returns when what an endpoint is owed since a time is to be sent: when it
// has been gathered long enough, when the contact that leads there is about to end,
// and at once when it has waited for that contact or the node stops. Without such a
// contact it goes on gathering.
func (c *Core) flushAt(to bundle.EID, since dtntime.Time) dtntime.Time {
	d, err := c.router.Next(route.Query{Dest: to, Expiry: dtntime.Forever}, c.now)
	if err != nil {
		return dtntime.Forever
	}
	n := c.neighbours[d.Next]
	if n == nil || n.link == 0 || !n.sending {
		return dtntime.Forever
	}
	if c.stopping || since < max(n.since, n.open.Start) {
		return c.now
	}
	at := since.Add(c.cfg.Aggregate)
	if n.end != 0 {
		lead := dtntime.Time(n.light + flushLead)
		at = min(at, n.end-min(lead, n.end))
	}
	return at
}
