package core

import (
	"errors"
	"fmt"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/custody"
	"perigee/bundle/route"
	"perigee/bundle/store"
	"perigee/convergence"
)

// refuse makes a refusal.
func refuse(reason convergence.RefuseReason, err error) error {
	return &RefusedError{Reason: reason, Err: err}
}

// unacceptable refuses a bundle for good.
func unacceptable(format string, args ...any) error {
	return refuse(convergence.RefuseNotAcceptable, fmt.Errorf("%w: %w", ErrUnacceptable, fmt.Errorf(format, args...)))
}

// errTooLarge is a bundle that is larger than this node takes.
var errTooLarge = errors.New("too large")

// arrive decides about a bundle that is staged.
func (c *Core) arrive(a Arrival) {
	id := a.Bundle.ID()
	if a.Link != 0 {
		c.counters.BundlesReceived++
		if isCustodyMalformed(a.Bundle, c.peerOf(c.from(&a)).Points) {
			c.counters.CustodyMalformed++
		}
	}
	if err := c.admissible(&a, id); err != nil {
		c.turnAway(&a, id, err)
		return
	}
	switch {
	case c.arriving[id]:
		c.do(Reply{a.Token, refuse(convergence.RefuseRetransmit, fmt.Errorf("storing %s: %w", id, ErrBusy))})
	case a.Admin != nil:
		c.administer(&a)
	case a.Whole.Live != nil || a.Whole.Gone != nil:
		c.duplicate(&a, id) // a fragment of what is here, or was
	case a.Known.Live != nil:
		c.again(&a, id)
	case a.Known.Gone != nil && c.isOver(&a):
		c.discard(&a, id)
	default:
		c.process(&a, id)
	}
}

// process takes a bundle that has not come before, or tells why its journey ends.
func (c *Core) process(a *Arrival, id bundle.ID) {
	reason, why := c.isSpent(a)
	if why == "" {
		c.take(a, id)
		return
	}
	rec := c.summary(a, id)
	if asked, ok := c.asked(a); ok {
		c.decline(asked, &rec, custody.RefusalUnspecified)
	}
	c.deleteArrived(a, &rec, reason, why)
}

// admissible tells why a bundle cannot be taken whatever the state of the node.
func (c *Core) admissible(a *Arrival, id bundle.ID) error {
	p := &a.Bundle.Primary
	if err := a.Bundle.Check(); err != nil {
		return unacceptable("%s: %w", id, err)
	}
	switch {
	case p.Destination.IsNull():
		return unacceptable("%s goes to the null endpoint", id)
	case c.cfg.MaxBundle > 0 && a.Size > c.cfg.MaxBundle:
		return unacceptable("%w: %s has %d bytes, the limit is %d", errTooLarge, id, a.Size, c.cfg.MaxBundle)
	}
	if !c.endsHere(p.Destination) {
		return nil
	}
	switch {
	case !p.Destination.IsSingleton() && a.Custody:
		return unacceptable("custody needs one destination, and %s may be several", p.Destination)
	case !p.Destination.IsSingleton() && c.cfg.MaxGroup > 0 && a.Size > c.cfg.MaxGroup:
		return unacceptable("%w: %s has %d bytes, and bundles for non-singleton endpoints may take %d", errTooLarge, id, a.Size, c.cfg.MaxGroup)
	case p.Flags&bundle.FlagFragment != 0 && c.cfg.MaxBundle > 0 && p.TotalLength > uint64(c.cfg.MaxBundle):
		return unacceptable("%w: %s is of a bundle of %d bytes, the limit is %d", errTooLarge, id, p.TotalLength, c.cfg.MaxBundle)
	case p.Destination == c.cfg.Node && a.Admin == nil:
		return unacceptable("%s goes to the administrative endpoint but is no administrative record", id)
	}
	return nil
}

func (c *Core) turnAway(a *Arrival, id bundle.ID, err error) {
	c.notify(app.EventRefused, id, c.from(a), a.Size, err.Error())
	if reason, forGood := turnedAwayReason(err); forGood && a.Link != 0 {
		rec := c.summary(a, id)
		c.report(&rec, bundle.FlagReportDeleted, reason)
	}
	c.do(Reply{a.Token, err})
}

// isSpent tells why the bundle's journey ends here before its destination, or
// nothing (RFC 9171 sections 5.4 to 5.6).
func (c *Core) isSpent(a *Arrival) (bundle.Reason, string) {
	b := a.Bundle
	if c.expiry(b) <= c.now {
		return bundle.ReasonLifetimeExpired, "lifetime expired on the way here"
	}
	if a.Link == 0 {
		return 0, ""
	}
	if b.Unsupported().Delete {
		return bundle.ReasonBlockUnsupported, "has a block that is not known here and wants the bundle deleted then"
	}
	hops, ok := b.HopCount()
	if !ok || c.endsHere(b.Primary.Destination) {
		return 0, ""
	}
	if _, more := hops.Next(); !more {
		return bundle.ReasonHopLimitExceeded, "hop limit reached"
	}
	return 0, ""
}

