package core_test

import (
	"errors"
	"slices"
	"testing"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/bundletest"
	"perigee/bundle/contact"
	"perigee/bundle/core"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
	"perigee/convergence"
)

// pairOf makes two nodes with a link that always stands.
func pairOf(t *testing.T) (*world, *machine, *machine) {
	w := newWorld(t, 1, nil)
	a, b := w.add(options{always: true}), w.add(options{always: true})
	return w, a.boot(), b.boot()
}

// bench is a core of node 1 alone, with node 2 and 3 as neighbours, whose effects a
// test carries out by itself.
type bench struct {
	t      *testing.T
	core   *core.Core
	now    dtntime.Time
	disk   *machine // for stamps and handles
	token  core.Token
	stored map[store.Handle]store.Record // every Put that was not deleted
	loads  []core.Load
	kept   []store.Record  // every Put
	made   []bundle.Bundle // what the core made itself
	said   [][]byte        // and its payloads
	news   []core.Effect   // of all steps
}

func newBench(t *testing.T, plan *contact.Plan, always bool, change ...func(*core.Config)) *bench {
	t.Helper()
	w := newWorld(t, 1, plan)
	m := w.add(options{always: always})
	b := &bench{t: t, now: start, disk: m, stored: make(map[store.Handle]store.Record)}
	var err error
	cfg := core.Config{
		Node: eid(1), Plan: plan, AcceptCustody: true, Aggregate: 5 * second,
		Neighbours: []core.Neighbour{{Peer: eid(2), Always: always, Dial: true}},
		NextHandle: m.store.NextHandle,
		Counter:    func(string) (uint64, error) { return 0, nil },
		Stamp:      m.stamp,
	}
	for _, f := range change {
		f(&cfg)
	}
	b.core, err = core.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// step gives the core an event, commits what it wants to keep, and returns all
// other effects.
func (b *bench) step(e core.Event) []core.Effect {
	var rest []core.Effect
	effects := slices.Clone(b.core.Step(b.now, e))
	for len(effects) > 0 {
		next := effects[0]
		effects = effects[1:]
		if p, ok := next.(core.Persist); ok {
			b.keep(p)
			effects = append(effects, slices.Clone(b.core.Step(b.now, core.Committed{Token: p.Token}))...)
			continue
		}
		if l, ok := next.(core.Load); ok {
			effects = append(effects, slices.Clone(b.core.Step(b.now, b.read(l)))...)
			continue
		}
		rest = append(rest, next)
	}
	b.news = append(b.news, rest...)
	return rest
}

// keep notes what the core stores.
func (b *bench) keep(p core.Persist) {
	for _, op := range p.Ops {
		switch op := op.(type) {
		case store.Put:
			b.kept = append(b.kept, op.Record)
			b.stored[op.Record.Handle] = op.Record
		case store.Update:
			b.stored[op.Record.Handle] = op.Record
		case store.Delete:
			delete(b.stored, op.Handle)
		}
	}
	if p.Inline == nil {
		return
	}
	made, payload, err := bundle.Parse(p.Inline, bundle.DefaultLimits())
	if err != nil {
		b.t.Fatalf("the node made a bundle that cannot be read: %v", err)
	}
	b.made, b.said = append(b.made, made), append(b.said, slices.Clone(payload))
}

// arrive gives the core a bundle, from an application if link is 0.
func (b *bench) arrive(link core.LinkID, custody bool, size int, opts ...bundletest.Option) []core.Effect {
	b.token++
	opts = append([]bundletest.Option{
		bundletest.From(eid(1)), bundletest.To(eid(2).WithService(1)), bundletest.Flags(bundle.FlagMustNotFragment),
		bundletest.At(b.now, b.disk.stamp(b.now).Sequence), bundletest.Lifetime(dtntime.Hour),
	}, opts...)
	bndl := bundletest.New(opts...)
	bndl.Payload.Length = uint64(size)
	return b.step(core.Arrival{
		Token: b.token, Link: link, Bundle: &bndl, HeaderLen: 100, Size: int64(size) + 100, Custody: custody, Priority: bndl.Priority(),
	})
}

// of returns the effects of one type.
func of[E core.Effect](effects []core.Effect) []E {
	var list []E
	for _, e := range effects {
		if e, ok := e.(E); ok {
			list = append(list, e)
		}
	}
	return list
}

func TestDeliveredOnceAndReleasedAgain(t *testing.T) {
	w, a, b := pairOf(t)
	var leased []store.Record
	b.deliver = func(rec store.Record) { leased = append(leased, rec) }
	f := a.send(2, true, 100)
	w.pass(5 * second)
	if len(leased) != 1 {
		t.Fatalf("delivered %d times, want 1", len(leased))
	}
	b.listen()
	w.pass(second)
	if len(leased) != 1 {
		t.Fatal("a leased bundle was delivered to another receiver")
	}
	b.giveBack(core.Deliver{Record: leased[0]})
	w.pass(second)
	if len(leased) != 2 || leased[1].ID != f.id {
		t.Fatalf("after its release, the bundle was delivered %d times", len(leased)-1)
	}
	b.ack(leased[1])
	w.pass(second)
	if f.delivered != 1 {
		t.Errorf("acknowledged %d times", f.delivered)
	}
	b.token++
	var again error
	b.replies[b.token] = func(err error) { again = err }
	b.step(core.Ack{Token: b.token, Handle: leased[1].Handle})
	if !errors.Is(again, store.ErrNotFound) {
		t.Errorf("second Ack: %v, want ErrNotFound", again)
	}
}

// A receiver that goes away while another bundle of its endpoint is leased must not
// take the endpoint with it.
func TestAckAfterTheLastReceiverLeft(t *testing.T) {
	b := newBench(t, nil, true)
	inbox := eid(1).WithService(1)
	b.step(core.Receive{Token: 1001, Endpoint: inbox})
	got := of[core.Deliver](b.arrive(0, false, 10, bundletest.To(inbox)))
	if len(got) != 1 {
		t.Fatalf("%d deliveries", len(got))
	}
	b.step(core.Receive{Token: 1002, Endpoint: inbox})
	b.step(core.Cancel{Token: 1002})
	reply := of[core.Reply](b.step(core.Ack{Token: 1003, Handle: got[0].Record.Handle}))
	if len(reply) != 1 || reply[0].Err != nil {
		t.Errorf("Ack was answered by %v", reply)
	}
}

func TestExpiryWhileLeased(t *testing.T) {
	inbox := eid(1).WithService(1)
	for _, acked := range []bool{true, false} {
		b := newBench(t, nil, true)
		b.step(core.Receive{Token: 1001, Endpoint: inbox})
		got := of[core.Deliver](b.arrive(0, false, 10, bundletest.To(inbox), bundletest.Lifetime(30*second)))
		b.now = start.Add(dtntime.Minute)
		b.step(core.Tick{})
		if acked {
			if r := of[core.Reply](b.step(core.Ack{Token: 1002, Handle: got[0].Record.Handle})); len(r) != 1 || r[0].Err != nil {
				t.Errorf("Ack of a leased bundle that expired: %v", r)
			}
			continue
		}
		b.step(core.Receive{Token: 1003, Endpoint: inbox})
		if d := of[core.Deliver](b.step(core.Release{Handle: got[0].Record.Handle})); len(d) != 0 {
			t.Error("an expired bundle was delivered again")
		}
		if _, there := b.stored[got[0].Record.Handle]; there {
			t.Error("an expired bundle is still there")
		}
	}
}

func TestRemove(t *testing.T) {
	w, a, b := pairOf(t)
	b.crash()
	f := a.send(2, true, 100)
	w.pass(5 * second)
	trace, _ := a.store.Find(f.id)
	if trace.Live == nil {
		t.Fatal("the bundle is not stored")
	}
	a.token++
	err := errors.New("no reply")
	a.replies[a.token] = func(e error) { err = e }
	a.step(core.Remove{Token: a.token, Record: *trace.Live})
	w.pass(second)
	if err != nil || !f.removed {
		t.Errorf("Remove: %v, removed %v", err, f.removed)
	}
	if held := a.core.Status(10).Custody.Held; held != 0 {
		t.Errorf("custody of %d bundles is still held", held)
	}
}

// Signals release only what their sender can have taken over. A peer that merely
// has a session is a stranger like any other.
func TestHostileSignals(t *testing.T) {
	everything := bundle.CustodySignal{Accepted: []bundle.Sequence{}}
	for id := range uint64(60) {
		everything.Accepted = append(everything.Accepted, bundle.Sequence{
			SeqID: uint64(start)/1000 + 1<<16 + id, Ranges: []bundle.Range{{First: 0, Count: 1<<64 - 1}},
		})
	}
	record := everything.Append(nil)
	tests := []struct {
		name     string
		from     bundle.EID
		released bool
	}{
		{"stranger", eid(66), false},
		{"stranger's application", eid(66).WithService(7), false},
		{"destination", eid(3), true},
		{"neighbour", eid(2), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, nil, true)
			b.arrive(0, true, 100, bundletest.To(eid(3).WithService(1)))
			b.step(core.LinkUp{Link: 5, Peer: eid(66)})
			bndl := bundletest.New(bundletest.From(tt.from), bundletest.To(eid(1)), bundletest.Flags(bundle.FlagAdminRecord), bundletest.At(start, 1))
			reply := of[core.Reply](b.step(core.Arrival{Token: 99, Link: 5, Bundle: &bndl, Size: 100, Admin: record}))
			if len(reply) != 1 || reply[0].Err != nil {
				t.Errorf("the signal was answered by %v", reply)
			}
			if released := b.core.Status(1).Custody.Held == 0; released != tt.released {
				t.Errorf("released: %v, want %v", released, tt.released)
			}
		})
	}
}

