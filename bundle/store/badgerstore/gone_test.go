package badgerstore_test

import (
	"context"
	"math/rand"
	"os"
	"path/filepath"
	"testing"

	"perigee/bundle/dtntime"
	"perigee/bundle/store"
	"perigee/bundle/store/badgerstore"
	"perigee/bundle/store/storetest"
)

// TestGoneLog lets bundles come, leave, come again and be forgotten while the log is
// cleaned under them, and compares what the store knows of each ID with a model: at
// any time, after a restart, and after the index was made again from both logs.
func TestGoneLog(t *testing.T) {
	const ids, segment = 150, 8 << 10
	dir := indexDir(t)
	o := badgerstore.Options{SegmentSize: segment, SmallLimit: 4 << 10, Reserve: 1 << 20}
	s := mustOpen(t, dir, o)
	rng := rand.New(rand.NewSource(11))
	live := map[uint64]store.Record{}
	gone := map[uint64]store.Gone{}
	until := map[uint64]dtntime.Time{}
	check := func(when string) {
		t.Helper()
		for n := range uint64(ids) {
			tr, err := s.Find(storetest.Record(n, 0).ID)
			if err != nil {
				t.Fatal(err)
			}
			r, isLive := live[n]
			g, isGone := gone[n]
			switch {
			case isLive != (tr.Live != nil), isGone != (tr.Gone != nil):
				t.Fatalf("%s, bundle %d: found %+v; live %v, gone %v", when, n, tr, isLive, isGone)
			case isLive && *tr.Live != r:
				t.Fatalf("%s, bundle %d: found %+v, want %+v", when, n, *tr.Live, r)
			case isGone && *tr.Gone != g:
				t.Fatalf("%s, bundle %d: found %+v, want %+v", when, n, *tr.Gone, g)
			}
		}
		if st := s.Stats(); st.Gone != int64(len(gone)) || st.Bundles != int64(len(live)) || st.Quarantined != 0 {
			t.Fatalf("%s: stats are %+v; %d are live and %d gone", when, st, len(live), len(gone))
		}
	}
	now := dtntime.Time(900_000_000_000)
	for step := range 6000 {
		n := uint64(rng.Intn(ids))
		switch r, isLive := live[n]; {
		case step%500 == 499: // some are forgotten, each in its time
			now += 60_000
			if err := s.Forget(context.Background(), now); err != nil {
				t.Fatal(err)
			}
			for n, g := range gone {
				if g.Until < now {
					delete(gone, n)
				}
			}
		case isLive:
			// Never for less long than before: what the logs still tell of an earlier time
			// is then forgotten in the end as well.
			until[n] = max(until[n], now+dtntime.Time(rng.Intn(400_000)))
			g := store.Gone{ID: r.ID, From: r.From, Reason: store.GoneReason(1 + rng.Intn(5)), At: now, Until: until[n]}
			if err := s.Commit(t.Context(), []store.Op{store.Delete{Handle: r.Handle, Gone: g}}); err != nil {
				t.Fatal(err)
			}
			delete(live, n)
			gone[n] = g
		default:
			r, err := storetest.Put(s, n, int64(50+rng.Intn(300)))
			if err != nil {
				t.Fatal(err)
			}
			live[n] = r
			delete(gone, n)
		}
		if step%997 == 0 {
			check("running")
		}
	}
	check("at the end")
	if n := lastSegment(t, dir, "gone"); n < "0000000000000003.seg" {
		t.Errorf("the last segment of the log of gone bundles is %s: it was never cleaned", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir, o)
	check("after a restart")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// What was forgotten comes back with the index, until it is forgotten again.
	if _, err := badgerstore.Rebuild(dir, o); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir, o)
	if err := s.Forget(context.Background(), now); err != nil {
		t.Fatal(err)
	}
	check("after the index was made again")
}

// lastSegment returns the file name of the newest segment of a log.
func lastSegment(t *testing.T, dir, log string) string {
	t.Helper()
	names, err := os.ReadDir(filepath.Join(dir, log)) // in order
	if err != nil || len(names) == 0 {
		t.Fatalf("%d segments, %v", len(names), err)
	}
	return names[len(names)-1].Name()
}
