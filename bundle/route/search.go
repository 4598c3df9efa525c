package route

import (
	"cmp"
	"slices"

	"perigee/bundle/dtntime"
)

// none stands for no node, no label or no span.
const none = -1

// demand is what a search is for.
type demand struct {
	load
	from, to int32
	ready    dtntime.Time
	// certain is the least likelihood of the whole way, and then its first span must be
	// certain. 0: whatever.
	certain float64
	most    int32            // 0: the way that arrives first; else the one with the fewest hops, and no more than these
	first   int32            // the only first hop, or none
	shunned int32            // a node that the way does not touch unless it ends there, or none
	exclude func(int32) bool // as first hop; nil for none
	without map[*span]bool   // spans that are not looked at
}

// label is a way to a node. Of two, one is better when it arrives earlier or is more
// likely, and where hops count has no more of them; several of which none is better stand
// beside each other.
type label struct {
	node    int32
	arrival dtntime.Time
	hops    int32
	until   dtntime.Time // when the first of its spans stops
	first   int32        // the neighbour that it begins with
	likely  float64
	from    int32 // label of the node before, or none
	span    *span // nil over a standing link
	next    int32 // label of the same node, or none
	beaten  bool  // a better one is known
}

// head is the labels of a node in the search that set stamp.
type head struct {
	search uint32
	label  int32
}

// scratch is what a search leaves behind, to be used again.
type scratch struct {
	heads  []head
	search uint32
	fewest bool // hops count before arrival
	labels []label
	heap   []int32 // of labels
}

// earliest finds the way by which a message that is ready at d.ready arrives at d.to
// first, and returns its label, or none.
//
// It is Dijkstra's algorithm over nodes. That is exact here, because a message may wait:
// being at a node earlier never makes it later at the next. With d.most it goes through
// the nodes by hops, and what arrives first of those with the fewest is the result.
func (g *graph) earliest(d *demand) int32 {
	s := &g.scratch
	s.search++
	if s.search == 0 { // wrapped around: stamps of old may now lie
		clear(s.heads)
		s.search = 1
	}
	s.labels, s.heap, s.fewest = s.labels[:0], s.heap[:0], d.most > 0
	s.improve(label{node: d.from, arrival: d.ready, until: dtntime.Forever, first: none, likely: 1, from: none})
	for len(s.heap) > 0 {
		i := s.pop()
		switch l := s.labels[i]; {
		case l.beaten:
		case l.node == d.to:
			return i
		case s.fewest && l.hops >= d.most:
		default:
			g.relax(i, l, d)
		}
	}
	return none
}

// relax follows every span and link out of a node.
func (g *graph) relax(i int32, at label, d *demand) {
	for _, to := range g.links[at.node] {
		if d.allows(at.node, to) {
			g.scratch.improve(at.overLink(i, to))
		}
	}
	for k := range g.edges[at.node] {
		if e := &g.edges[at.node][k]; d.allows(at.node, e.to) {
			g.relaxEdge(i, at, e, d)
		}
	}
}

// overLink is the way on over a standing link.
func (l *label) overLink(i, to int32) label {
	return label{node: to, arrival: l.arrival, hops: l.hops + 1, until: l.until, first: l.beginning(to), likely: l.likely, from: i}
}

// beginning is the first hop of the way on to a node.
func (l *label) beginning(to int32) int32 {
	if l.from == none {
		return to
	}
	return l.first
}

// allows tells whether a way may lead from one node to another.
func (d *demand) allows(from, to int32) bool {
	switch {
	case to == d.from, to == d.shunned && to != d.to:
		return false
	case from != d.from:
		return true
	}
	return (d.first == none || d.first == to) && (d.exclude == nil || !d.exclude(to))
}

// relaxEdge follows the spans from one node to another.
func (g *graph) relaxEdge(i int32, at label, e *edge, d *demand) {
	if g.scratch.isBeaten(e.to, at.arrival, at.likely) {
		return // whatever leaves here comes later; most edges lead back
	}
	own, behind := at.node == g.me, int64(0)
	for k := e.unended(at.arrival); k < len(e.spans); k++ {
		if g.scratch.isBeaten(e.to, e.windows[k].start, at.likely) {
			return // what starts later comes no earlier
		}
		s := e.spans[k]
		last, ok := s.leave(at.arrival, &d.load, own, &behind)
		likely, fine := d.likely(&at, s)
		if !ok || !fine || d.without[s] {
			continue
		}
		if arrival := s.arrival(last); arrival != dtntime.Forever {
			g.scratch.improve(label{
				node: e.to, arrival: arrival, hops: at.hops + 1, until: min(at.until, s.stop), first: at.beginning(e.to),
				likely: likely, from: i, span: s,
			})
		}
	}
}

