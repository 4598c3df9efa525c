package core_test

import (
	"errors"
	"slices"
	"testing"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/contact"
	"perigee/bundle/core"
	"perigee/bundle/dtntime"
	"perigee/convergence"
)

// hold holds the link with a neighbour down or gives it back, and returns the effects
// without the answer.
func (b *bench) hold(peer bundle.EID, held bool) []core.Effect {
	b.t.Helper()
	b.token++
	effects := b.step(core.HoldLink{Token: b.token, Peer: peer, Held: held})
	if r := of[core.Reply](effects); len(r) != 1 || r[0].Token != b.token || r[0].Err != nil {
		b.t.Errorf("HoldLink %s %v is answered by %+v", peer, held, r)
	}
	return slices.DeleteFunc(effects, func(e core.Effect) bool { _, is := e.(core.Reply); return is })
}

// kinds are the kinds of events that a step told of.
func kinds(effects []core.Effect) []app.EventKind {
	var list []app.EventKind
	for _, n := range of[core.Notify](effects) {
		list = append(list, n.Event.Kind)
	}
	return list
}

// wantKinds checks what a step told of.
func (b *bench) wantKinds(effects []core.Effect, want ...app.EventKind) {
	b.t.Helper()
	if got := kinds(effects); !slices.Equal(got, want) {
		b.t.Errorf("told of %v, want %v", got, want)
	}
}

// untilEnded lets time pass until a session is to be ended, for a minute at most, and
// returns the effects of that step. Those of the last step are given.
func (b *bench) untilEnded(effects []core.Effect) []core.Effect {
	b.t.Helper()
	for limit := b.now.Add(dtntime.Minute); b.now < limit; {
		if slices.ContainsFunc(of[core.Hangup](effects), func(h core.Hangup) bool { return h.Link != 0 }) {
			return effects
		}
		if f := of[core.Follow](effects); len(f) > 0 {
			b.t.Errorf("at %s the session is told %+v, before its end", b.now, f)
		}
		b.now = b.core.NextWake()
		effects = b.step(core.Tick{})
	}
	b.t.Fatal("the session is not ended within a minute")
	return nil
}

func TestHoldUnknownNeighbour(t *testing.T) {
	b := newBench(t, nil, true)
	for _, peer := range []bundle.EID{eid(9), eid(1), {}} {
		r := of[core.Reply](b.step(core.HoldLink{Token: 7, Peer: peer, Held: true}))
		if len(r) != 1 || r[0].Token != 7 || !errors.Is(r[0].Err, core.ErrNoNeighbour) {
			t.Errorf("%s: %+v, want ErrNoNeighbour", peer, r)
		}
	}
}

// A session stays until what is flying over it has landed, and no longer than the grace.
func TestHoldLetsLand(t *testing.T) {
	for name, acknowledged := range map[string]bool{"acknowledged": true, "never acknowledged": false} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil, true)
			b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true})
			sent := of[core.Transmit](b.arrive(0, true, 100))
			b.now = b.now.Add(second)
			effects := b.hold(eid(2), true)
			b.wantKinds(effects, app.EventLinkHeld)
			if h := of[core.Hangup](effects); len(h) != 1 || h[0].Link != 0 {
				t.Errorf("at once %+v, want an end of attempts alone", h)
			}
			if l := b.core.Status(1).Links[0]; l.Physical != app.LinkClosing || !l.Held || l.HeldSince != b.now || l.Scheduled != app.LinkAlways {
				t.Errorf("meanwhile the link is %+v", l)
			}
			if more := of[core.Transmit](b.arrive(0, true, 100)); len(more) != 0 || len(sent) != 1 {
				t.Errorf("%d transmits before and %d after, want 1 and none", len(sent), len(more))
			}
			held := b.now
			if acknowledged {
				effects = b.step(core.Sent{Link: 1, Handle: sent[0].Record.Handle})
			} else {
				effects = b.untilEnded(effects)
				if b.now != held.Add(30*second) {
					t.Errorf("cut off after %s, want 30s", b.now.Sub(held))
				}
			}
			if h := of[core.Hangup](effects); len(h) != 1 || h[0].Link != 1 || h[0].Grace != 30*second {
				t.Errorf("in the end %+v, want that of link 1 with its grace", h)
			}
			if l := b.core.Status(1).Links[0]; l.Physical != app.LinkDown {
				t.Errorf("in the end the link is %+v", l)
			}
			b.step(core.LinkDown{Link: 1})
			if s := b.core.Status(1); s.Custody.Held != 2 || len(b.stored) != 2 {
				t.Errorf("%d in custody, %d stored, want both", s.Custody.Held, len(b.stored))
			}
		})
	}
}

