package models

import (
	"cmp"
	"slices"
)

// alignment of storages in the arena, in values: a line of cache.
const alignment = 16

// planMemory gives each storage a place in one arena, so that storages that are in
// use at the same time do not overlap, and returns the size of the arena. The
// largest choose first, each the lowest place that is free while it needs it.
func planMemory(all []*storage) int {
	order := slices.Clone(all)
	slices.SortStableFunc(order, func(a, b *storage) int { return cmp.Compare(b.size, a.size) })
	var placed []*storage // by place
	size := 0
	for _, s := range order {
		at := 0
		for _, p := range placed {
			if p.last < s.first || s.last < p.first {
				continue
			}
			if at+s.size <= p.at {
				break
			}
			at = max(at, roundUp(p.at+p.size, alignment))
		}
		s.at = at
		i, _ := slices.BinarySearchFunc(placed, at, func(p *storage, at int) int { return cmp.Compare(p.at, at) })
		placed = slices.Insert(placed, i, s)
		size = max(size, at+s.size)
	}
	return size
}

func roundUp(n, unit int) int { return (n + unit - 1) / unit * unit }