// runTo lets time pass, with a tick whenever the core wants one, and returns what was done.
func (b *bench) runTo(t dtntime.Time) []core.Effect {
	var all []core.Effect
	for b.now < t {
		b.now = min(b.core.NextWake(), t)
		all = append(all, b.step(core.Tick{})...)
	}
	return all
}

// An expedited bundle waits for the one that is on its way, whatever the link would take
// and however much waits.
func TestExpeditedOvertakesBulk(t *testing.T) {
	plan, err := contact.New(between(1, 2, 0, 60, 256))
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, plan, false)
	b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true})
	for range 50 {
		b.arrive(0, false, 20_000, bundletest.Priority(bundle.PriorityBulk)) // 628 ms each
	}
	if n := len(of[core.Transmit](b.news)); n != 1 {
		t.Fatalf("%d bundles were handed to the link at once, want 1", n)
	}
	b.runTo(start.Add(1800)) // into the third
	b.arrive(0, true, 1000, bundletest.Priority(bundle.PriorityExpedited))
	next := of[core.Transmit](b.runTo(start.Add(1900)))
	if len(next) == 0 || next[0].Record.Priority != bundle.PriorityExpedited {
		t.Errorf("after the bulk bundle that was on its way went %v, want the expedited one", next)
	}
	for b.now < start.Add(dtntime.Minute) {
		for _, x := range of[core.Transmit](b.news) {
			b.step(core.Sent{Link: 1, Handle: x.Record.Handle})
		}
		b.runTo(b.now.Add(500))
	}
	if left := b.core.Status(1).Links[0].Queued; left != 0 {
		t.Errorf("%d bundles were left over in a contact that holds 94 of them", left)
	}
}

