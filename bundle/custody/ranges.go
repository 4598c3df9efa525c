package custody

import (
	"math"
	"slices"

	"perigee/bundle"
)

// ranges is a set of numbers as sorted runs that neither overlap nor touch.
type ranges []bundle.Range

// add puts n into the set and tells whether it was new.
func (r *ranges) add(n uint64) bool {
	s := *r
	i := s.after(n)
	if i > 0 && n-s[i-1].First < s[i-1].Count {
		return false
	}
	joinsLeft := i > 0 && s[i-1].First+s[i-1].Count == n
	joinsRight := i < len(s) && n != math.MaxUint64 && s[i].First == n+1
	switch {
	case joinsLeft && joinsRight:
		s[i-1].Count += 1 + s[i].Count
		*r = slices.Delete(s, i, i+1)
	case joinsLeft:
		s[i-1].Count++
	case joinsRight:
		s[i].First, s[i].Count = n, s[i].Count+1
	default:
		*r = slices.Insert(s, i, bundle.Range{First: n, Count: 1})
	}
	return true
}

// remove takes n out of the set.
func (r *ranges) remove(n uint64) {
	s := *r
	i := s.after(n) - 1
	if i < 0 || n-s[i].First >= s[i].Count {
		return
	}
	run := s[i]
	before, after := n-run.First, run.Count-(n-run.First)-1
	switch {
	case before == 0 && after == 0:
		*r = slices.Delete(s, i, i+1)
	case before == 0:
		s[i] = bundle.Range{First: n + 1, Count: after}
	case after == 0:
		s[i].Count = before
	default:
		s[i].Count = before
		*r = slices.Insert(s, i+1, bundle.Range{First: n + 1, Count: after})
	}
}

// after returns the place of the first run that begins above n.
func (r ranges) after(n uint64) int {
	i, _ := slices.BinarySearchFunc(r, n, func(run bundle.Range, n uint64) int {
		if run.First > n {
			return 1
		}
		return -1
	})
	return i
}
