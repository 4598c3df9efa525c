package ltp

import (
	"testing"
	"time"
)

// A pacer keeps to its rate when it is asked late now and then, with bursts that take
// no more than half a millisecond and twice the rate when it catches up.
func TestPacer(t *testing.T) {
	const rate, span = 100_000_000, time.Second
	p := pacer{rate: rate}
	sent, last, next := 0, time.Duration(0), 0
	for now := time.Duration(0); now < span; {
		if wait := p.wait(now); wait > 0 {
			now += wait
			if next++; next%50 == 0 {
				now += 5 * time.Millisecond // the machine was busy
			}
			continue
		}
		n := p.burst()
		if took := now - last; sent > 0 && float64(n)*8/took.Seconds() > 2.01*rate {
			t.Fatalf("%d bytes %s after those before", n, took)
		}
		p.sent(now, n)
		sent, last = sent+n, now
	}
	if got := float64(sent) * 8 / span.Seconds(); got < 0.98*rate || got > 1.02*rate {
		t.Errorf("%.0f bit/s, want %d", got, rate)
	}
	// What was not sent for long is not made up for.
	now := 10 * time.Second
	for sent = 0; p.wait(now) < time.Second/100; now += p.wait(now) {
		if sent += p.burst(); now > 10*time.Second+span {
			break
		}
		p.sent(now, p.burst())
	}
	if got := float64(sent) * 8 / span.Seconds(); got > 1.05*rate {
		t.Errorf("%.0f bit/s after a pause, want about %d", got, rate)
	}
	if (&pacer{}).wait(now) != 0 {
		t.Error("a pacer without a rate waits")
	}
}

func TestLatency(t *testing.T) {
	var l latency
	if _, known := l.most(); known {
		t.Error("something is known of nothing")
	}
	for range 100 {
		l.note(30 * time.Millisecond)
	}
	if most, _ := l.most(); most < 45*time.Millisecond || most > 55*time.Millisecond {
		t.Errorf("steady answers after 30 ms may take %s", most)
	}
	for i := range 100 {
		l.note(time.Duration(20+20*(i%2)) * time.Millisecond)
	}
	if most, _ := l.most(); most < 60*time.Millisecond {
		t.Errorf("answers after 20 to 40 ms may take %s only", most)
	}
}
