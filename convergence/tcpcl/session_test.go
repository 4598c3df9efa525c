package tcpcl

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"perigee/convergence"
	"perigee/convergence/convtest"
)

// A rawPeer is the far end of a session, written message by message.
type rawPeer struct {
	net.Conn
}

func (p rawPeer) say(t *testing.T, words ...string) {
	t.Helper()
	for _, word := range words {
		b, err := compose(word)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Write(b); err != nil {
			t.Fatalf("say %s: %v", word, err)
		}
	}
}

// hear reads so many messages of known length as words are given.
func (p rawPeer) hear(t *testing.T, words ...string) {
	t.Helper()
	for _, word := range words {
		want, err := compose(word)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(p, got); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("heard %x (%v), want %s: %x", got, err, word, want)
		}
	}
}

// withRawPeer opens a session as the active side, whose peer is raw.
func withRawPeer(t *testing.T, cfg Config, keepalive string) (convergence.Session, rawPeer) {
	t.Helper()
	near, far := net.Pipe()
	raw := rawPeer{far}
	opened := make(chan convergence.Session, 1)
	go func() {
		s, err := Client(context.Background(), near, cfg)
		if err != nil {
			t.Error(err)
		}
		opened <- s
	}()
	raw.hear(t, "header/4/0")
	raw.say(t, "header/4/0")
	init, err := io.ReadAll(io.LimitReader(raw, int64(sessInitFixed+4+len(cfg.NodeID))))
	if err != nil || init[0] != typeSessInit {
		t.Fatalf("heard %x, %v; want SESS_INIT", init, err)
	}
	raw.say(t, "init/"+keepalive+"/1000000/100000000/-/ipn:2.0")
	return <-opened, raw
}

func closeNow(t *testing.T, sessions ...convergence.Session) {
	t.Helper()
	for _, s := range sessions {
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestIdlePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, raw := withRawPeer(t, Config{Keepalive: 30 * time.Second}, "60")
		began := time.Now()
		raw.hear(t, "keepalive", "term/0/1")
		<-s.Done()
		if d := time.Since(began); d != 60*time.Second {
			t.Errorf("session ended after %s of silence, want 60 s", d)
		}
		if err := s.Err(); !errors.Is(err, ErrIdleTimeout) {
			t.Errorf("got %v, want %v", err, ErrIdleTimeout)
		}
		closeNow(t, s)
	})
}

// A peer that takes nothing and says nothing holds nobody for ever.
func TestDeadPeer(t *testing.T) {
	for _, tt := range []struct {
		name      string
		keepalive string
		within    time.Duration
	}{
		{"keepalives", "30", 65 * time.Second},
		{"no keepalives", "0", 10*time.Minute + time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := withRawPeer(t, Config{}, tt.keepalive)
				began := time.Now()
				tr, err := s.Send(t.Context(), 1000, zeros{})
				if err != nil {
					t.Fatal(err)
				}
				if err := tr.Wait(t.Context()); err == nil {
					t.Error("a dead peer acknowledged a bundle")
				}
				if d := time.Since(began); d > tt.within {
					t.Errorf("session ended after %s, want %s at most", d, tt.within)
				}
				closeNow(t, s)
			})
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// While this side takes nothing for hours, keepalives go both ways and the
// session lives.
func TestKeepalivesUnderBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		cfg := Config{Keepalive: 10 * time.Second}
		sa, sb := over(t, a, b, cfg, cfg)
		const length = 8 << 20
		var group errgroup.Group
		group.Go(func() error {
			tr, err := sa.Send(t.Context(), length, zeros{})
			if err != nil {
				return err
			}
			return tr.Wait(t.Context())
		})
		time.Sleep(3 * time.Hour)
		if sa.Err() != nil || sb.Err() != nil {
			t.Fatalf("session ended under back-pressure: %v; %v", sa.Err(), sb.Err())
		}
		if n := sa.Counters().BytesReceived; n < 1000 {
			t.Errorf("sender heard %d bytes in three hours, want about 1080 keepalives", n)
		}
		in, err := sb.Receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, in); n != length || err != nil {
			t.Fatalf("read %d bytes, %v; want %d", n, err, length)
		}
		if err := in.Accept(); err != nil {
			t.Fatal(err)
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		closeNow(t, sa, sb)
	})
}

// An uplink of 0.1 Mbit/s needs longer for one write than the keepalive
// interval; progress keeps it alive.
func TestSlowUplink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		slow := convtest.WrapConn(a)
		cfg := Config{Keepalive: 2 * time.Second}
		sa, sb := over(t, slow, b, cfg, cfg)
		slow.Throttle(100_000 / 8)
		const length = 3 << 20
		var group errgroup.Group
		group.Go(func() error {
			in, err := sb.Receive(t.Context())
			if err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, in); err != nil {
				return err
			}
			return in.Accept()
		})
		tr, err := sa.Send(t.Context(), length, zeros{})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(tr.Wait(t.Context()), group.Wait()); err != nil {
			t.Fatal(err)
		}
		closeNow(t, sa, sb)
	})
}

func TestContactTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		go io.Copy(io.Discard, far)
		began := time.Now()
		_, err := Client(t.Context(), near, Config{ContactTimeout: 7 * time.Second})
		if d := time.Since(began); err == nil || d != 7*time.Second {
			t.Errorf("silent peer: got %v after %s, want an error after 7 s", err, d)
		}
	})
}

