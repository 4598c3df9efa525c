package core_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/bundletest"
	"perigee/bundle/core"
	"perigee/bundle/dtntime"
)

// allReports asks for every compressed report.
const allReports = bundle.ReportingReceived | bundle.ReportingForwarded | bundle.ReportingDelivered |
	bundle.ReportingDeleted | bundle.ReportingCustodyAccepted | bundle.ReportingCustodyRefused

// compressed makes a bundle of node 2 to node 3 that asks judge to be told in
// compressed form, under number n of sequence 7.
func compressed(n uint64, opts ...bundletest.Option) []bundletest.Option {
	return append([]bundletest.Option{
		bundletest.From(eid(2).WithService(1)), bundletest.To(eid(3).WithService(1)), bundletest.ReportTo(judge, 0),
		bundletest.Sequence(n), bundletest.Block(bundle.ReportingBlock(20, bundle.Reporting{SeqNum: n, SeqID: 7, Requests: allReports})),
	}, opts...)
}

// told lets compressed reports become due and returns what they say, in order of
// status, as "forwarded 7: 1-3, 9".
func (b *bench) told() []string {
	b.t.Helper()
	b.now = b.now.Add(6 * second)
	b.step(core.Tick{})
	var list []string
	for i, made := range b.made {
		rec, err := bundle.ParseAdminRecord(b.said[i])
		if err != nil {
			b.t.Fatalf("the node said what cannot be read: %v", err)
		}
		if rec.ReportingSignal == nil {
			continue
		}
		p := made.Primary
		if p.Destination != judge || p.Flags != bundle.FlagAdminRecord|bundle.FlagMustNotFragment || !p.ReportTo.IsNull() {
			b.t.Errorf("a report went out as %+v", p)
		}
		for status, sequences := range rec.ReportingSignal.Sequences {
			for _, seq := range sequences {
				list = append(list, fmt.Sprintf("%s %s", bundle.ReportedStatus(status), textOf(seq)))
			}
		}
	}
	b.made, b.said = nil, nil
	return list
}

func textOf(seq bundle.Sequence) string {
	text := fmt.Sprint(seq.SeqID)
	if seq.SeqID == 0 {
		text = seq.Destination.String()
	}
	if !seq.Source.IsNull() {
		text += " of " + seq.Source.String()
	}
	var runs []string
	for _, r := range seq.Ranges {
		run := fmt.Sprint(r.First)
		if r.Count > 1 {
			run += fmt.Sprintf("-%d", r.Last())
		}
		runs = append(runs, run)
	}
	return text + ": " + strings.Join(runs, ", ")
}

func (b *bench) wantTold(when string, want ...string) {
	b.t.Helper()
	if got := b.told(); !slices.Equal(got, want) {
		b.t.Errorf("%s: told %q, want %q", when, got, want)
	}
}

// finish tells the core that everything it transmits has arrived.
func (b *bench) finish(effects []core.Effect) {
	for queue := of[core.Transmit](effects); len(queue) > 0; queue = queue[1:] {
		x := queue[0]
		queue = append(queue, of[core.Transmit](b.step(core.Sent{Link: x.Link, Handle: x.Record.Handle}))...)
	}
}

// One signal tells of many bundles, each status apart.
func TestCompressedReportsOfARelay(t *testing.T) {
	b := reported(t)
	for _, n := range []uint64{1, 2, 3, 9} {
		b.finish(b.arrive(linkBack, false, 10, compressed(n)...))
	}
	b.wantTold("after 5 s", "received 7 of ipn:2.1: 1-3, 9", "forwarded 7 of ipn:2.1: 1-3, 9")
	b.wantTold("when nothing is new")
	if n := b.core.Status(0).Counters.ReportsSent; n != 1 {
		t.Errorf("%d signals were sent", n)
	}
	inbox := eid(1).WithService(1)
	b.step(core.Receive{Token: 1001, Endpoint: inbox})
	got := of[core.Deliver](b.arrive(linkBack, false, 10, compressed(4, bundletest.To(inbox))...))
	b.step(core.Ack{Token: 1002, Handle: got[0].Record.Handle})
	b.wantTold("at its destination", "received 7 of ipn:2.1: 4", "delivered 7 of ipn:2.1: 4")
	b.arrive(linkBack, false, 10, compressed(5, bundletest.Hops(3, 3))...)
	b.wantTold("at its hop limit", "received 7 of ipn:2.1: 5", "deleted 7 of ipn:2.1: 5")
	b.arrive(linkBack, false, 10, compressed(6, bundletest.To(eid(77)))...)
	b.told()
	b.now = b.now.Add(2 * 3600 * second)
	b.step(core.Tick{})
	b.wantTold("expired", "deleted 7 of ipn:2.1: 6")
}

