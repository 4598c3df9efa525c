package route

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

// Router finds next hops for one node. Its zero value is not usable. It is not
// safe for use by several goroutines at once.
type Router struct {
	me     bundle.EID
	static *Table
	plan   *contact.Plan
	linked []bundle.EID
	held   []bundle.EID
	guard  dtntime.Duration

	graph  *graph // nil until needed
	old    *graph // the one before, whose bookings graph takes over
	memory memory
	booked int    // bookings there are, and those of contacts of others that will stay
	freed  uint64 // counts up when one is given back
}

// New returns a router for the node me. Without a plan and standing links it knows
// only the static routes, which may be nil.
func New(me bundle.EID, static *Table) *Router {
	return &Router{me: me.Node(), static: static}
}

// SetPlan makes r search plan from now on. It costs nothing when the plan has the
// same contents as before. What is booked of contacts stays booked if they are in both.
func (r *Router) SetPlan(plan *contact.Plan) {
	if r.plan.Generation() != plan.Generation() {
		r.outdate()
	}
	r.plan = plan
}

// Plan returns the plan that r searches.
func (r *Router) Plan() *contact.Plan { return r.plan }

// SetStatic replaces the static routes.
func (r *Router) SetStatic(static *Table) { r.static = static }

// SetGuard sets how long before the end of each contact the last byte must have left,
// for clocks that differ.
func (r *Router) SetGuard(guard dtntime.Duration) {
	if guard != r.guard {
		r.guard = guard
		r.outdate()
	}
}

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
	if slices.Equal(linked, r.linked) {
		return
	}
	r.linked = linked
	if r.graph != nil && r.graph.setLinks(linked) {
		r.memory.clear()
		return
	}
	r.outdate()
}

// SetHeld names the neighbours whose links are held down: they are no next hops.
func (r *Router) SetHeld(nodes []bundle.EID) {
	r.held = slices.Clone(nodes)
	if r.graph != nil {
		r.memory.clear()
	}
}

// outdate has the graph laid out anew when it is needed next.
func (r *Router) outdate() {
	if r.graph != nil {
		r.old, r.graph = r.graph, nil
	}
}

// build lays out the plan when it or the links changed.
func (r *Router) build() {
	if r.graph == nil {
		r.graph = newGraph(r.plan, r.me, r.linked, r.guard, r.old)
		r.old = nil
		r.memory.clear()
	}
}

// Next returns the next hop of a bundle at now: the destination itself if there is
// a standing link to it, else what a static route for exactly its endpoint or
// node says, else the first hop of the way that arrives first by the plan, else
// what a wildcard says. Errors wrap ErrNoRoute or ErrTooLate.
//
// By the plan, a way must have room in each contact for the bundle beside those of at
// least its priority that are booked. Where there is none, the bundle is on standby: it
// gets the way that would be first without them.
func (r *Router) Next(q Query, now dtntime.Time) (Decision, error) {
	d, err := r.next(q, now)
	if err == nil || len(r.held) == 0 {
		return d, err
	}
	q.released = true
	if over, heldErr := r.next(q, now); heldErr == nil {
		return Decision{}, fmt.Errorf("%w to %s but over %s: %w", ErrNoRoute, q.Dest, over.Next, ErrHeld)
	}
	return d, err
}