func TestNotTCPCL(t *testing.T) {
	near, far := net.Pipe()
	go far.Write([]byte("GET / HTTP/1.1\r\n"))
	if _, err := Server(t.Context(), near, Config{}); !errors.Is(err, errMagic) {
		t.Fatalf("got %v, want %v", err, errMagic)
	}
	if n, err := far.Read(make([]byte, 1)); n > 0 || err != io.EOF {
		t.Errorf("peer was told %d bytes, %v; want silence", n, err)
	}
}

func TestTooLarge(t *testing.T) {
	a, b := net.Pipe()
	sa, sb := over(t, a, b, Config{}, Config{TransferMRU: 10})
	if _, err := sa.Send(t.Context(), 11, zeros{}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("11 bytes to a peer who takes 10: got %v, want %v", err, ErrTooLarge)
	}
	tr, err := sa.Send(t.Context(), 10, zeros{})
	if err != nil {
		t.Fatal(err)
	}
	in, err := sb.Receive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(in.Accept(), tr.Wait(t.Context())); err != nil {
		t.Error(err)
	}
	if sa.PeerNode() != "dtn://gs/" || sb.PeerNode() != "ipn:1.0" {
		t.Errorf("peers are %q and %q", sa.PeerNode(), sb.PeerNode())
	}
	closeNow(t, sa, sb)
}

// A peer that refuses while we send is told no more of that bundle.
func TestRefusedWhileSending(t *testing.T) {
	s, raw := withRawPeer(t, Config{Keepalive: -1}, "0")
	var group errgroup.Group
	body := &slowBody{left: 10 << 20, more: make(chan struct{})}
	group.Go(func() error {
		tr, err := s.Send(t.Context(), body.left, body)
		if err != nil {
			return err
		}
		var refused *convergence.RefusedError
		if err := tr.Wait(t.Context()); !errors.As(err, &refused) || refused.Reason != convergence.RefuseNoResources {
			t.Errorf("got %v, want a refusal", err)
		}
		return nil
	})
	go io.Copy(io.Discard, raw)
	body.more <- struct{}{}
	raw.say(t, "refuse/2/0")
	for s.Counters().BundlesRefused == 0 {
		time.Sleep(time.Millisecond)
	}
	close(body.more)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := s.Counters().BytesSent; n > 3*maxSegment {
		t.Errorf("%d bytes were sent, most of them after the refusal", n)
	}
	raw.say(t, "term/0/0")
	closeNow(t, s)
}

// A slowBody gives one segment for each value in more.
type slowBody struct {
	left int64
	more chan struct{}
}

func (b *slowBody) Read(p []byte) (int, error) {
	<-b.more
	return len(p), nil
}

// Bundles that came in full are not lost with the session, but cannot be
// acknowledged.
func TestReceivedBeforeLoss(t *testing.T) {
	s, raw := withRawPeer(t, Config{}, "60")
	raw.say(t, "segment/3/0/-/3/abc", "segment/2/1/-/3/abc")
	raw.Close()
	<-s.Done()
	in, err := s.Receive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(in); err != nil || string(b) != "abc" {
		t.Errorf("read %q, %v", b, err)
	}
	if in.Accept() == nil {
		t.Error("a bundle was accepted on a lost session")
	}
	if _, err := s.Receive(t.Context()); err == nil || errors.Is(err, convergence.ErrClosed) {
		t.Errorf("half a bundle: got %v, want the loss", err)
	}
	closeNow(t, s)
}

// A transfer that the machine refuses in its middle never looks complete.
func TestBrokenTransfer(t *testing.T) {
	s, raw := withRawPeer(t, Config{}, "60")
	raw.say(t, "segment/2/0/01000100080000000000000003/1/a", "segment/1/0/-/1/b")
	in, err := s.Receive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if in.Length() != 3 {
		t.Errorf("Length is %d, want 3", in.Length())
	}
	raw.hear(t, "ack/2/0/1", "refuse/4/0")
	if b, err := io.ReadAll(in); !errors.Is(err, ErrProtocol) || len(b) > 1 {
		t.Errorf("read %q, %v; want %v", b, err, ErrProtocol)
	}
	if err := in.Accept(); !errors.Is(err, ErrProtocol) {
		t.Errorf("Accept: got %v, want %v", err, ErrProtocol)
	}
	if err := in.Refuse(convergence.RefuseUnknown); err != nil {
		t.Errorf("Refuse: %v", err)
	}
	go io.Copy(io.Discard, raw)
	raw.say(t, "term/0/0")
	closeNow(t, s)
}

func TestConfig(t *testing.T) {
	bad := map[string]Config{
		"whole seconds": {Keepalive: 1500 * time.Millisecond},
		"65535 s":       {Keepalive: 20 * time.Hour},
		"node ID":       {NodeID: strings.Repeat("x", maxNodeIDLength+1)},
		"limits":        {MaxIncoming: -1},
		"timeout":       {ContactTimeout: -1},
	}
	for want, cfg := range bad {
		if _, err := cfg.withDefaults(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want an error about %s", cfg, err, want)
		}
		if _, err := NewDialer(cfg).Dial(t.Context(), "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Dial: got %v, want an error about %s", err, want)
		}
	}
	if _, err := (Config{Keepalive: -1}).withDefaults(); err != nil {
		t.Error(err)
	}
}

func TestWithPort(t *testing.T) {
	for in, want := range map[string]string{
		"host": "host:4556", "host:1": "host:1", "::1": "[::1]:4556", "[::1]:7": "[::1]:7", ":0": ":0",
	} {
		if got := withPort(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
