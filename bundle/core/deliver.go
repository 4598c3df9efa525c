package core

import (
	"slices"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/store"
)

// endpoint is a local endpoint: the bundles that wait for it and the applications
// that wait at it.
type endpoint struct {
	ready   []store.Handle // in order of acceptance
	waiting []Token        // first come, first served
}

func (p *endpoint) add(h store.Handle) {
	i, _ := slices.BinarySearch(p.ready, h)
	p.ready = slices.Insert(p.ready, i, h)
}

func (p *endpoint) remove(h store.Handle) {
	if i, ok := slices.BinarySearch(p.ready, h); ok {
		p.ready = slices.Delete(p.ready, i, i+1)
	}
}

func (c *Core) endpoint(e bundle.EID) *endpoint {
	p := c.endpoints[e]
	if p == nil {
		p = new(endpoint)
		c.endpoints[e] = p
	}
	return p
}

// offer puts a bundle up for the applications at its destination.
func (c *Core) offer(e *entry) {
	p := c.endpoint(e.rec.Destination)
	c.move(e, placeReady, nil)
	p.add(e.rec.Handle)
	c.hand(e.rec.Destination)
}

// hand gives waiting bundles to waiting applications.
func (c *Core) hand(at bundle.EID) {
	p := c.endpoint(at)
	for len(p.ready) > 0 && len(p.waiting) > 0 {
		e := c.entries[p.ready[0]]
		token := p.waiting[0]
		p.ready, p.waiting = p.ready[1:], p.waiting[1:]
		delete(c.receivers, token)
		c.move(e, placeLeased, nil)
		c.do(Deliver{Token: token, Record: e.rec})
	}
	c.tidy(at)
}

func (c *Core) receive(ev Receive) {
	if ev.Registration != 0 {
		c.receiveAs(ev)
		return
	}
	p := c.endpoint(ev.Endpoint)
	c.receivers[ev.Token] = seat{endpoint: ev.Endpoint}
	p.waiting = append(p.waiting, ev.Token)
	c.hand(ev.Endpoint)
	if l := c.lanes[store.Lane{Duty: store.DutyDeliver, Destination: ev.Endpoint}]; l != nil {
		c.want(l)
	}
}

func (c *Core) cancel(ev Cancel) {
	at, ok := c.receivers[ev.Token]
	if !ok {
		return
	}
	delete(c.receivers, ev.Token)
	if at.registration != 0 {
		c.registrations[at.registration].withdraw(ev.Token)
		return
	}
	c.endpoints[at.endpoint].withdraw(ev.Token)
	c.tidy(at.endpoint)
}

// withdraw takes an application off those that wait.
func (p *endpoint) withdraw(token Token) {
	p.waiting = slices.DeleteFunc(p.waiting, func(t Token) bool { return t == token })
}

// tidy forgets an endpoint at which nothing waits.
func (c *Core) tidy(at bundle.EID) {
	if p := c.endpoints[at]; p != nil && len(p.waiting) == 0 && len(p.ready) == 0 {
		delete(c.endpoints, at)
	}
}

// ack takes a bundle out of the store: an application has made it its own.
func (c *Core) ack(ev Ack) {
	e := c.entries[ev.Handle]
	if e != nil && e.place == placeGroup {
		c.ackCopy(ev, e)
		return
	}
	if e == nil || e.place != placeLeased {
		c.do(Reply{Token: ev.Token, Err: store.ErrNotFound})
		return
	}
	rec := e.rec
	c.drop(e, ev.Token, store.GoneDelivered, func(err error) { c.acked(ev.Token, &rec, err) })
}

// acked answers an acknowledgement that is durable, or is not.
func (c *Core) acked(token Token, rec *store.Record, err error) {
	if err == nil {
		c.counters.BundlesDelivered++
		c.notify(app.EventDelivered, rec.ID, bundle.EID{}, rec.PayloadLen, "")
		c.report(rec, bundle.FlagReportDelivered, bundle.ReasonNone)
	}
	c.do(Reply{Token: token, Err: err})
}

func (c *Core) release(ev Release) {
	e := c.entries[ev.Handle]
	switch {
	case e != nil && e.place == placeGroup:
		c.releaseCopy(ev, e)
	case e == nil || e.place != placeLeased:
	case e.rec.Expiry <= c.now:
		c.outlived(e)
	case e.lane.more && e.rec.Handle > e.lane.mark:
		c.evict(e) // those before it are to be delivered first
	default:
		c.offer(e)
	}
}
