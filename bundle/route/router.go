// Package route decides which neighbour a bundle goes to next.
//
// It owns the table of static routes and the search over the contact plan. It
// refuses to know what waits in queues, which bundles there are and whether a
// link is up; it is told the time.
package route

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

// Errors that callers branch on.
var (
	// ErrNoRoute: no way to the destination is known.
	ErrNoRoute = errors.New("no route")
	// ErrTooLate: there is a way, but the bundle expires before it arrives.
	ErrTooLate = errors.New("no route arrives before the bundle expires")
	// ErrTooLarge: there is a way, but no contact on it can carry the bundle
	// whole. It comes along with ErrNoRoute.
	ErrTooLarge = errors.New("bundle does not fit into any contact on the way")
)

// Via says what a decision rests on.
type Via string

// Reasons for a decision.
const (
	ViaDirect Via = "direct" // a standing link to the destination itself
	ViaStatic Via = "static" // a static route
	ViaPlan   Via = "plan"   // the search over the contact plan
)

// slack is how much later than the best a remembered route may arrive.
const slack = dtntime.Second

// maxRemembered is how many routes are remembered at most.
const maxRemembered = 4096

// Query is a bundle in search of its next hop.
type Query struct {
	Dest   bundle.EID
	Size   int64        // of the whole bundle, in bytes
	Expiry dtntime.Time // dtntime.Forever for never
	// Previous is the node that the bundle came from, or null. It is no next
	// hop, unless it is the destination.
	Previous bundle.EID
	// Exclude are neighbours that are no next hop for now.
	Exclude []bundle.EID
}

// Decision is the next hop of a bundle.
type Decision struct {
	Next bundle.EID // a node ID
	// Contact is the contact to send the bundle in. It is nil when Next is
	// reached over a standing link or is in no plan.
	Contact *contact.Contact
	// Arrival is when the bundle reaches its destination if nothing delays
	// it, or 0 when that is unknown because a static route decided.
	Arrival dtntime.Time
	Via     Via
}

// Router finds next hops for one node. Its zero value is not usable. It is not
// safe for use by several goroutines at once.
type Router struct {
	me     bundle.EID
	static *Table
	plan   *contact.Plan
	linked []bundle.EID

	graph      *graph // nil until needed
	remembered map[memoryKey]memory
}

type memoryKey struct {
	dest  int32
	class int // of the size: the number of its bits
}

// memory is a search that was done: the best way at the time, or none.
type memory struct {
	size     int64
	ready    dtntime.Time
	arrival  dtntime.Time // dtntime.Forever for none
	contacts []int32
	nodes    []int32
}

// New returns a router for the node me. Without a plan and standing links it knows
// only the static routes, which may be nil.
func New(me bundle.EID, static *Table) *Router {
	return &Router{me: me.Node(), static: static}
}

// SetPlan makes r search plan from now on. It costs nothing when the plan has the
// same contents as before.
func (r *Router) SetPlan(plan *contact.Plan) {
	if r.plan.Generation() != plan.Generation() {
		r.graph = nil
	}
	r.plan = plan
}

// Plan returns the plan that r searches.
func (r *Router) Plan() *contact.Plan { return r.plan }

// SetStatic replaces the static routes.
func (r *Router) SetStatic(static *Table) { r.static = static }

// SetLinked names the neighbours to which there is a standing link: one that is up
// at all times, both ways, whatever the plan says.
func (r *Router) SetLinked(nodes []bundle.EID) {
	linked := make([]bundle.EID, 0, len(nodes))
	for _, n := range nodes {
		if n = n.Node(); !n.IsNull() && n != r.me {
			linked = append(linked, n)
		}
	}
	slices.SortFunc(linked, contact.CompareEID)
	linked = slices.Compact(linked)
	if !slices.Equal(linked, r.linked) {
		r.linked = linked
		r.graph = nil
	}
}

