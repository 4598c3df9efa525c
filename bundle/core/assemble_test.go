package core_test

import (
	"errors"
	"testing"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/bundletest"
	"perigee/bundle/contact"
	"perigee/bundle/core"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// unit is a bundle of node 2 for node 1, to be cut as a test likes.
type unit struct {
	bundle  bundle.Bundle
	payload []byte
}

func newUnit(size int, opts ...bundletest.Option) unit {
	b := bundletest.New(append([]bundletest.Option{
		bundletest.From(eid(2).WithService(1)), bundletest.To(eid(1).WithService(1)), bundletest.At(start, 77),
		bundletest.Hops(30, 1),
	}, opts...)...)
	b.Payload.Length = uint64(size)
	return unit{b, bundletest.Payload(9, size)}
}

// part is the bytes of the fragment from one byte of the payload to another.
func (u *unit) part(t *testing.T, from, to int) []byte {
	t.Helper()
	f, err := u.bundle.Fragment(uint64(from), uint64(to-from))
	if err != nil {
		t.Fatal(err)
	}
	return f.Append(nil, u.payload[from:to])
}

// reassembler makes node 1 with a link from node 2, whose applications collect what
// is delivered.
func reassembler(t *testing.T) (*world, *machine, *[]store.Record) {
	t.Helper()
	w := newWorld(t, 1, nil)
	m := w.add(options{always: true})
	var delivered []store.Record
	m.deliver = func(rec store.Record) { delivered = append(delivered, rec) }
	m.boot()
	m.step(core.LinkUp{Link: 1, Peer: eid(2)})
	return w, m, &delivered
}

func TestReassembly(t *testing.T) {
	for name, cuts := range map[string][][2]int{
		"in order":              {{0, 40}, {40, 100}},
		"from behind":           {{60, 100}, {30, 60}, {0, 30}},
		"overlapping":           {{0, 60}, {30, 100}},
		"one within another":    {{0, 60}, {10, 20}, {15, 100}},
		"twice":                 {{0, 50}, {0, 50}, {50, 100}},
		"a gap closed at last":  {{0, 10}, {20, 100}, {5, 25}},
		"one that is all of it": {{50, 100}, {0, 100}},
	} {
		t.Run(name, func(t *testing.T) {
			w, m, delivered := reassembler(t)
			u := newUnit(100)
			w.sent[u.bundle.ID()] = &fate{id: u.bundle.ID(), primary: u.bundle.Primary, payload: u.payload, expiry: u.bundle.Expiry(start)}
			for i, cut := range cuts {
				if len(*delivered) != 0 {
					t.Fatalf("delivered after %d of %d fragments", i, len(cuts))
				}
				m.arrive(1, u.part(t, cut[0], cut[1]), func(err error) {
					if err != nil {
						t.Errorf("fragment %v: %v", cut, err)
					}
				})
				w.pass(second)
			}
			if len(*delivered) != 1 {
				t.Fatalf("delivered %d times", len(*delivered))
			}
			rec := (*delivered)[0]
			if rec.ID != u.bundle.ID() || rec.PayloadLen != 100 || rec.Flags&bundle.FlagFragment != 0 {
				t.Errorf("delivered %+v", rec)
			}
			if n := m.store.Stats().Bundles; n != 1 {
				t.Errorf("%d bundles in the store, want the whole alone", n)
			}
			m.ack(rec)
			w.pass(second)
			// What comes again, in whatever form, is known.
			m.arrive(1, u.part(t, 0, 70), nil)
			m.arrive(1, u.bundle.Append(nil, u.payload), nil)
			m.listen()
			w.pass(second)
			if len(*delivered) != 1 || m.store.Stats().Bundles != 0 {
				t.Errorf("after copies came again: delivered %d times, %d bundles in the store", len(*delivered), m.store.Stats().Bundles)
			}
		})
	}
}

// What came before a restart counts after it, and what was delivered before it is
// known after it.
func TestReassemblySurvivesRestarts(t *testing.T) {
	w, m, delivered := reassembler(t)
	u := newUnit(100)
	again := func() {
		m.crash()
		w.pass(second)
		m.boot()
		m.step(core.LinkUp{Link: 7, Peer: eid(2)})
	}
	m.arrive(1, u.part(t, 0, 40), nil)
	w.pass(second)
	again()
	m.arrive(7, u.part(t, 30, 100), nil)
	w.pass(second)
	if len(*delivered) != 1 {
		t.Fatalf("delivered %d times", len(*delivered))
	}
	m.ack((*delivered)[0])
	w.pass(second)
	again()
	m.arrive(7, u.part(t, 0, 40), nil)
	m.arrive(7, u.part(t, 40, 100), nil)
	w.pass(second)
	if len(*delivered) != 1 || m.store.Stats().Bundles != 0 {
		t.Errorf("after the restart: delivered %d times, %d bundles in the store", len(*delivered), m.store.Stats().Bundles)
	}
}

// The whole bundle takes the place of the fragments that came before it.
func TestWholeReplacesFragments(t *testing.T) {
	w, m, delivered := reassembler(t)
	u := newUnit(100)
	m.arrive(1, u.part(t, 0, 40), nil)
	w.pass(second)
	m.arrive(1, u.bundle.Append(nil, u.payload), nil)
	w.pass(second)
	m.arrive(1, u.part(t, 40, 100), nil)
	w.pass(second)
	if len(*delivered) != 1 || m.store.Stats().Bundles != 1 {
		t.Errorf("delivered %d times, %d bundles in the store", len(*delivered), m.store.Stats().Bundles)
	}
}

// A node without room for the whole bundle keeps the fragments and tries again.
func TestReassemblyWaitsForRoom(t *testing.T) {
	w, m, delivered := reassembler(t)
	u := newUnit(100)
	m.arrive(1, u.part(t, 0, 40), nil)
	w.pass(second)
	m.arrive(1, u.part(t, 40, 100), nil)
	w.run(w.now.Add(30), func() bool { // until the second fragment is stored
		return m.store.Stats().Bundles == 2
	})
	m.full = true
	w.pass(10 * second)
	if len(*delivered) != 0 || m.store.Stats().Bundles != 2 {
		t.Fatalf("without room: delivered %d times, %d bundles in the store", len(*delivered), m.store.Stats().Bundles)
	}
	m.full = false
	w.pass(40 * second)
	if len(*delivered) != 1 || m.store.Stats().Bundles != 1 {
		t.Errorf("with room: delivered %d times, %d bundles in the store", len(*delivered), m.store.Stats().Bundles)
	}
}

// Fragments that do not belong together never make a bundle.
func TestContradictingFragments(t *testing.T) {
	w, m, delivered := reassembler(t)
	u, longer := newUnit(100), newUnit(200)
	m.arrive(1, u.part(t, 0, 40), nil)
	w.pass(second)
	m.arrive(1, longer.part(t, 40, 200), nil)
	w.pass(second)
	if n := m.store.Stats().Bundles; n != 1 || len(*delivered) != 0 {
		t.Errorf("%d bundles in the store, delivered %d", n, len(*delivered))
	}
	m.arrive(1, u.part(t, 40, 100), nil)
	w.pass(second)
	if len(*delivered) != 1 {
		t.Error("what contradicts kept the bundle from being put together")
	}
}

// Fragments that wait for ever make room for those that come.
func TestAssemblyLimits(t *testing.T) {
	b := newBench(t, nil, true, func(cfg *core.Config) { cfg.MaxAssembling = 1000 })
	b.step(core.LinkUp{Link: 1, Peer: eid(2)})
	deleted := 0
	for n := range 10 {
		b.now = b.now.Add(second)
		b.arrive(1, false, 100, bundletest.From(eid(2)), bundletest.To(eid(1).WithService(1)), divisible, bundletest.Fragment(0, 1000), bundletest.Sequence(uint64(n)))
	}
	for _, r := range of[core.Notify](b.news) {
		if r.Event.Kind == app.EventDeleted {
			deleted++
		}
	}
	if deleted != 5 { // 200 bytes each, of which 5 find room
		t.Errorf("%d fragments were deleted, want 5", deleted)
	}
}

// An operator can remove a fragment; it is not put together with others then.
func TestRemovedFragment(t *testing.T) {
	w, m, delivered := reassembler(t)
	u := newUnit(100)
	m.arrive(1, u.part(t, 0, 40), nil)
	w.pass(second)
	records, err := m.store.Scan(0, 10)
	if err != nil || len(records) != 1 || records[0].Duty != store.DutyAssemble || records[0].Total != 100 {
		t.Fatalf("in the store: %+v, %v", records, err)
	}
	m.token++
	removed := errors.New("not answered")
	m.replies[m.token] = func(err error) { removed = err }
	m.step(core.Remove{Token: m.token, Record: records[0]})
	w.pass(second)
	if removed != nil {
		t.Fatal(removed)
	}
	m.arrive(1, u.part(t, 40, 100), nil)
	w.pass(second)
	if len(*delivered) != 0 {
		t.Error("delivered without its beginning")
	}
	m.arrive(1, u.part(t, 0, 40), nil)
	w.pass(second)
	if len(*delivered) != 1 {
		t.Error("not delivered when it came again")
	}
}

// A bundle that just fits into a contact, with no time for its acknowledgement, goes in
// two pieces and does not take up one contact after the other.
func TestPieceLeavesTimeForItsAnswer(t *testing.T) {
	plan, err := contact.New(between(1, 2, 0, 50, 8)) // 50 kB, less 200 bytes of guard
	if err != nil {
		t.Fatal(err)
	}
	for size, want := range map[int]bool{48_000: false, 49_500: true} {
		b := newBench(t, plan, false)
		b.arrive(0, false, size, divisible)
		sent := of[core.Transmit](b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true}))
		if len(sent) != 1 {
			t.Fatalf("%d bytes: %d transmissions", size, len(sent))
		}
		if got := sent[0].Piece != (core.Piece{}); got != want {
			t.Errorf("%d bytes were sent as %+v", size, sent[0].Piece)
		}
	}
}

