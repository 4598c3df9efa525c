package route

import (
	"cmp"
	"slices"
	"sort"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

// overLink stands for a standing link where a contact is expected.
const overLink = -1

// graph is a contact plan laid out for searching, together with the scratch of a
// search. Standing links of one node count as contacts that never end and take
// no time.
type graph struct {
	contacts []contact.Contact
	nodes    []bundle.EID // ascending, so that numbers order as nodes do
	number   map[bundle.EID]int32
	edges    [][]edge // by the node that sends
	links    [][]int32

	// Scratch: labels are those of the search that set stamp.
	labels []label
	search uint32
	heap   []queued
}

// edge is all contacts from one node to another, by start.
type edge struct {
	to       int32
	contacts []int32
}

// label is the best known way to a node.
type label struct {
	search  uint32
	done    bool
	arrival dtntime.Time
	hops    int32
	from    int32
	contact int32
}

type queued struct {
	arrival dtntime.Time
	hops    int32
	node    int32
}

// demand is what a search is for.
type demand struct {
	from, to int32
	ready    dtntime.Time
	size     int64
	mustFit  bool             // whether contacts must hold all size bytes
	excluded func(int32) bool // as first hop; nil for none
}

func newGraph(plan *contact.Plan, me bundle.EID, linked []bundle.EID) *graph {
	g := &graph{number: make(map[bundle.EID]int32)}
	g.contacts = slices.Collect(plan.All())
	g.nodes = append(slices.Clone(linked), me)
	for _, c := range g.contacts {
		g.nodes = append(g.nodes, c.From, c.To)
	}
	slices.SortFunc(g.nodes, contact.CompareEID)
	g.nodes = slices.Compact(g.nodes)
	for i, n := range g.nodes {
		g.number[n] = int32(i)
	}
	g.labels = make([]label, len(g.nodes))
	g.links = make([][]int32, len(g.nodes))
	own := g.number[me]
	for _, n := range linked {
		i := g.number[n]
		g.links[own] = append(g.links[own], i)
		g.links[i] = append(g.links[i], own)
	}
	slices.Sort(g.links[own])
	g.layEdges()
	return g
}

func (g *graph) layEdges() {
	g.edges = make([][]edge, len(g.nodes))
	at := make(map[[2]int32]int)
	for i, c := range g.contacts {
		from, to := g.number[c.From], g.number[c.To]
		k, known := at[[2]int32{from, to}]
		if !known {
			k = len(g.edges[from])
			at[[2]int32{from, to}] = k
			g.edges[from] = append(g.edges[from], edge{to: to})
		}
		g.edges[from][k].contacts = append(g.edges[from][k].contacts, int32(i))
	}
}

// earliest finds the way by which a message that is ready at d.ready arrives at
// d.to first, and tells whether there is one. The label of d.to then holds it.
//
// It is Dijkstra's algorithm over nodes. That is exact here, because a message
// may wait: being at a node earlier never makes it later at the next.
func (g *graph) earliest(d demand) bool {
	g.search++
	if g.search == 0 { // wrapped around: stamps of old may now lie
		clear(g.labels)
		g.search = 1
	}
	g.heap = g.heap[:0]
	g.improve(d.from, label{arrival: d.ready, from: d.from, contact: overLink})
	for len(g.heap) > 0 {
		next := g.pop()
		l := &g.labels[next.node]
		if l.done {
			continue
		}
		l.done = true
		if next.node == d.to {
			return true
		}
		g.relax(next.node, *l, d)
	}
	return false
}

// relax follows every contact and link out of node.
func (g *graph) relax(node int32, at label, d demand) {
	usable := func(to int32) bool {
		return to != d.from && (node != d.from || d.excluded == nil || !d.excluded(to))
	}
	for _, to := range g.links[node] {
		if usable(to) {
			g.improve(to, label{arrival: at.arrival, hops: at.hops + 1, from: node, contact: overLink})
		}
	}
	for _, e := range g.edges[node] {
		if !usable(e.to) {
			continue
		}
		first := sort.Search(len(e.contacts), func(i int) bool { return g.contacts[e.contacts[i]].End > at.arrival })
		for _, i := range e.contacts[first:] {
			c := &g.contacts[i]
			if l := &g.labels[e.to]; l.search == g.search && l.arrival <= c.Start {
				break // nothing that starts later can come earlier
			}
			if arrival, ok := arrive(c, at.arrival, d.size, d.mustFit); ok {
				g.improve(e.to, label{arrival: arrival, hops: at.hops + 1, from: node, contact: i})
			}
		}
	}
}

// arrive returns when size bytes that are ready at ready have come over c, and
// whether c can carry them.
func arrive(c *contact.Contact, ready dtntime.Time, size int64, mustFit bool) (dtntime.Time, bool) {
	first := max(ready, c.Start)
	if first >= c.End || mustFit && !c.Fits(size, ready) {
		return 0, false
	}
	arrival := first.Add(c.Rate.Duration(size)).Add(light(c))
	return arrival, arrival != dtntime.Forever
}

// light returns the one-way light time of c with a margin for the motion of its
// ends, one part in 1490: the figure that CCSDS 734.3-B-1 (Schedule-Aware Bundle
// Routing) takes for bodies that part at 450000 miles an hour.
func light(c *contact.Contact) dtntime.Duration {
	return c.Light.Add((c.Light + 1489) / 1490)
}

// improve takes l as the way to node if it is better than the one known.
func (g *graph) improve(node int32, l label) {
	old := &g.labels[node]
	l.search = g.search
	if old.search == g.search && (old.done || cmp.Or(cmp.Compare(l.arrival, old.arrival),
		cmp.Compare(l.hops, old.hops), cmp.Compare(l.from, old.from)) >= 0) {
		return
	}
	*old = l
	g.push(queued{l.arrival, l.hops, node})
}

// path returns the contacts, or overLink, of the way that the last search found to
// node, and the nodes they lead to.
func (g *graph) path(node int32) (contacts, nodes []int32) {
	for g.labels[node].from != node {
		contacts = append(contacts, g.labels[node].contact)
		nodes = append(nodes, node)
		node = g.labels[node].from
	}
	slices.Reverse(contacts)
	slices.Reverse(nodes)
	return contacts, nodes
}

func (q queued) before(r queued) bool {
	return cmp.Or(cmp.Compare(q.arrival, r.arrival), cmp.Compare(q.hops, r.hops), cmp.Compare(q.node, r.node)) < 0
}

func (g *graph) push(q queued) {
	g.heap = append(g.heap, q)
	for i := len(g.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if !g.heap[i].before(g.heap[parent]) {
			return
		}
		g.heap[i], g.heap[parent] = g.heap[parent], g.heap[i]
		i = parent
	}
}

func (g *graph) pop() queued {
	top, last := g.heap[0], len(g.heap)-1
	g.heap[0] = g.heap[last]
	g.heap = g.heap[:last]
	for i := 0; ; {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < last && g.heap[child].before(g.heap[least]) {
				least = child
			}
		}
		if least == i {
			return top
		}
		g.heap[i], g.heap[least] = g.heap[least], g.heap[i]
		i = least
	}
}
