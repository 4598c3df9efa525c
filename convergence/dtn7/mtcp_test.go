package dtn7

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"perigee/bundle"
	"perigee/bundle/bundletest"
	"perigee/bundle/dtntime"
	"perigee/convergence"
	"perigee/convergence/mtcp"
)

const peer = "dtn://peer/"

// freeAddress is where nobody listens yet.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func listen(t *testing.T) (convergence.Listener, convergence.Session) {
	t.Helper()
	l, err := Listen(t.Context(), freeAddress(t), Config{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(context.Background()), l.Close()); err != nil {
			t.Error(err)
		}
	})
	return l, s
}

func dial(t *testing.T, d convergence.Dialer, address string) convergence.Session {
	t.Helper()
	s, err := d.Dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// raw is a bundle that dtn7-go can read now.
func raw(i, length int, opts ...bundletest.Option) []byte {
	opts = append([]bundletest.Option{
		bundletest.From(bundle.DTN("source", "app")), bundletest.To(bundle.DTN("sink", "app")),
		bundletest.At(dtntime.FromTime(time.Now()), uint64(i)),
	}, opts...)
	return bundletest.Bytes(int64(i), length, opts...)
}

func send(t *testing.T, s convergence.Session, b []byte) {
	t.Helper()
	tr, err := s.Send(t.Context(), int64(len(b)), bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func accept(t *testing.T, s convergence.Session) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	in, err := s.Receive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(in)
	if err != nil || int64(len(b)) != in.Length() {
		t.Fatalf("%d of %d bytes, %v", len(b), in.Length(), err)
	}
	if err := in.Accept(); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBothMTCPs carries bundles between dtn7-go's MTCP and ours, each way and each
// with itself: they must arrive byte for byte.
func TestBothMTCPs(t *testing.T) {
	for name, d := range map[string]convergence.Dialer{
		"dtn7": NewDialer(Config{Peer: peer}), "ours": mtcp.NewDialer(mtcp.Config{Peer: peer, Keepalive: time.Millisecond}),
	} {
		t.Run(name+" to dtn7", func(t *testing.T) {
			l, in := listen(t)
			carry(t, dial(t, d, l.Addr()), in)
		})
		t.Run(name+" to ours", func(t *testing.T) {
			l, err := mtcp.Listen(t.Context(), "127.0.0.1:0", mtcp.Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			out := dial(t, d, l.Addr())
			in, err := l.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close(context.Background())
			carry(t, out, in)
		})
	}
}

func carry(t *testing.T, out, in convergence.Session) {
	t.Helper()
	if a, b := out.PeerNode(), in.PeerNode(); a != peer || b != "" {
		t.Errorf("peers are %q and %q", a, b)
	}
	bundles := [][]byte{
		raw(1, 0), raw(2, 23), raw(3, 300), raw(4, 100_000), raw(5, 2_000_000),
		raw(6, 10, bundletest.Custody(bundle.DTN("source", ""), 7, 9)), raw(7, 10, bundletest.Hops(9, 3), bundletest.PreviousNode(bundle.DTN("relay", ""))),
		raw(8, 10, bundletest.From(bundle.IPN(3, 4)), bundletest.Priority(bundle.PriorityExpedited)), raw(9, 10, bundletest.Fragment(5, 90)),
	}
	var sending sync.WaitGroup
	sending.Go(func() {
		for _, b := range bundles {
			send(t, out, b)
		}
	})
	for i, want := range bundles {
		if got := accept(t, in); !bytes.Equal(got, want) {
			t.Errorf("bundle %d of %d bytes arrived as %d others", i+1, len(want), len(got))
		}
	}
	sending.Wait()
	if a, b := out.Counters(), in.Counters(); b.BundlesReceived != uint64(len(bundles)) || a.BytesSent == 0 || b.BytesReceived == 0 {
		t.Errorf("counters: %+v, %+v", a, b)
	}
}

// What dtn7-go cannot carry as it is goes back to the node as not acceptable, and the
// session goes on.
func TestWhatDTN7DoesNotCarry(t *testing.T) {
	l, in := listen(t)
	out := dial(t, NewDialer(Config{Peer: peer, MaxBundle: 10_000}), l.Addr())
	good := raw(1, 100)
	tests := map[string][]byte{
		"an administrative endpoint of ipn": raw(2, 10, bundletest.From(bundle.IPN(2, 0))),
		"expired":                           raw(3, 10, bundletest.At(dtntime.FromTime(time.Now().Add(-time.Hour)), 1), bundletest.Lifetime(dtntime.Minute)),
		"too large":                         raw(4, 10_000),
		"cut":                               good[:len(good)-1],
		"bytes behind it":                   append(slices.Clone(good), 0),
		"no bundle":                         []byte("none"),
	}
	for name, b := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := out.Send(t.Context(), int64(len(b)), bytes.NewReader(b))
			var refused *convergence.RefusedError
			if !errors.As(err, &refused) || refused.Reason != convergence.RefuseNotAcceptable {
				t.Errorf("Send: %v, want a refusal: %s", err, convergence.RefuseNotAcceptable)
			}
		})
	}
	if _, err := out.Send(t.Context(), 10, strings.NewReader("short")); err == nil {
		t.Error("Send of a body that ends early claims success")
	}
	send(t, out, good)
	if got := accept(t, in); !bytes.Equal(got, good) {
		t.Errorf("%d bytes arrived", len(got))
	}
}

// A length that is not in its shortest form is one of the things that dtn7-go reads and
// writes otherwise.
func TestWhatDTN7WouldChange(t *testing.T) {
	b := raw(1, 10, bundletest.Hops(9, 3))
	odd := bytes.Replace(b, []byte("\x85\x0a"), []byte("\x98\x05\x0a"), 1) // of the hop count block
	if _, err := parse(odd); err != nil || len(odd) != len(b)+1 {
		t.Fatalf("dtn7-go does not read it: %v", err)
	}
	if _, err := unchanged(odd); err == nil {
		t.Error("a bundle that dtn7-go would change was taken")
	}
}

func TestSenderEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := dial(t, NewDialer(Config{Peer: peer}), l.Addr().String())
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.(*net.TCPConn).SetLinger(0) // a reset
	conn.Close()
	b := raw(1, 100)
	for deadline := time.Now().Add(20 * time.Second); ; {
		if _, err := s.Send(t.Context(), int64(len(b)), bytes.NewReader(b)); err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("Send into a connection that was reset does not fail")
		}
	}
	<-s.Done()
	if _, err := s.Receive(t.Context()); err == nil || errors.Is(err, convergence.ErrClosed) {
		t.Errorf("Receive after the loss: %v, want a failure", err)
	}
}