// Next returns the next hop of a bundle at now: the destination itself if there is
// a standing link to it, else what a static route for exactly its endpoint or
// node says, else the first hop of the way that arrives first by the plan, else
// what a wildcard says. Errors wrap ErrNoRoute or ErrTooLate.
func (r *Router) Next(q Query, now dtntime.Time) (Decision, error) {
	dest := q.Dest.Node()
	switch {
	case dest.IsNull():
		return Decision{}, fmt.Errorf("%w to the null endpoint", ErrNoRoute)
	case dest == r.me:
		return Decision{}, fmt.Errorf("%w to %s: it is on this node, so deliver the bundle here", ErrNoRoute, q.Dest)
	case now >= q.Expiry:
		return Decision{}, fmt.Errorf("routing a bundle to %s at %s: %w, which it did at %s", q.Dest, now, ErrTooLate, q.Expiry)
	case r.isLinked(dest) && !q.excludes(dest):
		return Decision{Next: dest, Arrival: now, Via: ViaDirect}, nil
	}
	late := false
	for next := range r.static.exactly(q.Dest) {
		d, ok, tooLate := r.followStatic(q, next, now)
		if ok {
			return d, nil
		}
		late = late || tooLate
	}
	d, err := r.byPlan(q, dest, now)
	if err == nil {
		return d, nil
	}
	for next := range r.static.roughly(q.Dest) {
		d, ok, tooLate := r.followStatic(q, next, now)
		if ok {
			return d, nil
		}
		late = late || tooLate
	}
	if late && !errors.Is(err, ErrTooLate) {
		err = fmt.Errorf("routing a bundle of %d bytes to %s: the contacts of its static route are over or too small: %w", q.Size, q.Dest, ErrTooLate)
	}
	return Decision{}, err
}

func (r *Router) isLinked(node bundle.EID) bool {
	_, found := slices.BinarySearchFunc(r.linked, node, contact.CompareEID)
	return found
}

// excludes tells whether node may not be the next hop.
func (q *Query) excludes(node bundle.EID) bool {
	if node == q.Previous.Node() && node != q.Dest.Node() {
		return true
	}
	for _, e := range q.Exclude {
		if e.Node() == node {
			return true
		}
	}
	return false
}

// followStatic tells whether the neighbour next, which a static route names, can
// take the bundle, and if not, whether that is for want of time.
func (r *Router) followStatic(q Query, next bundle.EID, now dtntime.Time) (d Decision, ok, tooLate bool) {
	if next == r.me || q.excludes(next) {
		return Decision{}, false, false
	}
	d = Decision{Next: next, Via: ViaStatic}
	if r.isLinked(next) {
		return d, true, false
	}
	c, ok := r.plan.Active(r.me, next, now)
	if !ok {
		c, ok = r.plan.Next(r.me, next, now)
	}
	for ; ok && c.Start <= q.Expiry; c, ok = r.plan.Next(r.me, next, c.Start) {
		if arrival, fits := arrive(&c, now, volume(q.Size), true); fits && arrival <= q.Expiry {
			d.Contact = &c
			return d, true, false
		}
	}
	_, first := r.plan.Active(r.me, next, 0)
	_, later := r.plan.Next(r.me, next, 0)
	scheduled := first || later
	return d, !scheduled, scheduled
}

// volume returns how much of a contact a bundle of size bytes is reckoned to take,
// with the framing of the layers below (CCSDS 734.3-B-1, estimated volume
// consumption).
func volume(size int64) int64 {
	size = max(size, 0)
	return size + max(100, size/100*3)
}

// byPlan decides by the contact plan and the standing links.
func (r *Router) byPlan(q Query, dest bundle.EID, now dtntime.Time) (Decision, error) {
	m, err := r.way(q, dest, now)
	if err != nil {
		return Decision{}, err
	}
	d := Decision{Next: r.graph.nodes[m.nodes[0]], Arrival: m.arrival, Via: ViaPlan}
	if i := m.contacts[0]; i != overLink {
		c := r.graph.contacts[i]
		d.Contact = &c
	}
	return d, nil
}

// way finds the way by which a bundle gets to dest first.
func (r *Router) way(q Query, dest bundle.EID, now dtntime.Time) (memory, error) {
	r.build()
	to, known := r.graph.number[dest]
	if !known {
		return memory{}, fmt.Errorf("%w to %s: neither a static route nor the contact plan knows its node", ErrNoRoute, q.Dest)
	}
	size := volume(q.Size)
	m := r.find(q, to, size, now)
	switch {
	case m.arrival <= q.Expiry && len(m.nodes) > 0:
		return m, nil
	case len(m.nodes) > 0:
		return memory{}, fmt.Errorf("routing a bundle to %s: %w: at %s, not before %s", q.Dest, ErrTooLate, q.Expiry, m.arrival)
	case len(r.find(q, to, 0, now).nodes) > 0:
		return memory{}, fmt.Errorf("%w to %s for %d bytes: %w; cut the data into smaller bundles", ErrNoRoute, q.Dest, q.Size, ErrTooLarge)
	}
	return memory{}, fmt.Errorf("%w to %s: no contact from now on leads there", ErrNoRoute, q.Dest)
}

