package route

import (
	"testing"

	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

func TestAdjoiningContactsAreOne(t *testing.T) {
	slow := pass(1, 2, 100, 200, 4)
	fast := pass(1, 2, 200, 300, 2)
	fast.Rate *= 2
	r := New(node(1), nil)
	// 100 bytes overhead in 1000, so 250 kB with it: 100 ms and 75 ms.
	q := Query{Dest: node(2), Size: 242_719, Expiry: dtntime.Forever}
	for _, c := range []struct {
		name   string
		change func(a, b *contact.Contact)
		fits   bool
	}{
		{"one after the other", func(_, _ *contact.Contact) {}, true},
		{"with a gap", func(_, b *contact.Contact) { b.Start++ }, false},
		{"of different confidence", func(a, _ *contact.Contact) { a.Confidence = 0.9 }, false},
		{"of different layers", func(_, b *contact.Contact) { b.Layer = "ltp" }, false},
	} {
		a, b := slow, fast
		c.change(&a, &b)
		r.SetPlan(planOf(t, a, b))
		d, err := r.Next(q, 0)
		if (err == nil) != c.fits || err == nil && (d.Arrival != 278 || d.Contact.Start != 100) {
			t.Errorf("%s: %+v, %v, want %v", c.name, d, err, c.fits)
		}
	}
}

func TestGuard(t *testing.T) {
	r := New(node(1), nil)
	r.SetPlan(planOf(t, pass(1, 2, 100, 200, 0), pass(1, 2, 300, 320, 0), pass(1, 2, 400, 500, 0)))
	ten := Query{Dest: node(2), Size: 9900, Expiry: dtntime.Forever} // 10.197 ms
	for _, c := range []struct {
		guard  dtntime.Duration
		now    dtntime.Time
		starts dtntime.Time
	}{{0, 189, 100}, {0, 190, 300}, {1, 189, 300}, {5, 184, 100}, {5, 200, 300}, {9, 200, 300}, {10, 200, 400}, {30, 200, 400}} {
		r.SetGuard(c.guard)
		if d, err := r.Next(ten, c.now); err != nil || d.Contact.Start != c.starts {
			t.Errorf("guard %d at %d: %+v, %v, want the contact at %d", c.guard, c.now, d, err, c.starts)
		}
	}
	if _, err := r.Next(ten, 461); err == nil {
		t.Error("in the guard of the last contact")
	}
}