// Custody is reported, too.
func TestCompressedReportsOfCustody(t *testing.T) {
	b := reported(t)
	custody := bundletest.Custody(eid(2), 4, 1)
	b.arrive(linkBack, false, 10, compressed(1, custody)...)
	b.wantTold("taken over", "received 7 of ipn:2.1: 1", "custody accepted 7 of ipn:2.1: 1")
	b.arrive(linkBack, false, 10, compressed(2, custody, bundletest.To(eid(77).WithService(1)))...)
	b.wantTold("declined", "received 7 of ipn:2.1: 2", "deleted 7 of ipn:2.1: 2", "custody refused 7 of ipn:2.1: 2")
}

// A block may say who issued the number and where to report to; a sequence 0 is named
// by the destination.
func TestCompressedReportsByTheBlock(t *testing.T) {
	b := reported(t)
	block := func(r bundle.Reporting) bundletest.Option { return bundletest.Block(bundle.ReportingBlock(20, r)) }
	from := []bundletest.Option{bundletest.From(eid(2).WithService(1)), bundletest.To(eid(3).WithService(1))}
	b.arrive(linkBack, false, 10, append(from, block(bundle.Reporting{SeqNum: 5, Requests: bundle.ReportingReceived, Source: eid(9).WithService(2), ReportTo: judge}))...)
	b.wantTold("with all items", "received ipn:3.1 of ipn:9.2: 5")
	b.arrive(linkBack, false, 10, append(from, bundletest.ReportTo(judge, 0), block(bundle.Reporting{SeqNum: 5, SeqID: 7, Requests: bundle.ReportingReceived, Source: judge.WithService(4)}))...)
	b.wantTold("to the node that issued it", "received 7: 5")
}

// The rules for status reports hold for these as well.
func TestCompressedReportsAreNotGiven(t *testing.T) {
	twice := bundletest.Block(bundle.ReportingBlock(21, bundle.Reporting{SeqNum: 9, SeqID: 7, Requests: allReports}))
	for name, opts := range map[string][]bundletest.Option{
		"an administrative record": {bundletest.Flags(bundle.FlagAdminRecord)},
		"of nobody":                {bundletest.From(bundle.EID{})},
		"nowhere to report to":     {bundletest.ReportTo(bundle.EID{}, 0)},
		"to many nodes":            {bundletest.ReportTo(fleet, 0)},
		"a fragment":               {divisible, bundletest.Fragment(0, 1000)},
		"two blocks":               {twice},
	} {
		t.Run(name, func(t *testing.T) {
			b := reported(t)
			b.finish(b.arrive(linkBack, false, 10, compressed(1, opts...)...))
			b.wantTold("when it had gone on")
		})
	}
	off := newRelay(t)
	off.finish(off.arrive(linkBack, false, 10, compressed(1)...))
	off.wantTold("with reports switched off")
	nothing := reported(t)
	nothing.finish(nothing.arrive(linkBack, false, 10, onward(quietly, bundletest.Block(bundle.ReportingBlock(20, bundle.Reporting{SeqNum: 1, SeqID: 7})))...))
	nothing.wantTold("when nothing is asked for")
}

// Signals leave when there is much to tell, with a link only, and when the node stops.
func TestCompressedReportsAreFlushed(t *testing.T) {
	b := reported(t)
	for n := range uint64(1000) {
		b.finish(b.arrive(linkBack, false, 10, compressed(2*n)...))
	}
	if n := len(b.made); n < 2 || n > 8 {
		t.Errorf("%d signals about 1000 bundles with gaps, twice", n)
	}
	for _, payload := range b.said {
		if len(payload) < 1000 || len(payload) > 1100 {
			t.Errorf("a signal of %d bytes went out", len(payload))
		}
	}
	b.told()
	b.step(core.LinkDown{Link: linkOn})
	b.arrive(linkBack, false, 10, compressed(5000)...)
	b.wantTold("without a link")
	b.step(core.Shutdown{})
	b.wantTold("when the node stops", "received 7 of ipn:2.1: 5000")
}

