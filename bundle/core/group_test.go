package core_test

import (
	"errors"
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
	"perigee/bundle/store"
	"perigee/convergence"
)

// fleet is a non-singleton endpoint.
var fleet = bundletest.EID("dtn://fleet/~news")

// registered registers applications at fleet.
func registered(numbers ...uint64) func(*core.Config) {
	return func(cfg *core.Config) {
		for _, n := range numbers {
			cfg.Registrations = append(cfg.Registrations, core.Registration{Number: n, Endpoint: fleet})
		}
	}
}

// toFleet makes the bundle that node 2 sends to fleet.
func toFleet(opts ...bundletest.Option) []bundletest.Option {
	return append([]bundletest.Option{bundletest.From(eid(2).WithService(1)), bundletest.To(fleet)}, opts...)
}

// wait lets the application of a registration wait and returns what it gets.
func (b *bench) wait(number uint64) []core.Deliver {
	b.token++
	return of[core.Deliver](b.step(core.Receive{Token: b.token, Endpoint: fleet, Registration: number}))
}

// take has the application of a registration make a bundle its own.
func (b *bench) take(number uint64, h store.Handle) error {
	b.token++
	r := of[core.Reply](b.step(core.Ack{Token: b.token, Handle: h, Registration: number}))
	if len(r) != 1 {
		b.t.Fatalf("an acknowledgement was answered by %v", r)
	}
	return r[0].Err
}

// over returns the links that something was transmitted over, each as often.
func over(effects []core.Effect) []core.LinkID {
	var links []core.LinkID
	for _, x := range of[core.Transmit](effects) {
		links = append(links, x.Link)
	}
	return links
}

// wantLeft checks what is left to be done with the only stored bundle; "gone" when
// there is none.
func (b *bench) wantLeft(when string, want store.Spread) {
	b.t.Helper()
	left := store.Spread("gone")
	for _, rec := range b.stored {
		left = rec.Spread
	}
	if len(b.stored) > 1 || left != want {
		b.t.Errorf("%s: %d bundles are stored, left of it is %q, want %q", when, len(b.stored), left, want)
	}
}

// A bundle for a non-singleton endpoint goes to every registration there and to every
// neighbour but the one that it came from, and leaves when all have it.
func TestGroupReachesAll(t *testing.T) {
	other := core.Registration{Number: 9, Endpoint: bundletest.EID("dtn://fleet/~other")}
	b := newRelay(t, registered(5, 7), func(cfg *core.Config) { cfg.Registrations = append(cfg.Registrations, other) })
	first := b.wait(5)
	effects := b.arrive(linkBack, false, 100, toFleet()...)
	first = append(first, of[core.Deliver](effects)...)
	if got := over(effects); !slices.Equal(got, []core.LinkID{linkOn}) {
		t.Errorf("sent over links %v, want %d alone", got, linkOn)
	}
	if len(first) != 1 || first[0].Registration != 5 {
		t.Fatalf("delivered %+v", first)
	}
	b.wantLeft("at first", "5 7 ipn:3.0")
	h := first[0].Record.Handle
	if err := b.take(5, h); err != nil {
		t.Fatal(err)
	}
	if err := b.take(5, h); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("acknowledged twice: %v", err)
	}
	if again := b.wait(5); len(again) != 0 {
		t.Errorf("delivered again to the same registration: %v", again)
	}
	b.wantLeft("after the first acknowledgement", "7 ipn:3.0")
	b.step(core.Sent{Link: linkOn, Handle: h})
	b.wantLeft("after the transmission", "7")
	second := b.wait(7)
	if len(second) != 1 || second[0].Record.Handle != h {
		t.Fatalf("delivered %+v to the second registration", second)
	}
	if err := b.take(7, h); err != nil {
		t.Fatal(err)
	}
	b.wantLeft("when all have it", "gone")
	if s := b.core.Status(0).Counters; s.BundlesDelivered != 2 || s.BundlesSent != 1 {
		t.Errorf("counted %+v", s)
	}
}

