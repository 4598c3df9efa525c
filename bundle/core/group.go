package core

import (
	"errors"
	"slices"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
	"perigee/convergence"
)

// Limits on bundles for non-singleton endpoints. Beyond them the one that came first
// makes room.
const (
	// groupShare is the part of the bundles in memory, as its inverse, that may be
	// for non-singleton endpoints.
	groupShare = 4
	// maxSpreadNeighbours is how many neighbours one bundle is sent to at most.
	maxSpreadNeighbours = 256
	maxSpreadText       = store.MaxSpread / 2 // bytes of their names; the rest is for registrations
)

// ErrHopLimit says that a bundle has made as many hops as it may.
var ErrHopLimit = errors.New("hop limit is reached")

// spread is what is left to be done with a bundle for a non-singleton endpoint, and
// what of it is under way.
type spread struct {
	registrations []uint64     // that have not acknowledged it, in order
	neighbours    []bundle.EID // that have not got it
	leased        map[uint64]bool
	acking        map[uint64]bool // acknowledged, which is not durable yet
	sent          bool            // to a neighbour, since the start
	saving, stale bool            // an Update is under way; and more has been done since
}

// groups is all bundles for non-singleton endpoints that are in memory.
type groups struct {
	order []store.Handle // as they came there, with some that have left
	n     int
	bytes int64
}

// endsHere tells whether bundles for an endpoint are put together from their fragments
// and offered to applications here: also those that go on to others as well.
func (c *Core) endsHere(e bundle.EID) bool { return c.isLocal(e) || !e.IsSingleton() }

// audience is who a bundle for a non-singleton endpoint goes to from here: every
// registration there and, if it may go on, every neighbour but the one that it came
// from and its source (RFC 9171 section 5.3). Neighbours that neither the
// configuration nor the plan knows count while they have a session.
func (c *Core) audience(rec *store.Record, onward bool) store.Spread {
	var neighbours []bundle.EID
	text := 0
	for _, n := range c.order {
		if !onward || n.Peer == rec.Previous || n.Peer == rec.ID.Source.Node() || !c.isExpected(n) {
			continue
		}
		text += len(n.Peer.String()) + 1
		if len(neighbours) == maxSpreadNeighbours || text > maxSpreadText {
			break
		}
		neighbours = append(neighbours, n.Peer)
	}
	return store.MakeSpread(c.registeredAt(rec.Destination), neighbours)
}

// goesOn tells whether a bundle that has come may make another hop.
func (c *Core) goesOn(a *Arrival) bool {
	hops, counted := a.Bundle.HopCount()
	_, more := hops.Next()
	return !counted || more || a.Link == 0
}

// reachesNobody ends the way of a bundle for a non-singleton endpoint that has no
// registration here and can go on to no neighbour.
func (c *Core) reachesNobody(a *Arrival, rec *store.Record) {
	if a.Link == 0 {
		c.turnAway(a, rec.ID, unacceptable("%s reaches nobody: no application is registered at %s here, and there is no neighbour", rec.ID, rec.Destination))
		return
	}
	c.counters.BundlesDeleted++
	c.notify(app.EventDeleted, rec.ID, c.from(a), a.Size, "no application is registered here, and there is no other neighbour")
	c.receivedReports(a, rec)
	c.do(Reply{Token: a.Token})
}

// heldBy notes that a neighbour has a bundle, since it has sent it.
func (c *Core) heldBy(peer bundle.EID, e *entry) {
	if n := c.neighbours[peer]; n != nil {
		if _, flying := n.flying[e.rec.Handle]; !flying {
			c.served(e, peer)
		}
	}
}

// isExpected tells whether a neighbour will have a session again.
func (c *Core) isExpected(n *neighbour) bool {
	return n.configured || n.link != 0 || !c.isUnplanned(n.Peer)
}

// spreadOut takes up a stored bundle for a non-singleton endpoint.
func (c *Core) spreadOut(e *entry) {
	// The store has checked what it read. What cannot be taken apart goes nowhere.
	registrations, neighbours, _ := e.rec.Spread.Parse()
	s := &spread{neighbours: neighbours, leased: make(map[uint64]bool), acking: make(map[uint64]bool)}
	e.spread = s
	c.move(e, placeGroup, nil)
	c.groups.order = append(c.groups.order, e.rec.Handle)
	c.groups.n++
	c.groups.bytes += e.rec.Size
	for _, number := range registrations {
		if p := c.registrations[number]; p != nil {
			s.registrations = append(s.registrations, number)
			c.offerTo(p, e)
		}
	}
	c.fanOut(e)
	c.progress(e)
	c.limitGroups()
}

