package core

import (
	"errors"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/custody"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// reportLifetime is the lifetime of a status report.
const reportLifetime = dtntime.Day

// Limits on status reports, so that bundles that ask for them do not fill store and
// links. What goes beyond is counted and not sent.
const (
	reportBurst    = 1000 // at once
	reportInterval = 20 * dtntime.Millisecond
	maxReports     = 4096 // that wait to leave
)

// reports bounds the status reports of a node.
type reports struct {
	spent   int64        // of the burst
	at      dtntime.Time // when spent was last reckoned
	waiting int          // reports in memory
}

// allow takes one report out of the allowance.
func (r *reports) allow(now dtntime.Time) bool {
	back := int64(min(now.Sub(r.at)/reportInterval, reportBurst))
	r.spent = max(r.spent-back, 0)
	r.at = r.at.Add(dtntime.Duration(back) * reportInterval)
	if r.spent == 0 || r.at > now { // nothing to be carried over; or the clock was set
		r.at = now
	}
	if r.spent >= reportBurst || r.waiting >= maxReports {
		return false
	}
	r.spent++
	return true
}

// isOwnRecord tells whether a bundle is an administrative record that this node
// made.
func isOwnRecord(rec *store.Record) bool {
	return rec.Flags&bundle.FlagAdminRecord != 0 && rec.Previous.IsNull()
}

// isReportable tells whether anybody may be told anything about a bundle: never
// about administrative records, nor about those of an unknown source, nor without
// an address (RFC 9171 sections 4.2.3 and 6.1).
func isReportable(rec *store.Record) bool {
	return rec.Flags&bundle.FlagAdminRecord == 0 && !rec.ID.Source.IsNull() && !rec.ReportTo.IsNull() && rec.ReportTo.IsSingleton()
}

// report sends a status report if the bundle asks for it and the configuration
// allows it, and notes what is to be told in compressed form. The deletion of a bundle in custody is reported in any case: whoever
// relies on its custodian must learn of it.
func (c *Core) report(rec *store.Record, which bundle.Flags, reason bundle.Reason) {
	c.note(rec, statusOf(which))
	owed := rec.Custodial && which == bundle.FlagReportDeleted
	if isReportable(rec) && (owed || c.cfg.StatusReports && rec.Flags&which != 0) {
		c.tell(rec, which, reason)
	}
}

// unsupported reports that a bundle has blocks that this node cannot process and
// that want this to be known (RFC 9171 section 5.6 step 4).
func (c *Core) unsupported(rec *store.Record) {
	if isReportable(rec) && c.cfg.StatusReports {
		c.tell(rec, bundle.FlagReportReception, bundle.ReasonBlockUnsupported)
	}
}

// tell sends a status report (RFC 9171 section 6.1.1). One to this node itself goes
// to those who watch it.
func (c *Core) tell(rec *store.Record, which bundle.Flags, reason bundle.Reason) {
	item := bundle.StatusItem{Asserted: true}
	if rec.Flags&bundle.FlagStatusTime != 0 && !c.cfg.NoClock {
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
	if rec.ReportTo == c.cfg.Node {
		c.notifyStatus(c.cfg.Node, &s)
		return
	}
	if !c.mayTell(rec.ReportTo) {
		c.counters.ReportsSuppressed++
		return
	}
	c.counters.ReportsSent++
	c.originate(rec.ReportTo, s.Append(nil), reportLifetime, nil)
}

// mayTell tells whether one more report may be made for an endpoint.
func (c *Core) mayTell(to bundle.EID) bool {
	l := c.lanes[store.Lane{Duty: c.dutyOf(to), Destination: to, Priority: c.priorityOf(to)}]
	if l != nil && (l.more || l.aside != 0) {
		return false // more wait there than memory holds
	}
	return c.reports.allow(c.now)
}

// dutyOf and priorityOf are those of an administrative record of this node.
func (c *Core) dutyOf(to bundle.EID) store.Duty {
	if c.isLocal(to) {
		return store.DutyDeliver
	}
	return store.DutyForward
}

func (c *Core) priorityOf(to bundle.EID) bundle.Priority {
	if c.isLocal(to) {
		return 0
	}
	return bundle.PriorityExpedited
}

// summary is what can be reported about a bundle that is not stored.
func (c *Core) summary(a *Arrival, id bundle.ID) store.Record {
	p := &a.Bundle.Primary
	return store.Record{
		ID: id, Destination: p.Destination, ReportTo: p.ReportTo, Flags: p.Flags, Size: a.Size, Expiry: c.expiry(a.Bundle),
		Reporting: c.reportingOf(a.Bundle, c.from(a)),
	}
}

// receivedReports reports that a bundle has come.
func (c *Core) receivedReports(a *Arrival, rec *store.Record) {
	c.report(rec, bundle.FlagReportReception, bundle.ReasonNone)
	if a.Link != 0 && a.Bundle.Unsupported().Report {
		c.unsupported(rec)
	}
}

// deleteArrived deletes a bundle that has come and will not be stored.
func (c *Core) deleteArrived(a *Arrival, rec *store.Record, reason bundle.Reason, why string) {
	c.counters.BundlesDeleted++
	c.notify(app.EventDeleted, rec.ID, c.from(a), a.Size, why)
	c.receivedReports(a, rec)
	c.report(rec, bundle.FlagReportDeleted, reason)
	c.do(Reply{Token: a.Token})
}

// declinedReason is the reason in reports for deleting a bundle whose custody this
// node did not take.
func declinedReason(why custody.Refusal) bundle.Reason {
	switch why {
	case custody.RefusalStorage, custody.RefusalIndexFull:
		return bundle.ReasonDepletedStorage
	case custody.RefusalNoRoute:
		return bundle.ReasonNoRoute
	case custody.RefusalNoTimelyContact, custody.RefusalLifetime:
		return bundle.ReasonNoTimelyContact
	}
	return bundle.ReasonNone
}

// turnedAwayReason is the reason in reports for turning a bundle away for good, and
// false when it is not for good or needs no report.
func turnedAwayReason(err error) (bundle.Reason, bool) {
	var rule *bundle.RuleError
	switch {
	case !errors.Is(err, ErrUnacceptable):
		return 0, false
	case errors.As(err, &rule):
		return bundle.ReasonBlockUnintelligible, true
	case errors.Is(err, errTooLarge):
		return bundle.ReasonDepletedStorage, true
	}
	return bundle.ReasonDestinationUnavailable, true
}

// malformed reports about a bundle that cannot be read but for its primary block.
func (c *Core) malformed(ev Malformed) {
	p := &ev.Primary
	rec := store.Record{ID: ev.ID, Destination: p.Destination, ReportTo: p.ReportTo, Flags: p.Flags}
	c.counters.BundlesReceived++
	c.counters.BundlesDeleted++
	c.notify(app.EventDeleted, rec.ID, c.peer(ev.Link), 0, ev.Err.Error())
	c.report(&rec, bundle.FlagReportReception, bundle.ReasonNone)
	c.report(&rec, bundle.FlagReportDeleted, bundle.ReasonBlockUnintelligible)
}
