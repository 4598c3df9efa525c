package sim

import (
	"math/rand/v2"
	"testing"
)

// cut returns the least cut between 0 and n-1, by trying all of them.
func cut(n int, arcs [][3]int) int64 {
	least := int64(1 << 60)
	for set := 0; set < 1<<n; set++ {
		if set&1 == 0 || set&(1<<(n-1)) != 0 {
			continue
		}
		sum := int64(0)
		for _, a := range arcs {
			if set&(1<<a[0]) != 0 && set&(1<<a[1]) == 0 {
				sum += int64(a[2])
			}
		}
		least = min(least, sum)
	}
	return least
}

// TestFlowIsLeastCut holds flows against the theorem that the greatest flow is the least
// cut.
func TestFlowIsLeastCut(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		n := 2 + rng.IntN(7)
		g := newGrid(n)
		var arcs [][3]int
		for range rng.IntN(25) {
			a := [3]int{rng.IntN(n), rng.IntN(n), rng.IntN(10)}
			if a[0] != a[1] {
				arcs = append(arcs, a)
				g.join(a[0], a[1], int64(a[2]))
			}
		}
		if got, want := g.flow(0, n-1), cut(n, arcs); got != want {
			t.Fatalf("flow %d, least cut %d: %v", got, want, arcs)
		}
	}
}