// A session that begins while the link is held down is ended, and bundles that come over
// it meanwhile are taken.
func TestHoldSendsAway(t *testing.T) {
	b := newBench(t, nil, true)
	b.hold(eid(2), true)
	if effects := b.hold(eid(2), true); len(effects) != 0 {
		t.Errorf("held once more: %+v, want nothing", effects)
	}
	up := b.step(core.LinkUp{Link: 5, Peer: eid(2)})
	b.wantKinds(up)
	if h := of[core.Hangup](up); len(h) != 1 || h[0].Link != 5 {
		t.Errorf("a session is answered by %+v, want its end", h)
	}
	if r := of[core.Reply](b.arrive(5, false, 10)); len(r) != 1 || r[0].Err != nil {
		t.Errorf("a bundle over it is answered by %+v", r)
	}
	b.wantKinds(b.step(core.LinkDown{Link: 5}))

	effects := b.hold(eid(2), false)
	b.wantKinds(effects, app.EventLinkReleased)
	if c := of[core.Connect](effects); len(c) != 1 || c[0].Peer != eid(2) {
		t.Errorf("released: %+v, want to connect", c)
	}
	// Again it is tried at once, until the link is up.
	if c := of[core.Connect](b.hold(eid(2), false)); len(c) != 1 {
		t.Errorf("asked for while it connects: %+v, want to connect", c)
	}
	b.step(core.LinkUp{Link: 6, Peer: eid(2), Dialed: true})
	if effects := b.hold(eid(2), false); len(effects) != 0 {
		t.Errorf("asked for while it is up: %+v, want nothing", effects)
	}
	down := of[core.Notify](b.step(core.LinkDown{Link: 6, Err: convergence.ErrClosed}))
	if len(down) != 1 || down[0].Event.Kind != app.EventLinkDown || down[0].Event.Detail != "in an orderly way" {
		t.Errorf("told %+v, want why the link is down", down)
	}
}

// A session that lasts is ended, too, between contacts at once.
func TestHoldLastingSession(t *testing.T) {
	plan, err := contact.New([]contact.Contact{
		{From: eid(1), To: eid(2), Start: moment(10), End: moment(20), Rate: 8e6},
		{From: eid(1), To: eid(2), Start: moment(100), End: moment(160), Rate: 4e6},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []dtntime.Time{moment(12), moment(19), moment(50)} {
		b := newBench(t, plan, false)
		b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true, Lasting: true})
		b.now = moment(11)
		if sent := of[core.Transmit](b.arrive(0, true, 100)); len(sent) != 1 {
			t.Fatalf("%d transmits", len(sent))
		}
		for b.now < at {
			b.now = min(b.core.NextWake(), at)
			b.step(core.Tick{})
		}
		effects := b.hold(eid(2), true)
		b.untilEnded(effects)
		if want := max(at, moment(20)-dtntime.Time(core.Guard/2)); b.now != want {
			t.Errorf("held at %s it ends at %s, want %s", at, b.now, want)
		}
		b.now = moment(50)
		b.step(core.Tick{})
		if l := b.core.Status(1).Links[0]; l.Scheduled != app.LinkWaiting || l.Next != moment(100) || l.RateBPS != 4e6 {
			t.Errorf("between contacts the link is %+v", l)
		}
	}
}

// A neighbour that nobody configured is remembered while its link is held down.
func TestHoldPasserBy(t *testing.T) {
	b := newBench(t, nil, true)
	b.step(core.LinkUp{Link: 1, Peer: eid(8)})
	b.hold(eid(8), true)
	b.step(core.LinkDown{Link: 1})
	if links := b.core.Status(1).Links; len(links) != 2 || links[1].Peer != eid(8) || links[1].Scheduled != app.LinkUnscheduled {
		t.Errorf("while it is held down: %+v, want ipn:8.0 too", links)
	}
	b.hold(eid(8), false)
	if links := b.core.Status(1).Links; len(links) != 1 {
		t.Errorf("released: %+v, want ipn:2.0 alone", links)
	}
}
