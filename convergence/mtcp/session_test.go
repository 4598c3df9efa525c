package mtcp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"perigee/convergence"
	"perigee/convergence/unacked"
	"perigee/convergence/unacked/unackedtest"
)

// serve opens the receiving session and returns the peer's end of its connection.
func serve(t *testing.T, cfg Config) (net.Conn, convergence.Session) {
	t.Helper()
	a, b := unackedtest.TCP(t)
	s, err := Server(b, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.Close()
		now, cancel := context.WithCancel(context.Background())
		cancel()
		s.Close(now)
	})
	return a, s
}

func write(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// A transfer is settled by what the peer's TCP takes, not by what was written.
func TestFateFollowsTCP(t *testing.T) {
	a, b := unackedtest.TCP(t)
	defer b.Close()
	for _, half := range []net.Conn{a, b} { // the peer takes little, and the rest waits here
		if err := errors.Join(half.(*net.TCPConn).SetReadBuffer(128<<10), half.(*net.TCPConn).SetWriteBuffer(1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Client(a, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	const length = 900_000
	tr, err := s.Send(t.Context(), length, strings.NewReader(strings.Repeat("x", length)))
	if err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := tr.Wait(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("fate of a bundle that the peer's TCP has not taken: %v", err)
	}
	if n := s.Counters().BundlesSent; n != 0 {
		t.Errorf("%d bundles count as sent", n)
	}
	if _, err := io.CopyN(io.Discard, b, length); err != nil {
		t.Fatal(err)
	}
	if err := tr.Wait(t.Context()); err != nil {
		t.Fatalf("fate of a bundle that was taken: %v", err)
	}
}

// What the peer's TCP had not taken when the connection broke was not sent.
func TestBrokenConnectionFailsTransfers(t *testing.T) {
	a, b := unackedtest.TCP(t)
	for _, half := range []net.Conn{a, b} {
		if err := errors.Join(half.(*net.TCPConn).SetReadBuffer(128<<10), half.(*net.TCPConn).SetWriteBuffer(1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Client(a, Config{Keepalive: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	const length = 900_000
	tr, err := s.Send(t.Context(), length, strings.NewReader(strings.Repeat("x", length)))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil { // unread data makes this a reset
		t.Fatal(err)
	}
	if err := tr.Wait(t.Context()); err == nil {
		t.Error("a bundle that never arrived counts as sent")
	}
	if err := s.Err(); err == nil || errors.Is(err, convergence.ErrClosed) {
		t.Errorf("the session ended with %v, want a failure", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestHostilePeers sends what no peer should. Each must end the session, or leave it
// as it is, without taking memory for what is only announced.
func TestHostilePeers(t *testing.T) {
	tests := []struct {
		name, text string
		want       error
	}{
		{"a bundle without its head", "\x9f\x89\x07", unacked.ErrProtocol},
		{"TLS", "\x16\x03\x01\x02\x00", unacked.ErrProtocol},
		{"no length", "\x5f\x41a\xff", unacked.ErrProtocol},
		{"a length beyond any file", "\x5b\xff\xff\xff\xff\xff\xff\xff\xff", unacked.ErrProtocol},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			peer, s := serve(t, Config{})
			write(t, peer, tt.text)
			if _, err := s.Receive(t.Context()); !errors.Is(err, tt.want) {
				t.Errorf("Receive: %v, want %v", err, tt.want)
			}
			if err := s.Err(); !errors.Is(err, tt.want) {
				t.Errorf("Err: %v, want %v", err, tt.want)
			}
		})
	}
}

func TestLyingLength(t *testing.T) {
	peer, s := serve(t, Config{})
	write(t, peer, "\x5b\x7f\xff\xff\xff\xff\xff\xff\xff"+"and little more")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	in, err := s.Receive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if in.Length() != 1<<63-1 {
		t.Errorf("Length is %d", in.Length())
	}
	if err := peer.Close(); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, in)
	if n != int64(len("and little more")) || err == nil {
		t.Errorf("read %d bytes, %v; want the few that came and an error", n, err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes were allocated for a bundle that never came", n)
	}
}

// A flood of keepalives does not keep Receive beyond its context.
func TestKeepaliveFlood(t *testing.T) {
	peer, s := serve(t, Config{})
	flooded := make(chan struct{})
	go func() {
		defer close(flooded)
		block := bytes.Repeat([]byte{0x40}, 64<<10)
		for {
			if _, err := peer.Write(block); err != nil {
				return
			}
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Receive: %v, want %v", err, context.DeadlineExceeded)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	peer.Close()
	<-flooded
}

// bubble runs a session over a pipe in a bubble of its own time.
func bubble(t *testing.T, make func(net.Conn) (convergence.Session, error), run func(t *testing.T, peer net.Conn, s convergence.Session)) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		s, err := make(b)
		if err != nil {
			t.Fatal(err)
		}
		run(t, a, s)
		a.Close()
		s.Close(t.Context())
	})
}

func TestTimes(t *testing.T) {
	server := func(c net.Conn) (convergence.Session, error) { return Server(c, Config{}) }
	client := func(c net.Conn) (convergence.Session, error) { return Client(c, Config{}) }
	t.Run("a silent peer", func(t *testing.T) {
		bubble(t, server, func(t *testing.T, _ net.Conn, s convergence.Session) {
			begin := time.Now()
			if _, err := s.Receive(t.Context()); err == nil || !strings.Contains(err.Error(), "silent") {
				t.Errorf("Receive: %v", err)
			}
			if d := time.Since(begin); d != unacked.DefaultIdle {
				t.Errorf("after %s, want %s", d, unacked.DefaultIdle)
			}
		})
	})
	t.Run("a peer that stops within a bundle", func(t *testing.T) {
		bubble(t, server, func(t *testing.T, peer net.Conn, s convergence.Session) {
			go peer.Write([]byte("\x45ab"))
			in, err := s.Receive(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			if n, err := io.Copy(io.Discard, in); n != 2 || err == nil {
				t.Errorf("read %d bytes, %v", n, err)
			}
			if d := time.Since(begin); d != unacked.DefaultStall {
				t.Errorf("after %s, want %s", d, unacked.DefaultStall)
			}
		})
	})
	t.Run("a peer that takes nothing", func(t *testing.T) {
		bubble(t, client, func(t *testing.T, _ net.Conn, s convergence.Session) {
			begin := time.Now()
			if _, err := s.Send(t.Context(), 3, strings.NewReader("abc")); err == nil || !strings.Contains(err.Error(), "took nothing") {
				t.Errorf("Send: %v", err)
			}
			if d := time.Since(begin); d != unacked.DefaultStall {
				t.Errorf("after %s, want %s", d, unacked.DefaultStall)
			}
		})
	})
	t.Run("keepalives", func(t *testing.T) {
		bubble(t, client, func(t *testing.T, peer net.Conn, _ convergence.Session) {
			last := time.Now()
			for range 3 {
				var b [1]byte
				if _, err := io.ReadFull(peer, b[:]); err != nil || b[0] != 0x40 {
					t.Fatalf("read %x, %v, want a keepalive", b, err)
				}
				if d := time.Since(last); d != keepalive {
					t.Errorf("a keepalive after %s, want %s", d, keepalive)
				}
				last = time.Now()
			}
		})
	})
	t.Run("no keepalives to who only sends", func(t *testing.T) {
		bubble(t, server, func(t *testing.T, peer net.Conn, _ convergence.Session) {
			peer.SetReadDeadline(time.Now().Add(time.Hour))
			if n, err := peer.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("read %d bytes, %v, want none in an hour", n, err)
			}
		})
	})
}

func TestListener(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	l, err := Listen(t.Context(), "127.0.0.1:0", Config{MaxSessions: 2})
	if err != nil {
		t.Fatal(err)
	}
	var dialed, accepted []convergence.Session
	open := func() {
		t.Helper()
		s, err := NewDialer(Config{Peer: "dtn://listener/"}).Dial(t.Context(), l.Addr())
		if err != nil {
			t.Fatal(err)
		}
		dialed = append(dialed, s)
	}
	take := func() convergence.Session {
		t.Helper()
		s, err := l.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		accepted = append(accepted, s)
		return s
	}
	open()
	open()
	first, second := take(), take()
	open() // one too many: it is closed at once
	if _, err := dialed[2].Receive(t.Context()); err == nil {
		t.Error("a third session was held")
	}
	if err := first.Close(t.Context()); err != nil {
		t.Error(err)
	}
	open() // in the place of the first
	take()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(t.Context()); !errors.Is(err, convergence.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	if _, err := dialed[1].Send(t.Context(), 1, strings.NewReader("x")); err != nil {
		t.Errorf("accepted sessions did not outlive the listener: %v", err)
	}
	if in, err := second.Receive(t.Context()); err != nil || in.Length() != 1 {
		t.Errorf("accepted sessions did not outlive the listener: %v", err)
	} else if err := in.Refuse(convergence.RefuseUnknown); err != nil {
		t.Error(err)
	}
	for _, s := range append(dialed, accepted...) {
		s.Close(t.Context())
	}
}

func TestDialNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := NewDialer(Config{}).Dial(t.Context(), l.Addr().String()); err == nil || !strings.Contains(err.Error(), "dial MTCP peer") {
		t.Errorf("Dial: %v", err)
	}
	if _, err := NewDialer(Config{Stall: -1}).Dial(t.Context(), l.Addr().String()); err == nil || !strings.Contains(err.Error(), "config") {
		t.Errorf("Dial with a config that cannot hold: %v", err)
	}
}

// FuzzStream receives whatever a peer may send. What comes out must be what the
// heads say, in order, and nothing may hang.
func FuzzStream(f *testing.F) {
	f.Add([]byte("\x40\x43abc\x40\x58\x18abcdefghijklmnopqrstuvwx"), true)
	f.Add([]byte("\x5b\x00\x00\x00\x00\x00\x00\x00\x03abc"), false)
	f.Add([]byte("\x5f\x41a\xff"), false)
	f.Fuzz(func(t *testing.T, text []byte, refuse bool) {
		a, b := net.Pipe()
		s, err := Server(b, Config{})
		if err != nil {
			t.Fatal(err)
		}
		written := make(chan struct{})
		go func() {
			defer close(written)
			a.Write(text)
			a.Close()
		}()
		var got []byte
		for {
			in, err := s.Receive(t.Context())
			if err != nil {
				break
			}
			if refuse && in.Length()%2 == 0 {
				if err := in.Refuse(convergence.RefuseUnknown); err != nil {
					t.Fatal(err)
				}
				continue
			}
			body, err := io.ReadAll(in)
			if err != nil {
				break
			}
			if int64(len(body)) != in.Length() {
				t.Errorf("a bundle of %d bytes has %d", in.Length(), len(body))
			}
			got = append(got, body...)
			if err := in.Accept(); err != nil {
				t.Fatal(err)
			}
		}
		b.Close()
		s.Close(t.Context())
		<-written
		if len(got) > len(text) {
			t.Errorf("%d bytes came out of %d", len(got), len(text))
		}
	})
}