// What an application of this node sends goes to those that are registered here, too.
func TestGroupFromHere(t *testing.T) {
	b := newRelay(t, registered(5))
	effects := b.arrive(0, false, 100, bundletest.To(fleet))
	if got := over(effects); !slices.Equal(got, []core.LinkID{linkBack, linkOn}) {
		t.Errorf("sent over links %v, want both", got)
	}
	if got := b.wait(5); len(got) != 1 {
		t.Errorf("delivered %d times here", len(got))
	}
	if r := of[core.Reply](b.arrive(0, true, 100, bundletest.To(fleet))); len(r) != 1 || !errors.Is(r[0].Err, core.ErrUnacceptable) {
		t.Errorf("custody was answered by %v", r)
	}
}

// Competing receivers of one registration share what comes for it.
func TestGroupReceiversShareARegistration(t *testing.T) {
	b := newRelay(t, registered(5))
	b.wait(5)
	b.wait(5)
	got := of[core.Deliver](b.arrive(linkBack, false, 100, toFleet()...))
	if len(got) != 1 {
		t.Fatalf("one bundle was delivered to %d receivers", len(got))
	}
	got = append(got, of[core.Deliver](b.arrive(linkBack, false, 100, toFleet(bundletest.Sequence(8))...))...)
	if len(got) != 2 || got[0].Token == got[1].Token {
		t.Errorf("delivered %+v", got)
	}
}

// Nobody to go to: the bundle ends here, which is no mistake of its neighbour, but one
// of an application of this node.
func TestGroupReachesNobody(t *testing.T) {
	b := newBench(t, nil, true)
	b.step(core.LinkUp{Link: linkBack, Peer: eid(2)})
	if r := of[core.Reply](b.arrive(linkBack, false, 100, toFleet()...)); len(r) != 1 || r[0].Err != nil || len(b.kept) != 0 {
		t.Errorf("answered by %v, kept %v", r, b.kept)
	}
	if r := of[core.Reply](b.arrive(linkBack, false, 100, toFleet(divisible, bundletest.Fragment(0, 500))...)); len(r) != 1 || r[0].Err != nil || len(b.kept) != 0 {
		t.Errorf("a fragment was answered by %v, kept %v", r, b.kept)
	}
	alone := newBench(t, nil, true, func(cfg *core.Config) { cfg.Neighbours = nil })
	if r := of[core.Reply](alone.arrive(0, false, 100, bundletest.To(fleet))); len(r) != 1 || !errors.Is(r[0].Err, core.ErrUnacceptable) {
		t.Errorf("an application was answered by %v", r)
	}
}

// At its hop limit a bundle is delivered and goes no further.
func TestGroupHopLimit(t *testing.T) {
	b := newRelay(t, registered(5))
	effects := b.arrive(linkBack, false, 100, toFleet(bundletest.Hops(3, 3))...)
	if got := over(effects); len(got) != 0 {
		t.Errorf("sent over %v", got)
	}
	b.wantLeft("at the limit", "5")
	if got := b.wait(5); len(got) != 1 {
		t.Errorf("delivered %d times", len(got))
	}
}

// Copies that come again, from wherever, are known, also when the first one has left;
// and a neighbour that has sent one does not get one.
func TestGroupCopiesAreKnown(t *testing.T) {
	b := newRelay(t, registered(5))
	b.step(core.LinkDown{Link: linkOn})
	b.arrive(linkBack, false, 100, toFleet(bundletest.At(start, 1))...)
	rec := b.kept[0]
	again := func(link core.LinkID, known store.Trace) []core.Effect {
		made := bundletest.New(toFleet(bundletest.At(start, 1), bundletest.Lifetime(dtntime.Hour))...)
		return b.step(core.Arrival{Token: 900, Link: link, Bundle: &made, HeaderLen: 100, Size: 200, Known: known})
	}
	b.step(core.LinkUp{Link: 4, Peer: eid(3)})
	b.step(core.Sent{Link: 4, Handle: rec.Handle, Err: errCut})
	again(4, store.Trace{Live: &rec})
	b.wantLeft("when the neighbour has sent it", "5")
	b.wait(5)
	if err := b.take(5, rec.Handle); err != nil {
		t.Fatal(err)
	}
	gone := store.Gone{ID: rec.ID, Reason: store.GoneForwarded, At: b.now, Until: rec.Expiry}
	effects := again(linkBack, store.Trace{Gone: &gone})
	if r := of[core.Reply](effects); len(r) != 1 || r[0].Err != nil || len(over(effects)) != 0 {
		t.Errorf("a copy of what has left: %v", effects)
	}
	b.wantLeft("after a copy of what has left", "gone")
}

