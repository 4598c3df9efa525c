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
