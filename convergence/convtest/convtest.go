package convtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"perigee/convergence"
)

// Bounds on every wait of the suite: what takes longer has failed.
const (
	patience     = 30 * time.Second
	longPatience = 15 * time.Minute
)

// A Pair is a fresh link: two established sessions, each the other's peer, with
// room for at least 64 unacknowledged bundles of 1 kB. The suite closes both
// sessions; whatever else the link needs is ended by t.Cleanup.
type Pair struct {
	A, B convergence.Session

	// CutAfter breaks the transport, without a word to either end, once n more
	// bytes have gone from A to B.
	CutAfter func(n int64)

	// Throttle limits the transport from A to B to so many bytes per second.
	Throttle func(bytesPerSecond int)

	// SlowToEnd says that sessions take a while to notice that the transport
	// broke, so that the suite breaks it in few places unless it runs in full.
	SlowToEnd bool
}

// full says whether the suite runs with everything that takes long: a million
// bundles, one of a gigabyte, and every place to break a transport that is slow to
// end. "make test-links" runs it so.
func full() bool { return os.Getenv("LINK_TESTS") == "full" }

// Run holds a link against the contract. It calls open for each case.
func Run(t *testing.T, open func(t *testing.T) Pair) {
	cases := []struct {
		name string
		run  func(t *testing.T, ctx context.Context, p Pair)
	}{
		{"many small in order, both ways", testManySmall},
		{"each bundle once", testOnce},
		{"empty bundle", testEmpty},
		{"large, streamed with bounded memory", testLarge},
		{"pipelined before any is accepted", testPipelined},
		{"nothing acknowledged before accept", testNoEarlyAck},
		{"accepted late and out of order", testLateAccept},
		{"misuse is told", testMisuse},
		{"refused after the end", testRefuseAfterEnd},
		{"refused before the end", testRefuseEarly},
		{"back-pressure", testBackPressure},
		{"slow link", testSlow},
		{"orderly close by the sender", testCloseSender},
		{"orderly close by the receiver", testCloseReceiver},
		{"close from both sides", testCloseBoth},
		{"close cut by its context", testCloseCut},
		{"contexts end waits", testContexts},
		{"body ends early", testShortBody},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { withPair(t, open, patience, c.run) })
	}
	t.Run("cut of the transport", func(t *testing.T) { testCuts(t, open) })
	t.Run("a million small", func(t *testing.T) { inFull(t, open, testMillion) })
	t.Run("a gigabyte, with bounded memory", func(t *testing.T) { inFull(t, open, testGigabyte) })
}

// inFull runs a case that takes long.
func inFull(t *testing.T, open func(t *testing.T) Pair, run func(*testing.T, context.Context, Pair)) {
	if !full() {
		t.Skip("takes long; LINK_TESTS=full or \"make test-links\" runs it")
	}
	withPair(t, open, longPatience, run)
}

// withPair runs one case on a fresh pair and checks that no goroutine stays.
func withPair(t *testing.T, open func(t *testing.T) Pair, patience time.Duration, run func(*testing.T, context.Context, Pair)) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	p := open(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	defer cut(p.A, p.B)
	run(t, ctx, p)
}

// cut closes sessions without waiting for anything but their goroutines.
func cut(sessions ...convergence.Session) {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	for _, s := range sessions {
		s.Close(now)
	}
}

// patternLength is a prime, so that no buffer or segment size repeats with it.
const patternLength = 65521

// A body is a deterministic stream of bytes that differs from bundle to bundle.
type body struct {
	pattern []byte
	at      int
	left    int64
}

func newBody(bundle int, length int64) *body {
	b := &body{pattern: make([]byte, min(length, patternLength)), left: length}
	state := uint64(bundle)*0x9e3779b97f4a7c15 + 1
	for i := range b.pattern {
		state = state*6364136223846793005 + 1442695040888963407
		b.pattern[i] = byte(state >> 56)
	}
	return b
}

func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(int64(len(p)), b.left)], b.pattern[b.at:])
	b.at = (b.at + n) % len(b.pattern)
	b.left -= int64(n)
	return n, nil
}

// errContent says that a bundle arrived as another one than was sent: the one
// thing that no fault excuses.
var errContent = errors.New("bundle is not what was sent")

