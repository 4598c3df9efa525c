package schedule

import (
	"errors"
	"slices"
	"testing"

	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// takeAll takes items over a standing link until n are taken or none is left.
func takeAll(q *Queue, n int) []Item {
	var taken []Item
	w := Standing()
	for len(taken) < n {
		i, ok := q.Take(&w, 0)
		if !ok {
			break
		}
		taken = append(taken, i)
	}
	return taken
}

func handles(items []Item) []store.Handle {
	var list []store.Handle
	for _, i := range items {
		list = append(list, i.Handle)
	}
	return list
}

func TestValueAndDeadline(t *testing.T) {
	const n = bundle.PriorityNormal
	with := func(h store.Handle, size int64, value uint64, expiry dtntime.Time) Item {
		i := item(h, size, n, false)
		i.Value, i.Expiry = value, expiry
		return i
	}
	signal := item(9, 50, bundle.PriorityExpedited, false)
	signal.Signal = true
	items := []Item{
		with(1, 100, 0, 5000), with(2, 100, 0, 4000), with(3, 100, 7, 9000), with(4, 10, 1, 9000), with(5, 100, 0, 4000),
		with(6, 1000, 1<<63, 9000), item(7, 10, bundle.PriorityExpedited, false), item(8, 10, bundle.PriorityBulk, false), signal,
	}
	if got, want := handles(takeAll(fill(t, items...), 99)), []store.Handle{9, 7, 6, 4, 3, 2, 5, 1, 8}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	q := fill(t, items...)
	w := pass(2000)
	w.Resume = 4500
	var got []store.Handle
	for i, ok := q.Take(&w, 0); ok; i, ok = q.Take(&w, 0) {
		got = append(got, i.Handle)
	}
	if want := []store.Handle{9, 7, 2, 5, 6, 4, 3, 1, 8}; !slices.Equal(got, want) {
		t.Errorf("with the next contact at 4500: got %v, want what expires before first: %v", got, want)
	}
}

func TestTenantsShareByWeight(t *testing.T) {
	shares, err := NewShares([classes]int{}, []Tenant{{bundle.IPN(3, 0), 3}, {bundle.IPN(4, 11), 1}})
	if err != nil {
		t.Fatal(err)
	}
	for source, want := range map[bundle.EID]int{
		bundle.IPN(3, 0): 1, bundle.IPN(3, 9): 1, bundle.IPN(4, 11): 2, bundle.IPN(4, 12): 0, bundle.IPN(9, 1): 0, {}: 0,
	} {
		if got := shares.TenantOf(source); got != want {
			t.Errorf("%s is of tenant %d, want %d", source, got, want)
		}
	}
	q := New(Limits{}, shares)
	sizes := []int64{100, 300, 50} // of the bundles of each tenant
	for h := range store.Handle(3000) {
		i := item(h, sizes[h%3], bundle.PriorityNormal, false)
		i.Tenant = int(h % 3)
		if i.Tenant == 1 && h < 1500 {
			continue // comes later
		}
		if err := q.Push(i); err != nil {
			t.Fatal(err)
		}
	}
	served := func(n int) (bytes [3]int64) {
		for _, i := range takeAll(q, n) {
			bytes[i.Tenant] += i.Size
		}
		return bytes
	}
	if got := served(600); got[1] == 0 || got[1] < 2*got[0] || got[1] > 4*got[0] || got[2] < got[0]*9/10 || got[2] > got[0]*11/10 {
		t.Errorf("with the weights 1, 3 and 1 these got %d bytes", got)
	}
	q.Push(item(9000, 1<<20, bundle.PriorityNormal, false)) // of everyone else
	if got := served(2000); got[0] == 0 {
		t.Errorf("in the end: %d bytes", got)
	}
	if q.Len() > 1500 {
		t.Errorf("%d items are left", q.Len())
	}
}

func TestIdleTenantsSaveNothing(t *testing.T) {
	shares, err := NewShares([classes]int{}, []Tenant{{bundle.IPN(3, 0), 1}})
	if err != nil {
		t.Fatal(err)
	}
	q := New(Limits{}, shares)
	for h := range store.Handle(100) {
		q.Push(item(h, 100, bundle.PriorityNormal, false))
	}
	takeAll(q, 50)
	for h := range store.Handle(50) {
		i := item(1000+h, 100, bundle.PriorityNormal, false)
		i.Tenant = 1
		q.Push(i)
	}
	mine := 0
	for _, i := range takeAll(q, 20) {
		mine += i.Tenant
	}
	if mine < 9 || mine > 11 {
		t.Errorf("who came later got %d of 20, want half", mine)
	}
}

func TestClassShare(t *testing.T) {
	shares, err := NewShares([classes]int{20, 0, 0}, nil)
	if err != nil {
		t.Fatal(err)
	}
	q := New(Limits{}, shares)
	for h := range store.Handle(1000) {
		q.Push(item(h, 100, bundle.PriorityExpedited, false))
		q.Push(item(1000+h, 250, bundle.PriorityBulk, false))
		q.Push(item(2000+h, 100, bundle.PriorityNormal, false))
	}
	signal := item(9000, 10, bundle.PriorityExpedited, false)
	signal.Signal = true
	q.Push(signal)
	taken := takeAll(q, 500)
	if taken[0].Handle != 9000 {
		t.Errorf("%+v goes before a signal", taken[0])
	}
	var bytes [3]int64
	run := 0
	for _, i := range taken {
		bytes[i.Priority] += i.Size
		if i.Priority == bundle.PriorityBulk {
			run++
		} else {
			run = 0
		}
		if run > 1 {
			t.Fatal("two bulk bundles follow each other while urgent ones wait")
		}
	}
	if share := float64(bytes[0]) / float64(bytes[0]+bytes[2]); bytes[1] != 0 || share < 0.19 || share > 0.21 {
		t.Errorf("%d bytes went, of which %.0f %% bulk", bytes, 100*share)
	}
}

func TestNewSharesRefuses(t *testing.T) {
	good := Tenant{bundle.IPN(3, 0), 1}
	for name, c := range map[string]struct {
		classes [classes]int
		tenants []Tenant
	}{
		"negative":    {[classes]int{-1, 0, 0}, nil},
		"more":        {[classes]int{101, 0, 0}, nil},
		"more in all": {[classes]int{50, 51, 0}, nil},
		"nobody":      {tenants: []Tenant{{bundle.EID{}, 1}}},
		"several":     {tenants: []Tenant{{bundle.DTN("a", "~all"), 1}}},
		"twice":       {tenants: []Tenant{good, good}},
		"no weight":   {tenants: []Tenant{{bundle.IPN(3, 0), 0}}},
		"too heavy":   {tenants: []Tenant{{bundle.IPN(3, 0), MaxWeight + 1}}},
		"too many":    {tenants: make([]Tenant, MaxTenants+1)},
	} {
		if _, err := NewShares(c.classes, c.tenants); !errors.Is(err, ErrShares) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewShares([classes]int{10, 20, 70}, []Tenant{good, {bundle.IPN(3, 1), MaxWeight}}); err != nil {
		t.Errorf("good shares: %v", err)
	}
}

func TestPace(t *testing.T) {
	var p Pace
	p.Book(1<<40, 100)
	if p.Free(100) != 100 || p.Ready(1<<40) != 0 || p.Wake(1) > 100 {
		t.Errorf("at an unknown rate: %+v", p)
	}
	p.SetRate(8_000_000) // 1000 bytes a millisecond
	p.Book(50_000, 1000)
	if p.Free(1000) != 1050 || p.Free(1060) != 1060 {
		t.Errorf("free at %d", p.Free(1000))
	}
	for size, want := range map[int64]dtntime.Time{100_000: 1050, 20_000: 1050, 19_000: 1049, 1000: 1031, 1: 1030} {
		if got := p.Ready(size); got != want {
			t.Errorf("%d bytes may be handed over at %d, want %d", size, got, want)
		}
		if got := p.Wake(size); got < max(want, 1040) || got > 1050 {
			t.Errorf("%d bytes: wake at %d", size, got)
		}
	}
	p.Book(10_000, 1090) // a little late
	if p.Free(0) != 1060 {
		t.Errorf("after a late one free at %d, want 1060", p.Free(0))
	}
	p.Book(10_000, 1200)
	if p.Free(0) != 1210 {
		t.Errorf("after a pause free at %d, want 1210", p.Free(0))
	}
	p.Unbook(5000, 1203)
	if p.Free(0) != 1205 {
		t.Errorf("free at %d once 5000 bytes are taken back, want 1205", p.Free(0))
	}
	p.Idle()
	for range 10_000 {
		p.Book(99, 2000) // parts of a millisecond add up
	}
	if p.Free(0) != 2990 {
		t.Errorf("10000 bundles of 99 bytes take until %d, want 2990", p.Free(0))
	}
	p.SetRate(1)
	p.Book(1<<62, 2990)
	if p.Free(0) < 1<<62 {
		t.Errorf("an endless bundle ends at %d", p.Free(0))
	}
	p.Shift(func(dtntime.Time) dtntime.Time { return 7 })
	if p.Free(0) != 7 {
		t.Errorf("shifted to %d", p.Free(0))
	}
}
