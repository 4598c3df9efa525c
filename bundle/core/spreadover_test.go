package core_test

import (
	"testing"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/bundletest"
	"perigee/bundle/core"
)

// A critical bundle waits for every neighbour that leads to its destination, and another
// one for the best alone.
func TestCriticalGoesOverEveryNeighbour(t *testing.T) {
	b := newBench(t, twoWays(t), false, func(cfg *core.Config) {
		cfg.Neighbours = append(cfg.Neighbours, core.Neighbour{Peer: eid(3)}, core.Neighbour{Peer: eid(9)})
	})
	critical := func(b *bundle.Bundle) {
		b.SetExtension(bundle.ClassBlock(0, bundle.Class{Priority: bundle.PriorityExpedited, Critical: true}))
	}
	b.arrive(0, false, 1000, bundletest.To(eid(4).WithService(1)), critical)
	if two, three := b.queued(); two != 1 || three != 1 {
		t.Fatalf("%d copies wait for node 2 and %d for node 3, want one each", two, three)
	}
	b.arrive(0, false, 1000, bundletest.To(eid(4).WithService(1)))
	if two, three := b.queued(); two != 2 || three != 1 {
		t.Errorf("with one that is not critical, %d wait for node 2 and %d for node 3, want 2 and 1", two, three)
	}
	b.now = moment(10)
	for _, x := range of[core.Transmit](b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true})) {
		b.step(core.Sent{Link: 1, Handle: x.Record.Handle})
	}
	b.runTo(moment(12))
	if len(b.stored) == 0 {
		t.Fatal("the bundle is gone before node 3 has it")
	}
	b.now = moment(40)
	sent := of[core.Transmit](b.step(core.LinkUp{Link: 2, Peer: eid(3)}))
	if len(sent) != 1 {
		t.Fatalf("%d bundles went to node 3, want the copy", len(sent))
	}
	b.step(core.Sent{Link: 2, Handle: sent[0].Record.Handle})
	if _, ok := b.stored[sent[0].Record.Handle]; ok {
		t.Error("the bundle is still stored after all neighbours have it")
	}
}

// With flooding, a bundle without a way goes to all neighbours but the one that it came
// from, and those with a way or under custody do not.
func TestFlooding(t *testing.T) {
	for _, flood := range []bool{true, false} {
		b := newBench(t, nil, true, func(cfg *core.Config) {
			cfg.Flood = flood
			cfg.Neighbours = append(cfg.Neighbours, core.Neighbour{Peer: eid(3), Always: true}, core.Neighbour{Peer: eid(4), Always: true})
		})
		sent := 0
		for i, peer := range []int{2, 3, 4} {
			b.step(core.LinkUp{Link: core.LinkID(i + 1), Peer: eid(peer), Dialed: true})
		}
		b.news = nil
		b.arrive(1, false, 1000, bundletest.From(eid(2)), bundletest.To(eid(77).WithService(1)))
		for _, x := range of[core.Transmit](b.news) {
			if sent++; x.Link == 1 {
				t.Error("the bundle went back where it came from")
			}
		}
		x := b.core.ExplainRoute(app.RouteQuery{To: eid(77).WithService(1), Priority: bundle.PriorityNormal}, b.now)
		if len(x.Candidates) != map[bool]int{true: 3, false: 0}[flood] || (x.Failure == "") != flood {
			t.Errorf("with flooding %v it is explained as %+v", flood, x)
		}
		if want := map[bool]int{true: 2, false: 0}[flood]; sent != want {
			t.Errorf("with flooding %v, %d copies went, want %d", flood, sent, want)
		}
		b.news = nil
		b.arrive(0, true, 1000, bundletest.To(eid(77).WithService(1)))
		if n := len(of[core.Transmit](b.news)); n != 0 {
			t.Errorf("with flooding %v, %d copies of a bundle under custody went", flood, n)
		}
		b.arrive(0, false, 1000, bundletest.To(eid(3).WithService(1)))
		if n := len(of[core.Transmit](b.news)); n != 1 {
			t.Errorf("with flooding %v, %d copies of a bundle for a neighbour went", flood, n)
		}
	}
}

// Of equal priority, what is worth more a byte goes first.
func TestValueOrdersAPass(t *testing.T) {
	b := newBench(t, twoWays(t), false)
	worth := func(v uint64) bundletest.Option {
		return func(b *bundle.Bundle) {
			b.SetExtension(bundle.ClassBlock(0, bundle.Class{Priority: bundle.PriorityNormal, Value: v}))
		}
	}
	for _, v := range []uint64{0, 5, 50, 7} {
		b.arrive(0, false, 1000, worth(v))
	}
	b.now = moment(10)
	b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true})
	b.runTo(moment(18))
	var order []uint64
	for _, x := range of[core.Transmit](b.news) {
		order = append(order, x.Record.Value)
	}
	if len(order) != 4 || order[0] != 50 || order[1] != 7 || order[2] != 5 || order[3] != 0 {
		t.Errorf("bundles went by value in the order %v, want 50, 7, 5, 0", order)
	}
}
