package ltp

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Spans are held against a plain set of offsets.
func TestSpans(t *testing.T) {
	const size = 64
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var s spans
		var want [size]bool
		for range 20 {
			p := randomSpan(random, size)
			s.add(p)
			for i := p.lo; i < p.hi; i++ {
				want[i] = true
			}
			checkSpans(t, s, want[:])
			q := randomSpan(random, size)
			inside, outside := s.overlap(q, nil), s.missing(q, nil)
			all := true
			for i := uint64(0); i < size; i++ {
				in := i >= q.lo && i < q.hi
				all = all && (!in || want[i])
				if holds(inside, i) != (in && want[i]) || holds(outside, i) != (in && !want[i]) {
					t.Fatalf("%v of %v: overlap %v, missing %v", q, s, inside, outside)
				}
			}
			if s.covers(q) != all {
				t.Fatalf("%v covers %v: %t", s, q, !all)
			}
		}
	}
}

func randomSpan(random *rand.Rand, size uint64) span {
	lo := random.Uint64N(size)
	return span{lo, lo + random.Uint64N(min(8, size-lo)+1)}
}

func holds(list []span, at uint64) bool {
	return slices.ContainsFunc(list, func(p span) bool { return p.lo <= at && at < p.hi })
}

func checkSpans(t *testing.T, s spans, want []bool) {
	t.Helper()
	for i, p := range s {
		if p.lo >= p.hi || i > 0 && s[i-1].hi >= p.lo {
			t.Fatalf("%v is not sorted, or not apart", s)
		}
	}
	prefix := uint64(0)
	for prefix < uint64(len(want)) && want[prefix] {
		prefix++
	}
	if s.prefix() != prefix {
		t.Fatalf("prefix of %v is %d, want %d", s, s.prefix(), prefix)
	}
	for i := range want {
		if holds(s, uint64(i)) != want[i] {
			t.Fatalf("%v at %d: want %t", s, i, want[i])
		}
	}
}

func TestQueue(t *testing.T) {
	var q queue[int]
	next, first := 0, 0
	random := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		if random.IntN(2) == 0 || q.len() == 0 {
			q.push(next)
			next++
			continue
		}
		if i := random.IntN(q.len()); *q.at(i) != first+i {
			t.Fatalf("item %d is %d, want %d", i, *q.at(i), first+i)
		}
		if got := q.pop(); got != first {
			t.Fatalf("got %d, want %d", got, first)
		}
		first++
	}
	if cap(q.items) > 4*(next-first)+1000 {
		t.Errorf("%d items take room for %d", q.len(), cap(q.items))
	}
}

func TestTimersInOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	var h timers
	for range 1000 {
		h.push(timer{at: randomTime(random)})
	}
	for last := h.pop(); len(h) > 0; {
		next := h.pop()
		if next.at < last.at {
			t.Fatalf("%s comes after %s", next.at, last.at)
		}
		last = next
	}
}

func randomTime(random *rand.Rand) time.Duration { return time.Duration(random.Int64N(1e9)) }