// A neighbour without such signals gets none; blocks go on under the number that it
// has for them.
func TestCompressedReportsWithBplib(t *testing.T) {
	cp := bundle.BplibDraftCodePoints()
	b := reported(t, func(cfg *core.Config) { cfg.Peers = map[bundle.EID]core.CustodyPeer{eid(2): {Points: cp}} })
	blk := bundle.ReportingBlock(20, bundle.Reporting{SeqNum: 5, SeqID: 7, Requests: allReports})
	blk.Type = cp.Reporting
	from := onward(quietly, bundletest.Block(blk))
	sent := of[core.Transmit](b.arrive(linkBack, false, 10, from...))
	on := bundletest.New(from...)
	if err := sent[0].Changes.Apply(&on, &sent[0].Record, b.now); err != nil {
		t.Fatal(err)
	}
	if r, ok := on.Reporting(); !ok || r.SeqNum != 5 {
		t.Errorf("it goes on with %+v, %v", r, ok)
	}
	b.wantTold("about it", "received 7 of ipn:2.1: 5")
	b.arrive(linkBack, false, 10, compressed(6, bundletest.ReportTo(eid(2), 0))...)
	if b.told(); len(b.made) != 0 {
		t.Error("a signal went to a node that has none")
	}
}

// asking makes node 1 send n bundles that ask for compressed reports, and returns their
// IDs and numbers.
func asking(t *testing.T, b *bench, n int, opts ...bundletest.Option) (ids []bundle.ID, numbers []bundle.Reporting) {
	t.Helper()
	for i := range n {
		made := bundletest.New(append([]bundletest.Option{
			bundletest.From(eid(1).WithService(4)), bundletest.To(eid(3).WithService(1)), bundletest.ReportTo(eid(1), 0),
			bundletest.Flags(bundle.FlagMustNotFragment), bundletest.At(b.now, b.disk.stamp(b.now).Sequence), bundletest.Lifetime(dtntime.Hour),
		}, opts...)...)
		b.token++
		effects := b.step(core.Arrival{Token: b.token, Bundle: &made, HeaderLen: 100, Size: 110, Reporting: bundle.ReportingDelivered})
		sent := of[core.Transmit](effects)
		if len(sent) != 1 {
			t.Fatalf("bundle %d: %d transmissions", i, len(sent))
		}
		if err := sent[0].Changes.Apply(&made, &sent[0].Record, b.now); err != nil {
			t.Fatal(err)
		}
		r, ok := made.Reporting()
		if !ok || r.Requests != bundle.ReportingDelivered || r.SeqID == 0 || !r.Source.IsNull() || !r.ReportTo.IsNull() {
			t.Fatalf("bundle %d leaves with %+v, %v", i, r, ok)
		}
		ids, numbers = append(ids, made.ID()), append(numbers, r)
		b.step(core.Sent{Link: linkOn, Handle: sent[0].Record.Handle})
	}
	return ids, numbers
}

// tell gives the core a compressed report.
func (b *bench) tell(from bundle.EID, s bundle.ReportingSignal) []app.Event {
	return news(b.say(from, bundle.StandardCodePoints().ReportingRecords(&s)[0]), app.EventReported)
}

func delivered(list ...bundle.Sequence) (s bundle.ReportingSignal) {
	s.Sequences[bundle.StatusDelivered] = list
	return s
}

// Numbers of bundles made here follow each other, and what comes back is told of the
// bundles that they were given to.
func TestCompressedReportsComeBack(t *testing.T) {
	b := newRelay(t)
	ids, numbers := asking(t, b, 5)
	for i, r := range numbers {
		if r.SeqID != numbers[0].SeqID || r.SeqNum != uint64(i) {
			t.Errorf("bundle %d has number %d of sequence %d", i, r.SeqNum, r.SeqID)
		}
	}
	seq := bundle.Sequence{SeqID: numbers[0].SeqID, Ranges: []bundle.Range{{First: 1, Count: 2}, {First: 4, Count: 1}}}
	events := b.tell(eid(3), delivered(seq))
	var got []bundle.ID
	for _, e := range events {
		got = append(got, *e.Bundle)
		if *e.Peer != eid(3) || !strings.Contains(e.Detail, "delivered") {
			t.Errorf("told %+v", e)
		}
	}
	if want := []bundle.ID{ids[1], ids[2], ids[4]}; !slices.Equal(got, want) {
		t.Errorf("told of %v, want %v", got, want)
	}
	seq.Source = eid(1).WithService(4)
	if events := b.tell(eid(3), delivered(seq)); len(events) != 3 {
		t.Errorf("with this node named as the source, told of %d bundles", len(events))
	}
	if n := b.core.Status(0).Counters.ReportsIgnored; n != 0 {
		t.Errorf("%d were ignored", n)
	}
}

