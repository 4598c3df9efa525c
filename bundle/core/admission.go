package core

import (
	"errors"
	"slices"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/custody"
	"perigee/bundle/dtntime"
	"perigee/bundle/route"
	"perigee/bundle/store"
)

// CustodyPolicy bounds what this node becomes custodian of when others ask it to.
// What its own applications send, and what ends here, it answers for in any case,
// as far as there is room.
type CustodyPolicy struct {
	// Custodians and Sources are the nodes whose bundles are taken over: those
	// that the custodian, and the source of the bundle, is one of. Empty: all.
	Custodians, Sources []bundle.EID
	// MaxBundles is the most bundles in custody. 0: DefaultMaxCustody.
	MaxBundles int
	// Held counts the bundles in custody. Nil: those that are sent on from here
	// and in memory.
	Held func() int
	// MinLifetime is what must be left of a bundle's lifetime.
	MinLifetime dtntime.Duration
	// Space returns the bytes that bundles in custody may still take, beyond
	// what is kept free for other traffic. Nil: there is always room.
	Space func() int64
}

// DefaultMaxCustody is the most bundles in custody when the policy names no number.
const DefaultMaxCustody = 4_000_000

// maxAnswered is how many episodes of fragments are remembered as refused.
const maxAnswered = 1024

// isCustodyMalformed tells whether custody blocks of a bundle break the rules:
// custody is asked for by one block, of a bundle from a source that is known to
// one destination, and never for an administrative record. A bundle that breaks
// them travels without custody, and its blocks are carried along.
func isCustodyMalformed(b *bundle.Bundle, cp bundle.CodePoints) bool {
	if _, ok := cp.CustodyOf(b); ok {
		p := &b.Primary
		return p.Source.IsNull() || p.Destination.IsNull() || !p.Destination.IsSingleton() || p.Flags&bundle.FlagAdminRecord != 0
	}
	return slices.ContainsFunc(b.Extensions, func(x bundle.Block) bool {
		return x.Type == cp.Custody && !b.Encrypted(x.Number)
	})
}

// declines tells why this node does not become custodian of a bundle, or
// RefusalNone. A stray copy of its own transmission it adopts: no record means
// that the state was lost.
func (c *Core) declines(rec *store.Record, asked store.Episode) custody.Refusal {
	if rec.Flags&bundle.FlagFragment != 0 {
		return custody.RefusalFragment // one of them would release the whole bundle
	}
	if asked.Custodian.Node() == c.cfg.Node {
		return custody.RefusalNone
	}
	if !c.hasSpace(rec.Size) {
		return custody.RefusalStorage
	}
	if rec.Duty == store.DutyDeliver {
		return custody.RefusalNone
	}
	p := &c.cfg.Custody
	switch {
	case rec.Flags&bundle.FlagMustNotFragment == 0:
		return custody.RefusalFragment
	case !allows(p.Custodians, asked.Custodian) || !allows(p.Sources, rec.ID.Source):
		return custody.RefusalPolicy
	case rec.Expiry.Sub(c.now) < p.MinLifetime:
		return custody.RefusalLifetime
	case c.held() >= p.MaxBundles:
		return custody.RefusalIndexFull
	}
	_, err := c.router.Next(c.query(rec, nil), c.now)
	switch {
	case err == nil:
		return custody.RefusalNone
	case errors.Is(err, route.ErrTooLate), isTooLarge(err), errors.Is(err, route.ErrHeld):
		return custody.RefusalNoTimelyContact // not for good
	}
	return custody.RefusalNoRoute
}

// hasSpace tells whether a bundle in custody leaves the reserve untouched, with a
// tenth for what the store keeps beside it.
func (c *Core) hasSpace(size int64) bool {
	return c.cfg.Custody.Space == nil || c.cfg.Custody.Space() >= size+size/10
}

// held counts the bundles in custody here.
func (c *Core) held() int {
	if c.cfg.Custody.Held != nil {
		return c.cfg.Custody.Held()
	}
	held, _ := c.book.Len()
	return held
}

func allows(list []bundle.EID, e bundle.EID) bool {
	return len(list) == 0 || slices.Contains(list, e.Node())
}

// decline tells a custodian that this node does not take a bundle over. Fragments
// of one episode are answered once.
func (c *Core) decline(asked store.Episode, rec *store.Record, why custody.Refusal) {
	c.declined[why]++
	c.notify(app.EventCustodyDeclined, rec.ID, asked.Custodian, rec.Size, why.String())
	c.note(rec, bundle.StatusCustodyRefused)
	if rec.Flags&bundle.FlagFragment == 0 || c.answered.add(asked) {
		c.owe(asked, rec.Destination, false, rec.Expiry)
	}
}

