package udpcl

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
)

// open returns a session that sends to a listener's session.
func open(t *testing.T, cfg Config) (from, to convergence.Session) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	l, err := Listen(t.Context(), "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	if to, err = l.Accept(t.Context()); err != nil {
		t.Fatal(err)
	}
	cfg.Peer = "dtn://there/"
	if from, err = NewDialer(cfg).Dial(t.Context(), l.Addr()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(from.Close(context.Background()), to.Close(context.Background()), l.Close()); err != nil {
			t.Error(err)
		}
	})
	return from, to
}

// text is a bundle as far as the layer looks.
func text(i, length int) []byte {
	b := bytes.Repeat([]byte{byte(i)}, length)
	b[0] = 0x9f
	return b
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

func TestBundles(t *testing.T) {
	from, to := open(t, Config{Rate: 1e9})
	if a, b := from.PeerNode(), to.PeerNode(); a != "dtn://there/" || b != "" {
		t.Errorf("peers are %q and %q", a, b)
	}
	const bundles = 100
	for i := range bundles {
		want := text(i, 1+i*14)
		send(t, from, want)
		if got := accept(t, to); !bytes.Equal(got, want) {
			t.Fatalf("bundle %d arrived as %d bytes", i, len(got))
		}
	}
	if a, b := from.Counters(), to.Counters(); a.BundlesSent != bundles || b.BundlesReceived != bundles || a.BytesSent != b.BytesReceived {
		t.Errorf("counters: %+v, %+v", a, b)
	}
}

func TestLargestDatagram(t *testing.T) {
	from, to := open(t, Config{MaxDatagram: MaxDatagram, Rate: 1e9})
	want := text(1, MaxDatagram)
	send(t, from, want)
	if got := accept(t, to); !bytes.Equal(got, want) {
		t.Errorf("%d bytes arrived", len(got))
	}
}

// What does not fit, and what is no bundle, is an error; the session goes on.
func TestWhatIsNotSent(t *testing.T) {
	from, to := open(t, Config{})
	tests := []struct {
		name   string
		length int64
		body   []byte
		want   string
	}{
		{"too large", DefaultMaxDatagram + 1, nil, "at most 1452"},
		{"empty", 0, nil, "0 bytes"},
		{"negative", -1, nil, "-1 bytes"},
		{"short body", 10, text(1, 9), "read its body"},
		{"version 6", 10, append([]byte{6}, text(1, 9)...), "0x06"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := from.Send(t.Context(), tt.length, bytes.NewReader(tt.body)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Send: %v, want one with %q", err, tt.want)
			}
		})
	}
	if _, err := to.Send(t.Context(), 10, bytes.NewReader(text(1, 10))); err == nil {
		t.Error("the session of a listener took a bundle to send")
	}
	send(t, from, text(7, 10))
	if got := accept(t, to); !bytes.Equal(got, text(7, 10)) {
		t.Errorf("%x arrived", got)
	}
}

