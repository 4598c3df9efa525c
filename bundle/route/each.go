package route

import (
	"slices"

	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

// Each returns, for a critical bundle, the way over every neighbour that has one in
// time, by neighbour: standing links and static routes as for Next, and by the plan what
// arrives first over that neighbour. It fails as Next does.
func (r *Router) Each(q Query, now dtntime.Time) ([]Decision, error) {
	best, err := r.Next(q, now)
	if err != nil {
		return nil, err
	}
	all := []Decision{best}
	add := func(d Decision) {
		if !slices.ContainsFunc(all, func(known Decision) bool { return known.Next == d.Next }) {
			all = append(all, d)
		}
	}
	r.build()
	for next := range r.static.exactly(q.Dest) {
		if d, ok, _ := r.followStatic(&q, next, now); ok {
			add(d)
		}
	}
	for _, n := range r.graph.neighbours() {
		if next := r.graph.nodes[n]; !r.excludes(&q, next) {
			if d, err := r.byPlan(&q, q.Dest.Node(), n, now); err == nil {
				add(d)
			}
		}
	}
	slices.SortFunc(all, func(a, b Decision) int { return contact.CompareEID(a.Next, b.Next) })
	return all, nil
}

// neighbours are the nodes that this one has a link with, or a contact.
func (g *graph) neighbours() []int32 {
	list := slices.Clone(g.links[g.me])
	for _, e := range g.edges[g.me] {
		list = append(list, e.to)
	}
	slices.Sort(list)
	return slices.Compact(list)
}