func (r *Router) next(q Query, now dtntime.Time) (Decision, error) {
	dest := q.Dest.Node()
	switch {
	case dest.IsNull():
		return Decision{}, fmt.Errorf("%w to the null endpoint", ErrNoRoute)
	case dest == r.me:
		return Decision{}, fmt.Errorf("%w to %s: it is on this node, so deliver the bundle here", ErrNoRoute, q.Dest)
	case now >= q.Expiry:
		return Decision{}, fmt.Errorf("routing a bundle to %s at %s: %w, which it did at %s", q.Dest, now, ErrTooLate, q.Expiry)
	case r.isLinked(dest) && !r.excludes(&q, dest):
		return Decision{Next: dest, Arrival: now, Via: ViaDirect, Confidence: 1}, nil
	}
	r.build()
	late := false
	for next := range r.static.exactly(q.Dest) {
		d, ok, tooLate := r.followStatic(&q, next, now)
		if ok {
			return d, nil
		}
		late = late || tooLate
	}
	d, err := r.byPlan(&q, dest, none, now)
	if err == nil {
		return d, nil
	}
	for next := range r.static.roughly(q.Dest) {
		d, ok, tooLate := r.followStatic(&q, next, now)
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

// excludes tells whether node may not be the next hop of a bundle, or of none.
func (r *Router) excludes(q *Query, node bundle.EID) bool {
	return q.excludes(node) || !q.released && r.isHeld(node)
}

// isHeld tells whether the link with a neighbour is held down.
func (r *Router) isHeld(node bundle.EID) bool { return slices.Contains(r.held, node) }

// excludes tells whether node may not be the next hop because of the bundle.
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

// loads yields what is asked of contacts for a bundle, what is preferred first: room
// beside what is booked, and the bundle whole.
func (r *Router) loads(q *Query) iter.Seq[load] {
	return func(yield func(load) bool) {
		for _, counting := range [2]bool{true, false} {
			if counting && (q.Empty || r.booked == 0) {
				continue // there is nothing to count
			}
			l := load{volume(q.Size), q.Priority, true, counting}
			if !yield(l) {
				return
			}
			if l.size = volume(q.Least); q.Least > 0 && q.Least < q.Size && !yield(l) {
				return
			}
		}
	}
}

// byPlan decides by the contact plan and the standing links, with a given first hop
// unless that is none. Of what loads yields, likely ways come first.
func (r *Router) byPlan(q *Query, dest bundle.EID, first int32, now dtntime.Time) (Decision, error) {
	to, known := r.graph.number[dest]
	if !known {
		return Decision{}, fmt.Errorf("%w to %s: neither a static route nor the contact plan knows its node", ErrNoRoute, q.Dest)
	}
	if q.Astray {
		if w, ok := r.straight(q, to, first, now); ok {
			return r.decide(q, &w, now), nil
		}
	}
	latest := dtntime.Time(0)
	for l := range r.loads(q) {
		for _, certain := range [2]float64{MinConfidence, 0} {
			if certain > 0 && !r.graph.uncertain {
				continue
			}
			w := r.find(q, &demand{load: l, to: to, ready: now, certain: certain, first: first})
			if len(w.hops) > 0 && w.arrival <= q.Expiry {
				return r.decide(q, &w, now), nil
			}
			if len(w.hops) > 0 {
				latest = w.arrival
			}
		}
	}
	switch {
	case latest > 0:
		return Decision{}, fmt.Errorf("routing a bundle to %s: %w: at %s, not before %s", q.Dest, ErrTooLate, q.Expiry, latest)
	case len(r.find(q, &demand{to: to, ready: now, first: first}).hops) > 0:
		return Decision{}, fmt.Errorf("%w to %s for %d bytes: %w; cut the data into smaller bundles", ErrNoRoute, q.Dest, q.Size, ErrTooLarge)
	}
	return Decision{}, fmt.Errorf("%w to %s: no contact from now on leads there", ErrNoRoute, q.Dest)
}

// straight returns the way with the fewest hops: one with room beside what is booked if
// there is one that has no more hops than without bookings. Likely ways come first.
func (r *Router) straight(q *Query, to, first int32, now dtntime.Time) (way, bool) {
	for _, certain := range [2]float64{MinConfidence, 0} {
		if certain > 0 && !r.graph.uncertain {
			continue
		}
		d := demand{load: load{volume(q.Size), q.Priority, true, false}, to: to, ready: now, certain: certain, most: maxHops, first: first}
		w := r.find(q, &d)
		if len(w.hops) == 0 || w.arrival > q.Expiry {
			continue
		}
		if d.counting = !q.Empty && r.booked > 0; d.counting {
			d.most = int32(len(w.hops))
			if roomy := r.find(q, &d); len(roomy.hops) > 0 && roomy.arrival <= q.Expiry {
				return roomy, true
			}
		}
		return w, true
	}
	return way{}, false
}

// maxHops is the most that a hop count block allows (RFC 9171 section 4.4.3).
const maxHops = math.MaxUint8

// decide makes a decision of a way.
func (r *Router) decide(q *Query, w *way, now dtntime.Time) Decision {
	d := Decision{
		Next: r.graph.nodes[w.hops[0].to], Arrival: w.arrival, Via: ViaPlan, Confidence: 1,
		Standby: !w.load.counting && !q.Empty && r.booked > 0,
		hops:    w.hops, volume: w.load.size, priority: q.Priority, cut: w.load.size < volume(q.Size),
	}
	for _, h := range w.hops {
		if h.span != nil {
			d.Confidence *= h.span.Confidence()
		}
	}
	if s := w.hops[0].span; s != nil {
		c := s.At(now)
		d.Contact = &c
		// A bundle in pieces takes what there is.
		d.volume = max(d.volume, min(volume(q.Size), s.room(now)-s.taken(q.Priority)))
	}
	return d
}

// followStatic tells whether the neighbour next, which a static route names, can
// take the bundle, and if not, whether that is for want of time.
func (r *Router) followStatic(q *Query, next bundle.EID, now dtntime.Time) (d Decision, ok, tooLate bool) {
	if next == r.me || r.excludes(q, next) {
		return Decision{}, false, false
	}
	d = Decision{Next: next, Via: ViaStatic, Confidence: 1, volume: volume(q.Size), priority: q.Priority}
	if r.isLinked(next) {
		return d, true, false
	}
	number, known := r.graph.number[next]
	var e *edge
	if known {
		e = r.graph.edge(r.graph.me, number)
	}
	if e == nil {
		return d, true, false // it may come by itself
	}
	for l := range r.loads(q) {
		if s := e.soonest(now, q.Expiry, &l); s != nil {
			w := way{load: l, hops: []hop{{number, s}}}
			d = r.decide(q, &w, now)
			d.Via = ViaStatic
			return d, true, false
		}
	}
	return d, false, true
}

// soonest returns the first span of this node in which a message can leave so that it
// arrives by a time, nil for none.
func (e *edge) soonest(ready, by dtntime.Time, l *load) *span {
	behind := int64(0)
	for _, s := range e.spans[e.unended(ready):] {
		if last, ok := s.queued(ready, l, &behind); ok && s.arrival(last) <= by {
			return s
		}
	}
	return nil
}
