package tcpcl

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"perigee/convergence"
)

func listen(t *testing.T, cfg Config) convergence.Listener {
	t.Helper()
	before := goleak.IgnoreCurrent()
	l, err := Listen(t.Context(), "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, err := l.Accept(context.Background()); err != convergence.ErrClosed {
			t.Errorf("Accept after Close: got %v, want %v", err, convergence.ErrClosed)
		}
		goleak.VerifyNone(t, before)
	})
	return l
}

func dialRaw(t *testing.T, l convergence.Listener) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return nc
}

// wantClosed waits until the listener hangs up.
func wantClosed(t *testing.T, nc net.Conn) {
	t.Helper()
	nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	var timeout net.Error
	if _, err := io.Copy(io.Discard, nc); errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatal("connection stays open")
	}
}

func TestListenHalfOpen(t *testing.T) {
	l := listen(t, Config{NodeID: "ipn:1.0", MaxPending: 3})
	dialRaw(t, l) // says nothing
	garbage := dialRaw(t, l)
	if _, err := garbage.Write([]byte("SSH-2.0-x\r\n")); err != nil {
		t.Fatal(err)
	}
	wantClosed(t, garbage)
	for range 5 { // neither holds up the others
		a, err := NewDialer(Config{NodeID: "ipn:2.0"}).Dial(t.Context(), l.Addr())
		if err != nil {
			t.Fatal(err)
		}
		b, err := l.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if a.PeerNode() != "ipn:1.0" || b.PeerNode() != "ipn:2.0" {
			t.Errorf("peers are %q and %q", a.PeerNode(), b.PeerNode())
		}
		closeNow(t, a, b)
	}
}

func TestListenMaxPending(t *testing.T) {
	l := listen(t, Config{MaxPending: 8}) // two of one address
	first, second := dialRaw(t, l), dialRaw(t, l)
	third := dialRaw(t, l)
	wantClosed(t, first)
	wantOpen(t, second)
	wantOpen(t, third)
}

// wantOpen checks that the other side has neither said anything nor hung up.
func wantOpen(t *testing.T, nc net.Conn) {
	t.Helper()
	nc.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if n, err := nc.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v; want an open connection", n, err)
	}
}

func TestListenContactTimeout(t *testing.T) {
	l := listen(t, Config{ContactTimeout: 50 * time.Millisecond})
	wantClosed(t, dialRaw(t, l))
}

func TestListenClose(t *testing.T) {
	l := listen(t, Config{})
	accepted, err := NewDialer(Config{}).Dial(t.Context(), l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	waiting, err := NewDialer(Config{}).Dial(t.Context(), l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	<-waiting.Done() // nobody accepted it
	closeNow(t, waiting)
	if accepted.Err() != nil || peer.Err() != nil {
		t.Errorf("an accepted session ended with its listener: %v; %v", accepted.Err(), peer.Err())
	}
	closeNow(t, accepted, peer)
}

func TestDialFails(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := NewDialer(Config{}).Dial(ctx, silent.Addr().String()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silent peer: got %v, want %v", err, context.DeadlineExceeded)
	}
	address := silent.Addr().String()
	silent.Close()
	if _, err := NewDialer(Config{}).Dial(t.Context(), address); err == nil {
		t.Error("nobody listens, yet Dial succeeds")
	}
}