// A bundle that turns out not to be divisible gives back the time that its piece would
// have taken, and others go.
func TestRefusedPieceGivesTimeBack(t *testing.T) {
	plan, err := contact.New(between(1, 2, 0, 50, 8))
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, plan, false)
	b.arrive(0, false, 100_000, divisible)
	b.arrive(0, false, 40_000)
	first := of[core.Transmit](b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true}))
	if len(first) != 1 || first[0].Piece == (core.Piece{}) {
		t.Fatalf("sent %+v, want a piece", first)
	}
	next := of[core.Transmit](b.step(core.Sent{Link: 1, Handle: first[0].Record.Handle, Err: bundle.ErrNotFragmentable}))
	if len(next) != 1 || next[0].Record.Handle == first[0].Record.Handle {
		t.Errorf("then sent %+v, want the other bundle", next)
	}
	asks := newBench(t, plan, false)
	made := bundletest.New(bundletest.From(eid(1).WithService(1)), bundletest.To(eid(2).WithService(1)), bundletest.At(asks.now, 1), bundletest.Lifetime(dtntime.Day))
	made.Payload.Length = 99_900
	asks.step(core.Arrival{Token: 1, Bundle: &made, HeaderLen: 100, Size: 100_000, Reporting: bundle.ReportingDelivered})
	if sent := of[core.Transmit](asks.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true})); len(sent) != 0 {
		t.Errorf("of a bundle that asks for compressed reports, %+v was sent", sent[0].Piece)
	}
}

// The neighbour's limit, not only the contact, decides how large a piece is.
func TestPiecesFitTheNeighbour(t *testing.T) {
	b := newBench(t, nil, true)
	b.arrive(0, false, 10_000, divisible)
	custodial := of[core.Reply](b.arrive(0, true, 10_000))
	if len(custodial) != 1 || custodial[0].Err != nil {
		t.Fatalf("a bundle in custody was answered by %v", custodial)
	}
	sent := of[core.Transmit](b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true, MaxTransfer: 4000}))
	var done uint64
	for range 10 {
		if len(sent) != 1 {
			t.Fatalf("%d transmissions at once", len(sent))
		}
		x := sent[0]
		if x.Record.Custodial || x.Piece.Offset != done || x.Piece.Length == 0 || int64(x.Piece.Length)+x.Record.Size-x.Record.PayloadLen > 4000 {
			t.Fatalf("transmitted %+v of %s, want what follows byte %d", x.Piece, x.Record.ID, done)
		}
		done += x.Piece.Length
		if done == 10_000 {
			break
		}
		sent = of[core.Transmit](b.step(core.Sent{Link: 1, Handle: x.Record.Handle}))
	}
	if done != 10_000 {
		t.Errorf("%d bytes were sent", done)
	}
}