// What is left to be done is done after a restart, and nothing else.
func TestGroupSurvivesRestarts(t *testing.T) {
	rec := store.Record{
		Handle: 1, ID: bundle.ID{Source: eid(2).WithService(1)}, Destination: fleet, Duty: store.DutyGroup, Spread: "5 6 ipn:3.0 ipn:77.0",
		Received: start - 1000, Expiry: start.Add(dtntime.Day), Size: 100, PayloadLen: 50,
	}
	b := newBench(t, nil, true, registered(4, 5), func(cfg *core.Config) {
		cfg.Neighbours = []core.Neighbour{{Peer: eid(2), Always: true}, {Peer: eid(3), Always: true}}
	})
	b.restore(rec)
	b.step(core.Tick{})
	b.wantLeft("without the registration and the neighbour that are no more", "5 ipn:3.0")
	b.step(core.LinkUp{Link: linkBack, Peer: eid(2)})
	if got := over(b.step(core.LinkUp{Link: linkOn, Peer: eid(3)})); !slices.Equal(got, []core.LinkID{linkOn}) {
		t.Errorf("sent over %v", got)
	}
	if got := len(b.wait(4)) + 10*len(b.wait(5)); got != 10 {
		t.Errorf("delivered to registrations 4 and 5: %d", got)
	}
}

// Whoever registers later gets what comes later; whoever is no longer registered
// keeps nothing here.
func TestGroupRegistrationsComeAndGo(t *testing.T) {
	b := newBench(t, nil, true, registered(5))
	b.step(core.LinkUp{Link: linkBack, Peer: eid(2)})
	b.arrive(linkBack, false, 100, toFleet()...)
	b.step(core.Register{Registration: core.Registration{Number: 6, Endpoint: fleet}})
	if got := b.wait(6); len(got) != 0 {
		t.Errorf("delivered %+v to a later registration", got)
	}
	if n := b.core.Waiting(5); n != 1 {
		t.Errorf("%d bundles wait for the first registration", n)
	}
	leased := b.wait(5)
	if len(leased) != 1 || b.core.Waiting(5) != 1 {
		t.Fatalf("delivered %+v, %d wait", leased, b.core.Waiting(5))
	}
	effects := b.step(core.Unregister{Number: 5})
	b.wantLeft("after its registration ended", "gone")
	if err := b.take(5, leased[0].Record.Handle); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("acknowledged after that: %v", err)
	}
	effects = append(effects, b.step(core.Unregister{Number: 6})...)
	if r := of[core.Reply](effects); len(r) != 1 || !errors.Is(r[0].Err, core.ErrNotRegistered) {
		t.Errorf("whoever waited was answered by %v", r)
	}
	b.token++
	if r := of[core.Reply](b.step(core.Receive{Token: b.token, Endpoint: fleet, Registration: 6})); len(r) != 1 || !errors.Is(r[0].Err, core.ErrNotRegistered) {
		t.Errorf("whoever waits after that is answered by %v", r)
	}
	if _, err := core.New(core.Config{Node: eid(1), Registrations: []core.Registration{{Number: 1, Endpoint: eid(1).WithService(4)}}}); err == nil {
		t.Error("a registration at a singleton endpoint was taken")
	}
}

