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

// Shipment is a bundle that was accepted from an application.
type Shipment struct {
	From, To bundle.EID // node IDs
	Size     int64
	Sent     time.Duration // since the start
	// Arrived is when it was delivered since the start, if Delivered.
	Arrived   time.Duration
	Delivered bool
}

// busiest returns the node that most bytes were sent to.
func busiest(list []Shipment) bundle.EID {
	sums := make(map[bundle.EID]int64)
	var best bundle.EID
	for i, s := range list {
		sums[s.To] += s.Size
		if i == 0 || s.To != best && sums[s.To] > sums[best] {
			best = s.To
		}
	}
	return best
}

// Bound computes the Bound of the node that most was sent to: the greatest flow through a
// network that has each node once for each slice of time. It is zero when nothing was sent.
func (c *Config) Bound(list []Shipment) Bound {
	if len(list) == 0 {
		return Bound{}
	}
	b := Bound{To: busiest(list)}
	numbers := make(map[bundle.EID]int)
	for i, m := range c.Nodes {
		numbers[m.ID] = i
	}
	to := numbers[b.To]
	n, slice := len(c.Nodes), c.Length.Std()/slicesOfTime
	vertex := func(at time.Duration, node int) int { return int(min(at/slice, slicesOfTime-1))*n + node }
	const ends = 2
	source, sink := slicesOfTime*n, slicesOfTime*n+1
	g := newGrid(slicesOfTime*n + ends)
	c.joinSlices(g, numbers, to, sink)
	supply := make(map[int]int64)
	for _, s := range list {
		if s.To != b.To {
			continue
		}
		supply[vertex(s.Sent, numbers[s.From])] += s.Size
		if s.Delivered && s.Arrived <= c.Length.Std() {
			b.Delivered += s.Size
		}
	}
	for v := range slicesOfTime * n {
		g.join(source, v, supply[v])
	}
	b.Bytes = g.flow(source, sink)
	everything := newGrid(slicesOfTime*n + ends)
	c.joinSlices(everything, numbers, to, sink)
	for i, m := range c.Nodes {
		if i != to && c.sends(m.ID, b.To) {
			everything.join(source, i, math.MaxInt64/4)
		}
	}
	b.Capacity = everything.flow(source, sink)
	return b
}

// sends tells whether an application at a node sends to another one.
func (c *Config) sends(from, to bundle.EID) bool {
	for _, t := range c.Traffic {
		if t.From == from && t.To == to {
			return true
		}
	}
	return false
}

// joinSlices adds what nodes keep from slice to slice, and what contacts carry in each.
func (c *Config) joinSlices(g *network, numbers map[bundle.EID]int, to, sink int) {
	n, slice := len(c.Nodes), c.Length.Std()/slicesOfTime
	const plenty = math.MaxInt64 / 4
	for k := range slicesOfTime {
		for m := range n {
			if k+1 < slicesOfTime && m != to {
				g.join(k*n+m, (k+1)*n+m, plenty)
			}
		}
		g.join(k*n+to, sink, plenty)
	}
	for one := range c.Plan.All() {
		from, till := c.since(one.Start), c.since(one.End)
		a, b := numbers[one.From], numbers[one.To]
		for k := int(from / slice); k < slicesOfTime && time.Duration(k)*slice < till; k++ {
			begin, end := max(from, time.Duration(k)*slice), min(till, time.Duration(k+1)*slice)
			g.join(k*n+a, k*n+b, int64(float64(one.Rate)*(end-begin).Seconds()/8))
		}
	}
}
