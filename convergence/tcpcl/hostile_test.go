package tcpcl

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// dribble writes b a byte at a time, until the other side has had enough.
func dribble(nc net.Conn, b []byte, pause time.Duration) {
	for i := range b {
		if _, err := nc.Write(b[i : i+1]); err != nil {
			return
		}
		time.Sleep(pause)
	}
}

// Peers that hardly say anything get no session.
func TestDribbledContact(t *testing.T) {
	header, _ := compose("header/4/0")
	init, _ := compose("init/60/1000/1000/-/dtn://" + strings.Repeat("n", 100) + "/")
	for _, tt := range []struct {
		name  string
		say   []byte
		pause time.Duration
		want  string
		after time.Duration
	}{
		{"contact header", header, 3 * time.Second, "no contact header within 10s", 10 * time.Second},
		{"SESS_INIT", append(header, init...), time.Second, "contact timeout of 30s", 30 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				var peer sync.WaitGroup
				defer peer.Wait()
				peer.Go(func() { _, _ = io.Copy(io.Discard, far) })
				peer.Go(func() { dribble(far, tt.say, tt.pause) })
				began := time.Now()
				_, err := Server(t.Context(), near, Config{})
				if d := time.Since(began); err == nil || !strings.Contains(err.Error(), tt.want) || d != tt.after {
					t.Errorf("got %v after %s, want %q after %s", err, d, tt.want, tt.after)
				}
			})
		})
	}
}

// A peer that sends a byte a second of what it began is not kept for it.
func TestDribbledTransfer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, raw := withRawPeer(t, Config{}, "60")
		var peer sync.WaitGroup
		defer peer.Wait()
		peer.Go(func() { _, _ = io.Copy(io.Discard, raw) })
		began := time.Now()
		raw.say(t, "segment/2/0/-/1000000/a")
		peer.Go(func() { dribble(raw, make([]byte, 1000), time.Second) })
		<-s.Done()
		if d := time.Since(began); !errors.Is(s.Err(), ErrTooSlow) || d > DefaultProgressTime+time.Second {
			t.Errorf("got %v after %s, want %v after %s", s.Err(), d, ErrTooSlow, DefaultProgressTime)
		}
		closeNow(t, s)
	})
}

// A peer that takes everything, lives, and acknowledges nothing holds bundles back
// from other ways; it is not kept either.
func TestNothingAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, raw := withRawPeer(t, Config{}, "60")
		var peer sync.WaitGroup
		defer peer.Wait()
		peer.Go(func() { _, _ = io.Copy(io.Discard, raw) })
		peer.Go(func() { dribble(raw, bytes.Repeat([]byte{typeKeepalive}, 100), 30*time.Second) })
		tr, err := s.Send(t.Context(), 1000, zeros{})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err = tr.Wait(t.Context())
		if d := time.Since(began); !errors.Is(err, ErrNotAcknowledged) || d > DefaultStallTimeout+time.Second {
			t.Errorf("got %v after %s, want %v after %s", err, d, ErrNotAcknowledged, DefaultStallTimeout)
		}
		closeNow(t, s)
	})
}

// A peer whose messages make no sense is told so, but not for ever.
func TestSenselessMessages(t *testing.T) {
	s, raw := withRawPeer(t, Config{}, "60")
	go func() {
		for range 1000 {
			if _, err := raw.Write(xferAck{id: 7}.append(nil)); err != nil {
				return
			}
		}
	}()
	for range maxRejects {
		raw.hear(t, "reject/3/2")
	}
	raw.hear(t, "term/0/5")
	go io.Copy(io.Discard, raw)
	<-s.Done()
	if err := s.Err(); !errors.Is(err, ErrProtocol) {
		t.Errorf("got %v, want %v", err, ErrProtocol)
	}
	closeNow(t, s)
}

// A session that rests holds little memory, however much it carried.
func TestRestGivesMemoryBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		sa, sb := over(t, a, b, Config{}, Config{})
		for range 3 { // and works again after it
			carry(t, sa.(*session), sb.(*session), 10<<20)
			time.Sleep(3 * restAfter)
			synctest.Wait()
			for _, s := range []*session{sa.(*session), sb.(*session)} {
				s.mu.Lock()
				if n := len(s.data.buf) + cap(s.machine.out) + len(s.segment); n > 2*leastSegment {
					t.Errorf("%d bytes are held while nothing happens", n)
				}
				s.mu.Unlock()
			}
		}
		closeNow(t, sa, sb)
	})
}

// carry takes one bundle from a session to its peer.
func carry(t *testing.T, from, to *session, length int64) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		in, err := to.Receive(t.Context())
		if err == nil {
			_, err = io.Copy(io.Discard, in)
		}
		if err == nil {
			err = in.Accept()
		}
		done <- err
	}()
	tr, err := from.Send(t.Context(), length, zeros{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(tr.Wait(t.Context()), <-done); err != nil {
		t.Fatal(err)
	}
}

// What has arrived whole when the session is to end is still taken; what has not
// even been looked at is left to the next session.
func TestCloseKeepsWhatHasArrived(t *testing.T) {
	s, raw := withRawPeer(t, Config{}, "60")
	raw.say(t, "segment/3/0/-/3/abc", "segment/3/1/-/3/def", "segment/2/2/-/3/ghi")
	for s.(*session).arrivedBytes() < 9 {
		time.Sleep(time.Millisecond)
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close(t.Context()) }()
	raw.hear(t, "term/0/0")
	for _, want := range []string{"abc", "def"} {
		in, err := s.Receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(in); err != nil || string(b) != want {
			t.Fatalf("read %q, %v; want %q", b, err, want)
		}
		if err := in.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Receive(t.Context()); err == nil {
		t.Error("a bundle was returned that has not arrived")
	}
	raw.hear(t, "ack/3/0/3", "ack/3/1/3", "refuse/6/2")
	raw.say(t, "term/1/0")
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func (s *session) arrivedBytes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data.count
}

// A bundle that was accepted before the cut is acknowledged if the peer listens.
func TestCutStillAcknowledges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, raw := withRawPeer(t, Config{}, "60")
		raw.say(t, "segment/3/0/-/3/abc")
		in, err := s.Receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, in); err != nil {
			t.Fatal(err)
		}
		if err := in.Accept(); err != nil {
			t.Fatal(err)
		}
		now, cancel := context.WithCancel(t.Context())
		cancel()
		closed := make(chan error, 1)
		began := time.Now()
		go func() { closed <- s.Close(now) }()
		synctest.Wait()
		raw.hear(t, "ack/3/0/3", "term/0/0")
		if err := <-closed; !errors.Is(err, context.Canceled) {
			t.Errorf("Close: got %v, want %v", err, context.Canceled)
		}
		if d := time.Since(began); d > cutTimeout {
			t.Errorf("the cut took %s", d)
		}
	})
}