// A copy that its application gives back, or that nobody waits for any more, is
// delivered again, until the lifetime is over.
func TestGroupRelease(t *testing.T) {
	b := newBench(t, nil, true, registered(5, 6))
	b.step(core.LinkUp{Link: linkBack, Peer: eid(2)})
	b.arrive(linkBack, false, 100, toFleet(bundletest.Lifetime(30*second))...)
	h := b.kept[0].Handle
	b.wait(5)
	b.wait(6)
	b.step(core.Release{Handle: h, Registration: 5})
	if got := b.wait(5); len(got) != 1 {
		t.Fatalf("delivered %d times after its release", len(got))
	}
	b.token++
	b.step(core.Receive{Token: b.token, Endpoint: fleet, Registration: 6})
	b.step(core.Cancel{Token: b.token})
	b.now = b.now.Add(dtntime.Minute)
	b.step(core.Tick{})
	b.wantLeft("expired in the hands of both", "5 6")
	if err := b.take(6, h); err != nil {
		t.Errorf("acknowledged after it had expired: %v", err)
	}
	if got := b.wait(6); len(got) != 0 {
		t.Error("delivered to whoever waits after the one that gave up")
	}
	b.step(core.Release{Handle: h, Registration: 5})
	b.wantLeft("released after it had expired", "gone")
}

// An acknowledgement that does not become durable is none.
func TestGroupAckFails(t *testing.T) {
	b := newRelay(t, registered(5, 6))
	b.arrive(linkBack, false, 100, toFleet()...)
	h := b.kept[0].Handle
	b.wait(5)
	b.token++
	var ack core.Persist
	for _, e := range slices.Clone(b.core.Step(b.now, core.Ack{Token: b.token, Handle: h, Registration: 5})) {
		ack = e.(core.Persist)
	}
	// Meanwhile its transmission becomes durable, with the acknowledgement.
	b.step(core.Sent{Link: linkOn, Handle: h})
	if r := of[core.Reply](b.step(core.Committed{Token: ack.Token, Err: store.ErrFull})); len(r) != 1 || r[0].Err == nil {
		t.Errorf("answered by %v", r)
	}
	b.wantLeft("after the failure", "5 6")
	if err := b.take(5, h); err != nil {
		t.Errorf("acknowledged again: %v", err)
	}
	b.wantLeft("acknowledged again", "6")
}

// What becomes of a bundle that one of its neighbours does not take.
func TestGroupRefusals(t *testing.T) {
	for reason, want := range map[convergence.RefuseReason]struct {
		left  store.Spread
		again dtntime.Duration // 0: not at all
	}{
		convergence.RefuseUnknown:            {"5 ipn:3.0", 30 * second},
		convergence.RefuseCompleted:          {"5", 0},
		convergence.RefuseNoResources:        {"5 ipn:3.0", 30 * second},
		convergence.RefuseRetransmit:         {"5 ipn:3.0", second},
		convergence.RefuseNotAcceptable:      {"5", 0},
		convergence.RefuseExtensionFailure:   {"5", 0},
		convergence.RefuseSessionTerminating: {"5 ipn:3.0", second},
	} {
		t.Run(reason.String(), func(t *testing.T) {
			b := newRelay(t, registered(5))
			b.arrive(linkBack, false, 100, toFleet()...)
			b.step(core.Sent{Link: linkOn, Handle: b.kept[0].Handle, Err: &convergence.RefusedError{Reason: reason}})
			b.wantLeft("refused", want.left)
			began := b.now
			var sent []core.LinkID
			for len(sent) == 0 && b.core.NextWake() < start.Add(10*dtntime.Minute) {
				b.now = b.core.NextWake()
				sent = over(b.step(core.Tick{}))
			}
			if again := len(sent) > 0; again != (want.again != 0) || again && b.now.Sub(began) != want.again {
				t.Errorf("sent again over %v after %s, want after %s", sent, b.now.Sub(began), want.again)
			}
		})
	}
	b := newRelay(t)
	b.arrive(linkBack, false, 100, toFleet()...)
	b.step(core.Sent{Link: linkOn, Handle: b.kept[0].Handle, Err: fmt.Errorf("sending: %w", core.ErrHopLimit)})
	b.wantLeft("at its hop limit", "gone")
}