// leave is queued for spans of this node, and leaves for others.
func (s *span) leave(ready dtntime.Time, l *load, own bool, behind *int64) (dtntime.Time, bool) {
	if own {
		return s.queued(ready, l, behind)
	}
	return s.leaves(ready, l)
}

// likely returns how likely the way on over a span is, and whether that is likely
// enough.
func (d *demand) likely(at *label, s *span) (float64, bool) {
	c := s.Confidence()
	if d.certain == 0 {
		return 1, true // not to be compared by
	}
	if at.from == none && c < 1 {
		return 0, false
	}
	return at.likely * c, at.likely*c >= d.certain
}

// isBeaten tells whether a way to a node is known that arrives by a time and is at
// least so likely.
func (s *scratch) isBeaten(node int32, by dtntime.Time, likely float64) bool {
	for i := s.known(node); i != none; i = s.labels[i].next {
		if l := &s.labels[i]; l.arrival <= by && l.likely >= likely {
			return true
		}
	}
	return false
}

// known returns the first label of a node.
func (s *scratch) known(node int32) int32 {
	if h := &s.heads[node]; h.search == s.search {
		return h.label
	}
	return none
}

// improve adds a way unless a better one is known.
func (s *scratch) improve(l label) {
	first := s.known(l.node)
	for i := first; i != none; i = s.labels[i].next {
		old := &s.labels[i]
		if old.likely >= l.likely && (old.arrival < l.arrival || old.arrival == l.arrival && (old.likely > l.likely || !l.precedes(old))) {
			return
		}
	}
	i := int32(len(s.labels))
	previous, next := int32(none), first
	for k := first; k != none; k = s.labels[k].next {
		if old := &s.labels[k]; old.likely <= l.likely && old.arrival >= l.arrival && (!s.fewest || old.hops == l.hops) {
			old.beaten = true
			if previous == none {
				next = old.next
			} else {
				s.labels[previous].next = old.next
			}
			continue
		}
		previous = k
	}
	l.next = next
	s.labels = append(s.labels, l)
	s.heads[l.node] = head{s.search, i}
	s.push(i)
}

// precedes orders ways to one node that arrive at the same time: fewer hops, then those
// that are possible for longer, then those by the neighbour with the smaller ID.
func (l *label) precedes(m *label) bool {
	return cmp.Or(cmp.Compare(l.arrival, m.arrival), cmp.Compare(l.hops, m.hops), cmp.Compare(m.until, l.until), cmp.Compare(l.first, m.first)) < 0
}

// path returns the hops of the way to a label.
func (g *graph) path(i int32) []hop {
	labels := g.scratch.labels
	hops := make([]hop, 0, labels[i].hops)
	for ; labels[i].from != none; i = labels[i].from {
		hops = append(hops, hop{labels[i].node, labels[i].span})
	}
	slices.Reverse(hops)
	return hops
}

// hop is one step of a way: to a node, over a span, or a standing link if that is nil.
type hop struct {
	to   int32
	span *span
}

// before orders the heap.
func (s *scratch) before(i, k int32) bool {
	a, b := &s.labels[i], &s.labels[k]
	if s.fewest && a.hops != b.hops {
		return a.hops < b.hops
	}
	return cmp.Or(cmp.Compare(a.arrival, b.arrival), cmp.Compare(a.hops, b.hops), cmp.Compare(a.node, b.node), cmp.Compare(i, k)) < 0
}

func (s *scratch) push(l int32) {
	s.heap = append(s.heap, l)
	for i := len(s.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if !s.before(s.heap[i], s.heap[parent]) {
			return
		}
		s.heap[i], s.heap[parent] = s.heap[parent], s.heap[i]
		i = parent
	}
}

func (s *scratch) pop() int32 {
	top, last := s.heap[0], len(s.heap)-1
	s.heap[0] = s.heap[last]
	s.heap = s.heap[:last]
	for i := 0; ; {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < last && s.before(s.heap[child], s.heap[least]) {
				least = child
			}
		}
		if least == i {
			return top
		}
		s.heap[i], s.heap[least] = s.heap[least], s.heap[i]
		i = least
	}
}
