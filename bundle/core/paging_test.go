package core_test

import (
	"maps"
	"slices"
	"testing"

	"perigee/bundle"
	"perigee/bundle/bundletest"
	"perigee/bundle/core"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// read reads a lane of what the bench stores.
func (b *bench) read(l core.Load) core.Loaded {
	b.loads = append(b.loads, l)
	answer := core.Loaded{Token: l.Token}
	for _, h := range slices.Sorted(maps.Keys(b.stored)) {
		rec := b.stored[h]
		if h <= l.After || rec.Lane() != l.Lane {
			continue
		}
		if len(answer.Records) == l.Limit {
			return answer
		}
		answer.Records = append(answer.Records, rec)
	}
	answer.End = true
	return answer
}

// restore lets the core begin with stored bundles.
func (b *bench) restore(records ...store.Record) {
	lanes := make(map[store.Lane]bool)
	for _, rec := range records {
		b.stored[rec.Handle] = rec
		if !lanes[rec.Lane()] {
			lanes[rec.Lane()] = true
			b.core.Restore(b.now, []store.Lane{rec.Lane()})
		}
	}
}

// resident configures a core that keeps n bundles in memory.
func resident(n int) func(*core.Config) {
	return func(cfg *core.Config) {
		cfg.MaxResident = n
		cfg.Neighbours = []core.Neighbour{{Peer: eid(2), Always: true}, {Peer: eid(3), Always: true}}
	}
}

// forwards takes everything that is transmitted and answers it as sent, until
// nothing comes any more, and returns the handles in order.
func (b *bench) forwards(effects []core.Effect) []store.Handle {
	var sent []store.Handle
	for {
		transmits := of[core.Transmit](effects)
		if len(transmits) == 0 {
			return sent
		}
		effects = nil
		for _, x := range transmits {
			sent = append(sent, x.Record.Handle)
			effects = append(effects, b.step(core.Sent{Link: x.Link, Handle: x.Record.Handle})...)
		}
	}
}

// sends lets an application send bundles without custody.
func (b *bench) sends(n, to int, p bundle.Priority) {
	for range n {
		b.arrive(0, false, 10, bundletest.To(eid(to).WithService(1)), bundletest.Priority(p))
	}
}

// Bundles for a node that is not there take no memory from others, and go in the
// order they came once it is.
func TestUnreachableDestinationStarvesNobody(t *testing.T) {
	b := newBench(t, nil, true, resident(64))
	b.sends(1000, 2, bundle.PriorityNormal)
	b.sends(100, 3, bundle.PriorityNormal)
	sent := b.forwards(b.step(core.LinkUp{Link: 3, Peer: eid(3)}))
	if len(sent) != 100 || !slices.IsSorted(sent) || sent[0] <= 1000 {
		t.Fatalf("%d of 100 bundles were sent to the node that is there", len(sent))
	}
	sent = b.forwards(b.step(core.LinkUp{Link: 2, Peer: eid(2)}))
	if len(sent) != 1000 || !slices.IsSorted(sent) {
		t.Errorf("%d of 1000 bundles were sent to the node that came later, in order: %v", len(sent), slices.IsSorted(sent))
	}
	if len(b.stored) != 0 {
		t.Errorf("%d bundles are left", len(b.stored))
	}
}

// What fills the memory makes room when something else can be sent.
func TestEviction(t *testing.T) {
	b := newBench(t, nil, true, resident(32))
	for node := 10; node < 60; node++ {
		b.sends(3, node, bundle.PriorityNormal) // no route leads there
	}
	inbox := eid(1).WithService(5)
	for range 40 {
		b.arrive(0, false, 10, bundletest.To(inbox))
	}
	b.sends(200, 2, bundle.PriorityBulk)
	sent := b.forwards(b.step(core.LinkUp{Link: 2, Peer: eid(2)}))
	if len(sent) != 200 || !slices.IsSorted(sent) {
		t.Fatalf("%d of 200 bundles were sent", len(sent))
	}
	last := store.Handle(0)
	for i := range 40 {
		got := of[core.Deliver](b.step(core.Receive{Token: core.Token(5000 + i), Endpoint: inbox}))
		if len(got) != 1 || got[0].Record.Handle <= last {
			t.Fatalf("delivery %d: %v behind %d", i+1, got, last)
		}
		last = got[0].Record.Handle
		b.step(core.Ack{Token: core.Token(6000 + i), Handle: last})
	}
}

// Urgent bundles go first although only less urgent ones are in memory.
func TestPriorityAcrossParked(t *testing.T) {
	b := newBench(t, nil, true, resident(8))
	for _, p := range []bundle.Priority{bundle.PriorityBulk, bundle.PriorityNormal, bundle.PriorityExpedited} {
		b.sends(50, 2, p)
	}
	var order []bundle.Priority
	kinds := make(map[store.Handle]bundle.Priority)
	for h, rec := range b.stored {
		kinds[h] = rec.Priority
	}
	for _, h := range b.forwards(b.step(core.LinkUp{Link: 2, Peer: eid(2)})) {
		order = append(order, kinds[h])
	}
	slices.Reverse(order)
	if len(order) != 150 || !slices.IsSorted(order) {
		t.Errorf("%d of 150 were sent, the last first: %v", len(order), order)
	}
}

// A restart with many lanes reads what can go on and nothing else at first.
func TestRestartWithManyLanes(t *testing.T) {
	b := newBench(t, nil, true, resident(64))
	var records []store.Record
	for node := 2; node < 2002; node++ {
		for i := range 3 {
			records = append(records, store.Record{
				Handle: store.Handle(3*node + i), ID: bundle.ID{Source: eid(1).WithService(1), Created: bundle.Timestamp{Sequence: uint64(3*node + i)}},
				Destination: eid(node).WithService(1), Duty: store.DutyForward, Priority: bundle.PriorityNormal,
				Received: start - 1000, Expiry: start.Add(dtntime.Hour), Size: 100,
			})
		}
	}
	b.restore(records...)
	sent := b.forwards(b.step(core.LinkUp{Link: 3, Peer: eid(3)}))
	if len(sent) != 3 || b.stored[9].Handle != 0 || len(b.stored) != len(records)-3 {
		t.Errorf("sent %v, %d of %d left", sent, len(b.stored), len(records))
	}
	if len(b.loads) > 100 {
		t.Errorf("%d loads", len(b.loads))
	}
}

// Parked bundles expire as others do, with their reports.
func TestExpiryOfParked(t *testing.T) {
	b := newBench(t, nil, true, resident(8), func(cfg *core.Config) { cfg.StatusReports = true })
	for i := range 100 {
		life := 30 * second
		if i%2 == 0 {
			life = dtntime.Hour
		}
		b.arrive(0, false, 10, bundletest.Lifetime(life), bundletest.ReportTo(eid(3), bundle.FlagReportDeleted))
	}
	made := len(b.made)
	for b.now < start.Add(3*dtntime.Minute) {
		b.now = min(b.core.NextWake(), start.Add(3*dtntime.Minute))
		b.step(core.Tick{})
	}
	left := 0
	for _, rec := range b.stored {
		if rec.Flags&bundle.FlagAdminRecord == 0 {
			left++
		}
	}
	if left != 50 || len(b.made)-made != 50 || b.core.Status(0).Counters.BundlesDeleted != 50 {
		t.Errorf("%d are left and %d reports were made, want 50 of each", left, len(b.made)-made)
	}
}

// A parked bundle is removed as any other.
func TestRemoveParked(t *testing.T) {
	b := newBench(t, nil, true, resident(8))
	b.sends(50, 2, bundle.PriorityNormal)
	reply := of[core.Reply](b.step(core.Remove{Token: 900, Record: b.stored[50]}))
	if len(reply) != 1 || reply[0].Err != nil || len(b.stored) != 49 {
		t.Fatalf("answered by %v, %d stored", reply, len(b.stored))
	}
	if sent := b.forwards(b.step(core.LinkUp{Link: 2, Peer: eid(2)})); len(sent) != 49 || slices.Contains(sent, 50) {
		t.Errorf("%d of 49 were sent", len(sent))
	}
}

// A copy of a parked bundle is known again, and a custody asked for with it is taken.
func TestCopyOfParked(t *testing.T) {
	b := newRelay(t, func(cfg *core.Config) { cfg.MaxResident = 8 })
	var copies [][]bundletest.Option
	for i := range 40 {
		copies = append(copies, asked(bundletest.Custody(eid(2), 7, uint64(i)), bundletest.At(start, uint64(1000+i))))
		b.arrive(linkBack, false, 10, copies[i]...)
	}
	last := b.kept[39]
	again := func(seqID uint64) {
		rec := b.stored[last.Handle]
		bndl := bundletest.New(append([]bundletest.Option{
			bundletest.From(eid(1)), bundletest.Flags(bundle.FlagMustNotFragment), bundletest.Lifetime(dtntime.Hour),
		}, append(copies[39], bundletest.Custody(eid(2), seqID, 39))...)...)
		b.step(core.Arrival{Token: 800, Link: linkBack, Bundle: &bndl, HeaderLen: 100, Size: 110, Known: store.Trace{Live: &rec}})
	}
	again(7)
	if b.stored[last.Handle].From != last.From || b.core.Status(0).Counters.Duplicates != 1 {
		t.Errorf("the same episode again: %+v", b.stored[last.Handle])
	}
	again(8)
	rec := b.stored[last.Handle]
	if rec.From.SeqID != 8 || rec.Own == last.Own || b.core.Status(0).Counters.Duplicates != 2 {
		t.Errorf("another episode: %+v", rec)
	}
}