// Small bundles come several at a time, and none is handed over that cannot leave before
// the contact ends.
func TestPaceFillsTheContact(t *testing.T) {
	plan, err := contact.New(between(1, 2, 0, 10, 8000)) // a megabyte a second
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, plan, false)
	b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true})
	for range 11_000 {
		b.arrive(0, false, 900)
	}
	sent := func() (n int) {
		for _, x := range of[core.Transmit](b.news) {
			b.step(core.Sent{Link: 1, Handle: x.Record.Handle})
			n++
		}
		b.news = nil
		return n
	}
	n := sent()
	for b.now < start.Add(10*second) {
		b.runTo(b.now.Add(10))
		n += sent()
	}
	if n < 9790 || n > 9800 {
		t.Errorf("%d bundles of a kilobyte went in 9.8 s, want all that fit", n)
	}
}

// Light time keeps acknowledgements away, not bundles.
func TestLongLightTimeKeepsTheLinkBusy(t *testing.T) {
	plan, err := contact.New([]contact.Contact{{
		From: eid(1), To: eid(2), Start: start, End: start.Add(dtntime.Hour), Rate: contact.MegabitPerSecond, Light: 600 * second,
	}})
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, plan, false)
	b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true})
	sent := 0
	for range 500 {
		sent += len(of[core.Transmit](b.arrive(0, false, 125_000)))
	}
	for range 1000 {
		b.now = max(b.now, b.core.NextWake())
		if b.now > start.Add(300*second) {
			break
		}
		sent += len(of[core.Transmit](b.step(core.Tick{})))
	}
	if sent < 290 || sent > 310 {
		t.Errorf("%d bundles of 1 s each left within 300 s, before any acknowledgement", sent)
	}
}

