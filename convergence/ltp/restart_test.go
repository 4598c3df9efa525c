package ltp

import (
	"testing"
	"time"
)

// TestRestartedBehindALateWord has one end restart, and hear late what the other said when
// its link began, while the other still knows the link from before: both find that the
// other has begun anew, and must agree all the same.
func TestRestartedBehindALateWord(t *testing.T) {
	const before = 77
	a, b := newTestMachine(1, 2, nil), newTestMachine(2, 1, nil)
	b.Open(0)
	b.onLinkState(linkState{link: before, peer: b.link.ours.link})
	first := b.link.ours.link
	w := newWorld(t, 1, a, b, fast(), fast())
	a.onLinkState(linkState{link: first})
	agree := func() bool { return a.link.peer == b.link.ours.link && b.link.peer == a.link.ours.link }
	w.run(time.Second, agree)
	for _, p := range []*party{w.a, w.b} {
		began := 0
		for _, e := range p.events {
			if e == EventOpened {
				began++
			}
		}
		if began > 1 {
			t.Errorf("an end began %d links: %v", began, p.events)
		}
		p.err = nil // that of the link before
	}
	w.a.toSend, w.b.toSend = loads(20, 3000), loads(20, 3000)
	w.run(10*time.Second, w.isDone)
	w.wantAll(w.a, w.b, 20)
	w.wantAll(w.b, w.a, 20)
	if !agree() {
		t.Errorf("a has links %d and %d, b %d and %d", a.link.ours.link, a.link.peer, b.link.ours.link, b.link.peer)
	}
}
