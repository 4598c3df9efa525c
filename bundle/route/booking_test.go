package route

import (
	"slices"
	"testing"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// booker books what it asks for.
type booker struct {
	t    *testing.T
	r    *Router
	last store.Handle
}

// book asks for a bundle of so many bytes with their overhead, which must be at least
// 1000, and books it.
func (b *booker) book(dest uint64, volume int64, p bundle.Priority, now dtntime.Time) (*Booking, Decision) {
	b.t.Helper()
	d, err := b.r.Next(sized(dest, volume, p), now)
	if err != nil {
		b.t.Fatal(err)
	}
	b.last++
	made := new(Booking)
	b.r.Book(made, b.last, &d)
	return made, d
}

// sized is a bundle that takes a volume.
func sized(dest uint64, size int64, p bundle.Priority) Query {
	q := Query{Dest: node(dest), Size: size - 100, Priority: p, Expiry: dtntime.Forever}
	for volume(q.Size) > size {
		q.Size--
	}
	return q
}

// starts is when the contact of a decision starts, 0 for none.
func starts(d Decision) dtntime.Time {
	if d.Contact == nil {
		return 0
	}
	return d.Contact.Start
}

func TestBacklogGoesFirst(t *testing.T) {
	const bulk, normal, expedited = bundle.PriorityBulk, bundle.PriorityNormal, bundle.PriorityExpedited
	r := New(node(1), nil)
	r.SetPlan(planOf(t, pass(1, 2, 100, 200, 0), pass(1, 2, 300, 400, 0), pass(1, 2, 500, 600, 0)))
	b := &booker{t: t, r: r}
	first, d := b.book(2, 60_000, normal, 0)
	if d.Arrival != 160 || d.Standby {
		t.Fatalf("first: %+v", d)
	}
	for _, c := range []struct {
		name    string
		volume  int64
		p       bundle.Priority
		now     dtntime.Time
		arrival dtntime.Time
	}{
		{"behind one of the same priority", 30_000, normal, 0, 190},
		{"behind one of higher priority", 30_000, bulk, 0, 190},
		{"before one of lower priority", 30_000, expedited, 0, 130},
		{"no room beside it", 50_000, normal, 0, 350},
		{"when the contact is under way", 30_000, normal, 110, 200},
		{"when too little of the contact is left", 30_000, normal, 111, 330 /* and what waits before goes then */},
		{"when what waits does not fit into the rest", 30_000, normal, 150, 340},
	} {
		if d, err := r.Next(sized(2, c.volume, c.p), c.now); err != nil || d.Arrival != c.arrival || d.Standby {
			t.Errorf("%s: %+v, %v, want arrival at %d", c.name, d, err, c.arrival)
		}
	}
	r.Leave(first)
	if d, err := r.Next(sized(2, 30_000, normal), 110); err != nil || d.Arrival != 140 {
		t.Errorf("once the first has left: %+v, %v", d, err)
	}
	r.Return(first)
	if !first.IsNone() {
		t.Error("a booking that was returned is there")
	}
	checkUnbooked(t, 0, r)
}

func TestVolumeOfOthersContacts(t *testing.T) {
	const normal, expedited = bundle.PriorityNormal, bundle.PriorityExpedited
	r := New(node(1), nil)
	// To 2 there is more room than from there to 3.
	r.SetPlan(planOf(t, pass(1, 2, 100, 300, 0), pass(2, 3, 100, 200, 0), pass(2, 3, 500, 600, 0)))
	b := &booker{t: t, r: r}
	first, d := b.book(3, 70_000, normal, 0)
	if starts(d) != 100 || d.Arrival != 570 { // 70 ms to 2, and then 30 are left
		t.Errorf("first: %+v", d)
	}
	small, d := b.book(3, 20_000, normal, 0)
	if d.Arrival != 520 { // 90 ms to 2, and what is sent there by others is not known
		t.Errorf("second: %+v", d)
	}
	if d, err := r.Next(sized(3, 20_000, expedited), 0); err != nil || d.Arrival != 140 {
		t.Errorf("expedited: %+v, %v", d, err)
	}
	r.Leave(first)
	r.Settle(first)
	if d, err := r.Next(sized(3, 20_000, normal), 200); err != nil || !d.Standby {
		t.Errorf("behind what has gone to 2: %+v, %v; want standby, since it stays taken beyond", d, err)
	}
	r.Return(small)
	if d, err := r.Next(sized(3, 20_000, normal), 200); err != nil || d.Standby || d.Arrival != 520 {
		t.Errorf("once the second is given back: %+v, %v", d, err)
	}
}

func TestStandbyAndDisplaced(t *testing.T) {
	const bulk, normal, expedited = bundle.PriorityBulk, bundle.PriorityNormal, bundle.PriorityExpedited
	r := New(node(1), nil)
	r.SetPlan(planOf(t, pass(1, 2, 100, 200, 0)))
	b := &booker{t: t, r: r}
	one, _ := b.book(2, 40_000, bulk, 0)
	two, _ := b.book(2, 40_000, bulk, 0)
	three, d := b.book(2, 40_000, bulk, 0)
	if !d.Standby || starts(d) != 100 {
		t.Errorf("what has no room: %+v", d)
	}
	if got := r.Displaced(three, 0); got != nil {
		t.Errorf("one on standby displaces %v", got)
	}
	if got := r.Displaced(two, 0); got != nil {
		t.Errorf("where there is room, %v is displaced", got)
	}
	four, d := b.book(2, 30_000, normal, 0)
	if d.Standby || d.Arrival != 130 {
		t.Errorf("normal before bulk: %+v", d)
	}
	if got := r.Displaced(four, 0); !slices.Equal(got, []store.Handle{two.Handle}) {
		t.Errorf("%v are displaced, want the one that was booked last", got)
	}
	five, _ := b.book(2, 70_000, expedited, 0)
	if got := r.Displaced(five, 0); !slices.Equal(got, []store.Handle{two.Handle, one.Handle}) {
		t.Errorf("%v are displaced, want the lowest first", got)
	}
	six, _ := b.book(2, 30_000, expedited, 0)
	if got := r.Displaced(six, 0); !slices.Equal(got, []store.Handle{two.Handle, one.Handle, four.Handle}) {
		t.Errorf("%v are displaced, want both priorities", got)
	}
	if got := r.Displaced(six, 160); !slices.Equal(got, []store.Handle{two.Handle, one.Handle, four.Handle}) {
		t.Errorf("%v are displaced at the end of the contact", got)
	}
	for _, booking := range []*Booking{one, three, five, four, six, two} {
		r.Return(booking)
		r.Return(booking) // once more does nothing
	}
	checkUnbooked(t, 0, r)
}

func TestBookingsOutlastPlans(t *testing.T) {
	const normal = bundle.PriorityNormal
	r := New(node(1), nil)
	stays, goes := pass(1, 2, 100, 200, 0), pass(1, 3, 100, 200, 0)
	r.SetPlan(planOf(t, stays, goes))
	b := &booker{t: t, r: r}
	kept, _ := b.book(2, 60_000, normal, 0)
	lost, _ := b.book(3, 60_000, normal, 0)
	changed := goes
	changed.Rate--
	r.SetPlan(planOf(t, stays, changed, pass(1, 4, 0, 50, 0), pass(1, 2, 300, 400, 0)))
	if d, err := r.Next(sized(2, 60_000, normal), 0); err != nil || starts(d) != 300 {
		t.Errorf("over the contact that is booked: %+v, %v", d, err)
	}
	if d, err := r.Next(sized(3, 60_000, normal), 0); err != nil || starts(d) != 100 || d.Standby {
		t.Errorf("over the contact that is new: %+v, %v", d, err)
	}
	r.SetLinked([]bundle.EID{node(9)})
	r.Return(kept)
	r.Return(lost)
	if d, err := r.Next(sized(2, 60_000, normal), 0); err != nil || starts(d) != 100 {
		t.Errorf("once given back: %+v, %v", d, err)
	}
	checkUnbooked(t, 0, r)
}

func TestStaticRoutesAreBooked(t *testing.T) {
	const bulk = bundle.PriorityBulk
	r := New(node(1), tableOf(t, Route{"*", node(2)}))
	r.SetPlan(planOf(t, pass(1, 2, 100, 200, 0), pass(1, 2, 300, 400, 0)))
	b := &booker{t: t, r: r}
	for i, want := range []dtntime.Time{100, 300, 100} {
		if _, d := b.book(9, 60_000, bulk, 0); starts(d) != want || d.Standby != (i == 2) || d.Via != ViaStatic {
			t.Errorf("bundle %d: %+v", i, d)
		}
	}
}

func TestPiecesTakeWhatThereIs(t *testing.T) {
	r := New(node(1), nil)
	r.SetPlan(planOf(t, pass(1, 2, 100, 200, 0), pass(1, 2, 300, 400, 0), pass(1, 2, 500, 600, 0)))
	b := &booker{t: t, r: r}
	large := sized(2, 150_000, bundle.PriorityNormal)
	large.Least = 2000
	for _, want := range []dtntime.Time{100, 300, 500} {
		d, err := r.Next(large, 0)
		if err != nil || starts(d) != want || d.Standby {
			t.Fatalf("%+v, %v, want the contact at %d", d, err, want)
		}
		r.Book(new(Booking), 0, &d)
	}
	if d, err := r.Next(large, 0); err != nil || !d.Standby {
		t.Errorf("when all is full: %+v, %v", d, err)
	}
	large.Expiry = 250
	if _, d := b.book(2, 1000, bundle.PriorityExpedited, 0); starts(d) != 100 {
		t.Errorf("expedited: %+v", d)
	}
}

func TestEach(t *testing.T) {
	r := New(node(1), tableOf(t, Route{"ipn:5.0", node(7)}, Route{"*", node(8)}))
	r.SetPlan(planOf(t,
		pass(1, 2, 100, 200, 0), pass(2, 5, 150, 300, 0),
		pass(1, 3, 100, 200, 0), pass(3, 5, 900, 950, 0),
		pass(1, 4, 100, 200, 0),
		pass(1, 5, 2000, 2100, 0), pass(1, 6, 0, 50, 0),
	))
	r.SetLinked([]bundle.EID{node(6)})
	for _, c := range []struct {
		name string
		q    Query
		want []uint64
	}{
		{"all", ask(5), []uint64{2, 3, 5, 7}},
		{"in time", Query{Dest: node(5), Expiry: 1000}, []uint64{2, 3, 7}},
		{"not back", Query{Dest: node(5), Expiry: 1000, Previous: node(2)}, []uint64{3, 7}},
		{"not those", Query{Dest: node(5), Expiry: 1000, Exclude: []bundle.EID{node(7), node(3)}}, []uint64{2}},
		{"linked", ask(6), []uint64{6}},
		{"only a wildcard", ask(77), []uint64{8}},
	} {
		all, err := r.Each(c.q, 0)
		var got []uint64
		for _, d := range all {
			got = append(got, d.Next.NodeNumber())
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.name, got, err, c.want)
		}
	}
	if _, err := r.Each(ask(1), 0); err == nil {
		t.Error("to this node itself")
	}
}

