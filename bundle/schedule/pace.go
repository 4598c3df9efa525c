package schedule

import (
	"math/bits"

	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

const (
	// lead is how long before a link is free it gets the next bundles, if they are
	// small enough to have left by then: what is urgent waits so long at most, or for
	// the one bundle that is on its way.
	lead = 20 * dtntime.Millisecond
	// lag is by how much a bundle may be handed over late without a loss: the
	// ones behind it catch up.
	lag = 50 * dtntime.Millisecond
)

// Pace tells when what was handed to a link has left it, at the rate of its contact. So
// the link gets one bundle after the other, and what is urgent overtakes at the next
// bundle boundary. The zero Pace is that of an idle link of unknown rate, which takes
// everything at once.
type Pace struct {
	rate contact.BitRate
	till dtntime.Time
	rest uint64 // beyond till, in ms/rate
}

// SetRate changes the rate for what follows; 0: unknown.
func (p *Pace) SetRate(rate contact.BitRate) {
	if rate != p.rate {
		p.rate, p.rest = rate, 0
	}
}

// Free returns when the link is free for another bundle: now, or later.
func (p *Pace) Free(now dtntime.Time) dtntime.Time { return max(p.till, now) }

// Book takes up a bundle of so many bytes that is handed to the link.
func (p *Pace) Book(size int64, now dtntime.Time) {
	if p.rate == 0 {
		return
	}
	if p.till.Add(lag) < now {
		p.till, p.rest = now, 0
	}
	whole, rest := p.span(size)
	if rest += p.rest; rest >= uint64(p.rate) {
		rest -= uint64(p.rate)
		whole = whole.Add(1)
	}
	p.till, p.rest = p.till.Add(whole), rest
}

// Unbook gives back the time of a bundle that was not sent after all.
func (p *Pace) Unbook(size int64, now dtntime.Time) {
	if p.rate == 0 {
		return
	}
	whole, _ := p.span(size)
	p.till, p.rest = max(now, dtntime.Time(p.till.Sub(dtntime.Time(whole)))), 0
}

// span is how long size bytes take, in milliseconds and ms/rate.
func (p *Pace) span(size int64) (dtntime.Duration, uint64) {
	const bitMillis = 8 * 1000
	hi, lo := bits.Mul64(uint64(max(size, 0)), bitMillis)
	if hi >= uint64(p.rate) {
		return dtntime.Duration(1 << 62), 0
	}
	whole, rest := bits.Div64(hi, lo, uint64(p.rate))
	return dtntime.Duration(whole), rest
}

// Ready returns when the link may be given a bundle of so many bytes: when it is free,
// or sooner when the bundle will have left soon. Small bundles come several at a time.
func (p *Pace) Ready(size int64) dtntime.Time {
	if p.rate == 0 {
		return 0
	}
	whole, _ := p.span(size)
	return dtntime.Time(p.till.Sub(dtntime.Time(lead - min(whole, lead))))
}

// Wake returns when to look again whether the link may be given a bundle of so many bytes:
// with several small ones at a time.
func (p *Pace) Wake(size int64) dtntime.Time {
	return max(p.Ready(size), dtntime.Time(p.till.Sub(dtntime.Time(lead/2))))
}

// Idle ends what was booked: the link is another one, or what it had is lost.
func (p *Pace) Idle() { p.till, p.rest = 0, 0 }

// Shift moves the times of p after the clock was set.
func (p *Pace) Shift(shift func(dtntime.Time) dtntime.Time) { p.till = shift(p.till) }
