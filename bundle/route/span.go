package route

import (
	"math"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

// classes is the number of priorities.
const classes = int(bundle.PriorityExpedited) + 1

// span is a pass as it is searched, and beside it what is spoken for.
type span struct {
	contact.Pass
	start   dtntime.Time
	stop    dtntime.Time // when the last byte must have left: the end less the guard
	volume  int64        // bytes from start to stop
	*claims              // nil of most: nothing was ever booked
}

// claims is what is spoken for of a span. A plan has far more spans than bundles ever
// go over, so it stands apart.
type claims struct {
	// booked is what bundles of each priority take of it. Of a span of this node it is
	// what they still will take; of those of others, all that they ever took.
	booked  [classes]int64
	standby [classes]int64    // the part of booked that has no room for sure
	latest  [classes]*Booking // of a span of this node, the last booking that is no standby
}

// newSpan returns nil when the guard leaves nothing of the pass.
func newSpan(p contact.Pass, guard dtntime.Duration) *span {
	s := &span{Pass: p, start: p.Start(), stop: dtntime.Time(p.End().Sub(dtntime.Time(guard)))}
	if s.stop <= s.start {
		return nil
	}
	s.volume = s.room(s.start)
	return s
}

// claim returns what is spoken for of s, to be added to.
func (s *span) claim() *claims {
	if s.claims == nil {
		s.claims = &claims{}
	}
	return s.claims
}

// isSame tells whether two spans are of the same contacts.
func (s *span) isSame(t *span) bool { return s.stop == t.stop && s.Equal(t.Pass) }

// room returns how many bytes can leave from a time on.
func (s *span) room(from dtntime.Time) int64 { return s.Room(from, s.stop) }

// arrival returns when a byte that leaves at a time arrives.
func (s *span) arrival(left dtntime.Time) dtntime.Time { return s.Arrival(left, light) }

// light returns the one-way light time of c with a margin for the motion of its
// ends, one part in 1490: the figure that CCSDS 734.3-B-1 (Schedule-Aware Bundle
// Routing) takes for bodies that part at 450000 miles an hour.
func light(c *contact.Contact) dtntime.Duration {
	return c.Light.Add((c.Light + 1489) / 1490)
}

// taken is what bundles of a priority and of higher ones take.
func (s *span) taken(p bundle.Priority) int64 {
	if s.claims == nil {
		return 0
	}
	sum := int64(0)
	for _, n := range s.booked[class(p):] {
		sum += n
	}
	return sum
}

// class is the number of a priority among those that are known.
func class(p bundle.Priority) int { return min(int(p), classes-1) }

// plus adds what is not negative, at most to math.MaxInt64.
func plus(a, b int64) int64 { return a + min(b, math.MaxInt64-a) }

// load is what a message asks of the spans on its way.
type load struct {
	size     int64 // bytes, with the overhead of the layers below
	priority bundle.Priority
	mustFit  bool // whether spans must hold all of it
	counting bool // whether what is booked counts
}

// leaves returns when the last byte of a message that is ready at a time has left in a
// span of another node, and whether the span can take it.
func (s *span) leaves(ready dtntime.Time, l *load) (dtntime.Time, bool) {
	if ready >= s.stop {
		return 0, false
	}
	if l.counting && plus(s.taken(l.priority), l.size) > s.volume {
		return 0, false
	}
	last := s.Sent(ready, l.size)
	return last, last <= s.stop || !l.mustFit
}

// queued is the same for a span of this node, where the bundles that are booked go
// first. Behind is what is left over from spans before, and then from this one.
func (s *span) queued(ready dtntime.Time, l *load, behind *int64) (dtntime.Time, bool) {
	if !l.counting || ready >= s.stop {
		return s.leaves(ready, l)
	}
	ahead := plus(*behind, s.taken(l.priority))
	*behind = max(ahead-s.room(ready), 0)
	last := s.Sent(ready, plus(ahead, l.size))
	return last, last <= s.stop
}
