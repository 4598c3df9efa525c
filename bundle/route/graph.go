package route

import (
	"cmp"
	"slices"
	"sort"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

// graph is a contact plan laid out for searching. Standing links of one node count as
// spans that never end and take no time.
type graph struct {
	nodes     []bundle.EID // ascending, so that numbers order as nodes do
	number    map[bundle.EID]int32
	me        int32
	edges     [][]edge // by the node that sends, and then by the other
	links     [][]int32
	uncertain bool // some contact may not come to pass
	scratch   scratch
}

// edge is all spans from one node to another, by start.
type edge struct {
	to      int32
	spans   []*span
	windows []window // of the spans; side by side, because a search looks at one of every edge
}

// window is when something can leave: from start until before stop.
type window struct{ start, stop dtntime.Time }

// unended is the first span in which something that is ready at a time can leave.
func (e *edge) unended(ready dtntime.Time) int {
	return sort.Search(len(e.windows), func(i int) bool { return e.windows[i].stop > ready })
}

// newGraph lays out a plan. Spans of the graph before, which may be nil, stay as far as
// their contacts do, with what is booked of them.
func newGraph(plan *contact.Plan, me bundle.EID, linked []bundle.EID, guard dtntime.Duration, before *graph) *graph {
	g := &graph{number: make(map[bundle.EID]int32)}
	g.nodes = append(slices.Clone(linked), me)
	for _, c := range plan.Channels() {
		g.nodes = append(g.nodes, c.From, c.To)
		g.uncertain = g.uncertain || slices.ContainsFunc(c.Passes, func(p contact.Pass) bool { return p.Confidence() < 1 })
	}
	slices.SortFunc(g.nodes, contact.CompareEID)
	g.nodes = slices.Clone(slices.Compact(g.nodes)) // which is much shorter
	for i, n := range g.nodes {
		g.number[n] = int32(i)
	}
	g.me = g.number[me]
	g.links = make([][]int32, len(g.nodes))
	g.setLinks(linked)
	g.layEdges(plan, guard)
	if before != nil {
		g.inherit(before)
	}
	g.scratch.heads = make([]head, len(g.nodes))
	return g
}

// setLinks replaces the standing links, and tells whether all of their nodes are known.
func (g *graph) setLinks(linked []bundle.EID) bool {
	clear(g.links)
	for _, n := range linked {
		i, known := g.number[n]
		if !known {
			return false
		}
		g.links[g.me] = append(g.links[g.me], i)
		g.links[i] = append(g.links[i], g.me)
	}
	slices.Sort(g.links[g.me])
	return true
}

// layEdges makes the edges of the contacts. Their order is that of nodes, as the one of
// channels is.
func (g *graph) layEdges(plan *contact.Plan, guard dtntime.Duration) {
	g.edges = make([][]edge, len(g.nodes))
	for _, c := range plan.Channels() {
		from := g.number[c.From]
		if e := newEdge(g.number[c.To], c.Passes, guard); len(e.spans) > 0 {
			g.edges[from] = append(g.edges[from], e)
		}
	}
}

// newEdge makes spans of the passes of one pair of nodes, which are by start.
func newEdge(to int32, passes []contact.Pass, guard dtntime.Duration) edge {
	e := edge{to: to, spans: make([]*span, 0, len(passes)), windows: make([]window, 0, len(passes))}
	for _, p := range passes {
		if s := newSpan(p, guard); s != nil {
			e.spans, e.windows = append(e.spans, s), append(e.windows, window{s.start, s.stop})
		}
	}
	return e
}

// edge returns the edge from one node to another, nil for none.
func (g *graph) edge(from, to int32) *edge {
	list := g.edges[from]
	i, found := slices.BinarySearchFunc(list, to, func(e edge, to int32) int { return cmp.Compare(e.to, to) })
	if !found {
		return nil
	}
	return &list[i]
}

// inherit takes over the spans of another graph that are the same.
func (g *graph) inherit(before *graph) {
	for from := range before.edges {
		here, known := g.number[before.nodes[from]]
		if !known {
			continue
		}
		for i := range before.edges[from] {
			old := &before.edges[from][i]
			to, known := g.number[before.nodes[old.to]]
			if !known {
				continue
			}
			if e := g.edge(here, to); e != nil {
				e.inherit(old)
			}
		}
	}
}

// inherit takes over what is the same of an older state of the edge.
func (e *edge) inherit(old *edge) {
	k := 0
	for i, s := range e.spans {
		for k < len(old.spans) && old.spans[k].start < s.start {
			k++
		}
		if k < len(old.spans) && old.spans[k].isSame(s) {
			e.spans[i] = old.spans[k]
		}
	}
}
