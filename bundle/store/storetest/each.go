package storetest

import (
	"context"
	"errors"
	"testing"

	"perigee/bundle/store"
)

// testCommitEach commits lists of which some cannot be applied: each is done wholly or
// not at all, in order, and the errors are where they belong.
func testCommitEach(t *testing.T, open Open) {
	s, reopen := open(t, Options{})
	put := func(n uint64) (store.Record, store.Op) {
		st, err := Stage(s, Bytes(n, 100))
		if err != nil {
			t.Fatal(err)
		}
		r := Record(n, 100)
		r.Handle = s.NextHandle()
		return r, store.Put{Record: r, Staged: st}
	}
	first, putFirst := put(1)
	second, putSecond := put(2)
	twin, putTwin := put(1) // the ID is live by then
	lost, putLost := put(3)
	g := gone(first, 800000900000)
	errs := s.CommitEach(context.Background(), [][]store.Op{
		{putFirst},
		{putTwin},
		{putLost, store.SetCounter{Name: "n", Value: 1}, store.Delete{Handle: 4711}},
		{store.Delete{Handle: first.Handle, Gone: g}, putSecond},
		{},
		{store.SetCounter{Name: "n", Value: 2}},
	})
	want := []error{nil, store.ErrExists, store.ErrNotFound, nil, nil, nil}
	if len(errs) != len(want) {
		t.Fatalf("%d errors for %d lists", len(errs), len(want))
	}
	for i := range want {
		if !errors.Is(errs[i], want[i]) {
			t.Errorf("list %d: got %v, want %v", i, errs[i], want[i])
		}
	}
	for range 2 {
		wantGone(t, s, g)
		mustCheck(t, s, 2, second)
		wantUnknown(t, s, lost.ID)
		if _, err := s.Get(twin.Handle); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("get the twin: %v", err)
		}
		if n, _ := s.Counter("n"); n != 2 {
			t.Errorf("counter is %d, want 2", n)
		}
		if st := s.Stats(); st.Bundles != 1 || st.Bytes != 100 {
			t.Errorf("stats are %+v; want 1 bundle of 100 bytes", st)
		}
		s = reopen()
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, late := put(4)
	for _, err := range s.CommitEach(ctx, [][]store.Op{{late}, {store.SetCounter{Name: "n", Value: 3}}}) {
		wantError(t, err, context.Canceled)
	}
	if n, _ := s.Counter("n"); n != 2 {
		t.Errorf("counter is %d after a commit that was given up", n)
	}
}

// testBuffered fills bundles in the memory of a store that offers it.
func testBuffered(t *testing.T, open Open) {
	s, reopen := open(t, Options{Quota: 300_000})
	stage := func() store.Buffered {
		st, err := s.Stage(-1)
		if err != nil {
			t.Fatal(err)
		}
		direct, ok := st.(store.Buffered)
		if !ok {
			st.Discard()
			t.Skip("this store stages by writing alone")
		}
		return direct
	}
	st := stage()
	for n := range uint64(3) { // with memory of bundles before it
		data := Bytes(n, 70_000)
		buf := st.Buffer(int64(len(data)))
		if buf == nil {
			st.Discard()
			t.Skip("this store keeps no bundle of that size in memory")
		}
		if len(buf) != 0 || cap(buf) < len(data) {
			t.Fatalf("a buffer of %d bytes with room for %d", len(buf), cap(buf))
		}
		if err := st.Fill(append(buf, data...)); err != nil {
			t.Fatal(err)
		}
		if st.Size() != int64(len(data)) {
			t.Errorf("%d bytes are staged", st.Size())
		}
		r := Record(n, int64(len(data)))
		r.Handle = s.NextHandle()
		mustCommit(t, s, store.Put{Record: r, Staged: st})
		mustCheck(t, s, n, r)
		if n == 1 {
			mustCommit(t, s, store.Delete{Handle: r.Handle})
		}
		st = stage()
	}
	wantError(t, st.Fill(append(st.Buffer(200_000), Bytes(9, 200_000)...)), store.ErrQuota)
	st.Discard()
	s = reopen()
	for _, n := range []uint64{0, 2} {
		tr, err := s.Find(Record(n, 0).ID)
		if err != nil || tr.Live == nil {
			t.Fatalf("bundle %d: %+v, %v", n, tr, err)
		}
		mustCheck(t, s, n, *tr.Live)
	}
	if st := s.Stats(); st.Bytes != 140_000 {
		t.Errorf("%d bytes are stored", st.Bytes)
	}
}