func TestCloses(t *testing.T) {
	l, in := listen(t)
	out := dial(t, NewDialer(Config{Peer: peer}), l.Addr())
	waited := make(chan error, 2)
	for _, s := range []convergence.Session{out, in} {
		go func() {
			_, err := s.Receive(t.Context())
			waited <- err
		}()
	}
	if err := errors.Join(out.Close(t.Context()), in.Close(t.Context()), out.Close(t.Context()), in.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-waited; !errors.Is(err, convergence.ErrClosed) {
			t.Errorf("Receive that waited: %v", err)
		}
	}
	b := raw(1, 10)
	if _, err := out.Send(t.Context(), int64(len(b)), bytes.NewReader(b)); !errors.Is(err, convergence.ErrClosed) {
		t.Errorf("Send after the end: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(t.Context()); !errors.Is(err, convergence.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
}

func TestBadSetups(t *testing.T) {
	for _, cfg := range []Config{{Peer: "ipn:2.0"}, {Peer: ""}, {Peer: "mailto:x"}, {Peer: peer, MaxBundle: -1}} {
		if _, err := NewDialer(cfg).Dial(t.Context(), "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "dtn7") {
			t.Errorf("Dial with %+v: %v", cfg, err)
		}
	}
	if _, err := NewDialer(Config{Peer: peer}).Dial(t.Context(), freeAddress(t)); err == nil {
		t.Error("Dial where nobody listens did not fail")
	}
	for _, address := range []string{"127.0.0.1:0", "nowhere", "127.0.0.1:99999"} {
		if _, err := Listen(t.Context(), address, Config{}); err == nil {
			t.Errorf("Listen at %q did not fail", address)
		}
	}
	if CheckNode("ipn:2.0") == nil || CheckNode("dtn://sat-17/") != nil || CheckNode("ipn:2.1") != nil {
		t.Error("CheckNode")
	}
}

func TestPanicsAreErrors(t *testing.T) {
	err := func() (err error) {
		defer recovered(&err)
		panic("out of range")
	}()
	if err == nil || !strings.Contains(err.Error(), "out of range") {
		t.Errorf("got %v", err)
	}
}

// A shared text is written by who logs and read by the test.
type shared struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// LogTo takes the process's one logger, so nothing runs beside this test.
func TestLogTo(t *testing.T) {
	var out shared
	LogTo(slog.New(slog.NewTextHandler(&out, nil)))
	t.Cleanup(func() { LogTo(slog.New(slog.DiscardHandler)) })
	l, _ := listen(t)
	conn, err := net.Dial("tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("\x01")); err != nil { // no byte string
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes came back", n)
	}
	conn.Close()
	if text := out.String(); !strings.Contains(text, "level=WARN") || !strings.Contains(text, "Wrong Major Type") {
		t.Errorf("the log has %q", text)
	}
}
