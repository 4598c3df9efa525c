package sim

import "math"

// network is a directed graph with capacities, for the greatest flow through it.
type network struct {
	heads []int32 // first arc out of each vertex, or -1
	arcs  []arc   // each beside its reverse: arc i and arc i^1
	level []int32
	next  []int32
}

type arc struct {
	to    int32
	after int32 // the next arc out of the same vertex, or -1
	room  int64
}

func newGrid(vertices int) *network {
	g := &network{heads: make([]int32, vertices), level: make([]int32, vertices), next: make([]int32, vertices)}
	for i := range g.heads {
		g.heads[i] = -1
	}
	return g
}

// join adds an arc.
func (g *network) join(from, to int, room int64) {
	if room <= 0 {
		return
	}
	g.arcs = append(g.arcs,
		arc{int32(to), g.heads[from], room},
		arc{int32(from), g.heads[to], 0})
	g.heads[from], g.heads[to] = int32(len(g.arcs)-2), int32(len(g.arcs)-1)
}

// flow returns the greatest flow from one vertex to another, by Dinic's algorithm.
func (g *network) flow(from, to int) int64 {
	total := int64(0)
	for g.measure(int32(from), int32(to)) {
		copy(g.next, g.heads)
		for {
			pushed := g.push(int32(from), int32(to))
			if pushed == 0 {
				break
			}
			total += pushed
		}
	}
	return total
}

// measure finds how far each vertex is from one, and tells whether another is reached.
func (g *network) measure(from, to int32) bool {
	for i := range g.level {
		g.level[i] = -1
	}
	g.level[from] = 0
	queue := append(make([]int32, 0, len(g.level)), from)
	for len(queue) > 0 {
		v := queue[0]
		queue = queue[1:]
		for a := g.heads[v]; a >= 0; a = g.arcs[a].after {
			if u := g.arcs[a].to; g.arcs[a].room > 0 && g.level[u] < 0 {
				g.level[u] = g.level[v] + 1
				queue = append(queue, u)
			}
		}
	}
	return g.level[to] >= 0
}

// push sends what fits along one shortest way, and returns how much that was.
func (g *network) push(from, to int32) int64 {
	var way []int32 // arcs
	for at := from; at != to; {
		a := g.next[at]
		for a >= 0 && (g.arcs[a].room == 0 || g.level[g.arcs[a].to] != g.level[at]+1) {
			a = g.arcs[a].after
		}
		g.next[at] = a
		if a >= 0 {
			way = append(way, a)
			at = g.arcs[a].to
			continue
		}
		if len(way) == 0 {
			return 0
		}
		back := way[len(way)-1]
		way = way[:len(way)-1]
		at = g.arcs[back^1].to
		g.next[at] = g.arcs[back].after
	}
	room := int64(math.MaxInt64)
	for _, a := range way {
		room = min(room, g.arcs[a].room)
	}
	for _, a := range way {
		g.arcs[a].room -= room
		g.arcs[a^1].room += room
	}
	return room
}
