package node

import (
	"time"

	"perigee/convergence"
)

// Times of measuring the rate of a session.
const (
	sampleTime = time.Second      // from one sample to the next
	meterTime  = 10 * time.Second // over which is measured
)

// meter measures how fast a session carries bytes. Its zero value has no samples.
type meter struct{ samples []sample }

// sample is what a session had carried at a time.
type sample struct {
	at             time.Time
	sent, received uint64 // bytes
}

// add takes a sample. Of those that are too old it keeps the newest, to measure from.
func (m *meter) add(at time.Time, c convergence.Counters) {
	old := 0
	for old+1 < len(m.samples) && at.Sub(m.samples[old+1].at) >= meterTime {
		old++
	}
	m.samples = append(m.samples[:0], m.samples[old:]...)
	m.samples = append(m.samples, sample{at, c.BytesSent, c.BytesReceived})
}

// rates returns bits per second in both directions, until at, when the session has
// carried c.
func (m *meter) rates(at time.Time, c convergence.Counters) (sent, received uint64) {
	if len(m.samples) == 0 {
		return 0, 0
	}
	from := m.samples[0]
	span := at.Sub(from.at).Seconds()
	if span <= 0 {
		return 0, 0
	}
	return uint64(float64(8*(c.BytesSent-from.sent)) / span), uint64(float64(8*(c.BytesReceived-from.received)) / span)
}
