package ltp

import (
	"fmt"
	"testing"
	"time"
)

func fast() channel { return channel{rate: 100e6, light: 8 * time.Millisecond} }
func slow() channel { return channel{rate: 100e3, light: 8 * time.Millisecond} }

// efficiency carries n bundles of 1 MB over 100 Mbit/s, with 0.1 Mbit/s back, and
// returns how much of the forward link was payload until the last was accepted.
func efficiency(t *testing.T, n int, forward, back channel) float64 {
	t.Helper()
	w := newWorld(t, 1, newTestMachine(1, 2, nil), newTestMachine(2, 1, nil), forward, back)
	w.a.toSend = loads(n, 1e6)
	w.run(10*time.Minute, w.isDone)
	w.wantAll(w.a, w.b, n)
	sent := float64(w.b.out.sent*8) / w.now.Seconds()
	t.Logf("%d bundles in %s: %.1f kbit/s back", n, w.now, sent/1e3)
	if sent > 60e3 {
		t.Errorf("%.0f bit/s went back, want 60 kbit/s at most", sent)
	}
	return float64(n) * 8e6 / w.now.Seconds() / forward.rate
}

func TestEfficiency(t *testing.T) {
	tests := []struct {
		name  string
		loss  float64
		burst float64
		want  float64
	}{
		{"no loss", 0, 0, 0.95},
		{"1 % loss", 0.01, 0, 0.90},
		{"2 % loss in bursts", 0.02, 8, 0.85},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			forward := fast()
			forward.loss, forward.burst = tt.loss, tt.burst
			got := efficiency(t, 100, forward, slow())
			t.Logf("%.2f %%", got*100)
			if got < tt.want {
				t.Errorf("%.1f %% of the link were payload, want %.0f %%", got*100, tt.want*100)
			}
		})
	}
}

func TestDeepSpace(t *testing.T) {
	const light = 20 * time.Minute
	for _, loss := range []float64{0, 0.01} {
		t.Run(fmt.Sprintf("loss %g", loss), func(t *testing.T) {
			forward := channel{rate: 1e6, light: light, loss: loss}
			w := newWorld(t, 5, newTestMachine(1, 2, nil), newTestMachine(2, 1, nil), forward, channel{rate: 1e5, light: light})
			w.a.toSend = loads(1, 1e6)
			w.run(24*time.Hour, w.isDone)
			w.wantAll(w.a, w.b, 1)
			trips := float64(w.now) / float64(2*light)
			t.Logf("%s, %.3f round trips", w.now, trips)
			if want := 1.02; loss == 0 && trips > want {
				t.Errorf("%.2f round trips, want %.2f", trips, want)
			}
			if want := 2.02; trips > want {
				t.Errorf("%.2f round trips, want %.2f", trips, want)
			}
		})
	}
}

// After a cut in the middle of a transfer data flow again soon, and no block that was
// acknowledged is sent again, nor anything that a report has claimed (see
// wantUnclaimed).
func TestCut(t *testing.T) {
	const begin, end = 2 * time.Second, 14 * time.Second
	forward, back := fast(), slow()
	forward.cuts, back.cuts = [][2]time.Duration{{begin, end}}, [][2]time.Duration{{begin, end}}
	var resumed time.Duration
	forward.log = func(at time.Duration, datagram []byte) {
		if kind, _ := segmentType(datagram); kind <= typeGreenBlockEnd && at >= end && resumed == 0 {
			resumed = at - end
		}
	}
	w := newWorld(t, 3, newTestMachine(1, 2, nil), newTestMachine(2, 1, nil), forward, back)
	w.a.toSend = loads(60, 1e6)
	w.run(time.Minute, w.isDone)
	w.wantAll(w.a, w.b, 60)
	if resumed == 0 || resumed > 300*time.Millisecond {
		t.Errorf("data flow again %s after the cut", resumed)
	}
	// What was on its way when the link was cut is all that went twice.
	if waste := float64(w.a.out.sent) - 60e6*1.05; waste > float64(w.a.m.window()) {
		t.Errorf("%.0f bytes went in vain, more than the window of %d", waste, w.a.m.window())
	}
}
