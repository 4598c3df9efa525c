package storetest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"perigee/bundle"
	"perigee/bundle/store"
)

// putAs stores the made-up bundle n with its record changed.
func putAs(s store.Store, n uint64, size int64, change func(*store.Record)) (store.Record, error) {
	r := Record(n, size)
	change(&r)
	r.Handle = s.NextHandle()
	return r, putRecord(s, n, r)
}

// wantQuota expects an error about a share that names all of words.
func wantQuota(t *testing.T, err error, words ...string) {
	t.Helper()
	wantError(t, err, store.ErrQuota)
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

func custodial(yes bool) func(*store.Record) {
	return func(r *store.Record) { r.Custodial = yes }
}

// testCustodyShare fills the share for custody. What is left takes other bundles.
func testCustodyShare(t *testing.T, open Open) {
	s, reopen := open(t, Options{Quota: 10_000})
	mine, err := putAs(s, 1, 5000, custodial(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := putAs(s, 2, 4000, custodial(true)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // also after a restart
		_, err = putAs(s, 3, 1, custodial(true))
		wantQuota(t, err, "custody", "9000", "90%", "10000")
		wantUnknown(t, s, Record(3, 0).ID)
		s = reopen()
	}
	other, err := putAs(s, 4, 600, custodial(false))
	if err != nil {
		t.Fatalf("a bundle without custody in the space kept for it: %v", err)
	}
	// Custody taken of what is stored already needs the share too.
	taken := other
	taken.Custodial = true
	wantQuota(t, s.Commit(context.Background(), []store.Op{store.Update{Record: taken}}), "custody")
	mustCheck(t, s, 4, other)
	mine.Attempts++ // which takes no more of it
	mustCommit(t, s, store.Update{Record: mine})
	// One commit may make the room that it needs, in this order alone.
	r := Record(5, 4500)
	r.Custodial, r.Handle = true, s.NextHandle()
	for _, deleteFirst := range []bool{false, true} {
		st, err := Stage(s, make([]byte, 300))
		if err != nil {
			t.Fatal(err)
		}
		r.Size, r.HeaderLen, r.PayloadLen = 300, 90, 210
		ops := []store.Op{store.Put{Record: r, Staged: st}, store.Delete{Handle: mine.Handle}}
		if deleteFirst {
			ops[0], ops[1] = ops[1], ops[0]
			mustCommit(t, s, ops...)
		} else {
			wantQuota(t, s.Commit(context.Background(), ops), "custody")
		}
	}
	mustCommit(t, s, store.Update{Record: taken})
	if st := s.Stats(); st.CustodyBytes != 4900 || st.CustodyQuota != 9000 || st.Bytes != 4900 {
		t.Errorf("stats are %+v; want 4900 bytes in custody of 9000", st)
	}
}

func testPriorityShares(t *testing.T, open Open) {
	s, reopen := open(t, Options{Quota: 10_000, Shares: store.Shares{Custody: 100, Priority: [store.Classes]int{20, 50, 0}}})
	as := func(p bundle.Priority) func(*store.Record) {
		return func(r *store.Record) { r.Priority = p }
	}
	put := func(n uint64, size int64, p bundle.Priority) {
		t.Helper()
		if _, err := putAs(s, n, size, as(p)); err != nil {
			t.Fatal(err)
		}
	}
	put(1, 2000, bundle.PriorityBulk)
	put(2, 5000, bundle.PriorityNormal)
	for range 2 {
		_, err := putAs(s, 3, 1, as(bundle.PriorityBulk))
		wantQuota(t, err, "bulk", "2000", "20%")
		_, err = putAs(s, 3, 1, as(bundle.PriorityNormal))
		wantQuota(t, err, "normal", "5000", "50%")
		s = reopen()
	}
	// Signals pass whatever their priority is.
	if _, err := putAs(s, 4, 100, func(r *store.Record) {
		r.Priority, r.Flags, r.Custodial = bundle.PriorityBulk, bundle.FlagAdminRecord, false
	}); err != nil {
		t.Errorf("an administrative record beyond the share of its priority: %v", err)
	}
	put(5, 2500, bundle.PriorityExpedited)
	_, err := putAs(s, 6, 500, as(bundle.PriorityExpedited))
	wantError(t, err, store.ErrQuota) // all of the quota
	if st := s.Stats(); st.PriorityBytes != [store.Classes]int64{2100, 5000, 2500} {
		t.Errorf("stats are %+v", st)
	}
}

// testUsage compares what the stats say with what is stored, over changes of every
// kind, failures and restarts.
func testUsage(t *testing.T, open Open) {
	s, reopen := open(t, Options{Quota: 1_000_000})
	check := func() {
		t.Helper()
		records, err := s.Scan(0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		var want store.Usage
		for i := range records {
			want.Add(&records[i], 1)
		}
		st := s.Stats()
		got := store.Usage{Bytes: st.Bytes, Custody: st.CustodyBytes, Priority: st.PriorityBytes}
		if got != want {
			t.Fatalf("stats say %+v are used, the records %+v", got, want)
		}
	}
	var records []store.Record
	for n := range uint64(40) {
		size := int64(100 + 37*n)
		if n%9 == 0 {
			size = 300_000 // most of which do not fit
		}
		r, err := putAs(s, n, size, func(r *store.Record) { r.Priority = bundle.Priority(n % 4) })
		switch {
		case err == nil:
			records = append(records, r)
		case !errors.Is(err, store.ErrQuota):
			t.Fatal(err)
		}
	}
	check()
	for i, r := range records {
		switch i % 3 {
		case 0:
			r.Custodial = !r.Custodial
			mustCommit(t, s, store.Update{Record: r})
		case 1:
			mustCommit(t, s, store.Delete{Handle: r.Handle, Gone: gone(r, 900000000000)})
		}
	}
	for range 2 {
		check()
		s = reopen()
	}
}

// testMaxGone remembers no more than it may, those the longest that must be.
func testMaxGone(t *testing.T, open Open) {
	const most, all = 50, 200
	s, reopen := open(t, Options{MaxGone: most})
	var left []store.Gone
	for n := range uint64(all) {
		r := mustPut(t, s, n, 10)
		g := gone(r, 800000000000+100*((r.Received*7)%all))
		mustCommit(t, s, store.Delete{Handle: r.Handle, Gone: g})
		left = append(left, g)
		if n := s.Stats().Gone; n > most {
			t.Fatalf("%d are remembered, the limit is %d", n, most)
		}
	}
	s = reopen()
	known := 0
	for _, g := range left {
		trace, err := s.Find(g.ID)
		if err != nil {
			t.Fatal(err)
		}
		if trace.Gone == nil {
			if g.Until >= 800000000000+100*(all-most/2) {
				t.Errorf("%s is forgotten, which must be remembered for longest", g.ID)
			}
			continue
		}
		known++
	}
	if known > most || known < most/2 || int64(known) != s.Stats().Gone {
		t.Errorf("%d are remembered, the stats say %d; want %d or a few less", known, s.Stats().Gone, most)
	}
}
