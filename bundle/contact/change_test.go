package contact

import (
	"errors"
	"slices"
	"testing"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

func TestWith(t *testing.T) {
	a, b := span(1, 2, 10, 20), span(1, 2, 20, 30)
	p := mustPlan(t, a)
	q, err := p.With(b, a)
	if err != nil || q.Generation() != mustPlan(t, a, b).Generation() {
		t.Errorf("got %v, %v", q, err)
	}
	if p.Len() != 1 {
		t.Error("the plan itself has changed")
	}
	same, err := p.With(Contact{From: bundle.IPN(1, 7), To: a.To, Start: a.Start, End: a.End, Rate: a.Rate})
	if err != nil || same.Generation() != p.Generation() {
		t.Errorf("the same contact in other words: %v", err)
	}
	for name, c := range map[string]Contact{"overlap": span(1, 2, 15, 25), "unsound": span(1, 1, 50, 60)} {
		if _, err := p.With(c); !errors.Is(err, ErrPlan) {
			t.Errorf("%s: got %v, want ErrPlan", name, err)
		}
	}
	var none *Plan
	if q, err := none.With(a); err != nil || q.Len() != 1 {
		t.Errorf("to no plan: %v", err)
	}
}

func TestWithout(t *testing.T) {
	a, b, c := span(1, 2, 10, 20), span(1, 2, 20, 30), span(2, 1, 10, 20)
	p := mustPlan(t, a, b, c)
	q, n := p.Without(func(c Contact) bool { return c.Between(bundle.IPN(1, 5), node(2)) })
	if n != 2 || !slices.Equal(slices.Collect(q.All()), []Contact{c}) || p.Len() != 3 {
		t.Errorf("%d left out, %d remain, %d before", n, q.Len(), p.Len())
	}
	var none *Plan
	if q, n := none.Without(func(Contact) bool { return true }); n != 0 || q.Len() != 0 {
		t.Errorf("of no plan: %d left out", n)
	}
}

func TestReplacing(t *testing.T) {
	other, back := span(1, 3, 10, 20), span(2, 1, 10, 20)
	p := mustPlan(t, span(1, 2, 0, 10), span(1, 2, 10, 20), span(1, 2, 30, 40), span(1, 2, 50, 60), other, back)
	for _, c := range []struct {
		name string
		by   []Contact
		want []Contact
	}{
		{"moved a little", []Contact{span(1, 2, 12, 21)}, []Contact{span(1, 2, 0, 10), other, back, span(1, 2, 12, 21), span(1, 2, 30, 40), span(1, 2, 50, 60)}},
		{"one is gone", []Contact{span(1, 2, 12, 20), span(1, 2, 51, 60)}, []Contact{span(1, 2, 0, 10), other, back, span(1, 2, 12, 20), span(1, 2, 51, 60)}},
		{"both ways", []Contact{span(1, 2, 15, 20), span(2, 1, 18, 20)}, []Contact{span(1, 2, 0, 10), other, span(1, 2, 15, 20), span(2, 1, 18, 20), span(1, 2, 30, 40), span(1, 2, 50, 60)}},
		{"by nothing", nil, slices.Collect(p.All())},
	} {
		got, err := p.Replacing(mustPlan(t, c.by...))
		if err != nil || got.Generation() != mustPlan(t, c.want...).Generation() {
			t.Errorf("%s: got %+v, %v; want %+v", c.name, slices.Collect(got.All()), err, c.want)
		}
	}
	if q, err := p.Replacing(nil); err != nil || q.Generation() != p.Generation() {
		t.Errorf("by no plan: %v", err)
	}
}

func TestNarrowed(t *testing.T) {
	p := mustPlan(t, span(1, 2, 10, 20), span(1, 2, 20, 26), span(2, 1, 5, dtntime.Forever))
	got := slices.Collect(p.Narrowed(3).All())
	if want := []Contact{span(2, 1, 8, dtntime.Forever-3), span(1, 2, 13, 17)}; !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if p.Narrowed(0).Generation() != p.Generation() {
		t.Error("no error changes the plan")
	}
	if n := p.Narrowed(dtntime.Duration(dtntime.Forever)).Len(); n != 0 {
		t.Errorf("%d contacts survive the largest error", n)
	}
}
