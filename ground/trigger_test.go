package ground

import (
	"strings"
	"testing"
	"time"

	"perigee/agent/agenttest"
	"perigee/bundle/dtntime"
	"perigee/models"
)

func TestTimer(t *testing.T) {
	for _, test := range []struct {
		timer Timer
		open  []string
		shut  []string
	}{
		{Timer{}, []string{"00:00", "12:00", "23:59"}, nil},
		{Timer{"02:00", "20:00"}, []string{"02:00", "12:00", "20:00"}, []string{"01:59", "20:01", "00:00"}},
		{Timer{"23:00", "01:30"}, []string{"23:00", "23:59", "00:00", "01:30"}, []string{"22:59", "01:31", "12:00"}},
		{Timer{"20:00", "24:00"}, []string{"20:00", "23:59"}, []string{"19:59", "00:00"}},
		{Timer{"25:00", "26:00"}, nil, []string{"00:00", "12:00"}},
	} {
		for want, times := range map[bool][]string{true: test.open, false: test.shut} {
			for _, clock := range times {
				at, err := time.Parse("2006-01-02 15:04:05", "2026-11-25 "+clock+":30")
				if err != nil {
					t.Fatal(err)
				}
				if got := test.timer.isOpen(dtntime.FromTime(at)); got != want {
					t.Errorf("%+v at %s: open is %v", test.timer, clock, got)
				}
			}
		}
	}
}

// TestRoundWaitsForItsTrigger has the status say what is missing.
func TestRoundWaitsForItsTrigger(t *testing.T) {
	w := newWorld(t, 10)
	w.cfg.Deploy.Pictures = 9
	g, client := w.open(agenttest.NewFuse(-1))
	defer client.Close()
	both := &sides{Learn: make([]models.Hash, 1), Judge: make([]models.Hash, 9)}
	night := Timer{"23:00", "23:01"} // the clock of the tests stands at midnight
	for _, test := range []struct {
		fresh int
		sides *sides
		timer Timer
		want  string
	}{
		{9, both, Timer{}, "num_of_samples is 9, want >= 10"},
		{10, &sides{Judge: both.Judge}, Timer{}, "learn from"},
		{10, &sides{Learn: both.Learn, Judge: both.Judge[:8]}, Timer{}, "8 held-out samples"},
		{10, both, night, "not between 23:00 and 23:01 UTC"},
		{10, both, Timer{"23:00", "02:00"}, ""},
	} {
		g.cfg.Trigger.Timer = test.timer
		if got := g.awaited(test.fresh, test.sides); got != test.want && (test.want == "" || !strings.Contains(got, test.want)) {
			t.Errorf("waits for %q, want %q", got, test.want)
		}
	}
	w.downlink(serviceSamples, w.batch(0, 0, 10))
	w.runAll(func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.seen) > 0 && strings.Contains(w.seen[len(w.seen)-1].Waiting, "held-out samples")
	})
	if s := w.state(); len(s.Rounds) != 0 {
		t.Errorf("a round ended: %+v", s.Rounds)
	}
}
