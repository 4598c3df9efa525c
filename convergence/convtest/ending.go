package convtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"perigee/convergence"
)

func testCloseSender(t *testing.T, ctx context.Context, p Pair) {
	const bundles, length = inFlight / 2, 4 << 20
	var transfers []convergence.Transfer
	for i := range bundles {
		transfers = append(transfers, mustSend(t, ctx, p.A, i, small))
	}
	var group errgroup.Group
	group.Go(func() error {
		for i := range bundles {
			if err := accept(ctx, p.B, i, small); err != nil {
				return err
			}
		}
		return accept(ctx, p.B, bundles, length)
	})
	began := make(chan struct{})
	group.Go(func() error { // runs while Close is called
		tr, err := p.A.Send(ctx, length, &beginning{newBody(bundles, length), length / 2, began})
		if err != nil {
			return err
		}
		return tr.Wait(ctx)
	})
	select {
	case <-began:
	case <-ctx.Done():
		t.Fatal("Send does not begin")
	}
	group.Go(func() error { return p.A.Close(ctx) })
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, tr := range transfers {
		wantWait(t, ctx, tr)
	}
	wantEnded(t, ctx, p.A)
	wantEnded(t, ctx, p.B)
}

// A beginning body tells when less than left bytes of it are to come.
type beginning struct {
	*body
	left  int64
	began chan struct{}
}

func (b *beginning) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	if b.began != nil && b.body.left < b.left {
		close(b.began)
		b.began = nil
	}
	return n, err
}

func testCloseReceiver(t *testing.T, ctx context.Context, p Pair) {
	tr := mustSend(t, ctx, p.A, 1, small)
	in := mustReceive(t, ctx, p.B, 1, small)
	var group errgroup.Group
	group.Go(func() error { return p.B.Close(ctx) })
	if _, err := p.B.Receive(ctx); !errors.Is(err, convergence.ErrClosed) {
		t.Fatalf("Receive while closing: got %v, want %v", err, convergence.ErrClosed)
	}
	if err := in.Accept(); err != nil {
		t.Fatal(err)
	}
	wantWait(t, ctx, tr)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	wantEnded(t, ctx, p.B)
	wantEnded(t, ctx, p.A)
}

func testCloseBoth(t *testing.T, ctx context.Context, p Pair) {
	echo(t, ctx, p.A, p.B)
	var group errgroup.Group
	group.Go(func() error { return p.A.Close(ctx) })
	group.Go(func() error { return p.B.Close(ctx) })
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	wantEnded(t, ctx, p.A)
	wantEnded(t, ctx, p.B)
}

func testCloseCut(t *testing.T, ctx context.Context, p Pair) {
	tr := mustSend(t, ctx, p.A, 1, small)
	in := mustReceive(t, ctx, p.B, 1, small)
	soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := p.A.Close(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Close with a bundle nobody accepts: got %v, want %v", err, context.DeadlineExceeded)
	}
	if err := tr.Wait(ctx); err == nil {
		t.Fatal("Wait after the cut claims success")
	}
	select {
	case <-p.B.Done():
	case <-ctx.Done():
		t.Fatal("the peer does not see the cut")
	}
	if err := in.Accept(); err == nil {
		t.Fatal("Accept after the cut claims success")
	}
	if err := p.B.Err(); err == nil || errors.Is(err, convergence.ErrClosed) {
		t.Fatalf("Err after a cut: got %v, want a failure", err)
	}
}

func testContexts(t *testing.T, ctx context.Context, p Pair) {
	soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := p.B.Receive(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Receive with nothing to come: got %v, want %v", err, context.DeadlineExceeded)
	}
	soon, cancel = context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	var transfers []convergence.Transfer
	for { // nobody receives: Send must block between two bundles, and give up
		tr, err := send(soon, p.A, len(transfers), small)
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		transfers = append(transfers, tr)
	}
	if err := transfers[0].Wait(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Wait for a bundle nobody accepts: got %v, want %v", err, context.DeadlineExceeded)
	}
	for i, tr := range transfers { // the session lives on
		if err := accept(ctx, p.B, i, small); err != nil {
			t.Fatal(err)
		}
		wantWait(t, ctx, tr)
	}
}

func testShortBody(t *testing.T, ctx context.Context, p Pair) {
	const length = 200_000
	var group errgroup.Group
	group.Go(func() error {
		in, err := p.B.Receive(ctx)
		if err != nil {
			return nil // nothing of the bundle came
		}
		n, err := io.Copy(io.Discard, in)
		if err == nil {
			return fmt.Errorf("%d bytes of a bundle arrived as a whole one", n)
		}
		return nil
	})
	if _, err := p.A.Send(ctx, length, newBody(1, length/2)); err == nil {
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
func cutLengths() []int64 { return []int64{10, 0, 5000, 150_000, 1} }

func testCuts(t *testing.T, open func(t *testing.T) Pair) {
	positions := []int64{5100, 20_000, 70_000, 131_000, 150_000, 154_000, 155_000, 155_100, 155_200, 155_300, 400_000}
	for i := range int64(60) {
		positions = append(positions, i)
	}
	for _, n := range positions {
		t.Run(fmt.Sprintf("after %d bytes", n), func(t *testing.T) {
			withPair(t, open, func(t *testing.T, ctx context.Context, p Pair) { testCut(t, ctx, p, n) })
		})
	}
}

// testCut sends bundles into a transport that breaks after n bytes: no fate may
// be better than what the receiver did, and none stays open.
func testCut(t *testing.T, ctx context.Context, p Pair, n int64) {
	p.CutAfter(n)
	accepted := make([]bool, len(cutLengths()))
	var group errgroup.Group
	group.Go(func() error {
		for i, length := range cutLengths() {
			in, err := p.B.Receive(ctx)
			if err != nil {
				return nil
			}
			if err := same(in, newBody(i, length)); err != nil {
				if errors.Is(err, errContent) || in.Accept() == nil {
					return fmt.Errorf("bundle %d looks whole, or could be accepted, after the cut: %w", i, err)
				}
				return nil
			}
			accepted[i] = true // decided before anyone can know
			if in.Accept() != nil {
				return nil
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
	fates := make([]error, len(transfers))
	for i, tr := range transfers {
		fates[i] = tr.Wait(ctx)
	}
	p.CutAfter(0)
	cut(p.A)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	var carried int64
	for i, fate := range fates {
		carried += cutLengths()[i]
		if fate == nil && (!accepted[i] || carried > n) {
			t.Errorf("bundle %d was not accepted in %d bytes, yet Wait claims success", i, n)
		}
		if fate != nil && ctx.Err() != nil {
			t.Errorf("bundle %d: its fate stayed open: %v", i, fate)
		}
	}
}
