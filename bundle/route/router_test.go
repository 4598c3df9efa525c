package route

import (
	"errors"
	"math/rand"
	"testing"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

func node(n uint64) bundle.EID { return bundle.IPN(n, 0) }

// pass is a contact at 1000 bytes a millisecond.
func pass(from, to uint64, start, end dtntime.Time, light dtntime.Duration) contact.Contact {
	return contact.Contact{From: node(from), To: node(to), Start: start, End: end, Rate: 8 * contact.MegabitPerSecond, Light: light, Confidence: 1}
}

func planOf(t testing.TB, contacts ...contact.Contact) *contact.Plan {
	t.Helper()
	p, err := contact.New(contacts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func tableOf(t testing.TB, routes ...Route) *Table {
	t.Helper()
	table, err := NewTable(routes)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func ask(dest uint64) Query {
	return Query{Dest: bundle.IPN(dest, 12), Size: 900, Expiry: dtntime.Forever} // 1000 bytes with overhead: 1 ms
}

func TestNextByPlan(t *testing.T) {
	r := New(bundle.IPN(1, 7), nil)
	r.SetPlan(planOf(t,
		pass(1, 2, 1000, 2000, 10), // direct, late
		pass(1, 3, 100, 200, 0), pass(3, 2, 150, 300, 0),
		pass(1, 4, 100, 110, 0), pass(4, 2, 50, 105, 0), pass(4, 5, 0, 9000, 0),
	))
	for _, c := range []struct {
		name    string
		q       Query
		now     dtntime.Time
		next    uint64 // 0 for an error
		arrival dtntime.Time
		err     error
	}{
		{"over the relay that is first", ask(2), 0, 4, 102, nil},
		{"the second contact of that is missed", ask(2), 104, 3, 151, nil},
		{"only the direct one is left", ask(2), 200, 2, 1012, nil}, // 10 light, 1 margin, 1 sending
		{"inside the contact", ask(2), 1500, 2, 1512, nil},
		{"the last moment", ask(2), 1999, 2, 2011, nil},
		{"all over", ask(2), 2000, 0, 0, ErrNoRoute},
		{"unknown node", ask(9), 0, 0, 0, ErrNoRoute},
		{"nowhere", Query{Expiry: dtntime.Forever}, 0, 0, 0, ErrNoRoute},
		{"here", ask(1), 0, 0, 0, ErrNoRoute},
		{"larger than the second contact", Query{Dest: node(2), Size: 9900, Expiry: dtntime.Forever}, 0, 3, 161, nil}, // 10.2 ms
		{"larger than both relays", Query{Dest: node(2), Size: 200_000, Expiry: dtntime.Forever}, 0, 2, 1217, nil},
		{"larger than all", Query{Dest: node(2), Size: 1_000_000, Expiry: dtntime.Forever}, 0, 0, 0, ErrTooLarge},
		{"larger than all, again", Query{Dest: node(2), Size: 1_000_001, Expiry: dtntime.Forever}, 0, 0, 0, ErrNoRoute},
		{"just in time", Query{Dest: node(2), Size: 900, Expiry: 102}, 0, 4, 102, nil},
		{"too late", Query{Dest: node(2), Size: 900, Expiry: 101}, 0, 0, 0, ErrTooLate},
		{"expired", Query{Dest: node(2), Size: 900, Expiry: 100}, 100, 0, 0, ErrTooLate},
		{"not back", Query{Dest: node(2), Size: 900, Expiry: dtntime.Forever, Previous: node(4)}, 0, 3, 151, nil},
		{"not those", Query{Dest: node(2), Size: 900, Expiry: dtntime.Forever, Exclude: []bundle.EID{bundle.IPN(4, 1), node(3)}}, 0, 2, 1012, nil},
		{"none of them", Query{Dest: node(2), Size: 900, Expiry: dtntime.Forever, Exclude: []bundle.EID{node(4), node(3), node(2)}}, 0, 0, 0, ErrNoRoute},
		{"back to its home", Query{Dest: node(2), Size: 900, Expiry: dtntime.Forever, Previous: node(2), Exclude: []bundle.EID{node(4), node(3)}}, 0, 2, 1012, nil},
	} {
		// What an earlier query left in memory must not show.
		for _, router := range []*Router{r, func() *Router { n := New(node(1), nil); n.SetPlan(r.Plan()); return n }()} {
			d, err := router.Next(c.q, c.now)
			if !errors.Is(err, c.err) {
				t.Errorf("%s: error %v, want %v", c.name, err, c.err)
				continue
			}
			if err != nil {
				continue
			}
			if d.Next != node(c.next) || d.Arrival != c.arrival || d.Via != ViaPlan || d.Contact == nil || d.Contact.To != d.Next {
				t.Errorf("%s: %+v, want ipn:%d.0 at %d", c.name, d, c.next, c.arrival)
			}
		}
	}
}

func TestNextOrderOfReasons(t *testing.T) {
	r := New(node(1), tableOf(t, Route{"ipn:5.0", node(7)}, Route{"ipn:6.0", node(8)}, Route{"*", node(9)}))
	r.SetPlan(planOf(t, pass(1, 8, 100, 200, 0), pass(1, 8, 300, 400, 0), pass(1, 3, 100, 200, 0), pass(1, 5, 0, 50, 0)))
	r.SetLinked([]bundle.EID{node(2), bundle.IPN(9, 3), node(1)})
	const static, direct, plan = ViaStatic, ViaDirect, ViaPlan
	for _, c := range []struct {
		name  string
		q     Query
		now   dtntime.Time
		next  uint64
		via   Via
		start dtntime.Time // of the contact, 0 for none
	}{
		{"linked", ask(2), 0, 2, direct, 0},
		{"linked but excluded", Query{Dest: node(2), Expiry: dtntime.Forever, Exclude: []bundle.EID{node(2)}}, 0, 9, static, 0},
		{"the table beats the plan", ask(5), 0, 7, static, 0},
		{"static, excluded", Query{Dest: node(5), Expiry: dtntime.Forever, Exclude: []bundle.EID{node(7)}}, 0, 5, plan, 0},
		{"static over a contact", ask(6), 0, 8, static, 100},
		{"static over the next contact", ask(6), 200, 8, static, 300},
		{"static, contacts over", ask(6), 400, 9, static, 0},
		{"static, contact too small", Query{Dest: node(6), Size: 100_000, Expiry: dtntime.Forever}, 0, 9, static, 0},
		{"static, contact too late", Query{Dest: node(6), Size: 900, Expiry: 100}, 0, 9, static, 0},
		{"the plan beats the wildcard", ask(3), 0, 3, plan, 100},
		{"the wildcard is left", ask(3), 200, 9, static, 0},
		{"the wildcard for the unknown", ask(77), 0, 9, static, 0},
	} {
		d, err := r.Next(c.q, c.now)
		var start dtntime.Time
		if d.Contact != nil {
			start = d.Contact.Start
		}
		if err != nil || d.Next != node(c.next) || d.Via != c.via || start != c.start {
			t.Errorf("%s: %+v, %v", c.name, d, err)
		}
	}
	r.SetStatic(tableOf(t, Route{"ipn:6.0", node(8)}, Route{"ipn:6.0", node(1)}))
	if _, err := r.Next(ask(6), 400); !errors.Is(err, ErrTooLate) {
		t.Errorf("only a static route whose contacts are over: %v", err)
	}
}

func TestNextOverLinks(t *testing.T) {
	r := New(node(1), nil)
	r.SetLinked([]bundle.EID{node(2)})
	r.SetPlan(planOf(t, pass(2, 3, 100, 200, 0), pass(3, 4, 100, 200, 0), pass(1, 3, 150, 200, 0)))
	d, err := r.Next(ask(4), 0)
	if err != nil || d.Next != node(2) || d.Contact != nil || d.Arrival != 102 {
		t.Errorf("%+v, %v", d, err)
	}
	r.SetLinked(nil)
	if d, err = r.Next(ask(4), 0); err != nil || d.Next != node(3) || d.Arrival != 152 {
		t.Errorf("once the link is gone: %+v, %v", d, err)
	}
	r.SetPlan(nil)
	if d, err = r.Next(ask(4), 0); !errors.Is(err, ErrNoRoute) {
		t.Errorf("once the plan is gone: %+v, %v", d, err)
	}
}

// randomPlan is a plan among nodes 1 to n, with contacts of one pair apart.
func randomPlan(t testing.TB, rng *rand.Rand, n, contacts int, until int64) *contact.Plan {
	var all []contact.Contact
	ends := make(map[[2]uint64]dtntime.Time)
	for range contacts {
		from, to := 1+uint64(rng.Intn(n)), 1+uint64(rng.Intn(n))
		start := ends[[2]uint64{from, to}] + dtntime.Time(rng.Int63n(until/4))
		end := start + 1 + dtntime.Time(rng.Int63n(until/8))
		if from == to || int64(end) > until {
			continue
		}
		ends[[2]uint64{from, to}] = end
		c := pass(from, to, start, end, dtntime.Duration(rng.Int63n(until/20)))
		c.Rate = contact.BitRate(8000 * (1 + rng.Intn(5)))
		all = append(all, c)
	}
	return planOf(t, all...)
}

// bruteForce tries every way that visits no node twice.
func bruteForce(plan *contact.Plan, at, to bundle.EID, ready dtntime.Time, size int64, banned map[bundle.EID]bool, seen map[bundle.EID]bool) dtntime.Time {
	if at == to {
		return ready
	}
	best := dtntime.Forever
	seen[at] = true
	for c := range plan.All() {
		if c.From != at || seen[c.To] || banned[c.To] && len(seen) == 1 {
			continue
		}
		if first := max(ready, c.Start); c.Fits(size, ready) {
			arrival := first.Add(c.Rate.Duration(size)).Add(light(&c))
			best = min(best, bruteForce(plan, c.To, to, arrival, size, banned, seen))
		}
	}
	delete(seen, at)
	return best
}

// TestNextIsEarliest checks fresh searches against brute force, and remembered ones
// against it with the slack they may have.
func TestNextIsEarliest(t *testing.T) {
	for seed := range int64(60) {
		rng := rand.New(rand.NewSource(seed))
		const until = 20_000
		plan := randomPlan(t, rng, 5, 24, until)
		old := New(node(1), nil)
		old.SetPlan(plan)
		now := dtntime.Time(0)
		for range 40 {
			now += dtntime.Time(rng.Int63n(until / 40))
			q := Query{Dest: node(2 + uint64(rng.Intn(4))), Size: int64(rng.Intn(3000)), Expiry: dtntime.Forever}
			banned := map[bundle.EID]bool{}
			if rng.Intn(3) == 0 {
				out := node(2 + uint64(rng.Intn(4)))
				q.Exclude, banned[out] = []bundle.EID{out}, true
			}
			best := bruteForce(plan, node(1), q.Dest, now, volume(q.Size), banned, map[bundle.EID]bool{})
			fresh := New(node(1), nil)
			fresh.SetPlan(plan)
			d, err := fresh.Next(q, now)
			if (err == nil) != (best != dtntime.Forever) || err == nil && d.Arrival != best {
				t.Fatalf("seed %d at %d to %s: %+v, %v, want arrival at %d", seed, now, q.Dest, d, err, best)
			}
			d, err = old.Next(q, now)
			if (err == nil) != (best != dtntime.Forever) || err == nil && (d.Arrival < best || d.Arrival > best.Add(slack)) {
				t.Fatalf("seed %d at %d to %s, remembered: %+v, %v, want arrival at %d", seed, now, q.Dest, d, err, best)
			}
			if err == nil {
				q.Expiry = best
				if d, err = old.Next(q, now); err != nil || d.Arrival > best {
					t.Fatalf("seed %d at %d to %s, in a hurry: %+v, %v, want arrival at %d", seed, now, q.Dest, d, err, best)
				}
			}
		}
	}
}

func TestSamePlanKeepsWhatIsKnown(t *testing.T) {
	contacts := []contact.Contact{pass(1, 2, 100, 200, 0)}
	r := New(node(1), nil)
	r.SetPlan(planOf(t, contacts...))
	if _, err := r.Next(ask(2), 0); err != nil {
		t.Fatal(err)
	}
	before := r.graph
	r.SetPlan(planOf(t, contacts...))
	if r.graph != before {
		t.Error("the same contents were laid out anew")
	}
	if _, err := r.Next(ask(2), 50); err != nil || r.graph.scratch.search != 1 {
		t.Errorf("%d searches for the same question, %v", r.graph.scratch.search, err)
	}
	r.SetPlan(planOf(t, pass(1, 2, 100, 201, 0)))
	if d, err := r.Next(ask(2), 200); err != nil || d.Contact.End != 201 {
		t.Errorf("after a change: %+v, %v", d, err)
	}
}

func TestDecisionsCannotReachThePlan(t *testing.T) {
	r := New(node(1), nil)
	r.SetPlan(planOf(t, pass(1, 2, 100, 200, 0)))
	d, err := r.Next(ask(2), 0)
	if err != nil {
		t.Fatal(err)
	}
	d.Contact.End = 0
	if _, err := r.Next(ask(2), 0); err != nil {
		t.Errorf("a changed decision changed the next: %v", err)
	}
	if c, ok := r.Plan().Active(node(1), node(2), 150); !ok || c.End != 200 {
		t.Errorf("the plan has changed: %+v", c)
	}
}

// constellation is a plan of 1000 contacts among 60 nodes over a day.
func constellation(b *testing.B) *contact.Plan {
	rng := rand.New(rand.NewSource(1))
	var all []contact.Contact
	ends := make(map[[2]uint64]dtntime.Time)
	for len(all) < 1000 {
		from, to := 1+uint64(rng.Intn(60)), 1+uint64(rng.Intn(60))
		if from == to {
			continue
		}
		at := [2]uint64{from, to}
		start := ends[at] + dtntime.Time(rng.Int63n(86_400_000))
		ends[at] = start + 480_000
		all = append(all, pass(from, to, start, ends[at], 5))
	}
	return planOf(b, all...)
}

func BenchmarkSearch1000(b *testing.B) {
	r := New(node(1), nil)
	r.SetPlan(constellation(b))
	r.build()
	for i := 0; b.Loop(); i++ {
		r.memory.clear()
		r.Next(ask(2+uint64(i%59)), 0)
	}
}

func BenchmarkRemembered1000(b *testing.B) {
	r := New(node(1), nil)
	r.SetPlan(constellation(b))
	for i := 0; b.Loop(); i++ {
		r.Next(ask(2+uint64(i%59)), 0)
	}
}
