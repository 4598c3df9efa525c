package route

import (
	"math/bits"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

const (
	// slack is how much later than the best a remembered way may arrive.
	slack = dtntime.Second
	// fresh is how long a way that reckons with bookings is remembered, since
	// bundles may leave faster than the plan says.
	fresh = dtntime.Second
	// maxRemembered is how many ways are remembered at most.
	maxRemembered = 4096
)

// memory is the searches that were done.
type memory struct{ ways map[memoryKey]way }

// memoryKey is what a search was for.
type memoryKey struct {
	to, shunned int32
	class       uint8 // of the size: the number of its bits
	priority    bundle.Priority
	counting    bool
	released    bool
	certain     bool
	most        int32
}

// way is what a search found: the best way at the time, or none.
type way struct {
	load    load
	ready   dtntime.Time
	arrival dtntime.Time // dtntime.Forever for none
	hops    []hop        // not to be changed
	freed   uint64       // that of the Router then
	until   dtntime.Time // when the next span of this node ends, and what is booked of it goes elsewhere
}

func (m *memory) clear() { m.ways = make(map[memoryKey]way) }

func (m *memory) add(k memoryKey, w way) {
	if len(m.ways) >= maxRemembered {
		clear(m.ways)
	}
	m.ways[k] = w
}

// find returns the way of a bundle, remembered or searched.
func (r *Router) find(q *Query, d *demand) way {
	g := r.graph
	d.from, d.shunned = g.me, g.shunned(q)
	k := memoryKey{d.to, d.shunned, uint8(bits.Len64(uint64(d.size))), d.priority, d.counting, q.released, d.certain > 0, d.most}
	if w, ok := r.recall(k, q, d); ok {
		return w
	}
	narrowed := d.first != none
	if len(q.Exclude) > 0 || len(r.held) > 0 {
		d.exclude = func(n int32) bool {
			no := q.excludes(g.nodes[n])
			narrowed = narrowed || no
			return no || !q.released && r.isHeld(g.nodes[n])
		}
	}
	w := r.seek(d)
	if !narrowed {
		r.memory.add(k, w)
	}
	return w
}

// seek searches.
func (r *Router) seek(d *demand) way {
	w := way{load: d.load, ready: d.ready, arrival: dtntime.Forever, freed: r.freed, until: r.graph.nextEnd(d.ready)}
	if i := r.graph.earliest(d); i != none {
		w.arrival, w.hops = r.graph.scratch.labels[i].arrival, r.graph.path(i)
	}
	return w
}

// nextEnd returns when the first span of this node ends that has not.
func (g *graph) nextEnd(now dtntime.Time) dtntime.Time {
	end := dtntime.Forever
	for i := range g.edges[g.me] {
		e := &g.edges[g.me][i]
		if k := e.unended(now); k < len(e.spans) {
			end = min(end, e.spans[k].stop)
		}
	}
	return end
}

// shunned is the node that the way of a bundle does not touch, or none.
func (g *graph) shunned(q *Query) int32 {
	if q.Previous.IsNull() || q.Previous.Node() == q.Dest.Node() {
		return none
	}
	if n, known := g.number[q.Previous.Node()]; known {
		return n
	}
	return none
}

// recall returns a search that answers q as well, if one is remembered.
//
// A search for no more bytes, at no later a time, beside no more bookings and with no
// neighbour excluded bounds the arrival of every other from below. So its way is good
// enough if it still can be gone, arrives within slack of that bound and does not begin
// with an excluded neighbour; and where there was none then, there is none now.
func (r *Router) recall(k memoryKey, q *Query, d *demand) (way, bool) {
	w, ok := r.memory.ways[k]
	switch {
	case !ok, d.first != none, w.load.size > d.size, w.ready > d.ready:
		return way{}, false
	case d.counting && (w.freed != r.freed || w.ready.Add(fresh) < d.ready || w.until <= d.ready):
		return way{}, false
	}
	w.load = d.load
	if len(w.hops) == 0 {
		return w, true
	}
	if len(q.Exclude) > 0 && q.excludes(r.graph.nodes[w.hops[0].to]) {
		return way{}, false
	}
	at, ok := r.graph.follow(w.hops, &d.load, d.ready)
	if !ok || at > w.arrival.Add(slack) || at > q.Expiry && w.arrival <= q.Expiry {
		return way{}, false
	}
	w.arrival = at
	return w, true
}

// follow returns when a message arrives by given hops, and whether it can.
func (g *graph) follow(hops []hop, l *load, ready dtntime.Time) (dtntime.Time, bool) {
	at := ready
	for i, h := range hops {
		if h.span == nil {
			continue
		}
		var last dtntime.Time
		var ok bool
		if i == 0 {
			last, ok = g.followOwn(h, l, at)
		} else {
			last, ok = h.span.leaves(at, l)
		}
		if at = h.span.arrival(last); !ok || at == dtntime.Forever {
			return 0, false
		}
	}
	return at, true
}

// followOwn is the first hop of follow: the bundles that are booked in spans before go
// first.
func (g *graph) followOwn(h hop, l *load, ready dtntime.Time) (last dtntime.Time, ok bool) {
	if !l.counting {
		return h.span.leaves(ready, l)
	}
	e, behind := g.edge(g.me, h.to), int64(0)
	for _, s := range e.spans[e.unended(ready):] {
		if last, ok = s.queued(ready, l, &behind); s == h.span {
			return last, ok
		}
	}
	return 0, false
}