// take stores a bundle that is new here.
func (c *Core) take(a *Arrival, id bundle.ID) {
	rec, err := c.record(a, id)
	var declined *declinedError
	if errors.As(err, &declined) {
		c.deleteArrived(a, &rec, declinedReason(declined.why), err.Error())
		return
	}
	if err != nil {
		c.turnAway(a, id, err)
		return
	}
	if !rec.Destination.IsSingleton() && c.audience(&rec, c.goesOn(a)) == "" {
		c.reachesNobody(a, &rec)
		return
	}
	if !c.hasLane(rec.Lane()) {
		c.turnAway(a, id, refuse(convergence.RefuseNoResources, fmt.Errorf("%w: %s goes to one destination more than the %d that may be waited for", ErrNoSpace, id, maxLanes)))
		return
	}
	ops, kept, err := c.numberAll(a, &rec)
	if err != nil {
		c.turnAway(a, id, err)
		return
	}
	ops = append(ops, store.Put{Record: rec})
	parts := func(error) {}
	switch rec.Duty {
	case store.DutyDeliver, store.DutyGroup:
		var more []store.Op
		more, parts = c.supersede(id)
		ops = append(ops, more...)
	case store.DutyAssemble:
		parts = c.expect(id.Whole())
	}
	c.arriving[id] = true
	peer, link, token := c.from(a), a.Link, a.Token
	unknown := link != 0 && a.Bundle.Unsupported().Report
	c.persist(token, nil, func(err error) {
		delete(c.arriving, id)
		defer parts(err)
		if err != nil {
			err = storeError(fmt.Errorf("storing %s: %w", id, err))
			c.notify(app.EventRefused, id, peer, rec.Size, err.Error())
			c.do(Reply{token, err})
			return
		}
		kept()
		c.do(Reply{Token: token})
		if unknown {
			c.unsupported(&rec)
		}
		c.stored(rec, link, peer)
	}, ops...)
}

// stored goes on with a bundle that is durable and acknowledged.
func (c *Core) stored(rec store.Record, link LinkID, peer bundle.EID) {
	if link == 0 {
		c.counters.BundlesCreated++
		c.remember(&rec)
	}
	c.notify(app.EventReceived, rec.ID, peer, rec.Size, "")
	c.report(&rec, bundle.FlagReportReception, bundle.ReasonNone)
	if rec.Custodial && rec.Duty == store.DutyForward || rec.From != (store.Episode{}) {
		c.counters.CustodyAccepted++
		c.notify(app.EventCustodyAccepted, rec.ID, rec.From.Custodian, 0, "")
	}
	if rec.From != (store.Episode{}) {
		c.note(&rec, bundle.StatusCustodyAccepted)
		c.owe(rec.From, rec.Destination, true, rec.Expiry)
	}
	c.admit(rec)
}

// record makes the record of a new bundle. It decides about custody.
func (c *Core) record(a *Arrival, id bundle.ID) (store.Record, error) {
	b := a.Bundle
	age, hasAge := b.Age()
	class := b.Class()
	rec := store.Record{
		ID: id, Destination: b.Primary.Destination, ReportTo: b.Primary.ReportTo, Flags: b.Primary.Flags,
		Priority: class.Priority, Value: class.Value, Duty: store.DutyForward,
		Received: c.now, Expiry: c.expiry(b), AgeReceived: age, HasAge: hasAge,
		HeaderLen: a.HeaderLen, PayloadLen: int64(b.Payload.Length), Size: a.Size,
		Previous: c.from(a), Astray: isAstray(a),
	}
	switch {
	case id.Fragment && c.endsHere(rec.Destination):
		rec.Duty = store.DutyAssemble
	case c.isLocal(rec.Destination):
		rec.Duty = store.DutyDeliver
	case !rec.Destination.IsSingleton():
		rec.Duty, rec.Spread = store.DutyGroup, c.audience(&rec, c.goesOn(a))
	}
	if id.Fragment {
		rec.Total = b.Primary.TotalLength
	}
	if a.Link == 0 {
		rec.Priority = a.Priority
		rec.Custodial = a.Custody
		c.spreadOver(a, &rec, class.Critical)
		rec.Handle = c.cfg.NextHandle()
		return rec, c.fits(&rec)
	}
	rec.Reporting = c.reportingOf(b, rec.Previous)
	if asked, ok := c.asked(a); ok {
		why := c.declines(&rec, asked)
		if why == custody.RefusalNone {
			rec.Custodial = true
			if asked.Custodian.Node() != c.cfg.Node {
				rec.From = asked
			}
		} else {
			c.decline(asked, &rec, why)
			if !c.carries(&rec) {
				return rec, &declinedError{id, why}
			}
		}
	}
	c.spreadOver(a, &rec, class.Critical)
	c.pare(&rec)
	rec.Handle = c.cfg.NextHandle()
	return rec, nil
}