func TestTransferRefusals(t *testing.T) {
	tests := []struct {
		reason convergence.RefuseReason
		after  dtntime.Duration // until it is tried again, 0 for never
	}{
		{convergence.RefuseUnknown, 30 * second},
		{convergence.RefuseCompleted, 0},
		{convergence.RefuseNoResources, 30 * second},
		{convergence.RefuseRetransmit, second},
		{convergence.RefuseNotAcceptable, 0},
		{convergence.RefuseExtensionFailure, 0},
		{convergence.RefuseSessionTerminating, second},
	}
	for _, tt := range tests {
		t.Run(tt.reason.String(), func(t *testing.T) {
			b := newBench(t, nil, true)
			b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true})
			first := of[core.Transmit](b.arrive(0, false, 100))
			if len(first) != 1 {
				t.Fatalf("%d transmissions", len(first))
			}
			refused := &convergence.RefusedError{Reason: tt.reason}
			effects := b.step(core.Sent{Link: 1, Handle: first[0].Record.Handle, Err: refused})
			began := b.now
			for len(of[core.Transmit](effects)) == 0 && b.core.NextWake() < start.Add(dtntime.Hour) {
				b.now = b.core.NextWake()
				effects = b.step(core.Tick{})
			}
			again := len(of[core.Transmit](effects)) > 0
			if again != (tt.after != 0) || again && b.now.Sub(began) != tt.after {
				t.Errorf("sent again: %v after %s, want after %s", again, b.now.Sub(began), tt.after)
			}
		})
	}
}

// What a neighbour without room refuses together is one refusal, and a new session
// ends the pause: the neighbour may have been mended.
func TestNoRoomEndsWithTheSession(t *testing.T) {
	b := newBench(t, nil, true)
	b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true})
	var sent []core.Transmit
	for range 6 {
		sent = append(sent, of[core.Transmit](b.arrive(0, true, 100))...)
	}
	if len(sent) != 6 {
		t.Fatalf("%d transmissions, want 6 at once", len(sent))
	}
	refuse := func(link core.LinkID, sent []core.Transmit) (again []core.Transmit) {
		for _, s := range sent {
			refused := &convergence.RefusedError{Reason: convergence.RefuseNoResources}
			again = append(again, of[core.Transmit](b.step(core.Sent{Link: link, Handle: s.Record.Handle, Err: refused}))...)
		}
		return again
	}
	if again := refuse(1, sent); len(again) != 0 {
		t.Fatalf("%d bundles went to a neighbour without room", len(again))
	}
	b.now = b.now.Add(30 * second)
	sent = of[core.Transmit](b.step(core.Tick{}))
	if len(sent) != 6 {
		t.Fatalf("%d bundles sent again after the first pause, want 6", len(sent))
	}
	refuse(1, sent)
	b.step(core.LinkDown{Link: 1})
	b.now = b.now.Add(second)
	if again := of[core.Transmit](b.step(core.LinkUp{Link: 2, Peer: eid(2), Dialed: true})); len(again) != 6 {
		t.Errorf("%d bundles went over the new session, want 6", len(again))
	}
}

// A transmission that fails while the session still stands is not tried at once:
// what cannot be read fails again and again.
func TestFailedTransmissionWaits(t *testing.T) {
	b := newBench(t, nil, true)
	b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true})
	first := of[core.Transmit](b.arrive(0, true, 100))
	if again := of[core.Transmit](b.step(core.Sent{Link: 1, Handle: first[0].Record.Handle, Err: errCut})); len(again) != 0 {
		t.Error("sent again at once")
	}
	b.now = b.now.Add(second)
	if again := of[core.Transmit](b.step(core.Tick{})); len(again) != 1 {
		t.Errorf("%d transmissions a second later", len(again))
	}
}

func TestSessionIsReplaced(t *testing.T) {
	b := newBench(t, nil, true)
	b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true})
	first := of[core.Transmit](b.arrive(0, true, 100))
	if len(first) != 1 || first[0].Link != 1 {
		t.Fatalf("transmissions: %v", first)
	}
	// Node 1 has the smaller ID, so the session that it opened stays.
	if h := of[core.Hangup](b.step(core.LinkUp{Link: 2, Peer: eid(2)})); len(h) != 1 || h[0].Link != 2 {
		t.Errorf("second session from the other side: %v, want it hung up", h)
	}
	b.step(core.LinkDown{Link: 2})
	// A newer one that it opened itself takes over, and with it the bundle.
	effects := b.step(core.LinkUp{Link: 3, Peer: eid(2), Dialed: true})
	again := of[core.Transmit](effects)
	if h := of[core.Hangup](effects); len(h) != 1 || h[0].Link != 1 {
		t.Errorf("newer session: %v, want the older hung up", h)
	}
	if len(again) != 1 || again[0].Link != 3 || again[0].Record.Handle != first[0].Record.Handle {
		t.Fatalf("transmissions on the newer session: %v", again)
	}
	// The fate of the first transmission means nothing any more.
	b.step(core.Sent{Link: 1, Handle: first[0].Record.Handle, Err: errCut})
	b.step(core.LinkDown{Link: 1})
	b.step(core.Sent{Link: 3, Handle: first[0].Record.Handle})
	if s := b.core.Status(1); s.Custody.InFlight != 1 || s.Links[0].Physical != "up" {
		t.Errorf("status %+v, want one bundle in flight and the link up", s)
	}
}

