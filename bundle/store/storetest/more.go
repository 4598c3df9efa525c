package storetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"perigee/bundle/store"
)

func testContentOutlives(t *testing.T, open Open) {
	s, _ := open(t, Options{})
	for n, size := range []int64{1000, 500_000} {
		r := mustPut(t, s, uint64(n), size)
		c, err := s.Open(r.Handle)
		if err != nil {
			t.Fatal(err)
		}
		mustCommit(t, s, store.Delete{Handle: r.Handle})
		for i := range 20 { // give the store reason to clean up
			extra := mustPut(t, s, uint64(100+i), 1000)
			mustCommit(t, s, store.Delete{Handle: extra.Handle})
		}
		b, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
		if err != nil || !bytes.Equal(b, Bytes(uint64(n), size)) {
			t.Errorf("content of a deleted bundle of %d bytes: %d bytes, %v", size, len(b), err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// testConcurrent lets many commit, read, update and delete at once.
func testConcurrent(t *testing.T, open Open) {
	const workers, each = 16, 20
	s, reopen := open(t, Options{})
	var mu sync.Mutex
	kept := map[uint64]store.Record{}
	var g errgroup.Group
	for w := range uint64(workers) {
		g.Go(func() error {
			for i := range uint64(each) {
				n := w*each + i
				size := int64(50 + n)
				if n%40 == 0 {
					size = 300_000
				}
				r, err := Put(s, n, size)
				if err != nil {
					return err
				}
				if err := Check(s, n, r); err != nil {
					return err
				}
				if i%4 == 1 {
					r.Attempts = uint32(n)
					if err := s.Commit(context.Background(), []store.Op{store.Update{Record: r}}); err != nil {
						return err
					}
				}
				if i%4 == 2 {
					if err := s.Commit(context.Background(), []store.Op{store.Delete{Handle: r.Handle, Gone: gone(r, 900000000000)}}); err != nil {
						return err
					}
					continue
				}
				if _, err := s.Scan(r.Handle-1, 3); err != nil {
					return err
				}
				mu.Lock()
				kept[n] = r
				mu.Unlock()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	want := s.Stats()
	s = reopen()
	for n, r := range kept {
		mustCheck(t, s, n, r)
	}
	got := s.Stats()
	if got.Bundles != int64(len(kept)) || got.Gone != workers*each/4 || got.Bytes != want.Bytes || got.Custodial != want.Custodial {
		t.Errorf("stats are %+v; before the restart %+v", got, want)
	}
}

// testRacingDuplicates receives one bundle over many links at once.
func testRacingDuplicates(t *testing.T, open Open) {
	s, _ := open(t, Options{})
	results := make([]error, 16)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() { _, results[i] = Put(s, 1, 100) })
	}
	wg.Wait()
	stored := 0
	for _, err := range results {
		if err == nil {
			stored++
		} else if !errors.Is(err, store.ErrExists) {
			t.Error(err)
		}
	}
	if st := s.Stats(); stored != 1 || st.Bundles != 1 {
		t.Errorf("%d of 16 puts of one bundle were taken; %d bundles are stored", stored, st.Bundles)
	}
}

func testReopen(t *testing.T, open Open) {
	s, reopen := open(t, Options{})
	records := map[uint64]store.Record{}
	for round := range uint64(4) {
		for i := range uint64(10) {
			n := round*10 + i
			records[n] = mustPut(t, s, n, int64(n*n*200))
		}
		gone1 := records[round*10]
		mustCommit(t, s, store.Delete{Handle: gone1.Handle, Gone: gone(gone1, 900000000000)})
		delete(records, round*10)
		before := s.Stats()
		s = reopen()
		after := s.Stats()
		if before.Bundles != after.Bundles || before.Bytes != after.Bytes || before.Gone != after.Gone || before.Custodial != after.Custodial {
			t.Errorf("stats are %+v; before the restart %+v", after, before)
		}
		for n, r := range records {
			mustCheck(t, s, n, r)
		}
	}
}

func testHandles(t *testing.T, open Open) {
	s, reopen := open(t, Options{})
	last := store.Handle(0)
	for range 4 {
		for n := range uint64(3) {
			r := mustPut(t, s, n, 20)
			if r.Handle <= last {
				t.Fatalf("handle %d after %d", r.Handle, last)
			}
			last = r.Handle
			mustCommit(t, s, store.Delete{Handle: r.Handle}) // nothing is left to remember it by
		}
		s = reopen()
	}
}

func testQuota(t *testing.T, open Open) {
	s, reopen := open(t, Options{Quota: 1_000_000})
	r := mustPut(t, s, 1, 600_000)
	_, err := s.Stage(500_000)
	wantError(t, err, store.ErrQuota)
	st, err := s.Stage(-1) // unknown size: the quota shows while it arrives
	if err != nil {
		t.Fatal(err)
	}
	for err == nil && st.Size() < 900_000 {
		_, err = st.Write(make([]byte, 50_000))
	}
	wantError(t, err, store.ErrQuota)
	st.Discard()
	small := mustPut(t, s, 2, 399_000)
	_, err = Put(s, 3, 2000)
	wantError(t, err, store.ErrQuota)
	s = reopen()
	_, err = Put(s, 3, 2000)
	wantError(t, err, store.ErrQuota)
	mustCheck(t, s, 1, r)
	mustCheck(t, s, 2, small)
	mustCommit(t, s, store.Delete{Handle: r.Handle, Gone: gone(r, 900000000000)})
	mustCheck(t, s, 3, mustPut(t, s, 3, 2000))
	if q := s.Stats().Quota; q != 1_000_000 {
		t.Errorf("quota is %d", q)
	}
}

func testCancel(t *testing.T, open Open) {
	s, reopen := open(t, Options{Quota: 1_000_000})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range 5 { // a leak would use up the quota
		for _, size := range []int64{1000, 400_000} {
			st, err := Stage(s, Bytes(1, size))
			if err != nil {
				t.Fatal(err)
			}
			r := Record(1, size)
			r.Handle = s.NextHandle()
			wantError(t, s.Commit(ctx, []store.Op{store.Put{Record: r, Staged: st}}), context.Canceled)
		}
	}
	wantError(t, s.Forget(ctx, 1), context.Canceled)
	_, err := s.Verify(ctx, nil)
	wantError(t, err, context.Canceled)
	s = reopen()
	wantUnknown(t, s, Record(1, 0).ID)
	mustCheck(t, s, 1, mustPut(t, s, 1, 900_000))
}

func testVerify(t *testing.T, open Open) {
	s, _ := open(t, Options{})
	for n := range uint64(10) {
		r := mustPut(t, s, n, int64(n*60_000))
		if n%3 == 0 {
			mustCommit(t, s, store.Delete{Handle: r.Handle})
		}
	}
	var done, total int64
	report, err := s.Verify(context.Background(), func(d, of int64) {
		if d < done || d > of {
			t.Errorf("progress went from %d to %d of %d", done, d, of)
		}
		done, total = d, of
	})
	if err != nil || len(report.Corrupt) > 0 || report.Records < 6 || report.Bytes < s.Stats().Bytes {
		t.Errorf("verify: %+v, %v", report, err)
	}
	if done != total || total == 0 {
		t.Errorf("progress ended at %d of %d", done, total)
	}
}

func testClose(t *testing.T, open Open) {
	s, _ := open(t, Options{})
	r := mustPut(t, s, 1, 100)
	c, err := s.Open(r.Handle)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if b, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size())); err != nil || len(b) != 100 {
		t.Errorf("content that was open: %d bytes, %v", len(b), err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	for what, call := range map[string]func() error{
		"get":    func() error { _, err := s.Get(r.Handle); return err },
		"find":   func() error { _, err := s.Find(r.ID); return err },
		"scan":   func() error { _, err := s.Scan(0, 1); return err },
		"lanes":  func() error { _, err := s.Lanes(store.Lane{}, 1); return err },
		"lane":   func() error { _, err := s.ScanLane(r.Lane(), 0, 1); return err },
		"open":   func() error { _, err := s.Open(r.Handle); return err },
		"stage":  func() error { _, err := s.Stage(10); return err },
		"commit": func() error { return s.Commit(context.Background(), []store.Op{store.Delete{Handle: r.Handle}}) },
		"forget": func() error { return s.Forget(context.Background(), 1) },
	} {
		if call() == nil {
			t.Errorf("%s worked on a closed store", what)
		}
	}
}
