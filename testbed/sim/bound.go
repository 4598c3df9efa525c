package sim

import (
	"math"
	"time"

	"perigee/bundle"
)

// Bound is the most that any node could have been sent in a run, and what it was sent.
type Bound struct {
	To bundle.EID `json:"to"`
	// Bytes is the greatest flow to it through the contacts of the plan over time,
	// of what applications gave up to then. It leaves out light time, headers below
	// the bundle, everything else that was sent, and what went wrong, and within a
	// slice of time it takes contacts to be in the best order: no node can do better.
	Bytes     int64 `json:"bytes"`
	Delivered int64 `json:"delivered_bytes"`
	// Capacity is what the contacts could have carried to it, had there always been
	// something to send.
	Capacity int64 `json:"capacity_bytes"`
}

// Ratio is what was delivered as a part of what could have been.
func (b Bound) Ratio() float64 {
	if b.Bytes == 0 {
		return 0
	}
	return float64(b.Delivered) / float64(b.Bytes)
}

// slicesOfTime is how many slices of time a run is cut into for its Bound.
const slicesOfTime = 288

// busiest returns the node that most bytes were sent to.
func (h *history) busiest() *node {
	sums := make(map[bundle.EID]int64)
	var best *node
	for _, f := range h.order {
		if !f.accepted {
			continue
		}
		sums[f.to] += f.size
		if n := h.w.byID[f.to]; best == nil || n != best && sums[f.to] > sums[best.id] {
			best = n
		}
	}
	return best
}

// bound computes the Bound of a node: the greatest flow through a network that has each
// node once for each slice of time.
func (w *world) bound(to *node) Bound {
	b := Bound{To: to.id}
	n, slice := len(w.nodes), w.cfg.Length.Std()/slicesOfTime
	vertex := func(at time.Duration, node int) int { return int(min(at/slice, slicesOfTime-1))*n + node }
	const ends = 2
	source, sink := slicesOfTime*n, slicesOfTime*n+1
	g := newGrid(slicesOfTime*n + ends)
	w.joinSlices(g, to, sink)
	supply := make(map[int]int64)
	for _, f := range w.history.order {
		if !f.accepted || f.to != to.id {
			continue
		}
		supply[vertex(f.sent, f.source.number)] += f.size
		if f.delivered > 0 && f.arrived <= w.cfg.Length.Std() {
			b.Delivered += f.size
		}
	}
	for v := range slicesOfTime * n {
		g.join(source, v, supply[v])
	}
	b.Bytes = g.flow(source, sink)
	everything := newGrid(slicesOfTime*n + ends)
	w.joinSlices(everything, to, sink)
	for _, m := range w.nodes {
		if m != to && w.sends(m, to) {
			everything.join(source, m.number, math.MaxInt64/4)
		}
	}
	b.Capacity = everything.flow(source, sink)
	return b
}

// sends tells whether an application at a node sends to another one.
func (w *world) sends(from, to *node) bool {
	for _, t := range w.cfg.Traffic {
		if t.From == from.id && t.To == to.id {
			return true
		}
	}
	return false
}

// joinSlices adds what nodes keep from slice to slice, and what contacts carry in each.
func (w *world) joinSlices(g *network, to *node, sink int) {
	n, slice := len(w.nodes), w.cfg.Length.Std()/slicesOfTime
	const plenty = math.MaxInt64 / 4
	for k := range slicesOfTime {
		for _, m := range w.nodes {
			if k+1 < slicesOfTime && m != to {
				g.join(k*n+m.number, (k+1)*n+m.number, plenty)
			}
		}
		g.join(k*n+to.number, sink, plenty)
	}
	for c := range w.cfg.Plan.All() {
		from, till := w.since(c.Start), w.since(c.End)
		a, b := w.byID[c.From], w.byID[c.To]
		for k := int(from / slice); k < slicesOfTime && time.Duration(k)*slice < till; k++ {
			begin, end := max(from, time.Duration(k)*slice), min(till, time.Duration(k+1)*slice)
			g.join(k*n+a.number, k*n+b.number, int64(float64(c.Rate)*(end-begin).Seconds()/8))
		}
	}
}
