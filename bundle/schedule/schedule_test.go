package schedule

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand"
	"slices"
	"testing"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

func item(h store.Handle, size int64, p bundle.Priority, again bool) Item {
	return Item{Handle: h, Size: size, Priority: p, Retransmission: again, Expiry: 1_000_000}
}

func fill(t testing.TB, items ...Item) *Queue {
	t.Helper()
	q := New(Limits{}, Shares{})
	for _, i := range items {
		if err := q.Push(i); err != nil {
			t.Fatal(err)
		}
	}
	return q
}

// pass is a window of size bytes at 1 byte a millisecond from time 0 on.
func pass(size int64) Window {
	return Open(onePass(size), 0, 0, DefaultShare)
}

func onePass(size int64) contact.Pass {
	return contact.Passes([]contact.Contact{{Start: 0, End: dtntime.Time(size), Rate: 8000}})[0]
}

func TestOrder(t *testing.T) {
	q := fill(t,
		item(1, 10, bundle.PriorityBulk, false), item(2, 10, bundle.PriorityNormal, true),
		item(3, 10, bundle.PriorityNormal, false), item(4, 10, bundle.PriorityExpedited, true),
		item(5, 10, bundle.PriorityExpedited, false), item(6, 10, bundle.PriorityNormal, false),
		item(7, 10, bundle.PriorityBulk, true))
	want := []store.Handle{5, 4, 3, 6, 2, 1, 7}
	var listed, taken []store.Handle
	for i := range q.All() {
		listed = append(listed, i.Handle)
	}
	w := Standing()
	for i, ok := q.Take(&w, 0); ok; i, ok = q.Take(&w, 0) {
		taken = append(taken, i.Handle)
	}
	if !slices.Equal(listed, want) || !slices.Equal(taken, want) {
		t.Errorf("listed %v, taken %v, want %v", listed, taken, want)
	}
	if q.Len() != 0 || q.Bytes() != 0 {
		t.Errorf("%d items of %d bytes are left", q.Len(), q.Bytes())
	}
}

func TestNextPassesOverWhatDoesNotFit(t *testing.T) {
	q := fill(t,
		item(1, 5000, bundle.PriorityExpedited, false), item(2, 1001, bundle.PriorityNormal, false),
		item(3, 1000, bundle.PriorityNormal, false), item(4, 1, bundle.PriorityBulk, false))
	for _, c := range []struct {
		now  dtntime.Time
		want store.Handle // 0 for none
	}{{0, 1}, {1, 2}, {3999, 2}, {4000, 3}, {4001, 4}, {4999, 4}, {5000, 0}, {9000, 0}} {
		w := pass(5000)
		if got, _ := q.Next(&w, c.now); got.Handle != c.want {
			t.Errorf("at %d: bundle %d, want %d", c.now, got.Handle, c.want)
		}
	}
	guarded := Open(onePass(5000), 0, 4000, DefaultShare)
	if got, _ := q.Next(&guarded, 0); got.Handle != 3 {
		t.Errorf("with a guard of 4 s: bundle %d, want 3", got.Handle)
	}
	closed := Open(onePass(5000), 0, 6000, DefaultShare)
	if got, ok := q.Next(&closed, 0); ok {
		t.Errorf("with a guard longer than the contact: bundle %d", got.Handle)
	}
	unknown := Window{End: 5000}
	if got, _ := q.Next(&unknown, 4999); got.Handle != 1 {
		t.Errorf("at an unknown rate: bundle %d, want 1", got.Handle)
	}
}

