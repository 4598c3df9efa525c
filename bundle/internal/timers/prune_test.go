package timers

import (
	"testing"

	"perigee/bundle/dtntime"
)

// TestPruneKeepsWhatIsWanted sees that entries without a reason go once they are
// many, and the others come in their order.
func TestPruneKeepsWhatIsWanted(t *testing.T) {
	var list Timers[int]
	wanted := func(_ dtntime.Time, value int) bool { return value%10 == 0 }
	for i := range 1000 {
		list.Add(dtntime.Time(1000-i), i)
		list.Prune(i/10+1, wanted)
		if most := 2*(i/10+1) + pruneSlack; list.Len() > most {
			t.Fatalf("after %d entries there are %d, want at most %d", i+1, list.Len(), most)
		}
	}
	for want := 990; want >= 0; want -= 10 {
		at, value, ok := list.Due(dtntime.Time(2000))
		for ok && value%10 != 0 {
			at, value, ok = list.Due(dtntime.Time(2000))
		}
		if !ok || value != want || at != dtntime.Time(1000-want) {
			t.Fatalf("got %d at %d (%t), want %d", value, at, ok, want)
		}
	}
}
