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

// reportLifetime is the lifetime of a status report.
const reportLifetime = dtntime.Day

// administer takes an administrative record for this node.
func (c *Core) administer(a *Arrival) {
	rec, err := bundle.ParseAdminRecord(a.Admin)
	if err != nil {
		c.turnAway(a, a.Bundle.ID(), unacceptable("administrative record in %s: %w", a.Bundle.ID(), err))
		return
	}
	switch {
	case rec.CustodySignal != nil:
		c.signalled(a, rec.CustodySignal)
	case rec.Status != nil:
		c.notifyStatus(a, rec.Status)
		c.do(Reply{Token: a.Token})
	default:
		c.do(Reply{Token: a.Token})
	}
}

// notifyStatus tells watchers what a status report says.
func (c *Core) notifyStatus(a *Arrival, s *bundle.StatusReport) {
	for _, item := range []struct {
		asserted bool
		what     string
	}{
		{s.Received.Asserted, "received"},
		{s.Forwarded.Asserted, "forwarded"},
		{s.Delivered.Asserted, "delivered"},
		{s.Deleted.Asserted, "deleted"},
	} {
		if item.asserted {
			c.notify(app.EventReported, s.Bundle, a.Bundle.Primary.Source, 0, fmt.Sprintf("%s, %s", item.what, s.Reason))
		}
	}
}

// signalled takes a custody signal. The bundles that it releases are gone from the
// store before it is acknowledged.
func (c *Core) signalled(a *Arrival, s *bundle.CustodySignal) {
	c.counters.SignalsReceived++
	from := a.Bundle.Primary.Source.Node()
	var ops []store.Op
	for _, h := range c.book.Match(s.Accepted) {
		e := c.entries[h]
		if e == nil || !c.mayTake(from, e) {
			continue
		}
		c.answers(from, e)
		c.counters.CustodyReleased++
		c.notify(app.EventCustodyReleased, e.rec.ID, from, e.rec.Size, "")
		c.withdraw(e)
		e.place = placeGone
		delete(c.entries, h)
		c.book.Drop(h)
		ops = append(ops, store.Delete{Handle: h, Gone: store.Gone{
			ID: e.rec.ID, From: e.rec.From, Reason: store.GoneReleased, At: c.now, Until: e.rec.Expiry,
		}})
	}
	for _, h := range c.book.Match(s.Refused) {
		if e := c.entries[h]; e != nil && c.mayTake(from, e) {
			c.answers(from, e)
			c.custodyRefused(from, e, custody.RefusalUnspecified)
		}
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

// answers notes that a neighbour answers for bundles of others. What it answers as
// their destination says nothing of that.
func (c *Core) answers(from bundle.EID, e *entry) {
	if n := c.neighbours[from]; n != nil && e.rec.Destination.Node() != from {
		n.answers = true
	}
}

// mayTake tells whether a node can have become custodian of a bundle: it was sent
// there, is its destination, or stands in the configuration or the plan. Signals
// of strangers release nothing, not even of those that have a session.
func (c *Core) mayTake(node bundle.EID, e *entry) bool {
	if slices.Contains(e.sentTo, node) || e.rec.Destination.Node() == node {
		return true
	}
	if n := c.neighbours[node]; n != nil && n.configured {
		return true
	}
	for range c.plan.Involving(node) {
		return true
	}
	return false
}

// flushSignals sends the custody signals whose time has come.
func (c *Core) flushSignals() {
	c.signals.Forget(c.now)
	for _, custodian := range c.signals.Custodians() {
		if c.flushAt(custodian) > c.now && !c.signals.Large(custodian) {
			continue
		}
		signals, until := c.signals.Take(custodian)
		lifetime := min(max(until.Sub(c.now), dtntime.Minute), custody.MaxSignalLifetime)
		for i := range signals {
			c.counters.SignalsSent++
			c.originate(custodian, signals[i].Append(nil), lifetime)
		}
	}
}

// flushAt returns when what a custodian is owed is to be sent: when it has been
// gathered long enough, or the contact that leads to the custodian is about to
// end. Without such a contact it goes on gathering.
func (c *Core) flushAt(custodian bundle.EID) dtntime.Time {
	d, err := c.router.Next(route.Query{Dest: custodian, Expiry: dtntime.Forever}, c.now)
	if err != nil {
		return dtntime.Forever
	}
	n := c.neighbours[d.Next]
	if n == nil || n.link == 0 || !n.sending {
		return dtntime.Forever
	}
	at := c.signals.Since(custodian).Add(c.cfg.Aggregate)
	if c.stopping {
		return c.now
	}
	if n.end != 0 {
		lead := dtntime.Time(n.light + flushLead)
		at = min(at, n.end-min(lead, n.end))
	}
	return at
}

func (c *Core) nextFlush() dtntime.Time {
	next := dtntime.Forever
	for _, custodian := range c.signals.Custodians() {
		next = min(next, c.flushAt(custodian))
	}
	return next
}

// report sends a status report if the bundle asks for it (RFC 9171 section 6.1.1).
func (c *Core) report(rec *store.Record, which bundle.Flags, reason bundle.Reason) {
	if !c.cfg.StatusReports || rec.Flags&which == 0 || rec.Flags&bundle.FlagAdminRecord != 0 || rec.ReportTo.IsNull() || c.isLocal(rec.ReportTo) {
		return
	}
	item := bundle.StatusItem{Asserted: true}
	if rec.Flags&bundle.FlagStatusTime != 0 {
		item.Time = c.now
	}
	s := bundle.StatusReport{Reason: reason, Bundle: rec.ID}
	switch which {
	case bundle.FlagReportReception:
		s.Received = item
	case bundle.FlagReportForwarded:
		s.Forwarded = item
	case bundle.FlagReportDelivered:
		s.Delivered = item
	case bundle.FlagReportDeleted:
		s.Deleted = item
	}
	c.originate(rec.ReportTo, s.Append(nil), reportLifetime)
}

// originate sends an administrative record: of the highest priority, never in
// custody.
func (c *Core) originate(to bundle.EID, record []byte, lifetime dtntime.Duration) {
	b := bundle.Bundle{
		Primary: bundle.Primary{
			Flags: bundle.FlagAdminRecord | bundle.FlagMustNotFragment, CRC: bundle.CRC32C,
			Destination: to, Source: c.cfg.Node, Created: c.cfg.Stamp(c.now), Lifetime: lifetime,
		},
		Payload: bundle.PayloadHeader{CRC: bundle.CRC32C, Length: uint64(len(record))},
	}
	b.SetExtension(bundle.PriorityBlock(0, bundle.PriorityExpedited))
	raw := b.Append(nil, record)
	rec := store.Record{
		Handle: c.cfg.NextHandle(), ID: b.ID(), Destination: to, Flags: b.Primary.Flags,
		Priority: bundle.PriorityExpedited, Duty: store.DutyForward,
		Received: c.now, Expiry: b.Expiry(c.now),
		HeaderLen: int64(b.HeaderLen()), PayloadLen: int64(len(record)), Size: int64(len(raw)),
	}
	c.persist(0, raw, func(err error) {
		if err == nil {
			c.admit(rec)
		}
	}, store.Put{Record: rec})
}