// carries tells whether a bundle whose custody was declined goes on from here
// nevertheless, outside custody: fragments do, and what can leave in a contact
// that is open or the next with its neighbour.
func (c *Core) carries(rec *store.Record) bool {
	if rec.Flags&bundle.FlagFragment != 0 {
		return true
	}
	if rec.Duty == store.DutyDeliver {
		return false
	}
	d, err := c.router.Next(c.query(rec, nil), c.now)
	if err != nil {
		return false
	}
	n := c.neighbours[d.Next]
	if d.Contact == nil {
		return n != nil && n.link != 0
	}
	next, ok := c.plan.Next(c.cfg.Node, d.Next, c.now)
	return d.Contact.ActiveAt(c.now) || ok && d.Contact.Start == next.Start
}

// episodes are some episodes, the latest ones.
type episodes struct {
	known map[store.Episode]bool
	order []store.Episode // in the order they came
}

// add enters an episode and tells whether it was new.
func (s *episodes) add(e store.Episode) bool {
	if s.known[e] {
		return false
	}
	if s.known == nil {
		s.known = make(map[store.Episode]bool)
	}
	if len(s.order) == maxAnswered {
		delete(s.known, s.order[0])
		s.order = s.order[1:]
	}
	s.known[e] = true
	s.order = append(s.order, e)
	return true
}

// avoidance keeps a bundle from a neighbour for a while.
type avoidance struct {
	peer bundle.EID
	till dtntime.Time
}

// avoid keeps a bundle from a neighbour until a time.
func (e *entry) avoid(peer bundle.EID, till dtntime.Time) {
	for i := range e.avoided {
		if e.avoided[i].peer == peer {
			e.avoided[i].till = till
			return
		}
	}
	e.avoided = append(e.avoided, avoidance{peer, till})
}

// shunned returns the neighbours that a bundle may not go to now, and whether some
// of them only for a while.
func (e *entry) shunned(now dtntime.Time) (peers []bundle.EID, some bool) {
	e.avoided = slices.DeleteFunc(e.avoided, func(a avoidance) bool { return a.till <= now })
	if len(e.avoided) == 0 {
		return e.excluded, false
	}
	peers = slices.Clone(e.excluded)
	for _, a := range e.avoided {
		peers = append(peers, a.peer)
	}
	return peers, true
}

// allowed returns when the bundle may first go again to a neighbour that it is kept
// from, or 0.
func (e *entry) allowed() dtntime.Time {
	if len(e.avoided) == 0 {
		return 0
	}
	at := dtntime.Forever
	for _, a := range e.avoided {
		at = min(at, a.till)
	}
	return at
}

// custodyRefused keeps a bundle whose custody another node refused in custody here,
// and away from the neighbour that it was sent to: for good when that will never
// be of use, and else for a pause that doubles with each refusal and ends at the
// latest with the start of the next contact. Another way is taken at once.
func (c *Core) custodyRefused(from bundle.EID, e *entry, why custody.Refusal) {
	c.counters.CustodyRefused++
	c.notify(app.EventCustodyRefused, e.rec.ID, from, e.rec.Size, why.String())
	if e.place != placeAwait {
		return // it is not out any more
	}
	c.book.Return(e.rec.Handle)
	if why.Excludes() {
		e.excluded = append(e.excluded, e.via.Peer)
		c.dispatch(e, true)
		return
	}
	till := min(c.now.Add(backoff(e.refusals)), c.resumes(e.via.Peer))
	e.refusals++
	e.avoid(e.via.Peer, till)
	if _, err := c.next(e); err != nil {
		c.toLimbo(e, till)
		return
	}
	c.dispatch(e, true)
}

// unexclude gives neighbours that declined a bundle for good another chance, since
// with the plan their reasons may have changed.
func (c *Core) unexclude() {
	for _, e := range c.entries {
		e.excluded = nil
	}
}

// resumes returns when the next contact with a neighbour starts, after the one that
// is open, or dtntime.Forever.
func (c *Core) resumes(peer bundle.EID) dtntime.Time {
	after := c.now
	if open, ok := c.plan.Active(c.cfg.Node, peer, c.now); ok {
		after = open.End - 1
	}
	if next, ok := c.plan.Next(c.cfg.Node, peer, after); ok {
		return next.Start
	}
	return dtntime.Forever
}