func TestFragmentsTravelWithoutCustody(t *testing.T) {
	b := newBench(t, nil, true)
	b.step(core.LinkUp{Link: 1, Peer: eid(3)})
	b.step(core.LinkUp{Link: 2, Peer: eid(2), Dialed: true})
	effects := b.arrive(1, false, 10, bundletest.From(eid(3)), bundletest.Fragment(0, 100), bundletest.Custody(eid(3), 7, 1))
	sent := of[core.Transmit](effects)
	if len(sent) != 1 || sent[0].Changes.Custody != nil || sent[0].Record.Custodial {
		t.Errorf("a fragment that asks for custody was sent on as %+v", sent)
	}
}

func TestBadConfigurations(t *testing.T) {
	for name, cfg := range map[string]core.Config{
		"no node":      {},
		"an endpoint":  {Node: eid(1).WithService(3)},
		"peer twice":   {Node: eid(1), Neighbours: []core.Neighbour{{Peer: eid(2)}, {Peer: eid(2)}}},
		"peer is self": {Node: eid(1), Neighbours: []core.Neighbour{{Peer: eid(1)}}},
		"null peer":    {Node: eid(1), Neighbours: []core.Neighbour{{}}},
	} {
		if _, err := core.New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestUnacceptableBundles(t *testing.T) {
	tests := map[string][]bundletest.Option{
		"null destination":      {bundletest.To(bundle.EID{})},
		"node without a record": {bundletest.To(eid(1))},
		"fragment of a record":  {bundletest.To(eid(1)), bundletest.Fragment(0, 100), bundletest.Flags(bundle.FlagAdminRecord)},
	}
	for name, opts := range tests {
		b := newBench(t, nil, true)
		b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true})
		effects := b.arrive(1, false, 10, append([]bundletest.Option{bundletest.From(eid(9))}, opts...)...)
		reply := of[core.Reply](effects)
		if len(reply) != 1 || !errors.Is(reply[0].Err, core.ErrUnacceptable) {
			t.Errorf("%s: answered by %v, want ErrUnacceptable", name, reply)
			continue
		}
		var refused *core.RefusedError
		if !errors.As(reply[0].Err, &refused) || refused.Reason != convergence.RefuseNotAcceptable {
			t.Errorf("%s: refused as %v", name, reply[0].Err)
		}
		if news := of[core.Notify](effects); len(news) == 0 || news[0].Event.Kind != app.EventRefused {
			t.Errorf("%s: nobody was told", name)
		}
	}
}

// The rules hold for what applications of this node send, too.
func TestUnacceptableOfApplications(t *testing.T) {
	for name, opts := range map[string][]bundletest.Option{
		"from many nodes":    {bundletest.From(bundletest.EID("dtn://one/~all"))},
		"to the node itself": {bundletest.To(bundletest.EID("ipn:!.7"))},
		"never to expire":    {bundletest.At(0, 1)},
	} {
		b := newBench(t, nil, true)
		b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true})
		if r := of[core.Reply](b.arrive(0, false, 10, opts...)); len(r) != 1 || !errors.Is(r[0].Err, core.ErrUnacceptable) {
			t.Errorf("%s: answered by %v, want ErrUnacceptable", name, r)
		}
	}
}

// What no contact can carry is refused to the application, with advice.
func TestTooLargeForAnyContact(t *testing.T) {
	plan, err := contact.New(between(1, 2, 10, 20, 256)) // 320 kB each
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, plan, false)
	if r := of[core.Reply](b.arrive(0, true, 400_000)); len(r) != 1 || !errors.Is(r[0].Err, core.ErrUnacceptable) {
		t.Errorf("400 kB for contacts of 320 kB: %v", r)
	}
	if r := of[core.Reply](b.arrive(0, true, 200_000)); len(r) != 1 || r[0].Err != nil {
		t.Errorf("200 kB for contacts of 320 kB: %v", r)
	}
}

