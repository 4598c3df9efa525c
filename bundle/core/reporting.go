package core

import (
	"cmp"
	"fmt"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/custody"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// maxToldEvents is how many events one compressed report makes at most.
const maxToldEvents = 4096

// reportingOf returns the compressed reports that a bundle from a neighbour asks for, as
// far as this node gives any (CCSDS 734.6-O-1 section 5.1): as with status reports,
// never about administrative records, about bundles of an unknown source or without an
// address; nor about fragments, all of which bear the number of the whole.
func (c *Core) reportingOf(b *bundle.Bundle, from bundle.EID) store.Reporting {
	p := &b.Primary
	if !c.cfg.StatusReports || p.Flags&(bundle.FlagAdminRecord|bundle.FlagFragment) != 0 || p.Source.IsNull() {
		return ""
	}
	r, ok := c.peerOf(from).Points.ReportingOf(b)
	to := cmp.Or(r.ReportTo, p.ReportTo)
	if !ok || to.IsNull() || !to.IsSingleton() || !r.Source.IsSingleton() {
		return ""
	}
	return store.MakeReporting(r)
}

// reportingIn returns the compressed reports of a record, and false when it has none.
func reportingIn(rec *store.Record) (bundle.Reporting, bool) {
	if rec.Reporting == "" {
		return bundle.Reporting{}, false
	}
	r, err := rec.Reporting.Parse()
	return r, err == nil // what the store cannot give back is not reported
}

// numberReports gives a bundle of an application the number under which it asks for
// compressed reports, and returns the counters to commit with it.
func (c *Core) numberReports(rec *store.Record, requests bundle.ReportingFlags) ([]store.Op, []custody.Reservation, error) {
	d, _ := c.router.Next(c.query(rec, nil), c.now)
	id, num, keep, err := c.reportNumbers.Next(d.Next, rec.Priority, c.now)
	if err != nil {
		return nil, nil, storeError(fmt.Errorf("numbering %s for reports: %w", rec.ID, err))
	}
	rec.Reporting = store.MakeReporting(bundle.Reporting{SeqNum: num, SeqID: id, Requests: requests})
	return counterOps(keep), keep, nil
}

// counterOps keeps reservations.
func counterOps(keep []custody.Reservation) []store.Op {
	var ops []store.Op
	for _, k := range keep {
		ops = append(ops, store.SetCounter{Name: k.Name, Value: k.Value})
	}
	return ops
}

// remember notes which bundle of this node a number stands for.
func (c *Core) remember(rec *store.Record) {
	if r, ok := reportingIn(rec); ok && rec.Previous.IsNull() {
		c.issued.Add(r.SeqID, r.SeqNum, rec.ID)
	}
}

// note adds to the compressed reports that are gathered, if the bundle asks for it. One
// to this node itself goes to those who watch it.
func (c *Core) note(rec *store.Record, status bundle.ReportedStatus) {
	r, ok := reportingIn(rec)
	if !ok || !c.cfg.StatusReports || r.Requests&(1<<status) == 0 || rec.Flags&bundle.FlagFragment != 0 {
		return
	}
	r.Source, r.ReportTo = cmp.Or(r.Source, rec.ID.Source), cmp.Or(r.ReportTo, rec.ReportTo)
	if r.ReportTo.IsNull() || !r.ReportTo.IsSingleton() {
		return
	}
	if r.ReportTo == c.cfg.Node {
		c.notifyReported(rec.ID, c.cfg.Node, status)
		return
	}
	if c.peerOf(r.ReportTo).Points.ReportingSignal == 0 {
		return // it could not read a signal
	}
	told := custody.Reported{To: r.ReportTo, Source: r.Source, Status: status, SeqID: r.SeqID, SeqNum: r.SeqNum, Destination: rec.Destination}
	if !c.told.Add(told, c.now) {
		c.counters.ReportsSuppressed++
		return
	}
	if c.told.Large(r.ReportTo) {
		c.flushNext = 0
	} else if c.told.Since(r.ReportTo) == c.now {
		c.flushNext = min(c.flushNext, c.reportAt(r.ReportTo))
	}
}

// statusOf is what a status report of a kind is called in compressed reports.
func statusOf(which bundle.Flags) bundle.ReportedStatus {
	switch which {
	case bundle.FlagReportForwarded:
		return bundle.StatusForwarded
	case bundle.FlagReportDelivered:
		return bundle.StatusDelivered
	case bundle.FlagReportDeleted:
		return bundle.StatusDeleted
	}
	return bundle.StatusReceived
}

// reportAt returns when what was gathered for an endpoint is to be sent: as a custody
// signal would be, and at once when the node stops, since it is kept nowhere else.
func (c *Core) reportAt(to bundle.EID) dtntime.Time {
	since := c.told.Since(to)
	switch {
	case c.stopping:
		return c.now
	case c.isLocal(to):
		return since.Add(c.cfg.Aggregate)
	}
	return c.flushAt(to, since)
}

// flushReports sends the compressed reports whose time has come.
func (c *Core) flushReports() {
	for _, to := range c.told.To() {
		if at := c.reportAt(to); at > c.now && !c.told.Large(to) {
			c.flushNext = min(c.flushNext, at)
			continue
		}
		peer := c.peerOf(to)
		signals := c.told.Take(to)
		for i := range signals {
			for _, record := range peer.Points.ReportingRecords(&signals[i]) {
				if !c.mayTell(to) {
					c.counters.ReportsSuppressed++
					continue
				}
				c.counters.ReportsSent++
				c.originate(to, record, reportLifetime, peer.Key)
			}
		}
	}
}

// toldOf takes a compressed report about bundles of this node. What it costs depends on
// what is remembered here, never on the numbers that it announces.
func (c *Core) toldOf(a *Arrival, s *bundle.ReportingSignal) {
	from := a.Bundle.Primary.Source.Node()
	if !c.isProven(a, from) || !c.isKnown(from) && !c.allowance.Take(from, c.now) {
		c.counters.ReportsIgnored++
		c.do(Reply{Token: a.Token})
		return
	}
	left, ignored := maxToldEvents, s.Ignored > 0
	for status, list := range s.Sequences {
		ids, more := c.issued.Match(c.ownSequences(list), left)
		left -= len(ids)
		ignored = ignored || more
		for _, id := range ids {
			c.notifyReported(id, from, bundle.ReportedStatus(status))
		}
	}
	if ignored || left == maxToldEvents {
		c.counters.ReportsIgnored++
	}
	c.do(Reply{Token: a.Token})
}

// ownSequences are those of a list whose numbers this node has issued.
func (c *Core) ownSequences(list []bundle.Sequence) []bundle.Sequence {
	var own []bundle.Sequence
	for _, seq := range list {
		if seq.Source.IsNull() || seq.Source.Node() == c.cfg.Node {
			own = append(own, seq)
		}
	}
	return own
}

// notifyReported tells watchers what a compressed report says of a bundle.
func (c *Core) notifyReported(id bundle.ID, from bundle.EID, status bundle.ReportedStatus) {
	c.notify(app.EventReported, id, from, 0, status.String()+", in a compressed report")
}
