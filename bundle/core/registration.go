package core

import (
	"errors"
	"fmt"
	"slices"

	"perigee/bundle"
	"perigee/bundle/store"
)

// ErrNotRegistered says that nobody is registered so, or not any more.
var ErrNotRegistered = errors.New("not registered")

// Registration is that of an application at a non-singleton endpoint, whatever the
// node in its name (RFC 9171 section 3.1). Each gets its own copy of what comes for
// the endpoint from then on. Numbers are above 0 and never used again.
type Registration struct {
	Number   uint64
	Endpoint bundle.EID
}

// registration is a Registration and what waits there.
type registration struct {
	Registration
	endpoint
}

// seat is where an application waits: at a local endpoint, or under a registration.
type seat struct {
	endpoint     bundle.EID
	registration uint64
}

// checkRegistration tells whether an application can be registered so.
func checkRegistration(r Registration) error {
	if r.Number == 0 || r.Endpoint.IsSingleton() {
		return fmt.Errorf("registration %d at %s: only a non-singleton endpoint, such as dtn://fleet/~news, takes registrations", r.Number, r.Endpoint)
	}
	return nil
}

func (c *Core) register(r Registration) {
	if c.registrations[r.Number] == nil {
		c.registrations[r.Number] = &registration{Registration: r}
	}
}

// registeredAt returns the numbers of the registrations at an endpoint, in order.
func (c *Core) registeredAt(e bundle.EID) []uint64 {
	var list []uint64
	for _, n := range sortedKeys(c.registrations) {
		if c.registrations[n].Endpoint == e {
			list = append(list, n)
		}
	}
	return list
}

// unregister ends a registration. What waits for it alone is not kept any more.
func (c *Core) unregister(number uint64) {
	p := c.registrations[number]
	if p == nil {
		return
	}
	delete(c.registrations, number)
	for _, token := range p.waiting {
		delete(c.receivers, token)
		c.do(Reply{Token: token, Err: ErrNotRegistered})
	}
	l := c.lanes[store.Lane{Duty: store.DutyGroup, Destination: p.Endpoint}]
	if l == nil {
		return
	}
	var concerned []*entry
	for e := l.residents.first; e != nil; e = e.after {
		if e.place == placeGroup && slices.Contains(e.spread.registrations, number) {
			concerned = append(concerned, e)
		}
	}
	for _, e := range concerned {
		e.spread.forget(number)
		c.progress(e)
	}
}

// receiveAs lets an application wait under its registration.
func (c *Core) receiveAs(ev Receive) {
	p := c.registrations[ev.Registration]
	if p == nil || p.Endpoint != ev.Endpoint {
		c.do(Reply{Token: ev.Token, Err: ErrNotRegistered})
		return
	}
	c.receivers[ev.Token] = seat{ev.Endpoint, ev.Registration}
	p.waiting = append(p.waiting, ev.Token)
	c.handTo(p)
	if l := c.lanes[store.Lane{Duty: store.DutyGroup, Destination: ev.Endpoint}]; l != nil {
		c.want(l)
	}
}

// offerTo puts a bundle up for the applications of a registration.
func (c *Core) offerTo(p *registration, e *entry) {
	p.add(e.rec.Handle)
	c.handTo(p)
}

// handTo gives waiting bundles to the applications of a registration.
func (c *Core) handTo(p *registration) {
	for len(p.ready) > 0 && len(p.waiting) > 0 {
		e := c.entries[p.ready[0]]
		token := p.waiting[0]
		p.ready, p.waiting = p.ready[1:], p.waiting[1:]
		delete(c.receivers, token)
		e.spread.leased[p.Number] = true
		c.do(Deliver{Token: token, Record: e.rec, Registration: p.Number})
	}
}

// ackCopy takes note that the application of a registration has made a bundle its
// own. That is durable before it is answered, and the others are not concerned.
func (c *Core) ackCopy(ev Ack, e *entry) {
	s, number := e.spread, ev.Registration
	if !s.leased[number] || s.acking[number] {
		c.do(Reply{Token: ev.Token, Err: store.ErrNotFound})
		return
	}
	rec := e.rec
	if len(s.registrations) == 1 && len(s.neighbours) == 0 {
		c.drop(e, ev.Token, store.GoneDelivered, func(err error) { c.acked(ev.Token, &rec, err) })
		return
	}
	s.acking[number] = true
	acked := e.remaining()
	c.persist(ev.Token, nil, func(err error) {
		delete(s.acking, number)
		if err == nil {
			s.forget(number)
			e.rec.Spread = acked.Spread
		}
		c.acked(ev.Token, &rec, err)
		if c.entries[rec.Handle] == e {
			c.progress(e) // after a failure too: what was written since may say otherwise
		}
	}, store.Update{Record: acked})
}

// releaseCopy takes a bundle back from the application of a registration.
func (c *Core) releaseCopy(ev Release, e *entry) {
	s, number := e.spread, ev.Registration
	if !s.leased[number] || s.acking[number] {
		return
	}
	delete(s.leased, number)
	p := c.registrations[number]
	switch {
	case p == nil:
		s.forget(number)
		c.progress(e)
	case e.rec.Expiry > c.now:
		c.offerTo(p, e)
	case len(s.leased) == 0:
		c.outlived(e)
	default:
		s.forget(number)
		c.progress(e)
	}
}

// Waiting counts the bundles in memory that a registration has not acknowledged.
func (c *Core) Waiting(number uint64) int {
	p := c.registrations[number]
	if p == nil {
		return 0
	}
	n := len(p.ready)
	if l := c.lanes[store.Lane{Duty: store.DutyGroup, Destination: p.Endpoint}]; l != nil {
		for e := l.residents.first; e != nil; e = e.after {
			if e.place == placeGroup && e.spread.leased[number] {
				n++
			}
		}
	}
	return n
}