func TestConfidence(t *testing.T) {
	with := func(c contact.Contact, confidence float64) contact.Contact {
		c.Confidence = confidence
		return c
	}
	for _, c := range []struct {
		name     string
		contacts []contact.Contact
		next     uint64
		likely   float64
	}{
		{"the first contact must be certain", []contact.Contact{with(pass(1, 5, 100, 200, 0), 0.9), pass(1, 2, 100, 200, 0), pass(2, 5, 500, 600, 0)}, 2, 1},
		{"unless there is no other", []contact.Contact{with(pass(1, 5, 100, 200, 0), 0.1), with(pass(1, 2, 100, 200, 0), 0.9), pass(2, 5, 500, 600, 0)}, 5, 0.1},
		{"a later one may be likely", []contact.Contact{pass(1, 2, 100, 200, 0), with(pass(2, 5, 100, 200, 0), 0.8), pass(1, 5, 500, 600, 0)}, 2, 0.8},
		{"not too unlikely", []contact.Contact{pass(1, 2, 100, 200, 0), with(pass(2, 5, 100, 200, 0), 0.79), pass(1, 5, 500, 600, 0)}, 5, 1},
		{
			"all of them together",
			[]contact.Contact{
				pass(1, 2, 100, 200, 0), with(pass(2, 3, 100, 200, 0), 0.85), with(pass(3, 5, 100, 200, 0), 0.85),
				pass(2, 4, 500, 600, 0), with(pass(4, 5, 500, 600, 0), 0.85),
			},
			2, 0.85,
		},
		{
			"what arrives earlier at a node and is less likely hides nothing",
			[]contact.Contact{
				pass(1, 2, 100, 200, 0), with(pass(2, 4, 100, 200, 0), 0.85), pass(1, 3, 100, 200, 0), pass(3, 4, 300, 400, 0),
				with(pass(4, 5, 500, 600, 0), 0.9),
			},
			3, 0.9,
		},
	} {
		r := New(node(1), nil)
		r.SetPlan(planOf(t, c.contacts...))
		d, err := r.Next(ask(5), 0)
		if err != nil || d.Next != node(c.next) || d.Confidence < c.likely-1e-9 || d.Confidence > c.likely+1e-9 {
			t.Errorf("%s: %+v, %v, want ipn:%d.0 with %v", c.name, d, err, c.next, c.likely)
		}
	}
}

func TestNotThroughWhereItCameFrom(t *testing.T) {
	r := New(node(1), nil)
	r.SetPlan(planOf(t, pass(1, 2, 100, 200, 0), pass(2, 3, 100, 200, 0), pass(3, 5, 100, 200, 0), pass(2, 5, 500, 600, 0)))
	q := ask(5)
	if d, err := r.Next(q, 0); err != nil || d.Arrival > 200 {
		t.Fatalf("%+v, %v", d, err)
	}
	q.Previous = node(3)
	if d, err := r.Next(q, 0); err != nil || d.Next != node(2) || d.Arrival != 501 {
		t.Errorf("%+v, %v, want the way that does not touch 3", d, err)
	}
	q.Dest = node(3)
	if d, err := r.Next(q, 0); err != nil || d.Next != node(2) {
		t.Errorf("back to where it came from when it ends there: %+v, %v", d, err)
	}
}
