package custody

import (
	"math/rand"
	"testing"

	"perigee/bundle"
)

// Ranges behave as a set of numbers does, and their runs neither overlap nor touch.
func TestRangesAgainstASet(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	for round := range 200 {
		var r ranges
		set := map[uint64]bool{}
		for range 100 {
			n := uint64(rng.Intn(40))
			if round%2 == 0 {
				n = -n // around 2^64
			}
			if rng.Intn(3) == 0 {
				r.remove(n)
				delete(set, n)
			} else {
				if r.add(n) == set[n] {
					t.Fatalf("add(%d) misjudged whether it is new", n)
				}
				set[n] = true
			}
			check(t, r, set)
		}
	}
}

func check(t *testing.T, r ranges, set map[uint64]bool) {
	t.Helper()
	total := 0
	for i, run := range r {
		if run.Count == 0 || i > 0 && run.First <= r[i-1].Last()+1 {
			t.Fatalf("runs %v are empty, touch or overlap", r)
		}
		total += int(run.Count)
	}
	if total != len(set) {
		t.Fatalf("%v has %d numbers, want %d", r, total, len(set))
	}
	for n := range set {
		if !r.has(n) {
			t.Fatalf("%v lacks %d", r, n)
		}
	}
	if len(bundle.Normalize(r)) != len(r) {
		t.Fatalf("%v is not normal", r)
	}
}
