package convtest

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"perigee/convergence"
)

const (
	small      = 1000             // bytes of a small bundle
	manySmall  = 3000             // bundles each way
	large      = 64 << 20         // bytes of the large bundle
	largeAlloc = 8 << 20          // bytes that carrying it may allocate
	inFlight   = 64               // bundles of 1 kB that any link keeps unacknowledged
	maxStalled = 48 << 20         // bytes that may be under way to a peer who takes none
	settled    = time.Second / 3  // a sender that makes no progress for so long is blocked
	glance     = time.Second / 50 // between looks at its progress
)

// length spreads the lengths of small bundles, so that frames fall anywhere.
func length(i int) int64 { return int64(i*7919) % 3000 }

func testManySmall(t *testing.T, ctx context.Context, p Pair) {
	group, ctx := errgroup.WithContext(ctx)
	for _, way := range []struct{ from, to convergence.Session }{{p.A, p.B}, {p.B, p.A}} {
		group.Go(func() error { return sendMany(ctx, way.from) })
		group.Go(func() error {
			for i := range manySmall {
				if err := accept(ctx, way.to, i, length(i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, s := range []convergence.Session{p.A, p.B} {
		c := s.Counters()
		if c.BundlesSent != manySmall || c.BundlesReceived != manySmall || c.BundlesRefused != 0 {
			t.Errorf("counters after %d bundles each way: %+v", manySmall, c)
		}
		if c.BytesSent < manySmall || c.BytesReceived < manySmall {
			t.Errorf("counters miss bytes: %+v", c)
		}
	}
}

func sendMany(ctx context.Context, s convergence.Session) error {
	var transfers []convergence.Transfer
	for i := range manySmall {
		tr, err := send(ctx, s, i, length(i))
		if err != nil {
			return err
		}
		transfers = append(transfers, tr)
	}
	for _, tr := range transfers {
		if err := tr.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// testOnce sends the same bundle again and again: a link neither leaves one out nor
// adds one.
func testOnce(t *testing.T, ctx context.Context, p Pair) {
	const times = 5
	var transfers []convergence.Transfer
	for range times {
		transfers = append(transfers, mustSend(t, ctx, p.A, 1, small))
	}
	for range times {
		if err := accept(ctx, p.B, 1, small); err != nil {
			t.Fatal(err)
		}
	}
	for _, tr := range transfers {
		wantWait(t, ctx, tr)
	}
	soon, cancel := context.WithTimeout(ctx, glance)
	defer cancel()
	if _, err := p.B.Receive(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after all bundles: got %v, want nothing", err)
	}
}

func testEmpty(t *testing.T, ctx context.Context, p Pair) {
	empty, after := mustSend(t, ctx, p.A, 1, 0), mustSend(t, ctx, p.A, 2, small)
	if err := errors.Join(accept(ctx, p.B, 1, 0), accept(ctx, p.B, 2, small)); err != nil {
		t.Fatal(err)
	}
	wantWait(t, ctx, empty)
	wantWait(t, ctx, after)
}

func testLarge(t *testing.T, ctx context.Context, p Pair) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var group errgroup.Group
	group.Go(func() error { return accept(ctx, p.B, 1, large) })
	wantWait(t, ctx, mustSend(t, ctx, p.A, 1, large))
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > largeAlloc {
		t.Errorf("carrying %d bytes allocated %d, want at most %d", large, n, largeAlloc)
	}
}

func testPipelined(t *testing.T, ctx context.Context, p Pair) {
	var transfers []convergence.Transfer
	for i := range inFlight { // none is even received yet
		transfers = append(transfers, mustSend(t, ctx, p.A, i, small))
	}
	for i := range inFlight {
		if err := accept(ctx, p.B, i, small); err != nil {
			t.Fatal(err)
		}
	}
	for _, tr := range transfers {
		wantWait(t, ctx, tr)
	}
}

func testNoEarlyAck(t *testing.T, ctx context.Context, p Pair) {
	tr := mustSend(t, ctx, p.A, 1, small)
	in := mustReceive(t, ctx, p.B, 1, small)
	echo(t, ctx, p.B, p.A)
	wantPending(t, tr)
	if err := in.Accept(); err != nil {
		t.Fatal(err)
	}
	wantWait(t, ctx, tr)
}

func testLateAccept(t *testing.T, ctx context.Context, p Pair) {
	var transfers []convergence.Transfer
	var incoming []convergence.Incoming
	for i := range inFlight {
		transfers = append(transfers, mustSend(t, ctx, p.A, i, small))
		incoming = append(incoming, mustReceive(t, ctx, p.B, i, small))
	}
	for i := inFlight - 1; i > 0; i-- {
		decide(t, incoming[i], i)
	}
	echo(t, ctx, p.B, p.A)
	for _, tr := range transfers { // the first bundle holds up the others
		wantPending(t, tr)
	}
	decide(t, incoming[0], 0)
	for i, tr := range transfers {
		if refused(i) {
			wantRefused(t, ctx, tr, convergence.RefuseNoResources)
		} else {
			wantWait(t, ctx, tr)
		}
	}
}

// refused picks the bundles that testLateAccept refuses.
func refused(i int) bool { return i%5 == 2 }

func decide(t *testing.T, in convergence.Incoming, i int) {
	t.Helper()
	err := error(nil)
	if refused(i) {
		err = in.Refuse(convergence.RefuseNoResources)
	} else {
		err = in.Accept()
	}
	if err != nil {
		t.Fatalf("decide bundle %d: %v", i, err)
	}
}

func testMisuse(t *testing.T, ctx context.Context, p Pair) {
	if _, err := p.A.Send(ctx, -1, newBody(0, 0)); err == nil {
		t.Error("Send took a negative length")
	}
	tr := mustSend(t, ctx, p.A, 1, small)
	in, err := p.B.Receive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Accept(); err == nil {
		t.Error("Accept before the bundle was read did not fail")
	}
	if _, err := p.B.Receive(ctx); err == nil {
		t.Error("Receive before the bundle was read did not fail")
	}
	if err := same(in, newBody(1, small)); err != nil {
		t.Fatal(err)
	}
	if err := in.Accept(); err != nil {
		t.Fatal(err)
	}
	if in.Accept() == nil || in.Refuse(convergence.RefuseUnknown) == nil {
		t.Error("a second decision did not fail")
	}
	wantWait(t, ctx, tr)
}

func testRefuseAfterEnd(t *testing.T, ctx context.Context, p Pair) {
	bad, good := mustSend(t, ctx, p.A, 1, small), mustSend(t, ctx, p.A, 2, small)
	if err := mustReceive(t, ctx, p.B, 1, small).Refuse(convergence.RefuseNotAcceptable); err != nil {
		t.Fatal(err)
	}
	if err := accept(ctx, p.B, 2, small); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, ctx, bad, convergence.RefuseNotAcceptable)
	wantWait(t, ctx, good)
	if a, b := p.A.Counters(), p.B.Counters(); a.BundlesRefused != 1 || b.BundlesRefused != 1 {
		t.Errorf("refusal is not counted once on each side: %+v, %+v", a, b)
	}
}

func testRefuseEarly(t *testing.T, ctx context.Context, p Pair) {
	const length = 8 << 20
	var group errgroup.Group
	group.Go(func() error {
		in, err := p.B.Receive(ctx)
		if err != nil {
			return err
		}
		if _, err := in.Read(make([]byte, 1)); err != nil {
			return err
		}
		if err := in.Refuse(convergence.RefuseNoResources); err != nil {
			return err
		}
		if n, err := in.Read(make([]byte, 1)); n > 0 || err == nil {
			return errors.New("a refused bundle can still be read")
		}
		return accept(ctx, p.B, 2, small)
	})
	bad := mustSend(t, ctx, p.A, 1, length)
	wantRefused(t, ctx, bad, convergence.RefuseNoResources)
	wantWait(t, ctx, mustSend(t, ctx, p.A, 2, small))
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// A counted body counts the bytes that were read from it.
type counted struct {
	*body
	read *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.body.Read(p)
	c.read.Add(int64(n))
	return n, err
}

func testBackPressure(t *testing.T, ctx context.Context, p Pair) {
	const bundles, length = 64, 1 << 20
	var read atomic.Int64
	var group errgroup.Group
	group.Go(func() error {
		for i := range bundles {
			if _, err := p.A.Send(ctx, length, counted{newBody(i, length), &read}); err != nil {
				return err
			}
		}
		return nil
	})
	last, since := int64(-1), time.Now()
	for time.Since(since) < settled { // nobody receives: the sender must stop
		if n := read.Load(); n != last {
			last, since = n, time.Now()
		}
		time.Sleep(glance)
	}
	if last > maxStalled {
		t.Errorf("%d bytes were sent to a peer who takes none, want at most %d", last, maxStalled)
	}
	for i := range bundles {
		if err := accept(ctx, p.B, i, length); err != nil {
			t.Fatal(err)
		}
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func testSlow(t *testing.T, ctx context.Context, p Pair) {
	const length = 100_000
	p.Throttle(400_000)
	var group errgroup.Group
	group.Go(func() error { return accept(ctx, p.B, 1, length) })
	wantWait(t, ctx, mustSend(t, ctx, p.A, 1, length))
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}
