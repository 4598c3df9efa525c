package timers

import (
	"math/rand/v2"
	"testing"

	"perigee/bundle/dtntime"
)

func TestDueInOrder(t *testing.T) {
	var timers Timers[uint64]
	if timers.Next() != dtntime.Forever {
		t.Errorf("empty timers have an entry at %v", timers.Next())
	}
	random := rand.New(rand.NewPCG(1, 2))
	const count = 1000
	for range count {
		timers.Add(dtntime.Time(1+random.Uint64N(100)), random.Uint64N(50))
	}
	var lastAt dtntime.Time
	var last uint64
	taken := 0
	for now := dtntime.Time(0); now <= 100; now += 10 {
		for {
			next := timers.Next()
			at, value, ok := timers.Due(now)
			if !ok {
				if next <= now {
					t.Fatalf("at %d the entry of %d is not due", now, next)
				}
				break
			}
			if at != next || at > now || at < lastAt || at == lastAt && value < last {
				t.Fatalf("at %d: %d of %d comes behind %d of %d, announced for %d", now, value, at, last, lastAt, next)
			}
			lastAt, last = at, value
			taken++
		}
	}
	if taken != count || timers.Next() != dtntime.Forever {
		t.Errorf("%d of %d entries came", taken, count)
	}
}
