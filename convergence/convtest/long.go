package convtest

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"perigee/convergence"
)

const (
	million  = 1_000_000
	gigabyte = 1_000_000_000
	// longHeap is what the heap may grow by while much is carried, in bytes.
	longHeap = 64 << 20
)

// testMillion sends very many small bundles one way.
func testMillion(t *testing.T, ctx context.Context, p Pair) {
	defer watchHeap(t)()
	group, ctx := errgroup.WithContext(ctx)
	transfers := make(chan convergence.Transfer, 4096)
	group.Go(func() error {
		defer close(transfers)
		for i := range million {
			tr, err := send(ctx, p.A, i, length(i)%100)
			if err != nil {
				return err
			}
			select {
			case transfers <- tr:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	group.Go(func() error {
		for tr := range transfers {
			if err := tr.Wait(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	group.Go(func() error {
		for i := range million {
			if err := accept(ctx, p.B, i, length(i)%100); err != nil {
				return err
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if c := p.B.Counters(); c.BundlesReceived != million {
		t.Errorf("counters after %d bundles: %+v", million, c)
	}
}

// testGigabyte sends one bundle that fits no memory on board.
func testGigabyte(t *testing.T, ctx context.Context, p Pair) {
	defer watchHeap(t)()
	var group errgroup.Group
	group.Go(func() error { return accept(ctx, p.B, 1, gigabyte) })
	wantWait(t, ctx, mustSend(t, ctx, p.A, 1, gigabyte))
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// watchHeap looks at the heap until stop is called, which judges how far it grew.
func watchHeap(t *testing.T) (stop func()) {
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var most uint64
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		pause := time.NewTicker(glance)
		defer pause.Stop()
		for {
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapInuse)
			select {
			case <-pause.C:
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		watching.Wait()
		if most > before.HeapInuse+longHeap {
			t.Errorf("the heap grew by %d bytes, want at most %d", most-before.HeapInuse, longHeap)
		}
	}
}
