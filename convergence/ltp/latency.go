package ltp

import "time"

// leastSlack is what an answer may always be late, beyond what it took before.
const leastSlack = 20 * time.Millisecond

// latency is how long answers of a kind take: a mean and how far they are from it, as
// in RFC 6298.
type latency struct {
	mean, spread time.Duration
	known        bool
}

// note takes what one answer took, which was asked for once.
func (l *latency) note(took time.Duration) {
	if !l.known {
		*l = latency{mean: took, spread: took / 2, known: true}
		return
	}
	l.spread += (max(l.mean-took, took-l.mean) - l.spread) / 4
	l.mean += (took - l.mean) / 8
}

// most is what an answer takes when nothing is lost, as far as that is known.
func (l *latency) most() (d time.Duration, ok bool) {
	return l.mean + max(4*l.spread, leastSlack), l.known
}
