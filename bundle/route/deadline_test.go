package route

import (
	"testing"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

func TestDeadline(t *testing.T) {
	const s, m = dtntime.Second, dtntime.Minute
	const t0 = dtntime.Time(1_000_000)
	// From 1 to 2 and back there is a pass now and one in an hour; 3 lies
	// behind 2 and has a way of its own back. 4 is far away. 5 only hears.
	plan := planOf(t,
		pass(1, 2, t0, t0.Add(5*m), 0), pass(2, 1, t0, t0.Add(5*m), 0), pass(2, 1, t0.Add(60*m), t0.Add(65*m), 0),
		pass(2, 3, t0, t0.Add(5*m), 0), pass(3, 1, t0.Add(20*m), t0.Add(25*m), 0),
		pass(1, 4, t0, t0.Add(600*m), 20*m), pass(4, 1, t0, t0.Add(600*m), 20*m),
		pass(1, 5, t0, t0.Add(5*m), 1*s),
	)
	usual := Flight{
		Next: node(2), Sent: t0, Attempt: 1, Expiry: t0.Add(dtntime.Day), ContactEnd: t0.Add(5 * m),
		Processing: DefaultProcessing, Aggregation: DefaultAggregation,
	}
	signal := dtntime.Duration(2) // 1024 bytes at 1000 a millisecond
	far := 20*m + (20*m+1489)/1490
	for _, c := range []struct {
		name   string
		change func(*Flight)
		want   dtntime.Time
		blind  bool
	}{
		{"the usual", func(*Flight) {}, t0.Add(11*s + signal + 2*s), false},
		{"second attempt", func(f *Flight) { f.Attempt = 2 }, t0.Add(11*s + signal + 4*s), false},
		{"fourth attempt", func(f *Flight) { f.Attempt = 4 }, t0.Add(11*s + signal + 16*s), false},
		{"fiftieth attempt", func(f *Flight) { f.Attempt = 50 }, t0.Add(11*s + signal + 16*s), false},
		{"bad clocks", func(f *Flight) { f.ClockError = 30 * s }, t0.Add(11*s + signal + 30*s), false},
		{"a slow custodian", func(f *Flight) { f.Aggregation = 39 * s }, t0.Add(40*s + signal + (40*s+signal)/10), false},
		{"just before the pass ends", func(f *Flight) { f.Sent = t0.Add(5*m - 12*s) }, t0.Add(5*m - 1*s + signal + 2*s), false},
		{
			"the answer comes with the next pass", func(f *Flight) { f.Sent = t0.Add(5*m - 11*s) },
			t0.Add(60*m + signal + (55*m+11*s+signal)/10), false,
		},
		{
			"far away", func(f *Flight) { f.Next, f.Light = node(4), 20*m },
			t0.Add(20*m + 11*s + signal + far + (20*m+11*s+signal+far)/10), false,
		},
		{
			"the custodian lies behind", func(f *Flight) { f.Custodian = bundle.IPN(3, 9) },
			t0.Add(20*m + signal + (20*m+signal)/10), false,
		},
		{"the custodian is the next node", func(f *Flight) { f.Custodian = bundle.IPN(2, 9) }, t0.Add(11*s + signal + 2*s), false},

		{"no way back", func(f *Flight) { f.Next, f.Light = node(5), 1*s }, t0.Add(2*s + 15*m), true},
		{"no way to the custodian", func(f *Flight) { f.Custodian = node(9) }, t0.Add(15 * m), true},
		{"no way back, expiring soon", func(f *Flight) { f.Next, f.Light, f.Expiry = node(5), 1*s, t0.Add(10*m) }, t0.Add(9*m - 1*s), true},
		{"no way back, expiring in the pass", func(f *Flight) { f.Next, f.Light, f.Expiry = node(5), 1*s, t0.Add(3*m) }, t0.Add(5 * m), true},
		{"no way back, expiring on a link", func(f *Flight) { f.Next, f.Expiry, f.ContactEnd = node(5), t0.Add(30*s), 0 }, t0.Add(13 * s), true},
		{"no way back, no expiry", func(f *Flight) { f.Next, f.Expiry = node(5), dtntime.Forever }, t0.Add(15 * m), true},
	} {
		f := usual
		c.change(&f)
		r := New(node(1), nil)
		r.SetPlan(plan)
		if got, blind := r.Deadline(f); got != c.want || blind != c.blind {
			t.Errorf("%s: %d ms after sending, blind %v, want %d, %v", c.name, got.Sub(f.Sent), blind, c.want.Sub(f.Sent), c.blind)
		}
	}
	linked := New(node(1), nil)
	linked.SetLinked([]bundle.EID{node(7)})
	f := usual
	f.Next, f.ContactEnd = node(7), 0
	if got, blind := linked.Deadline(f); got != t0.Add(13*s) || blind {
		t.Errorf("standing link: %d ms, blind %v", got.Sub(t0), blind)
	}
}

func TestEarliestArrival(t *testing.T) {
	r := New(node(1), nil)
	small := pass(2, 3, 100, 200, 50)
	small.Rate = 8 // a byte a second: nothing fits
	r.SetPlan(planOf(t, small))
	if at, ok := r.EarliestArrival(node(2), bundle.IPN(3, 4), 150); !ok || at != 150+1_024_000+50+1 {
		t.Errorf("got %d, %v: how full a contact is must not matter", at, ok)
	}
	if at, ok := r.EarliestArrival(bundle.IPN(2, 5), node(2), 9); !ok || at != 9 {
		t.Errorf("to itself: %d, %v", at, ok)
	}
	if _, ok := r.EarliestArrival(node(2), node(3), 200); ok {
		t.Error("after the contact")
	}
	if _, ok := r.EarliestArrival(node(3), node(2), 0); ok {
		t.Error("against the contact")
	}
	if _, ok := r.EarliestArrival(node(8), node(2), 0); ok {
		t.Error("from an unknown node")
	}
}
