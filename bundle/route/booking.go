package route

import (
	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// Booking is what one bundle takes of the contacts on its way. The zero value is none.
// It is part of the Router that made it until it is returned or settled, and must not
// be copied.
type Booking struct {
	// Handle names the bundle to its owner.
	Handle store.Handle

	own           *span // nil when the bundle goes over a standing link, or has left
	hops          []hop // not to be changed
	volume        int64
	priority      bundle.Priority
	standby       bool
	before, after *Booking // of own and of the same priority, in the order they were made
}

// IsNone tells whether nothing is booked.
func (b *Booking) IsNone() bool { return b.own == nil && len(b.hops) == 0 }

// Book books what a bundle takes by a decision that was just made. There must be
// nothing in b.
func (r *Router) Book(b *Booking, h store.Handle, d *Decision) {
	if len(d.hops) == 0 {
		return
	}
	*b = Booking{
		Handle: h, own: d.hops[0].span, hops: d.hops, volume: min(d.volume, maxBooked), priority: d.priority, standby: d.Standby,
	}
	r.booked++
	if s := b.own; s != nil {
		c := s.claim()
		c.booked[class(b.priority)] += b.volume
		if b.standby {
			c.standby[class(b.priority)] += b.volume
		} else {
			c.link(b)
		}
	}
	b.takeBeyond(b.volume)
}

// maxBooked is what one bundle takes at most, so that sums stay within their type.
const maxBooked = 1 << 44

// takeBeyond books volume of the contacts behind the first, or gives it back, and tells
// whether there are any. One on standby takes none: they are full.
func (b *Booking) takeBeyond(volume int64) (some bool) {
	for _, beyond := range b.hops[1:] {
		if s := beyond.span; s != nil && !b.standby {
			s.claim().booked[class(b.priority)] += volume
			some = true
		}
	}
	return some
}

// link adds a booking to those of its priority.
func (c *claims) link(b *Booking) {
	p := class(b.priority)
	b.before = c.latest[p]
	if b.before != nil {
		b.before.after = b
	}
	c.latest[p] = b
}

func (c *claims) unlink(b *Booking) {
	if b.before != nil {
		b.before.after = b.after
	}
	if b.after != nil {
		b.after.before = b.before
	} else if p := class(b.priority); c.latest[p] == b {
		c.latest[p] = b.before
	}
	b.before, b.after = nil, nil
}

// Leave notes that a bundle is being sent: it does not wait before others any more. Of
// the contacts beyond it takes what it takes.
func (r *Router) Leave(b *Booking) {
	s := b.own
	if s == nil {
		return
	}
	p := class(b.priority)
	s.booked[p] -= b.volume
	if b.standby {
		s.standby[p] -= b.volume
	} else {
		s.unlink(b)
	}
	b.own = nil
}

// Return gives back what a bundle would have taken, because it does not go that way.
func (r *Router) Return(b *Booking) {
	if b.IsNone() {
		return
	}
	waited := b.own != nil
	r.Leave(b)
	if b.takeBeyond(-b.volume) || waited {
		r.freed++
	}
	r.booked--
	*b = Booking{}
}

// Settle ends the booking of a bundle that has gone its way. What it takes of contacts
// beyond stays taken.
func (r *Router) Settle(b *Booking) {
	if b.IsNone() {
		return
	}
	r.Leave(b)
	if !b.takeBeyond(0) {
		r.booked--
	}
	*b = Booking{}
}

// Displaced returns the bundles that have no room any more in the contact that b goes
// in because of b and others of its priority or higher ones: those of lower priority
// that were booked last. They are to be returned and find other ways.
func (r *Router) Displaced(b *Booking, now dtntime.Time) []store.Handle {
	s := b.own
	if s == nil || b.standby {
		return nil
	}
	sum := int64(0)
	for p := range s.booked {
		sum += s.booked[p] - s.standby[p]
	}
	over := sum - s.room(now)
	var handles []store.Handle
	for p := range class(b.priority) {
		for v := s.latest[p]; v != nil && over > 0; v = v.before {
			handles = append(handles, v.Handle)
			over -= v.volume
		}
	}
	return handles
}