// find returns the way for size bytes, remembered or searched.
func (r *Router) find(q Query, to int32, size int64, now dtntime.Time) memory {
	if m, ok := r.recall(q, to, size, now); ok {
		return m
	}
	return r.seek(q, to, size, now)
}

// build lays out the plan when it or the links changed.
func (r *Router) build() {
	if r.graph == nil {
		r.graph = newGraph(r.plan, r.me, r.linked)
		r.remembered = make(map[memoryKey]memory)
	}
}

// recall returns a search that answers q as well, if one is remembered.
//
// A search for no more bytes, at no later a time and with no node excluded bounds
// the arrival of every other from below. So its way is good enough if it still
// can be gone, arrives within slack of that bound and does not begin with an
// excluded node; and where there was none then, there is none now.
func (r *Router) recall(q Query, to int32, size int64, now dtntime.Time) (memory, bool) {
	m, ok := r.remembered[keyOf(to, size)]
	if !ok || m.size > size || m.ready > now {
		return memory{}, false
	}
	if len(m.nodes) == 0 {
		return m, true
	}
	if q.excludes(r.graph.nodes[m.nodes[0]]) {
		return memory{}, false
	}
	at := now
	for _, i := range m.contacts {
		if i == overLink {
			continue
		}
		if at, ok = arrive(&r.graph.contacts[i], at, size, true); !ok {
			return memory{}, false
		}
	}
	if at > m.arrival.Add(slack) || at > q.Expiry && m.arrival <= q.Expiry {
		return memory{}, false
	}
	m.arrival = at
	return m, true
}

func keyOf(to int32, size int64) memoryKey { return memoryKey{to, bits.Len64(uint64(size))} }

// seek searches, and remembers what it finds unless the search was narrowed by an
// excluded node.
func (r *Router) seek(q Query, to int32, size int64, now dtntime.Time) memory {
	g, narrowed := r.graph, false
	found := g.earliest(demand{
		from: g.number[r.me], to: to, ready: now, size: size, mustFit: true,
		excluded: func(n int32) bool {
			no := q.excludes(g.nodes[n])
			narrowed = narrowed || no
			return no
		},
	})
	m := memory{size: size, ready: now, arrival: dtntime.Forever}
	if found {
		m.arrival = g.labels[to].arrival
		m.contacts, m.nodes = g.path(to)
	}
	if !narrowed {
		if len(r.remembered) >= maxRemembered {
			clear(r.remembered)
		}
		r.remembered[keyOf(to, size)] = m
	}
	return m
}

// Hop is one step of a way: over a contact, or over a standing link if Contact is
// nil.
type Hop struct {
	To      bundle.EID
	Contact *contact.Contact
}

// Path returns the whole way by which a bundle reaches its destination first by
// plan and standing links, static routes left aside, and when it arrives. Errors
// wrap ErrNoRoute or ErrTooLate.
func (r *Router) Path(q Query, now dtntime.Time) ([]Hop, dtntime.Time, error) {
	dest := q.Dest.Node()
	if dest.IsNull() || dest == r.me {
		return nil, 0, fmt.Errorf("%w to %s: it is on no other node", ErrNoRoute, q.Dest)
	}
	m, err := r.way(q, dest, now)
	if err != nil {
		return nil, 0, err
	}
	hops := make([]Hop, len(m.nodes))
	for i, n := range m.nodes {
		hops[i].To = r.graph.nodes[n]
		if k := m.contacts[i]; k != overLink {
			c := r.graph.contacts[k]
			hops[i].Contact = &c
		}
	}
	return hops, m.arrival, nil
}

// signalSize is the size of the message that EarliestArrival reckons with.
const signalSize = 1024

// EarliestArrival returns when a small message that is ready at one node at ready
// can reach another, by plan and standing links, and false when it cannot.
// Custody deadlines are made of it: how full contacts are does not matter.
func (r *Router) EarliestArrival(from, to bundle.EID, ready dtntime.Time) (dtntime.Time, bool) {
	from, to = from.Node(), to.Node()
	if from == to {
		return ready, true
	}
	r.build()
	a, knownA := r.graph.number[from]
	b, knownB := r.graph.number[to]
	if !knownA || !knownB || !r.graph.earliest(demand{from: a, to: b, ready: ready, size: signalSize}) {
		return 0, false
	}
	return r.graph.labels[b].arrival, true
}
