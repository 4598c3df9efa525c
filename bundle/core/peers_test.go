package core_test

import (
	"bytes"
	"errors"
	"testing"

	"perigee/bundle"
	"perigee/bundle/bpsec"
	"perigee/bundle/bundletest"
	"perigee/bundle/core"
	"perigee/bundle/dtntime"
	"perigee/bundle/route"
	"perigee/bundle/store"
)

func keyOf(t *testing.T, fill byte) *bpsec.Key {
	t.Helper()
	key, err := bpsec.NewKey(bytes.Repeat([]byte{fill}, 48))
	if err != nil {
		t.Fatal(err)
	}
	return &key
}

func peers(p core.CustodyPeer) func(*core.Config) {
	return func(cfg *core.Config) { cfg.Peers = map[bundle.EID]core.CustodyPeer{eid(2): p} }
}

// Signals that name a node with a key as their source release nothing unless it
// signed them; and those to it are signed.
func TestSignedSignals(t *testing.T) {
	good, bad := keyOf(t, 1), keyOf(t, 2)
	for name, tt := range map[string]struct {
		key      *bpsec.Key // of the sender
		signer   bundle.EID
		released bool
	}{
		"signed":              {good, eid(2), true},
		"another key":         {bad, eid(2), false},
		"another's signature": {good, eid(3), false},
		"not signed":          {nil, eid(2), false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil, true, peers(core.CustodyPeer{Key: good}))
			b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true})
			own := of[core.Transmit](b.arrive(0, true, 100))[0].Record.Own
			record := (&bundle.CustodySignal{Accepted: runs(own.SeqID, bundle.Range{First: own.SeqNum, Count: 1})}).Append(nil)
			made := bundletest.New(bundletest.From(eid(2)), bundletest.To(eid(1)), bundletest.Flags(bundle.FlagAdminRecord), bundletest.At(b.now, 9))
			made.Payload.Length = uint64(len(record))
			if tt.key != nil {
				if err := bpsec.Sign(&made, record, tt.signer, *tt.key); err != nil {
					t.Fatal(err)
				}
			}
			b.step(core.Arrival{Token: 9, Link: 1, Bundle: &made, Size: 100, Admin: record})
			held, _ := custodyOf(b)
			if released := held == 0; released != tt.released {
				t.Errorf("released: %v", released)
			}
			if got := b.core.Status(0).Custody.Rejected["unauthenticated"]; (got == 0) != tt.released {
				t.Errorf("%d signals counted as unauthenticated", got)
			}
		})
	}
	b := newRelay(t, peers(core.CustodyPeer{Key: good}))
	b.arrive(linkBack, false, 100, asked()...)
	b.now = b.now.Add(6 * second)
	b.step(core.Tick{})
	if len(b.made) != 1 {
		t.Fatalf("%d signals", len(b.made))
	}
	if err := bpsec.Verify(&b.made[0], b.said[0], eid(1), *good); err != nil {
		t.Errorf("the signal of this node: %v", err)
	}
	if err := b.made[0].Check(); err != nil {
		t.Errorf("the signed signal would be refused: %v", err)
	}
	if err := bpsec.Verify(&b.made[0], b.said[0], eid(1), *bad); !errors.Is(err, bpsec.ErrFailed) {
		t.Errorf("by another key: %v", err)
	}
}

// With custody off, nothing is taken over from the neighbour, nothing said to it,
// and nothing that it says is honoured.
func TestCustodyOff(t *testing.T) {
	b := newRelay(t, peers(core.CustodyPeer{Off: true}))
	b.arrive(linkBack, false, 100, asked()...)
	if said := b.signals(); b.kept[0].Custodial || len(said) != 0 {
		t.Errorf("custodial %v, said %v", b.kept[0].Custodial, said)
	}
	sent := of[core.Transmit](b.arrive(0, true, 100))
	own := sent[0].Record.Own
	b.signal(eid(2), linkBack, bundle.CustodySignal{Accepted: runs(own.SeqID, bundle.Range{First: own.SeqNum, Count: 1})})
	if held, _ := custodyOf(b); held != 1 || b.core.Status(0).Custody.Rejected["custody-off"] != 1 {
		t.Errorf("%d in custody, rejected %v", held, b.core.Status(0).Custody.Rejected)
	}
}

