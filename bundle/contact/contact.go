// Package contact holds contact plans: who can send to whom, when, how fast and
// over what distance.
//
// It owns the plan as an immutable value, its text form and the questions one
// can ask of it. It refuses to know the present time, which is an argument, and
// how much of a contact is already spoken for, which is the scheduler's business.
package contact

import (
	"math"
	"math/bits"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// BitRate is a data rate in bits per second.
type BitRate uint64

// Common rates.
const (
	BitPerSecond     BitRate = 1
	KilobitPerSecond         = 1000 * BitPerSecond
	MegabitPerSecond         = 1000 * KilobitPerSecond
	GigabitPerSecond         = 1000 * MegabitPerSecond
)

// Bytes returns how many whole bytes pass at rate r in d, at most
// math.MaxInt64.
func (r BitRate) Bytes(d dtntime.Duration) int64 {
	const bitMillis = 8 * 1000
	hi, lo := bits.Mul64(uint64(r), uint64(d))
	if hi >= bitMillis {
		return math.MaxInt64
	}
	n, _ := bits.Div64(hi, lo, bitMillis)
	return int64(min(n, math.MaxInt64))
}

// Duration returns how long size bytes take at rate r, rounded up to a whole
// millisecond. It is 0 for no bytes, and the largest Duration at rate 0.
func (r BitRate) Duration(size int64) dtntime.Duration {
	const bitMillis = 8 * 1000
	if size <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(size), bitMillis)
	if hi >= uint64(r) {
		return math.MaxUint64
	}
	n, rest := bits.Div64(hi, lo, uint64(r))
	if rest > 0 {
		n++ // cannot overflow: the quotient fits hi < r
	}
	return dtntime.Duration(n)
}

// Contact is a span of time in which one node can send to another. It says
// nothing of the other direction.
type Contact struct {
	// From and To are node IDs, such as ipn:1.0.
	From, To bundle.EID
	// The contact includes Start and excludes End.
	Start, End dtntime.Time
	// Rate is what From can send; it is not zero.
	Rate BitRate
	// Light is the one-way light time from From to To.
	Light dtntime.Duration
	// Confidence is the likelihood that the contact comes to pass, above 0 and
	// at most 1. New takes 0 to mean 1.
	Confidence float64
	// Layer names the convergence layer to use, or is empty for the node's
	// own choice.
	Layer string
}

// ActiveAt tells whether c is open at now.
func (c Contact) ActiveAt(now dtntime.Time) bool { return c.Start <= now && now < c.End }

// VolumeAt returns how many bytes From can still send in c from now on: the rate
// times what is left of it.
func (c Contact) VolumeAt(now dtntime.Time) int64 {
	return c.Rate.Bytes(c.End.Sub(max(now, c.Start)))
}

// Fits tells whether size bytes whose first one is ready at ready leave before c
// ends.
func (c Contact) Fits(size int64, ready dtntime.Time) bool {
	first := max(ready, c.Start)
	return first < c.End && c.Rate.Duration(size) <= c.End.Sub(first)
}
