package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"perigee/bundle/app"
	"perigee/convergence"
)

// script is a dialer whose attempts end as they are told to: at once, or with a session
// that lasts for a while.
type script struct {
	began time.Time

	mu    sync.Mutex      // guards the rest
	lasts []time.Duration // of sessions, one after the other; then no session
	tried []time.Duration // after began
}

var errNobody = errors.New("nobody is there")

func (s *script) Dial(context.Context, string) (convergence.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried = append(s.tried, time.Since(s.began))
	if len(s.lasts) == 0 {
		return nil, errNobody
	}
	idle := &idleSession{done: make(chan struct{})}
	time.AfterFunc(s.lasts[0], func() { _ = idle.Close(context.Background()) })
	s.lasts = s.lasts[1:]
	return idle, nil
}

func (s *script) attempts() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.tried)
}

// idleSession is a session over which nothing goes.
type idleSession struct {
	done chan struct{}
	once sync.Once
}

func (s *idleSession) PeerNode() string      { return nodeB.String() }
func (s *idleSession) RemoteAddr() string    { return "nowhere" }
func (s *idleSession) MaxTransfer() uint64   { return 1 << 30 }
func (s *idleSession) Done() <-chan struct{} { return s.done }
func (s *idleSession) Err() error            { return convergence.ErrClosed }
func (s *idleSession) Send(context.Context, int64, io.Reader) (convergence.Transfer, error) {
	return nil, convergence.ErrClosed
}
func (s *idleSession) Counters() convergence.Counters { return convergence.Counters{} }

func (s *idleSession) Receive(ctx context.Context) (convergence.Incoming, error) {
	select {
	case <-s.done:
	case <-ctx.Done():
	}
	return nil, convergence.ErrClosed
}

func (s *idleSession) Close(context.Context) error {
	s.once.Do(func() { close(s.done) })
	return nil
}

// linked runs a node with one link that is to be up at all times.
func linked(t *testing.T, d convergence.Dialer) *started {
	t.Helper()
	return start(t, Config{Node: nodeA, Store: memory(), Links: []Link{{Peer: nodeB, Layer: "test", Address: "nowhere", Dialer: d, Always: true, Rate: 9600}}})
}

// Attempts come further and further apart, and one that is asked for comes at once.
func TestDialerBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &script{began: time.Now()}
		n := linked(t, d)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		ms := func(list ...int) (all []time.Duration) {
			for _, m := range list {
				all = append(all, time.Duration(m)*time.Millisecond)
			}
			return all
		}
		want := ms(0, 200, 600, 1400, 3000, 6200, 11200, 16200)
		if got := d.attempts(); !slices.Equal(got, want) {
			t.Errorf("attempts after %v, want %v", got, want)
		}
		l := status(t, n).Links[0]
		if l.Physical != app.LinkBackingOff || l.RetryAt.Sub(n.now()).Std() != 1200*time.Millisecond || l.LastError != errNobody.Error() ||
			n.now().Sub(l.LastErrorAt).Std() != 3800*time.Millisecond || l.RateBPS != 9600 || l.Sessions != 0 {
			t.Errorf("between attempts the link is %+v", l)
		}
		if err := n.client.HoldLink(t.Context(), nodeB, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got, want := d.attempts(), append(want, ms(20_000, 20_200, 20_600)...); !slices.Equal(got, want) {
			t.Errorf("attempts after %v, want %v", got, want)
		}
		if err := n.client.HoldLink(t.Context(), nodeB, true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := d.attempts(); len(got) != 11 {
			t.Errorf("%d attempts, some while the link is held down", len(got)-11)
		}
		n.stop()
	})
}

// A neighbour that ends every session at once is not asked again and again without a
// pause; after one that lasted, the next attempt comes at once.
func TestDialerAfterSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &script{began: time.Now(), lasts: []time.Duration{0, 0, 0, time.Minute, 0, 0}}
		n := linked(t, d)
		time.Sleep(62 * time.Second)
		synctest.Wait()
		var got []time.Duration
		for _, at := range d.attempts() {
			got = append(got, at.Truncate(100*time.Millisecond))
		}
		want := []time.Duration{0, 200, 600, 1400, 61400, 61600, 62000}
		for i := range want {
			want[i] *= time.Millisecond
		}
		if !slices.Equal(got, want) {
			t.Errorf("attempts after %v, want %v", got, want)
		}
		if l := status(t, n).Links[0]; l.Sessions != 6 {
			t.Errorf("the link is %+v, want 6 sessions", l)
		}
		n.stop()
	})
}

