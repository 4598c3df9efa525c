package ltp

import "time"

// Bounds on bursts.
const (
	burstTime = 500 * time.Microsecond // what goes out at a time, at most
	catchUp   = 20 * time.Millisecond  // of waiting too long that is made up for
)

// A pacer spreads datagrams over time. It keeps the time at which the link is free
// again, were it as fast as the rate and no faster; that time may lag behind a
// little, so that a wait that took too long does not lower the rate. What is made up
// for goes at twice the rate, so that bursts stay short.
type pacer struct {
	rate uint64 // bits per second, 0 for no limit
	free time.Duration
	next time.Duration // when something may go out while free lags behind
}

// burst is how many bytes may go out at a time.
func (p *pacer) burst() int {
	if p.rate == 0 {
		return batchSize
	}
	return int(min(p.rate/8*uint64(burstTime)/uint64(time.Second), batchSize))
}

// wait is how long nothing may go out.
func (p *pacer) wait(now time.Duration) time.Duration {
	if p.rate == 0 {
		return 0
	}
	return max(p.free-now, p.next-now, 0)
}

// sent notes that so many bytes, headers included, go out.
func (p *pacer) sent(now time.Duration, bytes int) {
	if p.rate == 0 {
		return
	}
	took := time.Duration(float64(bytes) * 8 / float64(p.rate) * float64(time.Second))
	p.free, p.next = max(p.free, now-catchUp)+took, now+took/2
}

// setRate changes the rate; what went out at the old one is over.
func (p *pacer) setRate(rate uint64, now time.Duration) {
	if p.rate != rate {
		p.rate, p.free, p.next = rate, now, now
	}
}
