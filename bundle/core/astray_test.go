package core_test

import (
	"testing"

	"perigee/bundle"
	"perigee/bundle/bundletest"
	"perigee/bundle/contact"
	"perigee/bundle/core"
	"perigee/bundle/store"
)

// A bundle goes the way that arrives first, until it has been led astray: then it goes
// the one with the fewest hops, which no other node can lengthen.
func TestAstrayGoesStraight(t *testing.T) {
	var list []contact.Contact
	for _, c := range []struct{ from, to, start, end int }{{1, 3, 10, 20}, {3, 4, 30, 60}, {1, 4, 500, 600}, {2, 1, 0, 600}} {
		list = append(list, contact.Contact{
			From: eid(c.from), To: eid(c.to), Start: moment(c.start), End: moment(c.end), Rate: 8 * contact.KilobitPerSecond,
		})
	}
	plan, err := contact.New(list)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		opts   []bundletest.Option
		known  store.Trace
		astray bool
	}{
		{name: "without hop count"},
		{name: "after a few hops", opts: []bundletest.Option{bundletest.Hops(64, 31)}},
		{name: "after half of its hops", opts: []bundletest.Option{bundletest.Hops(64, 32)}, astray: true},
		{name: "after half of an odd number", opts: []bundletest.Option{bundletest.Hops(63, 31)}},
		{name: "that was here before", known: store.Trace{Gone: &store.Gone{Reason: store.GoneReleased}}, astray: true},
	} {
		b := newBench(t, plan, false, func(cfg *core.Config) {
			cfg.Neighbours = append(cfg.Neighbours, core.Neighbour{Peer: eid(3)}, core.Neighbour{Peer: eid(4)})
		})
		b.step(core.LinkUp{Link: 1, Peer: eid(2)})
		bndl := bundletest.New(append([]bundletest.Option{
			bundletest.From(eid(9)), bundletest.To(eid(4).WithService(1)), bundletest.Custody(eid(2), 1, 7),
			bundletest.At(start, 1),
		}, c.opts...)...)
		b.step(core.Arrival{Token: 1, Link: 1, Bundle: &bndl, Known: c.known, HeaderLen: 100, Size: 200, Priority: bundle.PriorityNormal})
		if len(b.kept) != 1 || b.kept[0].Astray != c.astray {
			t.Fatalf("a bundle %s: kept %+v, want it astray: %v", c.name, b.kept, c.astray)
		}
		for _, l := range b.core.Status(1).Links {
			if want := l.Peer == eid(4) && c.astray || l.Peer == eid(3) && !c.astray; want != (l.Queued == 1) {
				t.Errorf("a bundle %s: %d bundles wait for %s", c.name, l.Queued, l.Peer)
			}
		}
	}
}
