package schedule

import (
	"errors"
	"fmt"
	"math"
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
	q := New(Limits{})
	for _, i := range items {
		if err := q.Push(i); err != nil {
			t.Fatal(err)
		}
	}
	return q
}

// pass is a window of size bytes at 1 byte a millisecond from time 0 on.
func pass(size int64) Window {
	return Open(contact.Contact{Start: 0, End: dtntime.Time(size), Rate: 8000}, 0, 0, DefaultShare)
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
	guarded := Open(contact.Contact{End: 5000, Rate: 8000}, 0, 4000, DefaultShare)
	if got, _ := q.Next(&guarded, 0); got.Handle != 3 {
		t.Errorf("with a guard of 4 s: bundle %d, want 3", got.Handle)
	}
	closed := Open(contact.Contact{End: 5000, Rate: 8000}, 0, 6000, DefaultShare)
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
			now = now.Add(w.Rate.Duration(i.Size))
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
	q := New(Limits{Items: 2, Bytes: 100})
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
	huge := New(Limits{})
	for h := range store.Handle(2) {
		err := huge.Push(item(h, math.MaxInt64, 0, false))
		if (err == nil) != (h == 0) {
			t.Errorf("bundle %d of the largest size: %v", h, err)
		}
	}
}

// TestAgainstModel drives a queue and a plain sorted list with the same random
// calls.
func TestAgainstModel(t *testing.T) {
	for seed := range int64(20) {
		rng := rand.New(rand.NewSource(seed))
		q, model := New(Limits{}), []Item(nil)
		drop := func(h store.Handle) {
			model = slices.DeleteFunc(model, func(i Item) bool { return i.Handle == h })
		}
		for step := range 1000 {
			switch h := store.Handle(rng.Intn(300)); rng.Intn(4) {
			case 0, 1:
				i := item(h, int64(rng.Intn(1000)), bundle.Priority(rng.Intn(3)), rng.Intn(2) == 0)
				i.Expiry = dtntime.Time(rng.Intn(1000))
				if q.Push(i) == nil {
					model = append(model, i)
				}
			case 2:
				q.Remove(h)
				drop(h)
			case 3:
				w := Window{Rate: 8000, End: dtntime.Time(rng.Intn(1200)), budget: 500, spent: int64(rng.Intn(2) * rng.Intn(600))}
				if rng.Intn(2) == 0 {
					w.Resume = dtntime.Time(rng.Intn(1000))
				}
				want, wantOK := choose(model, w)
				got, ok := q.Take(&w, 0)
				if got != want || ok != wantOK {
					t.Fatalf("seed %d step %d: took %+v, want %+v", seed, step, got, want)
				}
				if ok {
					drop(got.Handle)
				}
			}
			if step%7 > 0 {
				continue
			}
			check(t, fmt.Sprintf("seed %d step %d", seed, step), q, model)
		}
	}
}

// choose is the rule of Next, in words that need no tree.
func choose(model []Item, w Window) (Item, bool) {
	room := w.room(0)
	slices.SortFunc(model, Compare)
	firstFits := slices.ContainsFunc(model, func(i Item) bool { return !i.Retransmission && i.Size <= room })
	var best *Item
	rank := func(i Item) Item { // as which i stands in line
		i.Retransmission = i.Retransmission && i.Expiry >= w.Resume
		return i
	}
	for k, i := range model {
		if i.Size > room || i.Retransmission && firstFits && w.spent > 0 && i.Size > w.budget-w.spent {
			continue
		}
		if best == nil || Compare(rank(i), rank(*best)) < 0 {
			best = &model[k]
		}
	}
	if best == nil || room < 0 {
		return Item{}, false
	}
	return *best, true
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
	q := New(Limits{})
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