// A neighbour that is configured is waited for. One that is not gets what comes while
// it has a session.
func TestGroupWaitsForNeighbours(t *testing.T) {
	b := newRelay(t)
	b.step(core.LinkUp{Link: 8, Peer: eid(8)})
	b.step(core.LinkDown{Link: linkOn})
	effects := b.arrive(linkBack, false, 100, toFleet()...)
	if got := over(effects); !slices.Equal(got, []core.LinkID{8}) {
		t.Errorf("sent over %v", got)
	}
	b.wantLeft("while two are to get it", "ipn:3.0 ipn:8.0")
	b.step(core.LinkDown{Link: 8})
	b.wantLeft("when the guest has left", "ipn:3.0")
	if n := b.core.Sizes().Neighbours; n != 2 {
		t.Errorf("%d neighbours are known", n)
	}
	if got := over(b.step(core.LinkUp{Link: 4, Peer: eid(3)})); !slices.Equal(got, []core.LinkID{4}) {
		t.Errorf("sent over %v", got)
	}
	b.step(core.LinkDown{Link: 4})
	if got := over(b.step(core.LinkUp{Link: 5, Peer: eid(3), MaxTransfer: 150})); len(got) != 0 {
		t.Errorf("sent over %v, which takes less", got)
	}
	b.wantLeft("when the neighbour turns out to take less", "gone")
}

// Those that came first make room, whoever has not got them yet, and are known when
// they come again.
func TestGroupLimits(t *testing.T) {
	for name, limit := range map[string]func(*core.Config){
		"bundles": func(cfg *core.Config) { cfg.MaxResident = 16 },
		"bytes":   func(cfg *core.Config) { cfg.MaxGroup = 850 },
	} {
		t.Run(name, func(t *testing.T) {
			b := newRelay(t, registered(5), limit, func(cfg *core.Config) { cfg.StatusReports = true })
			b.step(core.LinkDown{Link: linkOn})
			for i := range 10 {
				b.arrive(linkBack, false, 100, toFleet(bundletest.Sequence(uint64(i)), bundletest.ReportTo(judge, bundle.FlagReportDeleted))...)
			}
			kept := 0
			for _, rec := range b.stored {
				if rec.Duty == store.DutyGroup {
					kept++
				}
			}
			if got := len(b.reports()); kept != 4 || got != 6 {
				t.Errorf("%d are kept and the deletion of %d is reported, want 4 and 6", kept, got)
			}
			if got := b.wait(5); len(got) != 1 || got[0].Record.ID.Created.Sequence != 6 {
				t.Errorf("delivered %+v, want the seventh first", got)
			}
		})
	}
	b := newRelay(t, func(cfg *core.Config) { cfg.MaxGroup = 850 })
	if r := of[core.Reply](b.arrive(linkBack, false, 900, toFleet()...)); len(r) != 1 || !errors.Is(r[0].Err, core.ErrUnacceptable) {
		t.Errorf("one that is larger than the limit was answered by %v", r)
	}
}

// However many neighbours and applications there are, what is kept of them is bounded.
func TestGroupSpreadIsBounded(t *testing.T) {
	many := func(cfg *core.Config) {
		for i := range app.MaxRegistrations {
			cfg.Registrations = append(cfg.Registrations, core.Registration{Number: math.MaxUint64 - uint64(i), Endpoint: fleet})
		}
		for i := range 300 {
			cfg.Neighbours = append(cfg.Neighbours,
				core.Neighbour{Peer: eid(1000 + i)}, core.Neighbour{Peer: bundletest.EID(fmt.Sprintf("dtn://%d%s/", i, strings.Repeat("x", 200)))})
		}
	}
	b := newBench(t, nil, true, many)
	b.arrive(0, false, 100, bundletest.To(fleet))
	registrations, neighbours, err := b.kept[0].Spread.Parse()
	if err != nil || len(registrations) != app.MaxRegistrations || len(neighbours) < 30 || len(neighbours) > 256 || len(b.kept[0].Spread) > store.MaxSpread {
		t.Errorf("%d registrations and %d neighbours in %d bytes, %v", len(registrations), len(neighbours), len(b.kept[0].Spread), err)
	}
}

