package route

import (
	"errors"
	"slices"
	"testing"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// A neighbour whose link is held down is no next hop, over whatever way.
func TestHeld(t *testing.T) {
	r := New(node(1), tableOf(t, Route{"ipn:6.0", node(4)}, Route{"*", node(5)}))
	r.SetPlan(planOf(t,
		pass(1, 2, 100, 200, 0), pass(2, 9, 100, 200, 0),
		pass(1, 3, 300, 400, 0), pass(3, 9, 300, 400, 0),
	))
	r.SetLinked([]bundle.EID{node(4), node(5)})
	small := func(dest uint64) Query { return Query{Dest: node(dest), Size: 100, Expiry: dtntime.Forever} }
	for _, c := range []struct {
		name string
		held []uint64
		q    Query
		next uint64 // 0: ErrHeld
	}{
		{"nothing held", nil, small(9), 2},
		{"the first way", []uint64{2}, small(9), 3},
		{"both ways, so the wildcard", []uint64{2, 3}, small(9), 5},
		{"every way", []uint64{2, 3, 5}, small(9), 0},
		{"all but the first", []uint64{3, 5}, small(9), 2},
		{"released", nil, small(9), 2},
		{"a link that stands", []uint64{4}, small(4), 5},
		{"a static route", []uint64{4}, small(6), 5},
		{"that and the wildcard", []uint64{4, 5}, small(6), 0},
		{"not in time without it", []uint64{2, 5}, Query{Dest: node(9), Size: 100, Expiry: 250}, 0},
		{"not large enough without it", []uint64{2, 5}, Query{Dest: node(9), Size: 90_000, Expiry: 250}, 0},
	} {
		var held []bundle.EID
		for _, n := range c.held {
			held = append(held, node(n))
		}
		r.SetHeld(held)
		for range 2 { // the second answer is remembered
			d, err := r.Next(c.q, 0)
			switch {
			case c.next == 0:
				if !errors.Is(err, ErrHeld) || !errors.Is(err, ErrNoRoute) || errors.Is(err, ErrTooLarge) {
					t.Errorf("%s: %+v, %v, want ErrHeld", c.name, d, err)
				}
			case err != nil || d.Next != node(c.next):
				t.Errorf("%s: %+v, %v, want ipn:%d.0", c.name, d, err, c.next)
			}
		}
	}
	r.SetHeld([]bundle.EID{node(2), node(5)})
	got, err := r.Explain(small(9), 0)
	want := []string{"2 plan excluded@102", "3 plan taken@302", "4 plan no-way@0", "5 plan no-way@0", "5 static excluded@0"}
	if err != nil || !slices.Equal(told(got), want) {
		t.Errorf("explained as %v, %v, want %v", told(got), err, want)
	}
	critical, err := r.Each(small(9), 0)
	if err != nil || len(critical) != 1 || critical[0].Next != node(3) {
		t.Errorf("over each: %+v, %v, want ipn:3.0 alone", critical, err)
	}
}
