package route

import (
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"testing"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// unevenPlan is a plan among nodes 1 to n with contacts that adjoin, that differ in rate
// and that may not come to pass.
func unevenPlan(t testing.TB, rng *rand.Rand, n, contacts int, until int64) *contact.Plan {
	t.Helper()
	var all []contact.Contact
	ends := make(map[[2]uint64]dtntime.Time)
	for range contacts {
		from, to := 1+uint64(rng.Intn(n)), 1+uint64(rng.Intn(n))
		start := ends[[2]uint64{from, to}]
		if rng.Intn(3) > 0 {
			start += dtntime.Time(rng.Int63n(until / 4))
		}
		end := start + 1 + dtntime.Time(rng.Int63n(until/8))
		if from == to || int64(end) > until {
			continue
		}
		ends[[2]uint64{from, to}] = end
		c := pass(from, to, start, end, dtntime.Duration(rng.Int63n(until/20)))
		c.Rate = contact.BitRate(8000 * (1 + rng.Intn(5)))
		if rng.Intn(4) == 0 {
			c.Confidence = []float64{0.95, 0.85, 0.5}[rng.Intn(3)]
		}
		all = append(all, c)
	}
	return planOf(t, all...)
}

// everyWay tries every way that visits no node twice, span by span, and returns the
// earliest arrival, or dtntime.Forever. With d.most, that is of those with the fewest hops.
type everyWay struct {
	g      *graph
	d      demand
	seen   []bool
	best   dtntime.Time
	fewest int32 // hops of the best
}

func (g *graph) bestOf(d demand) dtntime.Time { at, _ := g.bestWay(d); return at }

func (g *graph) bestWay(d demand) (at dtntime.Time, hops int32) {
	w := everyWay{g, d, make([]bool, len(g.nodes)), dtntime.Forever, maxHops}
	w.from(d.from, d.ready, 1, 0)
	return w.best, w.fewest
}

func (w *everyWay) from(node int32, at dtntime.Time, likely float64, hops int32) {
	switch {
	case w.d.most > 0 && hops > min(w.d.most, w.fewest):
		return
	case node == w.d.to:
		if w.d.most > 0 && hops < w.fewest || at < w.best {
			w.best, w.fewest = at, hops
		}
		return
	}
	w.seen[node] = true
	defer func() { w.seen[node] = false }()
	root := node == w.d.from
	for _, to := range w.g.links[node] {
		if w.may(root, to) {
			w.from(to, at, likely, hops+1)
		}
	}
	for _, e := range w.g.edges[node] {
		if !w.may(root, e.to) {
			continue
		}
		behind := int64(0) // bytes that wait before in the contacts so far
		for _, s := range e.spans {
			if s.stop <= at {
				continue
			}
			ahead := int64(0)
			for p := class(w.d.priority); p < classes && w.d.counting; p++ {
				ahead += s.claim().booked[p]
			}
			last := s.Sent(at, w.d.size)
			fits := last <= s.stop
			if w.d.counting && root {
				waiting := behind + ahead
				last = s.Sent(at, waiting+w.d.size)
				fits = last <= s.stop
				behind = max(0, waiting-s.room(at))
			} else if w.d.counting {
				fits = fits && ahead+w.d.size <= s.volume
			}
			c := likely * s.Confidence()
			if w.d.certain > 0 && (c < w.d.certain || root && s.Confidence() < 1) || !fits {
				continue
			}
			w.from(e.to, s.arrival(last), c, hops+1)
		}
	}
}

func (w *everyWay) may(root bool, to int32) bool {
	return !w.seen[to] && (to != w.d.shunned || to == w.d.to) && (!root || w.d.exclude == nil || !w.d.exclude(to)) &&
		(!root || w.d.first == none || w.d.first == to)
}

// best is what Next must come up with: the arrival, and whether on standby.
func best(r *Router, q Query, now dtntime.Time) (dtntime.Time, bool, error) {
	r.build()
	to, known := r.graph.number[q.Dest.Node()]
	if !known {
		return 0, false, ErrNoRoute
	}
	late := false
	for _, counting := range [2]bool{true, false} {
		for _, size := range [2]int64{q.Size, q.Least} {
			for _, certain := range [2]float64{MinConfidence, 0} {
				if size == 0 {
					continue
				}
				at := r.graph.bestOf(demand{
					load: load{volume(size), q.Priority, true, counting}, from: r.graph.me, to: to, ready: now,
					certain: certain, first: none, shunned: r.graph.shunned(&q),
					exclude: func(n int32) bool { return r.excludes(&q, r.graph.nodes[n]) },
				})
				if at <= q.Expiry && at != dtntime.Forever {
					return at, !counting, nil
				}
				late = late || at != dtntime.Forever
			}
		}
	}
	if late {
		return 0, false, ErrTooLate
	}
	return 0, false, ErrNoRoute
}

// straightest is what Next must come up with for a bundle that is astray, beside what is
// booked: the hops and the arrival of the way, 0 for none.
func straightest(r *Router, q Query, now dtntime.Time) (hops int32, at dtntime.Time) {
	r.build()
	to := r.graph.number[q.Dest.Node()]
	d := demand{
		load: load{volume(q.Size), q.Priority, true, false}, from: r.graph.me, to: to, ready: now,
		most: maxHops, first: none, shunned: r.graph.shunned(&q),
		exclude: func(n int32) bool { return q.excludes(r.graph.nodes[n]) },
	}
	for _, d.certain = range [2]float64{MinConfidence, 0} {
		d.counting, d.most = false, maxHops
		if at, hops = r.graph.bestWay(d); at > q.Expiry || at == dtntime.Forever {
			continue
		}
		d.counting, d.most = true, hops
		if roomy, _ := r.graph.bestWay(d); roomy <= q.Expiry && roomy != dtntime.Forever {
			at = roomy
		}
		return hops, at
	}
	return 0, 0
}

// TestAstrayAgainstEveryWay holds decisions about bundles that have gone round against a
// trial of every way.
func TestAstrayAgainstEveryWay(t *testing.T) {
	const n, until = 6, 20_000
	straight, fewer := 0, 0
	for seed := range int64(100) {
		rng := rand.New(rand.NewSource(seed))
		r := New(node(1), nil)
		r.SetPlan(unevenPlan(t, rng, n, 36, until))
		now := dtntime.Time(0)
		for step := range 40 {
			if rng.Intn(3) == 0 {
				now += dtntime.Time(rng.Int63n(until / 30))
			}
			q := randomQuery(rng, n, now, until)
			q.Least = 0
			usual, err := r.Next(q, now)
			if errors.Is(err, ErrNoRoute) {
				continue
			}
			hops, at := straightest(r, q, now)
			q.Astray = true
			r.memory.clear()
			d, err := r.Next(q, now)
			if hops == 0 {
				continue // as if it were not astray
			}
			when := fmt.Sprintf("seed %d step %d at %d: %+v", seed, step, now, q)
			if err != nil || int32(len(d.hops)) != hops || d.Arrival != at {
				t.Fatalf("%s: got %d hops, %+v, %v, want %d and arrival at %d", when, len(d.hops), d, err, hops, at)
			}
			straight++
			if hops < int32(len(usual.hops)) {
				fewer++
			}
			if rng.Intn(2) == 0 {
				r.Book(new(Booking), store.Handle(step), &d)
			}
		}
	}
	if straight < 500 || fewer < 50 {
		t.Errorf("%d decisions about bundles that are astray, of these %d with fewer hops than else", straight, fewer)
	}
}

// randomQuery asks about a bundle for one of the nodes 2 to n.
func randomQuery(rng *rand.Rand, n int, now dtntime.Time, until int64) Query {
	other := func() bundle.EID { return node(2 + uint64(rng.Intn(n-1))) }
	q := Query{
		Dest: other(), Size: 1 + rng.Int63n(3000), Priority: bundle.Priority(rng.Intn(3)), Expiry: now + 1 + dtntime.Time(rng.Int63n(until)),
	}
	if rng.Intn(2) == 0 {
		q.Expiry = dtntime.Forever
	}
	if rng.Intn(3) == 0 {
		q.Exclude = []bundle.EID{other()}
	}
	if rng.Intn(3) == 0 {
		q.Previous = other()
	}
	if rng.Intn(4) == 0 {
		q.Least = 1 + rng.Int63n(q.Size)
	}
	return q
}

// TestAgainstEveryWay holds decisions against a trial of every way, beside what earlier
// bundles have booked. Decisions of a router that remembers may arrive later by slack.
func TestAgainstEveryWay(t *testing.T) {
	const n, until = 6, 20_000
	outcomes := make(map[string]int)
	for seed := range int64(600) {
		rng, operator := rand.New(rand.NewSource(seed)), rand.New(rand.NewSource(-seed))
		r := New(node(1), nil)
		r.SetGuard(dtntime.Duration(rng.Intn(3) * 40))
		r.SetPlan(unevenPlan(t, rng, n, 36, until))
		if rng.Intn(4) == 0 {
			r.SetLinked([]bundle.EID{node(n)})
		}
		var bookings []*Booking
		now := dtntime.Time(0)
		for step := range 60 {
			if rng.Intn(3) == 0 {
				now += dtntime.Time(rng.Int63n(until / 30))
			}
			if operator.Intn(10) == 0 {
				r.SetHeld([]bundle.EID{node(2 + uint64(operator.Intn(n-1)))}[:operator.Intn(2)])
			}
			q := randomQuery(rng, n, now, until)
			when := fmt.Sprintf("seed %d step %d at %d: %+v", seed, step, now, q)
			want, standby, wantErr := best(r, q, now)
			d, err := r.Next(q, now)
			if r.isLinked(q.Dest.Node()) && !r.excludes(&q, q.Dest.Node()) {
				continue
			}
			if errors.Is(err, ErrHeld) { // in place of the other reason
				outcomes["held"]++
				if wantErr == nil || !errors.Is(err, ErrNoRoute) {
					t.Fatalf("%s: got %v, want arrival at %d", when, err, want)
				}
				continue
			}
			if !errors.Is(err, wantErr) || err == nil && (d.Arrival < want || d.Arrival > want.Add(slack) || d.Standby && !standby) {
				t.Fatalf("%s: got %+v, %v, want arrival at %d, %v", when, d, err, want, wantErr)
			}
			r.memory.clear()
			if d, err = r.Next(q, now); err == nil && (d.Arrival != want || d.Standby != standby && r.booked > 0) {
				t.Fatalf("%s: a fresh search got %+v, want arrival at %d, standby %v", when, d, want, standby)
			}
			outcomes[fmt.Sprintf("standby %v, %v", d.Standby, wantErr)]++
			checkExplanation(t, when, r, q, now)
			if err == nil && rng.Intn(3) > 0 {
				b := new(Booking)
				r.Book(b, store.Handle(step), &d)
				bookings = append(bookings, b)
			}
			if len(bookings) > 0 && rng.Intn(4) == 0 {
				i := rng.Intn(len(bookings))
				r.Return(bookings[i])
				bookings = slices.Delete(bookings, i, i+1)
			}
		}
		for _, b := range bookings {
			r.Return(b)
		}
		checkUnbooked(t, seed, r)
	}
	for _, o := range []string{"standby false, <nil>", "standby true, <nil>", "standby false, " + ErrNoRoute.Error(), "standby false, " + ErrTooLate.Error(), "held"} {
		if outcomes[o] < 50 {
			t.Errorf("%s happened %d times only: %v", o, outcomes[o], outcomes)
		}
	}
}

// checkUnbooked checks that nothing is booked of any contact.
func checkUnbooked(t *testing.T, seed int64, r *Router) {
	t.Helper()
	r.build()
	for _, edges := range r.graph.edges {
		for _, e := range edges {
			for _, s := range e.spans {
				if c := s.claim(); *c != (claims{}) {
					t.Fatalf("seed %d: %v is still booked: %+v", seed, s.Pass, *c)
				}
			}
		}
	}
	if r.booked != 0 {
		t.Fatalf("seed %d: %d bookings are left", seed, r.booked)
	}
}

// checkExplanation checks that exactly what Next takes is explained as taken, and that
// nothing that could be taken comes earlier.
func checkExplanation(t *testing.T, when string, r *Router, q Query, now dtntime.Time) {
	t.Helper()
	d, nextErr := r.Next(q, now)
	list, err := r.Explain(q, now)
	if fmt.Sprint(err) != fmt.Sprint(nextErr) {
		t.Fatalf("%s: explained with %v, decided with %v", when, err, nextErr)
	}
	taken := 0
	for _, c := range list {
		switch c.Verdict {
		case Taken:
			taken++
			if c.Next != d.Next || c.Via != d.Via || c.Arrival != d.Arrival {
				t.Fatalf("%s: explained %+v as taken, decided %+v", when, c, d)
			}
		case Later:
			if c.Arrival < d.Arrival {
				t.Fatalf("%s: %+v comes before what is taken, %+v", when, c, d)
			}
		case "":
			t.Fatalf("%s: no verdict about %+v", when, c)
		}
		if c.Detail == "" {
			t.Fatalf("%s: %+v is not explained", when, c)
		}
	}
	if want := map[bool]int{true: 1}[err == nil]; taken != want {
		t.Fatalf("%s: %d ways are taken, want %d: %+v", when, taken, want, list)
	}
}
