package schedule

import (
	"math"

	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

// DefaultShare is the part of a contact, in percent, that retransmissions may use
// while first transmissions wait.
const DefaultShare = 25

// Window is what is left of a pass, or a standing link, for sending.
type Window struct {
	// End is when the last byte must have left: the end of the pass less a guard
	// for clocks and orbit; dtntime.Forever for a standing link.
	End dtntime.Time
	// Resume is when the next contact with this neighbour starts, or 0 when
	// there is none to come or it is unknown. What expires before has its last
	// chance now.
	Resume dtntime.Time
	// Most is the most bytes that go in one piece, because the neighbour takes
	// no more; 0 for no limit.
	Most int64

	pass   contact.Pass // none when the rate is unknown: then everything fits before End
	budget int64        // of bytes for retransmissions
	spent  int64
}

// Open returns the window of a pass of which the part from now to its end, less guard,
// remains. Share is the percentage of it that retransmissions may use.
func Open(p contact.Pass, now dtntime.Time, guard dtntime.Duration, share int) Window {
	w := Window{pass: p, End: dtntime.Time(p.End().Sub(dtntime.Time(guard)))}
	w.budget = percent(w.room(max(now, p.Start())), share)
	return w
}

// Standing returns the window of a link that has no end.
func Standing() Window { return Window{End: dtntime.Forever, budget: math.MaxInt64} }

func percent(n int64, share int) int64 {
	p := int64(min(max(share, 0), 100))
	return n/100*p + n%100*p/100
}

// Room returns how many bytes can still leave from now on in one piece; negative
// when w has ended.
func (w *Window) Room(now dtntime.Time) int64 {
	room := w.room(now)
	if w.Most > 0 {
		room = min(room, w.Most)
	}
	return room
}

// room returns how many bytes can still leave from now on.
func (w *Window) room(now dtntime.Time) int64 {
	switch {
	case now >= w.End:
		return -1
	case w.pass.IsNone() || w.End == dtntime.Forever:
		return math.MaxInt64
	}
	return w.pass.Room(now, w.End)
}