// A custody block is carried along and means nothing.
func TestGroupHasNoCustody(t *testing.T) {
	b := newRelay(t, registered(5))
	effects := b.arrive(linkBack, false, 100, toFleet(bundletest.Custody(eid(2), 7, 5))...)
	sent := of[core.Transmit](effects)
	if len(sent) != 1 || sent[0].Changes.Custody != nil || b.kept[0].Custodial {
		t.Errorf("sent on as %+v", sent)
	}
	if said := b.signals(); len(said) != 0 {
		t.Errorf("said %v", said)
	}
	if n := b.core.Status(0).Counters.CustodyMalformed; n != 1 {
		t.Errorf("counted as malformed: %d", n)
	}
	made := bundletest.New(toFleet(bundletest.At(start, 1), bundletest.Lifetime(dtntime.Hour), bundletest.Custody(eid(2), 7, 5))...)
	gone := store.Gone{ID: made.ID(), Reason: store.GoneForwarded, At: b.now, Until: start.Add(dtntime.Hour)}
	b.kept = nil
	b.step(core.Arrival{Token: 900, Link: linkBack, Bundle: &made, HeaderLen: 100, Size: 200, Known: store.Trace{Gone: &gone}})
	if len(b.kept) != 0 {
		t.Error("a copy with a custody block was taken again")
	}
}

// Reports tell of each step once: forwarded when the last neighbour has it.
func TestGroupReports(t *testing.T) {
	b := reported(t, registered(5, 6), func(cfg *core.Config) {
		cfg.Neighbours = append(cfg.Neighbours, core.Neighbour{Peer: eid(4), Always: true})
	})
	b.step(core.LinkUp{Link: 4, Peer: eid(4)})
	b.arrive(linkBack, false, 100, toFleet(bundletest.ReportTo(judge, everything))...)
	h := b.kept[0].Handle
	b.wantReports("when it came", "received 0")
	b.step(core.Sent{Link: linkOn, Handle: h})
	b.wantReports("when one neighbour has it")
	b.step(core.Sent{Link: 4, Handle: h})
	b.wantReports("when both have it", "forwarded 0")
	for _, number := range []uint64{5, 6} {
		b.wait(number)
		if err := b.take(number, h); err != nil {
			t.Fatal(err)
		}
		b.wantReports("delivered", "delivered 0")
	}
}

// Fragments are put together, and then delivered and sent on as a whole.
func TestGroupOfFragments(t *testing.T) {
	w := newWorld(t, 1, nil)
	m := w.add(options{always: true})
	w.add(options{always: true})
	w.add(options{always: true})
	m.registrations = []core.Registration{{Number: 5, Endpoint: fleet}}
	var delivered []store.Record
	m.deliver = func(rec store.Record) { delivered = append(delivered, rec) }
	m.boot()
	m.step(core.LinkUp{Link: 1, Peer: eid(2)})
	u := newUnit(100, bundletest.To(fleet))
	m.arrive(1, u.part(t, 40, 100), nil)
	w.pass(second)
	m.arrive(1, u.part(t, 0, 60), nil)
	w.pass(second)
	if len(delivered) != 1 || delivered[0].ID != u.bundle.ID() || delivered[0].PayloadLen != 100 || delivered[0].Duty != store.DutyGroup {
		t.Fatalf("delivered %+v", delivered)
	}
	if got := countOf(m.news, app.EventReassembled); got != 1 {
		t.Errorf("put together %d times", got)
	}
	if s := delivered[0].Spread; s != "5 ipn:3.0" {
		t.Errorf("it goes to %q", s)
	}
}

func countOf(list []app.Event, kind app.EventKind) int {
	n := 0
	for _, e := range list {
		if e.Kind == kind {
			n++
		}
	}
	return n
}