// isAstray tells whether a bundle has gone round: it was here before, or has made half of
// the hops that it may make.
func isAstray(a *Arrival) bool {
	hops, ok := a.Bundle.HopCount()
	return a.Known.Gone != nil || ok && a.Link != 0 && hops.Count >= hops.Limit-hops.Limit/2
}

// declinedError says that a bundle was dropped because this node cannot be its
// custodian. The sender learns of it by a custody signal, not by a refusal of the
// transfer, which would keep it from sending other bundles.
type declinedError struct {
	id  bundle.ID
	why custody.Refusal
}

func (e *declinedError) Error() string {
	return fmt.Sprintf("custody of %s is not taken: %s", e.id, e.why)
}

// fits refuses a custodial bundle of an application that no contact can carry
// whole, since it may not be fragmented.
func (c *Core) fits(rec *store.Record) error {
	if !rec.Custodial || rec.Duty == store.DutyDeliver {
		return nil
	}
	_, err := c.router.Next(route.Query{Dest: rec.Destination, Size: rec.Size, Expiry: rec.Expiry}, c.now)
	switch {
	case isTooLarge(err):
		return unacceptable("%s has %d bytes: %w; cut it into smaller bundles", rec.ID, rec.Size, err)
	case errors.Is(err, route.ErrTooLate):
		return unacceptable("%s has %d bytes: %w; give it a longer lifetime or cut it into smaller bundles", rec.ID, rec.Size, err)
	}
	return nil
}

// asked returns the episode under which a bundle asks for custody, if it does so
// in a way that can be answered. As its destination this node always answers, since
// its custodian would send it until it expires.
func (c *Core) asked(a *Arrival) (store.Episode, bool) {
	b, peer := a.Bundle, c.peerOf(c.from(a))
	blk, ok := peer.Points.CustodyOf(b)
	if !ok || peer.Off || !c.cfg.AcceptCustody && !c.isLocal(b.Primary.Destination) || blk.Custodian.IsNull() || !blk.Custodian.IsSingleton() {
		return store.Episode{}, false
	}
	if isCustodyMalformed(b, peer.Points) {
		return store.Episode{}, false
	}
	return store.Episode{Custodian: blk.Custodian, SeqID: blk.SeqID, SeqNum: blk.SeqNum}, true
}

// number gives a bundle in custody the number under which it asks the next
// custodian, and returns the counters to commit with it. Bundles that no route
// takes yet share one sequence.
func (c *Core) number(rec *store.Record) ([]store.Op, []custody.Reservation, error) {
	d, _ := c.router.Next(c.query(rec, nil), c.now)
	id, num, keep, err := c.numbers.Next(d.Next, rec.Priority, c.now)
	if err != nil {
		return nil, nil, storeError(fmt.Errorf("numbering %s: %w", rec.ID, err))
	}
	rec.Own = store.Episode{Custodian: c.cfg.Node, SeqID: id, SeqNum: num}
	return counterOps(keep), keep, nil
}

// numberAll gives a new bundle the numbers that it needs, and returns the counters to
// commit with it and what to do when they are durable.
func (c *Core) numberAll(a *Arrival, rec *store.Record) (ops []store.Op, kept func(), err error) {
	var forCustody, forReports []custody.Reservation
	if rec.Duty == store.DutyForward && rec.Custodial {
		if ops, forCustody, err = c.number(rec); err != nil {
			return nil, nil, err
		}
	}
	if a.Link == 0 && a.Reporting != 0 {
		more, keep, err := c.numberReports(rec, a.Reporting)
		if err != nil {
			return nil, nil, err
		}
		ops, forReports = append(ops, more...), keep
	}
	return ops, func() {
		c.numbers.Kept(forCustody)
		c.reportNumbers.Kept(forReports)
	}, nil
}

// from returns the node that a bundle came from, null for applications. Where the
// link has no name, the bundle tells: by its previous node block, or as one that comes
// from its source. When it does neither, this node stands for the one that is not
// known: nothing is ever sent there.
func (c *Core) from(a *Arrival) bundle.EID {
	if a.Link == 0 || c.links[a.Link] != nil {
		return c.peer(a.Link)
	}
	if previous, ok := a.Bundle.PreviousNode(); ok && !previous.IsNull() {
		return previous.Node()
	}
	if source := a.Bundle.Primary.Source; !source.IsNull() {
		return source.Node()
	}
	return c.cfg.Node
}

// peer returns the neighbour at the other end of a link, null for applications and
// for links without a name.
func (c *Core) peer(l LinkID) bundle.EID {
	if n := c.links[l]; n != nil {
		return n.Peer
	}
	return bundle.EID{}
}
