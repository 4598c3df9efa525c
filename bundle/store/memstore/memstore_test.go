package memstore_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"perigee/bundle/store"
	"perigee/bundle/store/memstore"
	"perigee/bundle/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(_ *testing.T, o storetest.Options) (store.Store, func() store.Store) {
		s := memstore.New(memstore.Options{Quota: o.Quota, Shares: o.Shares, MaxGone: o.MaxGone})
		return s, func() store.Store {
			s = s.Crash()
			return s
		}
	})
}

func TestCrashLosesWhatWasStaged(t *testing.T) {
	s := memstore.New(memstore.Options{Quota: 1000})
	r, err := storetest.Put(s, 1, 400)
	if err != nil {
		t.Fatal(err)
	}
	staged, err := storetest.Stage(s, storetest.Bytes(2, 500))
	if err != nil {
		t.Fatal(err)
	}
	after := s.Crash()
	r2 := storetest.Record(2, 500)
	r2.Handle = s.NextHandle()
	if err := s.Commit(context.Background(), []store.Op{store.Put{Record: r2, Staged: staged}}); err == nil {
		t.Error("a crashed store took a commit")
	}
	if err := storetest.Check(after, 1, r); err != nil {
		t.Error(err)
	}
	if _, err := storetest.Put(after, 2, 600); err != nil {
		t.Errorf("staged bytes outlived the crash: %v", err)
	}
}

func TestInjectedFailures(t *testing.T) {
	for _, c := range []struct {
		err  error
		once bool
	}{{store.ErrFull, true}, {store.ErrQuota, true}, {store.ErrFailed, false}} {
		t.Run(c.err.Error(), func(t *testing.T) {
			s := memstore.New(memstore.Options{})
			kept, err := storetest.Put(s, 1, 100)
			if err != nil {
				t.Fatal(err)
			}
			s.FailNextCommit(fmt.Errorf("disk: %w", c.err))
			if _, err := storetest.Put(s, 2, 100); !errors.Is(err, c.err) {
				t.Fatalf("got %v, want %v", err, c.err)
			}
			_, err = storetest.Put(s, 2, 100)
			if c.once && err != nil || !c.once && !errors.Is(err, store.ErrFailed) {
				t.Errorf("second try: %v", err)
			}
			if failed := s.Stats().FailedReason != ""; failed == c.once {
				t.Errorf("stats say failed: %v", failed)
			}
			if err := storetest.Check(s, 1, kept); err != nil {
				t.Error(err)
			}
			if _, err := storetest.Put(s.Crash(), 3, 100); err != nil {
				t.Errorf("put after the restart: %v", err)
			}
		})
	}
}