func TestRetransmissionShare(t *testing.T) {
	const n, x = bundle.PriorityNormal, bundle.PriorityExpedited
	take := func(q *Queue, w Window, now dtntime.Time) (got []store.Handle) {
		for i, ok := q.Take(&w, now); ok; i, ok = q.Take(&w, now) {
			got = append(got, i.Handle)
			now = now.Add(dtntime.Duration(i.Size))
		}
		return got
	}
	for name, c := range map[string]struct {
		items []Item
		want  []store.Handle
	}{
		// 25 % of 1000 bytes go to urgent retransmissions while others wait.
		"share binds": {
			[]Item{item(1, 100, x, true), item(2, 100, x, true), item(3, 100, x, true), item(4, 300, n, false), item(5, 300, n, false)},
			[]store.Handle{1, 2, 4, 5, 3},
		},
		"a smaller one uses the rest": {
			[]Item{item(1, 200, x, true), item(2, 100, x, true), item(3, 50, x, true), item(4, 300, n, false)},
			[]store.Handle{1, 3, 4, 2},
		},
		"one goes however large": {
			[]Item{item(1, 600, x, true), item(2, 10, x, true), item(3, 300, n, false)},
			[]store.Handle{1, 3, 2},
		},
		"nothing else waits": {
			[]Item{item(1, 400, n, true), item(2, 400, n, true), item(3, 300, n, true)},
			[]store.Handle{1, 2},
		},
		"what waits does not fit": {
			[]Item{item(1, 400, n, true), item(2, 400, n, true), item(3, 3000, n, false)},
			[]store.Handle{1, 2},
		},
	} {
		if got := take(fill(t, c.items...), pass(1000), 0); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestLastChanceStandsInLine(t *testing.T) {
	dying := item(1, 10, bundle.PriorityNormal, true)
	dying.Expiry = 5000
	q := fill(t, item(2, 10, bundle.PriorityNormal, false), item(3, 10, bundle.PriorityNormal, true), dying)
	w := pass(1000)
	if got, _ := q.Next(&w, 0); got.Handle != 2 {
		t.Errorf("with no known next contact: bundle %d, want 2", got.Handle)
	}
	w.Resume = 5001
	if got, _ := q.Next(&w, 0); got.Handle != 1 {
		t.Errorf("with the next contact after expiry: bundle %d, want 1", got.Handle)
	}
	w.Resume = 5000
	if got, _ := q.Next(&w, 0); got.Handle != 2 {
		t.Errorf("with the next contact at expiry: bundle %d, want 2", got.Handle)
	}
}

func TestLimits(t *testing.T) {
	q := New(Limits{Items: 2, Bytes: 100}, Shares{})
	if err := q.Push(item(1, 60, 0, false)); err != nil {
		t.Fatal(err)
	}
	if err := q.Push(item(1, 1, 0, true)); !errors.Is(err, ErrQueued) {
		t.Errorf("twice: %v", err)
	}
	if err := q.Push(item(2, 41, 0, false)); !errors.Is(err, ErrFull) {
		t.Errorf("too many bytes: %v", err)
	}
	if err := q.Push(item(2, 40, 0, true)); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	if err := q.Push(item(3, 0, 0, false)); !errors.Is(err, ErrFull) {
		t.Errorf("too many items: %v", err)
	}
	if q.Len() != 2 || q.Bytes() != 100 {
		t.Errorf("holds %d items of %d bytes", q.Len(), q.Bytes())
	}
	if i, ok := q.Remove(2); !ok || i.Size != 40 || !i.Retransmission {
		t.Errorf("removed %+v, %v", i, ok)
	}
	if _, ok := q.Remove(2); ok {
		t.Error("removed twice")
	}
	huge := New(Limits{}, Shares{})
	for h := range store.Handle(2) {
		err := huge.Push(item(h, math.MaxInt64, 0, false))
		if (err == nil) != (h == 0) {
			t.Errorf("bundle %d of the largest size: %v", h, err)
		}
	}
}

// TestAgainstModel drives a queue and plain lists with the same random calls.
func TestAgainstModel(t *testing.T) {
	for seed := range int64(60) {
		rng := rand.New(rand.NewSource(seed))
		shares := randomShares(t, rng)
		q, m := New(Limits{}, shares), newModel(shares)
		w := Window{End: dtntime.Forever}
		for step := range 1000 {
			switch h := store.Handle(rng.Intn(300)); rng.Intn(4) {
			case 0, 1:
				i := randomItem(rng, h)
				if q.Push(i) == nil {
					m.push(i)
				}
			case 2:
				q.Remove(h)
				m.remove(h)
			case 3:
				if rng.Intn(10) == 0 {
					w = Open(onePass(int64(rng.Intn(1200))), 0, 0, rng.Intn(101))
					w.Resume = dtntime.Time(rng.Intn(2) * rng.Intn(1000))
				}
				same := w
				want, wantOK := m.take(&same)
				got, ok := q.Take(&w, 0)
				if got != want || ok != wantOK {
					t.Fatalf("seed %d step %d: took %+v, want %+v", seed, step, got, want)
				}
			}
			if step%7 == 0 {
				check(t, fmt.Sprintf("seed %d step %d", seed, step), q, m.items)
			}
		}
	}
}

// randomShares are those of up to two tenants.
func randomShares(t *testing.T, rng *rand.Rand) Shares {
	var tenants []Tenant
	for k := range rng.Intn(3) {
		tenants = append(tenants, Tenant{Source: bundle.IPN(uint64(k+1), 0), Weight: 1 + rng.Intn(5)})
	}
	var classes [classes]int
	if rng.Intn(2) == 0 {
		classes[rng.Intn(3)] = rng.Intn(40)
	}
	shares, err := NewShares(classes, tenants)
	if err != nil {
		t.Fatal(err)
	}
	return shares
}

func randomItem(rng *rand.Rand, h store.Handle) Item {
	i := item(h, int64(rng.Intn(1000)), bundle.Priority(rng.Intn(3)), rng.Intn(2) == 0)
	i.Expiry, i.Tenant, i.Signal = dtntime.Time(rng.Intn(1000)), rng.Intn(4), rng.Intn(10) == 0
	if rng.Intn(2) == 0 {
		i.Value = uint64(rng.Intn(5))
	}
	if rng.Intn(5) == 0 {
		i.Least = 1 + int64(rng.Intn(100))
	}
	return i
}

// model is the rules of the queue in words that need no tree.
type model struct {
	shares Shares
	items  []Item
	served [ranks][]uint64 // by tenant
	clock  [ranks]uint64
	credit [ranks]int64
}

func newModel(s Shares) *model {
	m := &model{shares: s}
	for rank := range m.served {
		m.served[rank] = make([]uint64, max(len(s.Tenants), 1))
	}
	return m
}

func (m *model) tenant(i Item) int {
	if i.Tenant < len(m.shares.Tenants) {
		return i.Tenant
	}
	return 0
}

// waits tells whether something waits in a rank, of a tenant if that is not negative.
func (m *model) waits(rank, tenant int) bool {
	return slices.ContainsFunc(m.items, func(i Item) bool { return i.rank() == rank && (tenant < 0 || m.tenant(i) == tenant) })
}

func (m *model) push(i Item) {
	rank, tenant := i.rank(), m.tenant(i)
	if !m.waits(rank, tenant) {
		m.served[rank][tenant] = max(m.served[rank][tenant], m.clock[rank])
	}
	m.items = append(m.items, i)
}

func (m *model) remove(h store.Handle) {
	m.items = slices.DeleteFunc(m.items, func(i Item) bool { return i.Handle == h })
	for rank := range m.credit {
		if !m.waits(rank, -1) {
			m.credit[rank] = 0
		}
	}
}

// take chooses an item and takes it out.
func (m *model) take(w *Window) (Item, bool) {
	room := w.Room(0)
	if room < 0 {
		return Item{}, false
	}
	again := room
	if w.spent > 0 && slices.ContainsFunc(m.items, func(i Item) bool { return !i.Retransmission && i.least() <= room }) {
		again = min(room, w.budget-w.spent)
	}
	var fitting []Item
	for _, i := range m.items {
		if i.Retransmission && i.least() <= again || !i.Retransmission && i.least() <= room {
			fitting = append(fitting, i)
		}
	}
	if len(fitting) == 0 {
		return Item{}, false
	}
	slices.SortFunc(fitting, func(a, b Item) int { return m.compare(a, b, w.Resume) })
	best, seen := fitting[0], map[int]bool{}
	for _, i := range fitting { // the first of each rank, the higher ones first
		if rank := i.rank(); !seen[rank] {
			seen[rank] = true
			if best.rank() != signals && rank < best.rank() && m.credit[rank] > 0 && m.credit[rank] >= min(i.Size, room) {
				best = i
				break
			}
		}
	}
	m.serve(best, min(best.Size, room))
	m.remove(best.Handle)
	if best.Retransmission {
		w.spent += min(best.Size, room)
	}
	return best, true
}

// compare orders what fits.
func (m *model) compare(a, b Item, resume dtntime.Time) int {
	flag := func(v bool) int {
		if v {
			return 1
		}
		return 0
	}
	dying := func(i Item) bool { return i.Expiry < resume }
	late := func(i Item) int { return flag(i.Retransmission && !dying(i)) }
	worth := func(i Item) *big.Rat { return big.NewRat(int64(i.Value), max(i.Size, 1)) }
	got := func(i Item) uint64 { return m.served[i.rank()][m.tenant(i)] }
	return cmp.Or(
		cmp.Compare(b.rank(), a.rank()), cmp.Compare(late(a), late(b)),
		cmp.Compare(got(a), got(b)), cmp.Compare(m.tenant(a), m.tenant(b)),
		cmp.Compare(flag(dying(b)), flag(dying(a))),
		worth(b).Cmp(worth(a)), cmp.Compare(a.Expiry, b.Expiry), cmp.Compare(a.Handle, b.Handle))
}

// serve books what is sent.
func (m *model) serve(i Item, bytes int64) {
	rank, tenant := i.rank(), m.tenant(i)
	for other := range m.shares.Classes {
		if m.waits(other, -1) {
			m.credit[other] += percent(bytes, m.shares.Classes[other])
		}
	}
	m.credit[rank] = max(m.credit[rank]-bytes, 0)
	m.clock[rank] = max(m.clock[rank], m.served[rank][tenant])
	m.served[rank][tenant] += max(uint64(bytes)*servedScale/m.shares.weight(tenant), 1)
}

func check(t *testing.T, when string, q *Queue, model []Item) {
	t.Helper()
	var bytes int64
	for _, i := range model {
		bytes += i.Size
	}
	if q.Len() != len(model) || q.Bytes() != bytes {
		t.Fatalf("%s: %d items of %d bytes, want %d of %d", when, q.Len(), q.Bytes(), len(model), bytes)
	}
	slices.SortFunc(model, Compare)
	if all := slices.Collect(q.All()); !slices.Equal(all, model) {
		t.Fatalf("%s: order %v, want %v", when, all, model)
	}
}

func BenchmarkPushTake(b *testing.B) {
	q := New(Limits{}, Shares{})
	for h := range store.Handle(100_000) {
		q.Push(item(h, 1000, bundle.Priority(h%3), h%5 == 0))
	}
	w := Standing()
	for b.Loop() {
		i, _ := q.Take(&w, 0)
		if err := q.Push(i); err != nil {
			b.Fatal(err)
		}
	}
}