// Without a way back in the plan the answer is awaited for a quarter of an hour,
// not looked for in every contact.
func TestNoReturnPath(t *testing.T) {
	var list []contact.Contact
	for i := range 30 {
		list = append(list, contact.Contact{From: eid(1), To: eid(2), Start: moment(100 * i), End: moment(100*i + 50), Rate: contact.MegabitPerSecond})
	}
	plan, err := contact.New(list)
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, plan, false)
	link := core.LinkID(1)
	b.step(core.LinkUp{Link: link, Peer: eid(2), Dialed: true})
	sent := of[core.Transmit](b.arrive(0, true, 100))
	var times []dtntime.Duration
	for len(times) < 3 {
		for _, x := range sent {
			times = append(times, b.now.Sub(start))
			b.step(core.Sent{Link: link, Handle: x.Record.Handle})
		}
		if b.now = b.core.NextWake(); b.now > moment(2900) {
			break
		}
		sent = nil
		for _, e := range b.step(core.Tick{}) {
			switch e := e.(type) {
			case core.Connect:
				link++
				sent = append(sent, of[core.Transmit](b.step(core.LinkUp{Link: link, Peer: eid(2), Dialed: true}))...)
			case core.Hangup:
				if e.Link != 0 {
					b.step(core.LinkDown{Link: e.Link})
				}
			case core.Transmit:
				sent = append(sent, e)
			}
		}
	}
	if want := []dtntime.Duration{0, 900 * second, 1800 * second}; !slices.Equal(times, want) {
		t.Errorf("sent at %v, want %v", times, want)
	}
}

// A session ends within its contact, so that its orderly end is heard.
func TestSessionEndsBeforeItsContact(t *testing.T) {
	plan, err := contact.New(between(1, 2, 0, 60, 256))
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, plan, false)
	b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true})
	end := start.Add(60 * second)
	for b.now < end {
		wake := b.core.NextWake()
		if wake >= end {
			t.Fatalf("the core sleeps until %s, past the end of the contact at %s", wake, end)
		}
		b.now = wake
		if hangups := of[core.Hangup](b.step(core.Tick{})); len(hangups) > 0 {
			if left := end.Sub(b.now); left == 0 || left > second {
				t.Errorf("the session is ended %s before the contact", left)
			}
			return
		}
	}
}

// A session that lasts is told of the contacts, stays between them, and keeps what was
// handed to it.
func TestLastingSession(t *testing.T) {
	one := func(from, to, begin, end int, rate contact.BitRate) contact.Contact {
		return contact.Contact{From: eid(from), To: eid(to), Start: moment(begin), End: moment(end), Rate: rate, Light: second}
	}
	plan, err := contact.New([]contact.Contact{one(1, 2, 10, 60, 3e6), one(1, 2, 100, 160, 4e6), one(2, 1, 150, 170, 5e6)})
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, plan, false)
	told := of[core.Follow](b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true, Lasting: true}))
	if want := (core.Follow{Link: 1}); len(told) != 1 || told[0] != want {
		t.Errorf("before the contact: %+v, want %+v", told, want)
	}
	type change struct {
		at   dtntime.Time
		open bool
		rate contact.BitRate
	}
	var got []change
	sent := 0
	for b.now < moment(200) {
		b.now = min(b.core.NextWake(), moment(200))
		effects := b.step(core.Tick{})
		if len(of[core.Hangup](effects)) > 0 && of[core.Hangup](effects)[0].Link != 0 {
			t.Errorf("at %v the session is ended", b.now.Sub(start))
		}
		for _, f := range of[core.Follow](effects) {
			got = append(got, change{b.now, f.Open, f.Rate})
			if f.Open && sent == 0 {
				sent += len(of[core.Transmit](b.arrive(0, true, 100)))
			}
		}
	}
	want := []change{
		{moment(10), true, 3e6},
		{moment(60), false, 0},
		{moment(100), true, 4e6},
		{moment(160), true, 0},
		{moment(170), false, 0},
	}
	if !slices.Equal(got, want) {
		t.Errorf("the session is told %+v, want %+v", got, want)
	}
	if s := b.core.Status(1); sent != 1 || s.Links[0].Physical != "suspended" || s.Counters.Retransmissions != 0 {
		t.Errorf("%d sent, %+v, want one that is under way still over a suspended link", sent, s)
	}
}
