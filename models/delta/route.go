package delta

import (
	"math"
	"slices"

	"perigee/models"
)

// Edge is a delta that is at hand: from a network to another, at a price.
type Edge struct {
	Base, Result models.Hash
	Bytes        int64
}

// Route returns which of the edges, one behind the other, lead from a network to
// another in the fewest bytes; none when they are the same. It reports false when
// no way leads there. Applied in this order they give the other network bit for bit,
// whichever way is taken. Of ways of the same size it is the one with the fewest
// edges, and the first.
func Route(edges []Edge, from, to models.Hash) (path []int, ok bool) {
	type place struct {
		bytes int64
		steps int
		by    int // edge that leads here
	}
	best := map[models.Hash]place{from: {by: -1}}
	// As often as there are edges, at most: every round makes a way longer by one.
	for range edges {
		changed := false
		for i, e := range edges {
			at, reached := best[e.Base]
			if !reached || e.Bytes < 0 || at.bytes > math.MaxInt64-e.Bytes {
				continue
			}
			next := place{at.bytes + e.Bytes, at.steps + 1, i}
			old, known := best[e.Result]
			if !known || next.bytes < old.bytes || next.bytes == old.bytes && next.steps < old.steps {
				best[e.Result], changed = next, true
			}
		}
		if !changed {
			break
		}
	}
	at, ok := best[to]
	if !ok {
		return nil, false
	}
	for at.by >= 0 {
		path = append(path, at.by)
		at = best[edges[at.by].Base]
	}
	slices.Reverse(path)
	return path, true
}
