// Package unackedtest is the conformance suite that every link passes which carries
// bundles over a byte stream and acknowledges nothing. It is to such links what
// convtest is to reliable ones.
package unackedtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"perigee/convergence"
	"perigee/convergence/convtest"
)

// patience bounds every wait of the suite: what takes longer has failed.
const patience = 30 * time.Second

// Peer is the name that the sending session must have for its peer.
const Peer = "dtn://peer/"

// A Layer makes sessions over an open connection, which they own.
type Layer struct {
	// Client makes the session that sends. It has the name Peer for its peer and
	// keeps the link alive each millisecond, so that keepalives fall anywhere.
	Client func(net.Conn) (convergence.Session, error)
	Server func(net.Conn) (convergence.Session, error)
}

// pair is a fresh link: A sends, B receives.
type pair struct {
	A, B convergence.Session
	wire *convtest.Conn // what A writes to
}

// Run holds a layer against the contract, over TCP and over a pipe.
func Run(t *testing.T, l Layer) {
	cases := []struct {
		name string
		run  func(*testing.T, context.Context, pair)
	}{
		{"names", testNames},
		{"many small in order", testManySmall},
		{"large, streamed with bounded memory", testLarge},
		{"accepted late and out of order", testLateAccept},
		{"misuse is told", testMisuse},
		{"refused bundles are dropped", testRefuse},
		{"back-pressure", testBackPressure},
		{"slow link", testSlow},
		{"orderly close by the sender", testCloseSender},
		{"orderly close by the receiver", testCloseReceiver},
		{"close cut by its context", testCloseCut},
		{"contexts end waits", testContexts},
		{"body ends early", testShortBody},
	}
	transports := []struct {
		name string
		open func(testing.TB) (a, b net.Conn)
	}{{"tcp", TCP}, {"pipe", func(testing.TB) (a, b net.Conn) { return net.Pipe() }}}
	for _, tr := range transports {
		for _, c := range cases {
			t.Run(tr.name+"/"+c.name, func(t *testing.T) { withPair(t, l, tr.open, c.run) })
		}
	}
	t.Run("cut of the transport", func(t *testing.T) { testCuts(t, l) })
}

// TCP is a connection within this machine.
func TCP(t testing.TB) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// withPair runs one case on a fresh pair and checks that no goroutine stays.
func withPair(t *testing.T, l Layer, open func(testing.TB) (a, b net.Conn), run func(*testing.T, context.Context, pair)) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	a, b := open(t)
	wire := convtest.WrapConn(a)
	sa, err := l.Client(wire)
	if err != nil {
		t.Fatal(err)
	}
	defer cut(sa)
	sb, err := l.Server(b)
	if err != nil {
		t.Fatal(err)
	}
	defer cut(sb)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	run(t, ctx, pair{sa, sb, wire})
}

// cut closes a session without waiting for anything but its goroutines.
func cut(s convergence.Session) {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	s.Close(now)
}

// body is what bundle number i is made of.
func body(i int, length int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)}), length)
}

// errContent is a bundle that arrives as another one than was sent: the one thing
// that no fault excuses.
var errContent = errors.New("bundle is not what was sent")

// same compares what arrives with a body, without holding either.
func same(in io.Reader, want io.Reader) error {
	got, expected := make([]byte, 32<<10), make([]byte, 32<<10)
	for at := 0; ; {
		n, err := in.Read(got)
		if m, _ := io.ReadFull(want, expected[:n]); m < n || !bytes.Equal(got[:n], expected[:n]) {
			return fmt.Errorf("%w: it differs in the %d bytes from %d", errContent, n, at)
		}
		at += n
		if errors.Is(err, io.EOF) {
			if m, _ := want.Read(expected[:1]); m > 0 {
				return fmt.Errorf("%w: it ends at byte %d", errContent, at)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("read bundle at byte %d: %w", at, err)
		}
	}
}

func send(ctx context.Context, s convergence.Session, i int, length int64) (convergence.Transfer, error) {
	tr, err := s.Send(ctx, length, body(i, length))
	if err != nil {
		return nil, fmt.Errorf("send bundle %d: %w", i, err)
	}
	return tr, nil
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
	if in.Length() != length {
		return nil, fmt.Errorf("bundle %d announces %d bytes instead of %d", i, in.Length(), length)
	}
	if err := same(in, body(i, length)); err != nil {
		return nil, fmt.Errorf("bundle %d: %w", i, err)
	}
	return in, nil
}

// accept receives and accepts the next bundle.
func accept(ctx context.Context, s convergence.Session, i int, length int64) error {
	in, err := receive(ctx, s, i, length)
	if err != nil {
		return err
	}
	return in.Accept()
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