// TestStrangeDatagrams sends every first octet. What is no array is passed over.
func TestStrangeDatagrams(t *testing.T) {
	_, to := open(t, Config{})
	conn, err := net.Dial("udp", to.RemoteAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for first := range 256 {
		if _, err := conn.Write([]byte{byte(first), 1, 2, 3}); err != nil {
			t.Fatal(err)
		}
		if first == 100 { // an empty one too
			if _, err := conn.Write(nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	for first := firstArray; first <= lastArray; first++ {
		if got := accept(t, to); got[0] != byte(first) || len(got) != 4 {
			t.Fatalf("got %x, want the datagram that begins with 0x%02x", got, first)
		}
	}
	soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if in, err := to.Receive(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Receive: %v, %v, want %v", in, err, context.DeadlineExceeded)
	}
}

func TestMisuse(t *testing.T) {
	from, to := open(t, Config{})
	send(t, from, text(1, 10))
	in, err := to.Receive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Accept(); err == nil {
		t.Error("Accept before the bundle was read did not fail")
	}
	if _, err := to.Receive(t.Context()); err == nil {
		t.Error("Receive before the bundle was read did not fail")
	}
	if err := in.Refuse(convergence.RefuseNoResources); err != nil {
		t.Fatal(err)
	}
	if n, err := in.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("a refused bundle can still be read")
	}
	if in.Accept() == nil || in.Refuse(convergence.RefuseUnknown) == nil {
		t.Error("a second decision did not fail")
	}
	send(t, from, text(2, 10))
	if got := accept(t, to); !bytes.Equal(got, text(2, 10)) {
		t.Errorf("%x arrived", got)
	}
}

// Undecided bundles bound what is read.
func TestUndecided(t *testing.T) {
	from, to := open(t, Config{MaxIncoming: 2})
	var undecided []convergence.Incoming
	for i := range 3 {
		send(t, from, text(i, 10))
	}
	for range 2 {
		in, err := to.Receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(in); err != nil {
			t.Fatal(err)
		}
		undecided = append(undecided, in)
	}
	soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := to.Receive(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a third bundle while two are undecided: %v", err)
	}
	for _, in := range undecided {
		if err := in.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	if got := accept(t, to); !bytes.Equal(got, text(2, 10)) {
		t.Errorf("%x arrived", got)
	}
}

// A peer that is not there ends the session, by what the network says about it.
func TestNobodyListens(t *testing.T) {
	from, to := open(t, Config{})
	if err := to.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	send(t, from, text(1, 10))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := from.Receive(ctx); err == nil || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("Receive: %v", err)
	}
	if _, err := from.Send(t.Context(), 10, bytes.NewReader(text(1, 10))); err == nil {
		t.Error("Send after that did not fail")
	}
}

func TestClose(t *testing.T) {
	from, to := open(t, Config{})
	waited := make(chan error, 1)
	go func() {
		_, err := to.Receive(t.Context())
		waited <- err
	}()
	if err := errors.Join(to.Close(t.Context()), from.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; !errors.Is(err, convergence.ErrClosed) {
		t.Errorf("Receive that waited: %v", err)
	}
	for _, s := range []convergence.Session{from, to} {
		<-s.Done()
		if _, err := s.Receive(t.Context()); !errors.Is(err, convergence.ErrClosed) || !errors.Is(s.Err(), convergence.ErrClosed) {
			t.Errorf("Receive after the end: %v; Err: %v", err, s.Err())
		}
	}
	if _, err := from.Send(t.Context(), 10, bytes.NewReader(text(1, 10))); !errors.Is(err, convergence.ErrClosed) {
		t.Errorf("Send after the end: %v", err)
	}
}

func TestListenerHasOneSession(t *testing.T) {
	l, err := Listen(t.Context(), "127.0.0.1:0", Config{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := l.Accept(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second Accept: %v", err)
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(t.Context()); !errors.Is(err, convergence.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	if s.Err() != nil {
		t.Errorf("the session did not outlive its listener: %v", s.Err())
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// waste is a connection that takes everything and gives nothing.
type waste struct{ net.Conn }

func (waste) Write(b []byte) (int, error)     { return len(b), nil }
func (waste) Close() error                    { return nil }
func (waste) SetReadDeadline(time.Time) error { return nil }

// Datagrams keep to the rate, and a wait for it ends with its context.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, err := Config{Rate: 100_000}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		s := newSession(waste{}, cfg, true)
		begin := time.Now()
		for range 101 {
			send(t, s, text(1, 1250)) // 0.1 s each
		}
		if d := time.Since(begin); d != 10*time.Second {
			t.Errorf("101 datagrams of 0.1 s each began within %s, want 10s", d)
		}
		time.Sleep(time.Hour) // what was not used is not kept for later
		begin = time.Now()
		for range 3 {
			send(t, s, text(1, 1250))
		}
		if d := time.Since(begin); d != 200*time.Millisecond {
			t.Errorf("3 datagrams after a pause began within %s, want 200ms", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := s.Send(ctx, 1250, bytes.NewReader(text(1, 1250))); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Send beyond its context: %v", err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestBadConfig(t *testing.T) {
	for _, cfg := range []Config{{Rate: -1}, {MaxIncoming: -1}, {MaxDatagram: 100}, {MaxDatagram: MaxDatagram + 1}} {
		_, dialErr := NewDialer(cfg).Dial(t.Context(), "127.0.0.1:1")
		_, listenErr := Listen(t.Context(), "127.0.0.1:0", cfg)
		if dialErr == nil || listenErr == nil {
			t.Errorf("%+v: %v, %v", cfg, dialErr, listenErr)
		}
	}
}

// Bundles cost no memory beyond the buffers.
func TestMemory(t *testing.T) {
	from, to := open(t, Config{Rate: 1e10})
	b := text(1, 1400)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	buf := make([]byte, 2000)
	for range 1000 {
		send(t, from, b)
		in, err := to.Receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := in.Read(buf); err != nil {
				break
			}
		}
		if err := in.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("1000 bundles allocated %d bytes", n)
	}
}
