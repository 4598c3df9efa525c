package contact

import (
	"cmp"
	"math"
	"slices"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// Pass is a time in which one node can send to another without a break: a contact, or
// several that adjoin and differ in rate or light time alone, as plans have them where
// the distance changes. The zero Pass is none.
type Pass struct{ contacts []Contact }

// adjoins tells whether a transmission can go on from one contact into the next.
func adjoins(c, next *Contact) bool {
	return c.End == next.Start && c.Confidence == next.Confidence && c.Layer == next.Layer
}

// Passes joins contacts from one node to one other, which are by start and do not
// overlap.
func Passes(contacts []Contact) []Pass {
	var passes []Pass
	for len(contacts) > 0 {
		n := 1
		for n < len(contacts) && adjoins(&contacts[n-1], &contacts[n]) {
			n++
		}
		passes = append(passes, Pass{contacts[:n:n]})
		contacts = contacts[n:]
	}
	return passes
}

// Channel is all passes from one node to another, by start.
type Channel struct {
	From, To bundle.EID
	Passes   []Pass
}

// Channels returns the channels of all pairs of nodes that have contacts, ordered by
// From and then by To. They are part of the plan, so that many may share them, and must
// not be changed.
func (p *Plan) Channels() []Channel {
	if p == nil {
		return nil
	}
	return p.channels
}

// layChannels makes the channels.
func (p *Plan) layChannels() {
	for at, list := range p.pairs { // in any order: they are sorted below
		contacts := make([]Contact, len(list))
		for i, k := range list {
			contacts[i] = p.contacts[k]
		}
		p.channels = append(p.channels, Channel{at.from, at.to, Passes(contacts)})
	}
	slices.SortFunc(p.channels, func(a, b Channel) int { return cmp.Or(CompareEID(a.From, b.From), CompareEID(a.To, b.To)) })
}

// Pass returns the pass from one node to another that is open at now, or the zero Pass.
func (p *Plan) Pass(from, to bundle.EID, now dtntime.Time) Pass {
	list, next := p.between(from, to, now)
	if next == 0 || !p.contacts[list[next-1]].ActiveAt(now) {
		return Pass{}
	}
	first := next - 1
	for first > 0 && adjoins(&p.contacts[list[first-1]], &p.contacts[list[first]]) {
		first--
	}
	for next < len(list) && adjoins(&p.contacts[list[next-1]], &p.contacts[list[next]]) {
		next++
	}
	var contacts []Contact
	for _, i := range list[first:next] {
		contacts = append(contacts, p.contacts[i])
	}
	return Pass{contacts}
}

// IsNone tells whether p is the zero Pass.
func (p Pass) IsNone() bool { return len(p.contacts) == 0 }

// Equal tells whether two passes are of the same contacts.
func (p Pass) Equal(q Pass) bool { return slices.Equal(p.contacts, q.contacts) }

// Start returns when p begins, and 0 for none.
func (p Pass) Start() dtntime.Time {
	if p.IsNone() {
		return 0
	}
	return p.contacts[0].Start
}

// End returns when p is over, and 0 for none.
func (p Pass) End() dtntime.Time {
	if p.IsNone() {
		return 0
	}
	return p.contacts[len(p.contacts)-1].End
}

// Confidence returns the likelihood that p comes to pass, and 0 for none.
func (p Pass) Confidence() float64 {
	if p.IsNone() {
		return 0
	}
	return p.contacts[0].Confidence
}

// At returns the contact of which a byte that is ready at a time leaves; the last one
// when p is over. There must be one.
func (p Pass) At(ready dtntime.Time) Contact {
	for i := range p.contacts {
		if ready < p.contacts[i].End {
			return p.contacts[i]
		}
	}
	return p.contacts[len(p.contacts)-1]
}

// Room returns how many bytes can leave from one time to another, at most
// math.MaxInt64.
func (p Pass) Room(from, until dtntime.Time) int64 {
	sum := int64(0)
	for i := range p.contacts {
		c := &p.contacts[i]
		n := c.Rate.Bytes(min(c.End, until).Sub(max(from, c.Start)))
		sum += min(n, math.MaxInt64-sum)
	}
	return sum
}

// Sent returns when size bytes have left of which the first may leave at ready. Beyond
// the end it goes on at the last rate.
func (p Pass) Sent(ready dtntime.Time, size int64) dtntime.Time {
	at := max(ready, p.Start())
	for i := range p.contacts {
		c := &p.contacts[i]
		end := at.Add(c.Rate.Duration(size))
		if end <= c.End || i == len(p.contacts)-1 {
			return end
		}
		if at < c.End {
			size -= c.Rate.Bytes(c.End.Sub(at))
			at = c.End
		}
	}
	return at
}

// Arrival returns when a byte that leaves at a time arrives, by the light time that lag
// gives to a contact. What leaves later never arrives earlier, even where the light time
// of the plan falls by a step.
func (p Pass) Arrival(left dtntime.Time, lag func(*Contact) dtntime.Duration) dtntime.Time {
	var before dtntime.Time
	for i := range p.contacts {
		c := &p.contacts[i]
		if left <= c.End || i == len(p.contacts)-1 {
			return max(before, left.Add(lag(c)))
		}
		before = max(before, c.End.Add(lag(c)))
	}
	return before
}
