package sim

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestHappeningsComeInOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var h happenings
	var last happening
	for i := range 5000 {
		if len(h) == 0 || rng.IntN(3) > 0 {
			h.push(happening{at: last.at + time.Duration(rng.IntN(20)), seq: uint64(i + 1)})
			continue
		}
		next := h.pop()
		if next.before(&last) {
			t.Fatalf("%v comes after %v", next, last)
		}
		last = next
	}
	for len(h) > 0 {
		next := h.pop()
		if next.before(&last) {
			t.Fatalf("%v comes after %v", next, last)
		}
		last = next
	}
}