// With a neighbour that follows bplib's draft, custody travels under its numbers,
// both ways, and its form of signals; on the way to others it has theirs.
func TestCustodyWithBplib(t *testing.T) {
	cp := bundle.BplibDraftCodePoints()
	b := newRelay(t, peers(core.CustodyPeer{Points: cp}))
	blk := bundle.CustodyBlock(9, bundle.Custody{Custodian: eid(2), SeqID: 7, SeqNum: 5})
	blk.Type = cp.Custody
	from := []bundletest.Option{bundletest.From(eid(2).WithService(1)), bundletest.To(eid(3).WithService(1)), bundletest.PreviousNode(eid(2)), bundletest.Block(blk)}
	sent := of[core.Transmit](b.arrive(linkBack, false, 100, from...))
	if len(sent) != 1 || !b.kept[0].Custodial || b.kept[0].From != (store.Episode{Custodian: eid(2), SeqID: 7, SeqNum: 5}) {
		t.Fatalf("kept %+v", b.kept)
	}
	on := bundletest.New(from...)
	if err := sent[0].Changes.Apply(&on, &b.kept[0], b.now); err != nil {
		t.Fatal(err)
	}
	if _, ok := cp.CustodyOf(&on); ok {
		t.Error("the block of bplib goes on to another neighbour")
	}
	if c, ok := on.Custody(); !ok || c.Custodian != eid(1) {
		t.Errorf("custody goes on as %+v, %v", c, ok)
	}
	b.now = b.now.Add(6 * second)
	b.step(core.Tick{})
	if want := []byte{0x82, 0x04, 0xa1, 0x01, 0x83, 0x07, 0x05, 0x01}; len(b.said) != 1 || !bytes.Equal(b.said[0], want) {
		t.Errorf("said %x, want %x", b.said, want)
	}

	sent = of[core.Transmit](b.arrive(0, true, 100))
	own := sent[0].Record.Own
	out := bundletest.New(bundletest.From(eid(1)), bundletest.To(eid(2).WithService(1)))
	if err := sent[0].Changes.Apply(&out, &sent[0].Record, b.now); err != nil {
		t.Fatal(err)
	}
	if c, ok := cp.CustodyOf(&out); !ok || c.SeqNum != own.SeqNum {
		t.Errorf("bplib is asked by %+v, %v", c, ok)
	}
	before, _ := custodyOf(b)
	records := cp.CustodyRecords(&bundle.CustodySignal{Accepted: runs(own.SeqID, bundle.Range{First: own.SeqNum, Count: 1})})
	b.say(eid(2), records[0])
	if held, _ := custodyOf(b); held != before-1 {
		t.Errorf("its signal released %d bundles", before-held)
	}
}

// ION keeps the number of its predecessor. A bundle that was passed on and comes
// again under the same number is taken again from such a neighbour; from others it
// is a retransmission and only answered.
func TestIONKeepsNumbers(t *testing.T) {
	routes, err := route.NewTable([]route.Route{{To: "*", Next: eid(3)}})
	if err != nil {
		t.Fatal(err)
	}
	for _, ion := range []bool{false, true} {
		b := newRelay(t, peers(core.CustodyPeer{ION: ion}), func(cfg *core.Config) { cfg.Routes = routes })
		bndl := bundletest.New(asked(bundletest.At(b.now, 1), bundletest.Lifetime(dtntime.Hour), bundletest.Flags(bundle.FlagMustNotFragment))...)
		gone := store.Gone{
			ID: bndl.ID(), From: store.Episode{Custodian: eid(2), SeqID: 7, SeqNum: 5}, Reason: store.GoneReleased, At: b.now, Until: b.now.Add(dtntime.Hour),
		}
		b.step(core.Arrival{Token: 1, Link: linkBack, Bundle: &bndl, HeaderLen: 100, Size: 200, Known: store.Trace{Gone: &gone}})
		if taken := len(b.kept) == 1; taken != ion {
			t.Errorf("ion %v: taken again: %v", ion, taken)
		}
		if got := verdict(b.signals()[eid(2)]); got != "accepted" {
			t.Errorf("ion %v: said %s", ion, got)
		}
		gone.Reason = store.GoneDelivered
		b.kept = nil
		b.step(core.Arrival{Token: 2, Link: linkBack, Bundle: &bndl, HeaderLen: 100, Size: 200, Known: store.Trace{Gone: &gone}})
		if len(b.kept) != 0 && !b.kept[0].ID.Source.IsNull() && b.kept[0].ID == bndl.ID() {
			t.Errorf("ion %v: what was delivered is taken again", ion)
		}
	}
}