// fanOut queues a bundle for all neighbours that have not got it.
func (c *Core) fanOut(e *entry) {
	for _, peer := range slices.Clone(e.spread.neighbours) {
		n := c.neighbours[peer]
		if n == nil && !c.isUnplanned(peer) {
			n = c.neighbour(peer)
		}
		if n == nil || !c.isExpected(n) || n.most > 0 && n.most < e.rec.Size {
			e.spread.spare(peer)
			continue
		}
		if _, flying := n.flying[e.rec.Handle]; !flying {
			c.queueCopy(n, e, e.refusals > 0)
		}
	}
}

// queueCopy queues a bundle for one neighbour, unless it waits there.
func (c *Core) queueCopy(n *neighbour, e *entry, again bool) {
	// A queue without limits refuses nothing but what it has.
	_ = n.queue.Push(c.item(e, again))
}

// transmitCopy hands a bundle to one of the links that it goes over.
func (c *Core) transmitCopy(n *neighbour, e *entry) {
	n.handOver(e.rec.Handle, e.rec.Size, c.now)
	c.do(Transmit{Link: n.link, Record: e.rec, Changes: c.changes(n, e)})
}

// copySent takes the fate of a transmission to one neighbour of several.
func (c *Core) copySent(n *neighbour, e *entry, err error) {
	if !slices.Contains(e.spread.neighbours, n.Peer) {
		return // its lifetime is over, or the neighbour has sent it itself meanwhile
	}
	var refused *convergence.RefusedError
	errors.As(err, &refused)
	if err == nil || refused != nil && refused.Reason == convergence.RefuseCompleted {
		n.refusals = 0
		c.counters.BundlesSent++
		c.notify(app.EventSent, e.rec.ID, n.Peer, e.rec.Size, "")
		e.spread.sent = true
		c.served(e, n.Peer)
		return
	}
	c.notify(app.EventSendFailed, e.rec.ID, n.Peer, e.rec.Size, err.Error())
	switch {
	case errors.Is(err, ErrHopLimit):
		c.served(e, n.Peer)
	case refused == nil:
		c.holdCopies(e, dtntime.Second)
	case refused.Reason == convergence.RefuseNotAcceptable, refused.Reason == convergence.RefuseExtensionFailure:
		c.served(e, n.Peer)
	case refused.Reason == convergence.RefuseNoResources:
		n.pause(c.now)
		c.queueCopy(n, e, true)
	case refused.Reason == convergence.RefuseRetransmit, refused.Reason == convergence.RefuseSessionTerminating:
		c.holdCopies(e, dtntime.Second)
	default:
		c.holdCopies(e, backoff(e.refusals))
		e.refusals++
	}
}

// holdCopies has the neighbours that a bundle is not queued for wait for a while. The
// shortest such pause holds for all of them.
func (c *Core) holdCopies(e *entry, d dtntime.Duration) {
	until := c.now.Add(d)
	if e.hold != 0 && e.hold <= until {
		return
	}
	c.holdTill(e, until)
}

// served notes that a neighbour has a bundle, or will never take it.
func (c *Core) served(e *entry, peer bundle.EID) {
	if !e.spread.spare(peer) {
		return
	}
	if n := c.neighbours[peer]; n != nil {
		n.queue.Remove(e.rec.Handle)
	}
	if e.spread.sent && len(e.spread.neighbours) == 0 {
		c.report(&e.rec, bundle.FlagReportForwarded, bundle.ReasonNone)
	}
	c.progress(e)
}

// abandon stops waiting for a neighbour that is not expected again.
func (c *Core) abandon(n *neighbour) {
	if n.queue.Len() == 0 || c.isExpected(n) {
		return
	}
	var copies []*entry
	for item := range n.queue.All() {
		if e := c.entries[item.Handle]; e.place == placeGroup {
			copies = append(copies, e)
		}
	}
	for _, e := range copies {
		c.served(e, n.Peer)
	}
}