// same compares what arrives with a body, without holding either.
func same(in io.Reader, want *body) error {
	size := min(want.left+1, 32<<10)
	got, expected := make([]byte, size), make([]byte, size)
	for at := 0; ; {
		n, err := in.Read(got)
		if m, _ := io.ReadFull(want, expected[:n]); m < n {
			return fmt.Errorf("%w: it goes on after its end at byte %d", errContent, at+m)
		}
		if !bytes.Equal(got[:n], expected[:n]) {
			return fmt.Errorf("%w: it differs in the %d bytes from %d", errContent, n, at)
		}
		at += n
		switch {
		case err == io.EOF && want.left > 0:
			return fmt.Errorf("%w: it ends at byte %d, %d too early", errContent, at, want.left)
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("read bundle at byte %d: %w", at, err)
		}
	}
}

// send sends bundle number i of the given length.
func send(ctx context.Context, s convergence.Session, i int, length int64) (convergence.Transfer, error) {
	t, err := s.Send(ctx, length, newBody(i, length))
	if err != nil {
		return nil, fmt.Errorf("send bundle %d: %w", i, err)
	}
	return t, nil
}

func mustSend(t *testing.T, ctx context.Context, s convergence.Session, i int, length int64) convergence.Transfer {
	t.Helper()
	tr, err := send(ctx, s, i, length)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// receive reads the next bundle to its end, as number i of the given length.
func receive(ctx context.Context, s convergence.Session, i int, length int64) (convergence.Incoming, error) {
	in, err := s.Receive(ctx)
	if err != nil {
		return nil, fmt.Errorf("receive bundle %d: %w", i, err)
	}
	if n := in.Length(); n != -1 && n != length {
		return nil, fmt.Errorf("bundle %d announces %d bytes instead of %d", i, n, length)
	}
	if err := same(in, newBody(i, length)); err != nil {
		return nil, fmt.Errorf("bundle %d: %w", i, err)
	}
	return in, nil
}

func mustReceive(t *testing.T, ctx context.Context, s convergence.Session, i int, length int64) convergence.Incoming {
	t.Helper()
	in, err := receive(ctx, s, i, length)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// accept receives and accepts the next bundle.
func accept(ctx context.Context, s convergence.Session, i int, length int64) error {
	in, err := receive(ctx, s, i, length)
	if err != nil {
		return err
	}
	if err := in.Accept(); err != nil {
		return fmt.Errorf("accept bundle %d: %w", i, err)
	}
	return nil
}

// wantWait checks that a transfer succeeds.
func wantWait(t *testing.T, ctx context.Context, tr convergence.Transfer) {
	t.Helper()
	if err := tr.Wait(ctx); err != nil {
		t.Fatalf("bundle was accepted, yet Wait: %v", err)
	}
}

// wantRefused checks that a transfer was refused for a reason.
func wantRefused(t *testing.T, ctx context.Context, tr convergence.Transfer, reason convergence.RefuseReason) {
	t.Helper()
	var refused *convergence.RefusedError
	if err := tr.Wait(ctx); !errors.As(err, &refused) || refused.Reason != reason {
		t.Fatalf("Wait: got %v, want a refusal: %s", err, reason)
	}
}

// wantPending checks that the fate of a transfer is open.
func wantPending(t *testing.T, tr convergence.Transfer) {
	t.Helper()
	now, cancel := context.WithCancel(context.Background())
	cancel()
	if err := tr.Wait(now); !errors.Is(err, context.Canceled) {
		t.Fatalf("Wait before Accept: got %v, want %v", err, context.Canceled)
	}
}

// echo carries one bundle the other way, so that what the peer said before has
// arrived.
func echo(t *testing.T, ctx context.Context, from, to convergence.Session) {
	t.Helper()
	tr := mustSend(t, ctx, from, 0, 10)
	if err := accept(ctx, to, 0, 10); err != nil {
		t.Fatal(err)
	}
	wantWait(t, ctx, tr)
}

// wantEnded checks that a session ended in an orderly way.
func wantEnded(t *testing.T, ctx context.Context, s convergence.Session) {
	t.Helper()
	select {
	case <-s.Done():
	case <-ctx.Done():
		t.Fatal("session does not end")
	}
	if err := s.Err(); !errors.Is(err, convergence.ErrClosed) {
		t.Fatalf("Err after an orderly end: got %v, want %v", err, convergence.ErrClosed)
	}
	if _, err := s.Receive(ctx); !errors.Is(err, convergence.ErrClosed) {
		t.Fatalf("Receive after an orderly end: got %v, want %v", err, convergence.ErrClosed)
	}
	if _, err := send(ctx, s, 0, 1); !errors.Is(err, convergence.ErrClosed) {
		t.Fatalf("Send after an orderly end: got %v, want %v", err, convergence.ErrClosed)
	}
}