// ION refuses blocks that have a CRC and ask to be discarded where they are not known;
// so such blocks go to it without one, and to others as they are.
func TestIONBlocks(t *testing.T) {
	for _, ion := range []bool{false, true} {
		b := newRelay(t, func(cfg *core.Config) { cfg.Peers = map[bundle.EID]core.CustodyPeer{eid(3): {ION: ion}} })
		hops := bundle.HopCountBlock(20, bundle.HopCount{Limit: 30})
		hops.Flags, hops.CRC = bundle.BlockDiscard, bundle.CRC16
		age := bundle.BundleAgeBlock(21, 0)
		age.CRC = bundle.CRC32C
		kept := bundle.Block{Type: bundle.TypePriority, Number: 22, Flags: bundle.BlockDiscard, CRC: bundle.CRC32C, Data: []byte{1}}
		from := asked(bundletest.Block(hops), bundletest.Block(age), bundletest.Block(kept))
		sent := of[core.Transmit](b.arrive(linkBack, false, 100, from...))
		on := bundletest.New(from...)
		if err := sent[0].Changes.Apply(&on, &sent[0].Record, b.now); err != nil {
			t.Fatal(err)
		}
		if crc := on.Extension(bundle.TypePriority).CRC; (crc == bundle.CRCNone) != ion {
			t.Errorf("ion %v: the block that asks to be discarded has CRC %d", ion, crc)
		}
		if on.Extension(bundle.TypeCustody).CRC != bundle.CRC32C {
			t.Errorf("ion %v: the custody block has no CRC", ion)
		}
	}
}

// Bundles of two custodians that have passed through one of ION's bear the same number.
// Both are taken over, and one answer releases both there.
func TestIONReusesNumbers(t *testing.T) {
	b := newRelay(t, peers(core.CustodyPeer{ION: true}))
	for n := range uint64(2) {
		b.arrive(linkBack, false, 100, asked(bundletest.Sequence(100+n))...)
	}
	if held, _ := custodyOf(b); held != 2 {
		t.Errorf("%d of 2 bundles are in custody", held)
	}
	said := b.signals()[eid(2)]
	if len(said) != 1 || len(said[0].Accepted) != 1 || said[0].Accepted[0].Ranges[0] != (bundle.Range{First: 5, Count: 1}) {
		t.Errorf("said %+v", said)
	}
	b.arrive(linkBack, false, 100, asked(bundletest.Custody(eid(2), 0, 9), bundletest.Sequence(102))...)
	said = b.signals()[eid(2)]
	if len(said) != 1 || said[0].Accepted[0].SeqID != 0 || said[0].Accepted[0].Destination != eid(3).WithService(1) {
		t.Errorf("about sequence 0 it said %+v, want the destination in its place", said)
	}
	// It names whoever a signal goes to in place of a sequence 0: no number of this
	// node is meant.
	b.signal(eid(2), linkBack, bundle.CustodySignal{Accepted: []bundle.Sequence{{Destination: eid(1), Ranges: []bundle.Range{{First: 0, Count: 100}}}}})
	if held, _ := custodyOf(b); held != 3 {
		t.Errorf("after that %d bundles are in custody", held)
	}
}
