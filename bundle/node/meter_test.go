package node

import (
	"testing"
	"time"

	"perigee/convergence"
)

func TestMeter(t *testing.T) {
	var m meter
	began := time.Unix(1_000_000, 0)
	at := func(ms int, sent, received uint64) (time.Time, convergence.Counters) {
		return began.Add(time.Duration(ms) * time.Millisecond), convergence.Counters{BytesSent: sent, BytesReceived: received}
	}
	want := func(name string, ms int, sent, received, bpsSent, bpsReceived uint64) {
		t.Helper()
		if s, r := m.rates(at(ms, sent, received)); s != bpsSent || r != bpsReceived {
			t.Errorf("%s: %d and %d bit/s, want %d and %d", name, s, r, bpsSent, bpsReceived)
		}
	}
	want("no sample", 0, 5, 5, 0, 0)
	m.add(at(0, 0, 0))
	want("no time", 0, 1000, 1000, 0, 0)
	want("half a second", 500, 1000, 10, 16_000, 160)
	// 1000 bytes a second to the neighbour for 20 s, and then nothing.
	for second := 1; second <= 40; second++ {
		m.add(at(1000*second, 1000*uint64(min(second, 20)), 0))
		if len(m.samples) > 12 {
			t.Fatalf("%d samples are kept", len(m.samples))
		}
		switch second {
		case 5, 20:
			want("steady", 1000*second, 1000*uint64(second), 0, 8000, 0)
		case 25:
			want("half of the span", 25_000, 20_000, 0, 4000, 0)
		case 30, 40:
			want("idle", 1000*second, 20_000, 0, 0, 0)
		}
	}
}
