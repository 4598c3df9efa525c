package unackedtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"perigee/convergence"
)

const (
	small      = 1000             // bytes of a small bundle
	manySmall  = 3000             // bundles
	large      = 64 << 20         // bytes of the large bundle
	largeAlloc = 8 << 20          // bytes that carrying it may allocate
	maxStalled = 48 << 20         // bytes that may be under way to a peer who takes none
	settled    = time.Second / 3  // a sender that makes no progress for so long is blocked
	glance     = time.Second / 50 // between looks at its progress
)

// length spreads the lengths of small bundles, so that heads fall anywhere.
func length(i int) int64 { return 1 + int64(i*7919)%3000 }

func testNames(t *testing.T, _ context.Context, p pair) {
	if a, b := p.A.PeerNode(), p.B.PeerNode(); a != Peer || b != "" {
		t.Errorf("peers are %q and %q, want %q and none", a, b, Peer)
	}
}

func testManySmall(t *testing.T, ctx context.Context, p pair) {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for i := range manySmall {
			tr, err := send(ctx, p.A, i, length(i))
			if err != nil {
				return err
			}
			if i%100 == 0 {
				time.Sleep(time.Millisecond) // keepalives come between
				if err := tr.Wait(ctx); err != nil {
					return err
				}
			}
		}
		return nil
	})
	group.Go(func() error {
		for i := range manySmall {
			if err := accept(ctx, p.B, i, length(i)); err != nil {
				return err
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { // takes what keepalives there are, and ends with the session
		_, err := p.B.Receive(t.Context())
		gone <- err
	}()
	if err := p.A.Close(t.Context()); err != nil { // what is written is counted by then
		t.Fatal(err)
	}
	if err := <-gone; !errors.Is(err, convergence.ErrClosed) {
		t.Errorf("Receive after the last bundle: %v, want %v", err, convergence.ErrClosed)
	}
	a, b := p.A.Counters(), p.B.Counters()
	if a.BundlesSent != manySmall || b.BundlesReceived != manySmall || a.BytesSent < b.BytesReceived || b.BytesReceived < manySmall {
		t.Errorf("counters after %d bundles: %+v, %+v", manySmall, a, b)
	}
}

func testLarge(t *testing.T, ctx context.Context, p pair) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var group errgroup.Group
	group.Go(func() error { return accept(ctx, p.B, 1, large) })
	tr := mustSend(t, ctx, p.A, 1, large)
	if err := errors.Join(group.Wait(), tr.Wait(ctx)); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > largeAlloc {
		t.Errorf("carrying %d bytes allocated %d, want at most %d", large, n, largeAlloc)
	}
}

func testLateAccept(t *testing.T, ctx context.Context, p pair) {
	const bundles = 64
	var group errgroup.Group
	group.Go(func() error {
		for i := range bundles {
			if _, err := send(ctx, p.A, i, small); err != nil {
				return err
			}
		}
		return nil
	})
	var incoming []convergence.Incoming
	for i := range bundles {
		in, err := receive(ctx, p.B, i, small)
		if err != nil {
			t.Fatal(err)
		}
		incoming = append(incoming, in)
	}
	for i := bundles - 1; i >= 0; i-- {
		decide := incoming[i].Accept
		if i%5 == 2 {
			decide = func() error { return incoming[i].Refuse(convergence.RefuseNoResources) }
		}
		if err := decide(); err != nil {
			t.Fatal(err)
		}
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func testMisuse(t *testing.T, ctx context.Context, p pair) {
	for _, length := range []int64{-1, 0} {
		if _, err := send(ctx, p.A, 0, length); err == nil {
			t.Errorf("Send took a bundle of %d bytes", length)
		}
	}
	var group errgroup.Group
	group.Go(func() error { _, err := send(ctx, p.A, 1, small); return err })
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
	if err := same(in, body(1, small)); err != nil {
		t.Fatal(err)
	}
	if err := in.Accept(); err != nil {
		t.Fatal(err)
	}
	if in.Accept() == nil || in.Refuse(convergence.RefuseUnknown) == nil {
		t.Error("a second decision did not fail")
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func testRefuse(t *testing.T, ctx context.Context, p pair) {
	const length = 8 << 20
	var group errgroup.Group
	group.Go(func() error {
		for i, n := range []int64{length, small, small} {
			tr, err := send(ctx, p.A, i, n)
			if err != nil {
				return err
			}
			if err := tr.Wait(ctx); err != nil {
				return fmt.Errorf("fate of bundle %d, of which the sender is not told: %w", i, err)
			}
		}
		return nil
	})
	in, err := p.B.Receive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := in.Refuse(convergence.RefuseNoResources); err != nil {
		t.Fatal(err)
	}
	if n, err := in.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("a refused bundle can still be read")
	}
	in, err = receive(ctx, p.B, 1, small)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(in.Refuse(convergence.RefuseNotAcceptable), accept(ctx, p.B, 2, small), group.Wait()); err != nil {
		t.Fatal(err)
	}
	if c := p.B.Counters(); c.BundlesRefused != 2 || c.BundlesReceived != 1 {
		t.Errorf("counters: %+v", c)
	}
}

// counted counts the bytes that were read from a body.
type counted struct {
	io.Reader
	read *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read.Add(int64(n))
	return n, err
}

func testBackPressure(t *testing.T, ctx context.Context, p pair) {
	const bundles, length = 64, 1 << 20
	var read atomic.Int64
	var group errgroup.Group
	group.Go(func() error {
		for i := range bundles {
			if _, err := p.A.Send(ctx, length, counted{body(i, length), &read}); err != nil {
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

func testSlow(t *testing.T, ctx context.Context, p pair) {
	const length = 100_000
	p.wire.Throttle(400_000)
	var group errgroup.Group
	group.Go(func() error { return accept(ctx, p.B, 1, length) })
	if err := mustSend(t, ctx, p.A, 1, length).Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func testCloseSender(t *testing.T, ctx context.Context, p pair) {
	const bundles = 32
	var group errgroup.Group
	group.Go(func() error {
		for i := range bundles {
			if err := accept(ctx, p.B, i, small); err != nil {
				return err
			}
		}
		if _, err := p.B.Receive(ctx); !errors.Is(err, convergence.ErrClosed) {
			return fmt.Errorf("receive after the last bundle: got %w, want %w", err, convergence.ErrClosed)
		}
		return nil
	})
	for i := range bundles {
		mustSend(t, ctx, p.A, i, small)
	}
	if err := errors.Join(p.A.Close(ctx), group.Wait()); err != nil {
		t.Fatal(err)
	}
	wantEnded(t, ctx, p.A)
	wantEnded(t, ctx, p.B)
}

// The bundle that is being read arrives in full; none begins.
func testCloseReceiver(t *testing.T, ctx context.Context, p pair) {
	const length = 1 << 20
	var group errgroup.Group
	group.Go(func() error { _, err := send(ctx, p.A, 1, length); return err })
	in, err := p.B.Receive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	group.Go(func() error { return p.B.Close(ctx) })
	if err := same(in, body(1, length)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(group.Wait(), in.Accept()); err != nil {
		t.Fatal(err)
	}
	wantEnded(t, ctx, p.B)
}

func testCloseCut(t *testing.T, ctx context.Context, p pair) {
	var group errgroup.Group
	group.Go(func() error {
		if _, err := send(ctx, p.A, 1, large); err == nil {
			return errors.New("sending into a cut session claims success")
		}
		return nil
	})
	in, err := p.B.Receive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := p.A.Close(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Close with half a bundle sent: got %v, want %v", err, context.DeadlineExceeded)
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, in); err == nil {
		t.Fatal("half a bundle arrived as a whole one")
	}
	if err := in.Accept(); err == nil {
		t.Fatal("half a bundle could be accepted")
	}
	if err := p.B.Err(); err == nil || errors.Is(err, convergence.ErrClosed) {
		t.Fatalf("Err after a cut: got %v, want a failure", err)
	}
}

func testContexts(t *testing.T, ctx context.Context, p pair) {
	soon, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := p.B.Receive(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Receive with nothing to come: got %v, want %v", err, context.DeadlineExceeded)
	}
	var group errgroup.Group
	group.Go(func() error { _, err := send(ctx, p.A, 1, small); return err })
	if err := errors.Join(accept(ctx, p.B, 1, small), group.Wait()); err != nil { // the session lives on
		t.Fatal(err)
	}
	soon, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	var err error
	for err == nil { // nobody receives: Send must block and give up
		_, err = send(soon, p.A, 2, 1<<20)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Send that blocks: got %v, want %v", err, context.DeadlineExceeded)
	}
}

func testShortBody(t *testing.T, ctx context.Context, p pair) {
	const length = 200_000
	var group errgroup.Group
	group.Go(func() error {
		in, err := p.B.Receive(ctx)
		if err != nil {
			return nil // nothing of the bundle came
		}
		if n, err := io.Copy(io.Discard, in); err == nil {
			return fmt.Errorf("%d bytes of a bundle arrived as a whole one", n)
		}
		return nil
	})
	if _, err := p.A.Send(ctx, length, body(1, length/2)); err == nil {
		t.Fatal("Send of a body that ends early claims success")
	}
	select {
	case <-p.A.Done():
	case <-ctx.Done():
		t.Fatal("session goes on after a body that ended early")
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// cutLengths are the bundles that are under way when the transport is cut.
func cutLengths() []int64 { return []int64{10, 1, 300, 70_000, 5} }

func testCuts(t *testing.T, l Layer) {
	positions := []int64{300, 310, 65_000, 66_000, 70_300, 70_310, 70_320, 70_330, 70_340, 100_000}
	for i := range int64(30) {
		positions = append(positions, i)
	}
	for _, n := range positions {
		t.Run(fmt.Sprintf("after %d bytes", n), func(t *testing.T) {
			withPair(t, l, func(testing.TB) (a, b net.Conn) { return net.Pipe() }, func(t *testing.T, ctx context.Context, p pair) {
				testCut(t, ctx, p, n)
			})
		})
	}
}

// testCut sends bundles into a transport that breaks after n bytes: no bundle is
// taken for whole that is not, and no fate stays open.
func testCut(t *testing.T, ctx context.Context, p pair, n int64) {
	p.wire.CutAfter(n)
	var group errgroup.Group
	group.Go(func() error {
		for i, length := range cutLengths() {
			in, err := receive(ctx, p.B, i, length)
			if errors.Is(err, errContent) {
				return err
			}
			if err != nil {
				return nil
			}
			if err := in.Accept(); err != nil {
				return err
			}
		}
		return nil
	})
	var transfers []convergence.Transfer
	for i, length := range cutLengths() {
		tr, err := send(ctx, p.A, i, length)
		if err != nil {
			break
		}
		transfers = append(transfers, tr)
	}
	p.wire.CutAfter(0)
	cut(p.A)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for i, tr := range transfers {
		if err := tr.Wait(ctx); err != nil && ctx.Err() != nil {
			t.Errorf("bundle %d: its fate stayed open: %v", i, err)
		}
	}
}