// A link that is held down carries nothing, and what was to go over it goes when it is
// released.
func TestHoldLink(t *testing.T) {
	a, b := pair(t, memory(), memory(), true, nil)
	up := func() bool { return status(t, a).Links[0].Physical == app.LinkUp }
	eventually(t, "the link is up", up)
	events := make(chan app.Event, 100)
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		_ = a.client.WatchLinks(ctx, func(e app.Event) error { // it ends with ctx
			select {
			case events <- e:
			case <-ctx.Done():
			}
			return nil
		})
	})
	defer watching.Wait()
	defer cancel()
	eventually(t, "the watch is in force", func() bool {
		a.hub.mu.Lock()
		defer a.hub.mu.Unlock()
		return len(a.hub.watchers) == 1
	})
	hold := func(n *started, held bool) {
		t.Helper()
		peer := nodeB
		if n == b {
			peer = nodeA
		}
		if err := n.client.HoldLink(t.Context(), peer, held); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(kinds ...app.EventKind) {
		t.Helper()
		for _, kind := range kinds {
			select {
			case e := <-events:
				if e.Kind != kind {
					t.Fatalf("event %+v, want %s", e, kind)
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("no event, want %s", kind)
			}
		}
	}
	hold(a, true)
	expect(app.EventLinkHeld, app.EventLinkDown)
	send(t, a, nodeB.WithService(11), []byte("kept"), true)
	eventually(t, "the link is down", func() bool {
		l := status(t, a).Links[0]
		return l.Held && l.Physical == app.LinkDown && status(t, b).Links[0].Physical == app.LinkDown
	})
	if s := status(t, a); s.Custody.Held != 1 || s.Links[0].Scheduled != app.LinkAlways {
		t.Errorf("while it is held down: %+v", s)
	}
	hold(a, false)
	expect(app.EventLinkReleased, app.EventLinkUp)
	if _, payload := receive(t, b, nodeB.WithService(11)); string(payload) != "kept" {
		t.Errorf("received %q", payload)
	}
	eventually(t, "custody is released", func() bool { return status(t, a).Custody.Held == 0 })

	// Held down by the other end, the neighbour's attempts come to nothing.
	hold(b, true)
	expect(app.EventLinkDown)
	hold(b, false)
	eventually(t, "the link is up again", up)
	l := status(t, a).Links[0]
	if l.BundlesSent != 1 || l.BytesSent == 0 || l.Sessions < 3 || l.Layer != "tcpcl" {
		t.Errorf("in the end the link is %+v", l)
	}
}

// What is being transferred when the operator of either end takes the link down arrives
// whole, once.
func TestHoldCutsNothing(t *testing.T) {
	for name, byReceiver := range map[string]bool{"by the sender": false, "by the receiver": true} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t, memory(), memory(), true, nil)
			payload := bytes.Repeat([]byte("perigee "), 4<<20)
			send(t, a, nodeB.WithService(11), payload, true)
			// For the receiver too: it may refuse what it has not seen begin (RFC 9174 section 6.1).
			eventually(t, "the transfer has begun", func() bool { return status(t, b).Links[0].BytesReceived > 1<<20 })
			holder, peer := a, nodeB
			if byReceiver {
				holder, peer = b, nodeA
			}
			if err := holder.client.HoldLink(t.Context(), peer, true); err != nil {
				t.Fatal(err)
			}
			if _, got := receive(t, b, nodeB.WithService(11)); !bytes.Equal(got, payload) {
				t.Error("the payload changed on the way")
			}
			eventually(t, "the link is down", func() bool { return status(t, holder).Links[0].Physical == app.LinkDown })
			if s := status(t, a); s.Links[0].BundlesSent != 1 || s.Counters.Retransmissions != 0 {
				t.Errorf("in the end: %+v", s)
			}
		})
	}
}
