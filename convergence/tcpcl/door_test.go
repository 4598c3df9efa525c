package tcpcl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"perigee/convergence"
)

// at is an address of a peer.
func at(host string) net.Addr {
	return &net.TCPAddr{IP: net.ParseIP(host), Port: 4556}
}

func TestDoorEvictsTheOldest(t *testing.T) {
	d := newDoor(8, 100, 100)
	gone := map[string]bool{}
	enter := func(name, host string) *guest {
		return d.enter(at(host), func(err error) {
			if !errors.Is(err, errEvicted) {
				t.Errorf("%s was evicted with %v", name, err)
			}
			gone[name] = true
		})
	}
	want := func(when string, names ...string) {
		t.Helper()
		if len(gone) != len(names) {
			t.Errorf("%s: %v are gone, want %v", when, gone, names)
		}
		for _, name := range names {
			if !gone[name] {
				t.Errorf("%s: %s is not gone", when, name)
			}
		}
	}
	first := enter("first", "192.0.2.1")
	enter("second", "192.0.2.1")
	want("a quarter is one address's")
	enter("third", "192.0.2.1")
	want("beyond it its oldest goes", "first")
	d.leave(first) // as the connection ends
	for i := range 6 {
		enter(fmt.Sprint(i), fmt.Sprintf("2001:db8:0:%d::1", i))
	}
	want("there is room", "first")
	same := enter("same", "2001:db8:0:5::2")
	want("a whole /64 is one address, and the door is full", "first", "second")
	enter("more", "2001:db8:0:5::3")
	want("the share of the /64 is used", "first", "second", "5")
	d.leave(same)
	d.leave(same)
	if n := d.pending.Len(); n != 7 {
		t.Errorf("%d connections are pending, want 7", n)
	}
}

func TestDoorSeats(t *testing.T) {
	d := newDoor(8, 3, 2)
	enter := func(host string) *guest { return d.enter(at(host), func(error) {}) }
	a, b, c := enter("192.0.2.1"), enter("192.0.2.1"), enter("192.0.2.1")
	if !d.sit(a) || !d.sit(b) || d.hasSeat(c) || d.sit(c) {
		t.Error("an address has not exactly its two sessions")
	}
	other, last := enter("192.0.2.2"), enter("192.0.2.3")
	if !d.sit(other) || d.hasSeat(last) || d.sit(last) {
		t.Error("there are not exactly three sessions")
	}
	d.rise(a)
	d.rise(a)
	if !d.sit(last) || d.sit(c) {
		t.Error("a session that ended did not make room for exactly one")
	}
	d.rise(b)
	d.rise(other)
	d.rise(last)
	if d.total != 0 || len(d.sessions) != 0 {
		t.Errorf("%d sessions are left, of %v", d.total, d.sessions)
	}
}

func TestListenBusy(t *testing.T) {
	l := listen(t, Config{NodeID: "ipn:1.0", MaxSessionsPerAddress: 2})
	var sessions []convergence.Session
	dial := func() error {
		s, err := NewDialer(Config{NodeID: "ipn:2.0"}).Dial(t.Context(), l.Addr())
		if err != nil {
			return err
		}
		peer, err := l.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, s, peer)
		return nil
	}
	if err := errors.Join(dial(), dial()); err != nil {
		t.Fatal(err)
	}
	if err := dial(); err == nil || !strings.Contains(err.Error(), "peer ended it: busy") {
		t.Errorf("a third session: got %v, want to hear that the peer is busy", err)
	}
	closeNow(t, sessions[:2]...)
	if err := dial(); err != nil {
		t.Errorf("after one has ended: %v", err)
	}
	closeNow(t, sessions[2:]...)
}

// More peers are on their way than there is room for: the last hears so when its
// session is established.
func TestListenBusyAfterAll(t *testing.T) {
	l := listen(t, Config{NodeID: "ipn:1.0", MaxSessions: 1})
	slow := rawPeer{dialRaw(t, l)}
	slow.say(t, "header/4/0")
	slow.hear(t, "header/4/0")
	s, err := NewDialer(Config{NodeID: "ipn:2.0"}).Dial(t.Context(), l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slow.say(t, "init/60/1000/1000/-/ipn:3.0")
	slow.hear(t, "init/60/1048576/4294967296/-/ipn:1.0", "term/0/3")
	slow.say(t, "term/1/3")
	wantClosed(t, slow)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := l.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a session too many: got %v, want none", err)
	}
	closeNow(t, s, peer)
}
