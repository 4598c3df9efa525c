package contact

import (
	"slices"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// With returns p with further contacts. One that p has already, alike in all, changes
// nothing; one that overlaps another contact from the same node to the same node is an
// error, which wraps ErrPlan.
func (p *Plan) With(contacts ...Contact) (*Plan, error) {
	all := slices.Collect(p.All())
	known := make(map[Contact]bool, len(all))
	for _, c := range all {
		known[c] = true
	}
	for _, c := range contacts {
		norm := c
		if err := normalise(&norm); err == nil && known[norm] {
			continue
		}
		all = append(all, c) // New says what is wrong with it
	}
	return New(all)
}

// Without returns p without the contacts that drop chooses, and how many they were.
func (p *Plan) Without(drop func(Contact) bool) (*Plan, int) {
	kept := slices.DeleteFunc(slices.Collect(p.All()), drop)
	return keep(kept), p.Len() - len(kept)
}

// Replacing returns p with the contacts of q in the place of its own between the same
// nodes, as far as q reaches: contacts of p that overlap the span from the first start
// to the last end of q give way as a whole. So a new prediction takes the place of an
// older one, also where a contact is gone.
func (p *Plan) Replacing(q *Plan) (*Plan, error) {
	var first, last dtntime.Time
	pairs := make(map[pair]bool)
	for c := range q.All() {
		if len(pairs) == 0 {
			first = c.Start // by start
		}
		last = max(last, c.End)
		pairs[pair{c.From, c.To}] = true
	}
	rest, _ := p.Without(func(c Contact) bool {
		return pairs[pair{c.From, c.To}] && c.Start < last && first < c.End
	})
	return rest.With(slices.Collect(q.All())...)
}

// Narrowed returns p with every contact begun later and ended earlier by the error of
// clocks and predictions, so that nobody sends before the other end listens. Contacts
// that are too short for that are left out.
func (p *Plan) Narrowed(by dtntime.Duration) *Plan {
	var kept []Contact
	for c := range p.All() {
		c.Start, c.End = c.Start.Add(by), dtntime.Time(c.End.Sub(dtntime.Time(by)))
		if c.Start < c.End {
			kept = append(kept, c)
		}
	}
	return keep(kept)
}

// keep makes a plan of contacts that are some of another plan, or parts of them.
func keep(contacts []Contact) *Plan {
	p, err := New(contacts)
	if err != nil {
		panic("contact: a part of a sound plan is unsound: " + err.Error())
	}
	return p
}

// Between tells whether c leads from one node to another. It is for Without.
func (c Contact) Between(from, to bundle.EID) bool {
	return c.From == from.Node() && c.To == to.Node()
}
