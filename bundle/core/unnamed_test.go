package core_test

import (
	"testing"

	"perigee/bundle"
	"perigee/bundle/bundletest"
	"perigee/bundle/core"
	"perigee/bundle/route"
)

// A bundle from a session without a name is a neighbour's all the same: its hops are
// counted, it does not go back, and it is none of this node's own.
func TestUnnamedNeighbour(t *testing.T) {
	const unnamed = 77 // no LinkUp told of it
	hops := bundletest.Hops(9, 3)
	tests := []struct {
		name     string
		opts     []bundletest.Option
		previous bundle.EID
	}{
		{"first hop", []bundletest.Option{bundletest.From(eid(5).WithService(3))}, eid(5)},
		{"told by its block", []bundletest.Option{
			bundletest.From(eid(5).WithService(3)), bundletest.PreviousNode(eid(4)),
		}, eid(4)},
		{"from nobody", []bundletest.Option{bundletest.From(bundle.EID{})}, eid(1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, nil, true)
			b.step(core.LinkUp{Link: 1, Peer: eid(2)})
			sent := of[core.Transmit](b.arrive(unnamed, false, 10, append(tt.opts, hops)...))
			if len(sent) != 1 {
				t.Fatalf("sent on %d times, want once", len(sent))
			}
			if got := sent[0].Record.Previous; got != tt.previous {
				t.Errorf("it came from %s, want %s", got, tt.previous)
			}
			header := bundletest.New(append(tt.opts, hops)...)
			if err := sent[0].Changes.Apply(&header, &sent[0].Record, b.now); err != nil {
				t.Fatal(err)
			}
			if h, _ := header.HopCount(); h.Count != 4 {
				t.Errorf("%d hops are counted, want 4", h.Count)
			}
			if p, _ := header.PreviousNode(); p != eid(1) {
				t.Errorf("the previous node is %s, want this one", p)
			}
		})
	}
}

// What a neighbour sent over a session without a name does not go back to it.
func TestUnnamedNeighbourGetsNothingBack(t *testing.T) {
	table, err := route.NewTable([]route.Route{{To: "*", Next: eid(2)}})
	if err != nil {
		t.Fatal(err)
	}
	for previous, want := range map[bundle.EID]int{eid(2): 0, eid(3): 1} {
		b := newBench(t, nil, true, func(c *core.Config) { c.Routes = table })
		b.step(core.LinkUp{Link: 1, Peer: eid(2)})
		sent := of[core.Transmit](b.arrive(77, false, 10,
			bundletest.From(eid(5).WithService(1)), bundletest.To(eid(6).WithService(1)), bundletest.PreviousNode(previous)))
		if len(sent) != want {
			t.Errorf("what came from %s was sent to %s %d times, want %d", previous, eid(2), len(sent), want)
		}
	}
}