// What means nothing here is counted and costs nothing more.
func TestCompressedReportsAreIgnored(t *testing.T) {
	everything := []bundle.Range{{First: 0, Count: math.MaxUint64}}
	for name, tt := range map[string]struct {
		from   bundle.EID
		signal func(id uint64) bundle.ReportingSignal
		told   int
	}{
		"an unknown sequence": {eid(3), func(id uint64) bundle.ReportingSignal {
			return delivered(bundle.Sequence{SeqID: id + 99, Ranges: everything})
		}, 0},
		"another's numbers": {eid(3), func(id uint64) bundle.ReportingSignal {
			return delivered(bundle.Sequence{SeqID: id, Source: eid(9), Ranges: everything})
		}, 0},
		"by destination": {eid(3), func(uint64) bundle.ReportingSignal {
			return delivered(bundle.Sequence{Destination: eid(3).WithService(1), Ranges: everything})
		}, 0},
		"everything, many times": {eid(3), func(id uint64) (s bundle.ReportingSignal) {
			for status := range s.Sequences {
				for range bundle.MaxSequences {
					s.Sequences[status] = append(s.Sequences[status], bundle.Sequence{SeqID: id, Ranges: everything})
				}
			}
			return s
		}, 4096},
	} {
		t.Run(name, func(t *testing.T) {
			b := newRelay(t)
			_, numbers := asking(t, b, 20)
			if events := b.tell(tt.from, tt.signal(numbers[0].SeqID)); len(events) != tt.told {
				t.Errorf("told %d times, want %d", len(events), tt.told)
			}
			if n := b.core.Status(0).Counters.ReportsIgnored; n != 1 {
				t.Errorf("counted as ignored: %d", n)
			}
		})
	}
	b := newRelay(t, func(cfg *core.Config) { cfg.Peers = map[bundle.EID]core.CustodyPeer{eid(3): {Key: keyOf(t, 1)}} })
	_, numbers := asking(t, b, 1)
	seq := bundle.Sequence{SeqID: numbers[0].SeqID, Ranges: everything}
	if events := b.tell(eid(3), delivered(seq)); len(events) != 0 {
		t.Error("what a node with a key did not sign was told")
	}
	for range 1000 {
		b.tell(eid(66), delivered(seq))
	}
	if n := b.core.Status(0).Counters.ReportsIgnored; n < 900 {
		t.Errorf("of a flood of 1000, %d were ignored", n)
	}
}

// After a restart, the bundles that are still here are known by their numbers, and no
// number is given twice.
func TestCompressedReportsAfterRestart(t *testing.T) {
	b := newRelay(t)
	b.step(core.LinkDown{Link: linkOn})
	made := bundletest.New(bundletest.From(eid(1).WithService(4)), bundletest.To(eid(3).WithService(1)), bundletest.ReportTo(eid(1), 0), bundletest.At(b.now, 1), bundletest.Lifetime(dtntime.Hour))
	b.step(core.Arrival{Token: 1, Bundle: &made, HeaderLen: 100, Size: 110, Reporting: allReports})
	rec := b.kept[0]
	again := newRelay(t)
	again.restore(rec)
	again.step(core.Tick{})
	r, err := rec.Reporting.Parse()
	if err != nil {
		t.Fatal(err)
	}
	events := again.tell(eid(3), delivered(bundle.Sequence{SeqID: r.SeqID, Ranges: []bundle.Range{{First: r.SeqNum, Count: 1}}}))
	if len(events) != 1 || *events[0].Bundle != rec.ID {
		t.Errorf("told %+v", events)
	}
}

// Reports to this node itself reach those who watch it.
func TestCompressedReportsToThisNode(t *testing.T) {
	b := reported(t)
	effects := b.arrive(linkBack, false, 10, compressed(1, bundletest.ReportTo(eid(1), 0))...)
	if got := news(effects, app.EventReported); len(got) != 1 || !strings.Contains(got[0].Detail, "received") {
		t.Errorf("told %+v", got)
	}
	b.step(core.Receive{Token: 1001, Endpoint: eid(1).WithService(9)})
	b.arrive(linkBack, false, 10, compressed(2, bundletest.ReportTo(eid(1).WithService(9), 0))...)
	b.now = b.now.Add(6 * second)
	got := of[core.Deliver](b.step(core.Tick{}))
	if len(got) != 1 || got[0].Record.Flags&bundle.FlagAdminRecord == 0 {
		t.Errorf("delivered %+v", got)
	}
}