// progress makes durable what is left to be done with a bundle, or lets go of it when
// that is nothing. One change is under way at a time.
func (c *Core) progress(e *entry) {
	s := e.spread
	switch {
	case s.isOver():
		c.drop(e, 0, store.GoneForwarded, nil)
	case e.remaining().Spread == e.rec.Spread:
	case s.saving:
		s.stale = true
	default:
		s.saving, s.stale = true, false
		rec := e.remaining()
		c.persist(0, nil, func(err error) {
			s.saving = false
			switch {
			case c.entries[rec.Handle] != e:
			case err != nil:
				c.holdCopies(e, backoff(e.refusals)) // and then it is tried again
				e.refusals++
			default:
				e.rec.Spread = rec.Spread
				if s.stale {
					c.progress(e)
				}
			}
		}, store.Update{Record: rec})
	}
}

// remaining is the record of a bundle with what is left to be done now. That of the
// entry tells what is durable.
func (e *entry) remaining() store.Record {
	rec := e.rec
	open := slices.DeleteFunc(slices.Clone(e.spread.registrations), func(n uint64) bool { return e.spread.acking[n] })
	rec.Spread = store.MakeSpread(open, e.spread.neighbours)
	return rec
}

// isOver tells whether nothing is left.
func (s *spread) isOver() bool { return len(s.registrations) == 0 && len(s.neighbours) == 0 }

// forget takes a registration off the list.
func (s *spread) forget(number uint64) {
	s.registrations = slices.DeleteFunc(s.registrations, func(n uint64) bool { return n == number })
	delete(s.leased, number)
}

// spare takes a neighbour off the list and tells whether it was there.
func (s *spread) spare(peer bundle.EID) bool {
	before := len(s.neighbours)
	s.neighbours = slices.DeleteFunc(s.neighbours, func(n bundle.EID) bool { return n == peer })
	return len(s.neighbours) < before
}

// narrowToLeased is all that is left to be done with a bundle whose lifetime is over:
// the applications that have it may still make it their own.
func (c *Core) narrowToLeased(e *entry) {
	c.unlist(e)
	e.spread.neighbours = nil
	e.spread.registrations = slices.DeleteFunc(e.spread.registrations, func(n uint64) bool { return !e.spread.leased[n] })
}

// unlist takes a bundle off the lists of neighbours and registrations.
func (c *Core) unlist(e *entry) {
	for _, peer := range e.spread.neighbours {
		if n := c.neighbours[peer]; n != nil {
			n.queue.Remove(e.rec.Handle)
		}
	}
	for _, number := range e.spread.registrations {
		if p := c.registrations[number]; p != nil {
			p.remove(e.rec.Handle)
		}
	}
}

// leaveGroups takes a bundle out of those for non-singleton endpoints.
func (c *Core) leaveGroups(e *entry) {
	c.unlist(e)
	g := &c.groups
	g.n--
	g.bytes -= e.rec.Size
	if len(g.order) > 2*g.n+16 {
		g.order = slices.DeleteFunc(g.order, func(h store.Handle) bool {
			other := c.entries[h]
			return other == nil || other == e
		})
	}
}

// limitGroups drops the bundles that came first when there are too many.
func (c *Core) limitGroups() {
	g := &c.groups
	for g.n > max(c.cfg.MaxResident/groupShare, 1) || c.cfg.MaxGroup > 0 && g.bytes > c.cfg.MaxGroup {
		e := c.firstOfGroups()
		if e == nil {
			return
		}
		c.counters.BundlesDeleted++
		c.notify(app.EventDeleted, e.rec.ID, bundle.EID{}, e.rec.Size, "too many bundles for non-singleton endpoints wait")
		c.report(&e.rec, bundle.FlagReportDeleted, bundle.ReasonDepletedStorage)
		c.drop(e, 0, store.GoneForwarded, nil) // with what is left of it, a copy is known again
	}
}

// firstOfGroups returns the bundle to make room, nil for none. Those that applications
// have just taken are left to them, and what is being transmitted goes last.
func (c *Core) firstOfGroups() *entry {
	var flying *entry
	for _, h := range c.groups.order {
		e := c.entries[h]
		if e == nil || len(e.spread.leased) > 0 {
			continue
		}
		if !c.isFlying(e) {
			return e
		}
		if flying == nil {
			flying = e
		}
	}
	return flying
}

// isFlying tells whether a bundle is being transmitted to one of its neighbours.
func (c *Core) isFlying(e *entry) bool {
	return slices.ContainsFunc(e.spread.neighbours, func(peer bundle.EID) bool {
		n := c.neighbours[peer]
		return n != nil && n.flying[e.rec.Handle] > 0
	})
}
