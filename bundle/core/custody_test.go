package core_test

import (
	"maps"
	"slices"
	"testing"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/bundletest"
	"perigee/bundle/contact"
	"perigee/bundle/core"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// Links of a relay bench.
const (
	linkBack core.LinkID = 2 // to node 2, which asks for custody
	linkOn   core.LinkID = 3 // to node 3
)

// newRelay makes a bench of node 1 between 2 and 3, with links that always stand.
func newRelay(t *testing.T, change ...func(*core.Config)) *bench {
	t.Helper()
	three := func(cfg *core.Config) {
		cfg.Neighbours = []core.Neighbour{{Peer: eid(2), Always: true}, {Peer: eid(3), Always: true}}
	}
	b := newBench(t, nil, true, append([]func(*core.Config){three}, change...)...)
	b.step(core.LinkUp{Link: linkBack, Peer: eid(2)})
	b.step(core.LinkUp{Link: linkOn, Peer: eid(3)})
	return b
}

// asked makes the bundle that node 2 sends by node 1 to node 3 under custody.
func asked(opts ...bundletest.Option) []bundletest.Option {
	return append([]bundletest.Option{
		bundletest.From(eid(2).WithService(1)), bundletest.To(eid(3).WithService(1)),
		bundletest.PreviousNode(eid(2)), bundletest.Custody(eid(2), 7, 5),
	}, opts...)
}

// signals lets signals become due and returns what they say, by custodian.
func (b *bench) signals() map[bundle.EID][]bundle.CustodySignal {
	b.t.Helper()
	b.now = b.now.Add(6 * second)
	b.step(core.Tick{})
	said := make(map[bundle.EID][]bundle.CustodySignal)
	for i, made := range b.made {
		rec, err := bundle.ParseAdminRecord(b.said[i])
		if err != nil {
			b.t.Fatalf("the node said what cannot be read: %v", err)
		}
		if rec.CustodySignal != nil {
			said[made.Primary.Destination] = append(said[made.Primary.Destination], *rec.CustodySignal)
		}
	}
	b.made, b.said = nil, nil
	return said
}

// verdict is what one signal says, in short.
func verdict(list []bundle.CustodySignal) string {
	accepted, refused := 0, 0
	for _, s := range list {
		accepted += len(s.Accepted)
		refused += len(s.Refused)
	}
	switch {
	case accepted > 0 && refused > 0:
		return "both"
	case accepted > 0:
		return "accepted"
	case refused > 0:
		return "refused"
	}
	return "nothing"
}

// signal gives the core a custody signal about numbers of one sequence.
func (b *bench) signal(from bundle.EID, link core.LinkID, s bundle.CustodySignal) []core.Effect {
	b.token++
	bndl := bundletest.New(bundletest.From(from), bundletest.To(eid(1)), bundletest.Flags(bundle.FlagAdminRecord), bundletest.At(b.now, uint64(b.token)))
	return b.step(core.Arrival{Token: b.token, Link: link, Bundle: &bndl, Size: 100, Admin: s.Append(nil)})
}

// news returns the events of one kind among effects.
func news(effects []core.Effect, kind app.EventKind) []app.Event {
	var list []app.Event
	for _, n := range of[core.Notify](effects) {
		if n.Event.Kind == kind {
			list = append(list, n.Event)
		}
	}
	return list
}

// A bundle is custodial if it has exactly one custody block that can be read, a
// source, one destination and no administrative record; what breaks the rules is
// carried without custody, and nothing is said about it.
func TestCustodyRequests(t *testing.T) {
	second := bundle.CustodyBlock(9, bundle.Custody{Custodian: eid(9), SeqID: 1, SeqNum: 1})
	broken := bundle.CustodyBlock(9, bundle.Custody{Custodian: eid(9)})
	broken.Data = []byte{0x83, 0x00}
	tests := []struct {
		name      string
		opts      []bundletest.Option
		custodial bool
		said      string
		malformed bool
	}{
		{"one block", asked(), true, "accepted", false},
		{"no block", []bundletest.Option{bundletest.From(eid(2).WithService(1)), bundletest.To(eid(3).WithService(1)), bundletest.PreviousNode(eid(2))}, false, "nothing", false},
		{"two blocks", asked(bundletest.Block(second)), false, "nothing", true},
		{"a block that cannot be read", []bundletest.Option{
			bundletest.From(eid(2).WithService(1)), bundletest.To(eid(3).WithService(1)), bundletest.PreviousNode(eid(2)), bundletest.Block(broken),
		}, false, "nothing", true},
		{"from nobody", asked(bundletest.From(bundle.EID{})), false, "nothing", true},
		{"administrative record", asked(bundletest.Flags(bundle.FlagAdminRecord)), false, "nothing", true},
		{"custodian is nobody", asked(bundletest.Custody(bundle.EID{}, 7, 5)), false, "nothing", false},
		{"custodian may be many", asked(bundletest.Custody(fleet, 7, 5)), false, "nothing", false},
		{"for this node", asked(bundletest.To(eid(1).WithService(1))), true, "accepted", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newRelay(t)
			effects := b.arrive(linkBack, false, 100, tt.opts...)
			if r := of[core.Reply](effects); len(r) != 1 || r[0].Err != nil {
				t.Fatalf("answered by %v", r)
			}
			if len(b.kept) != 1 || b.kept[0].Custodial != tt.custodial {
				t.Fatalf("kept %+v, want custodial: %v", b.kept, tt.custodial)
			}
			sent := of[core.Transmit](effects)
			if b.kept[0].Duty == store.DutyForward && (len(sent) != 1 || (sent[0].Changes.Custody != nil) != tt.custodial) {
				t.Errorf("sent on with %+v", sent)
			}
			if got := verdict(b.signals()[eid(2)]); got != tt.said {
				t.Errorf("its custodian was told: %s, want %s", got, tt.said)
			}
			if got := b.core.Status(1).Counters.CustodyMalformed == 1; got != tt.malformed {
				t.Errorf("counted as malformed: %v, want %v", got, tt.malformed)
			}
		})
	}
}

// A node that takes no custody says nothing and forwards the block untouched, and
// still answers for what ends at it.
func TestCustodyIncapableNode(t *testing.T) {
	incapable := func(cfg *core.Config) { cfg.AcceptCustody = false }
	b := newRelay(t, incapable)
	sent := of[core.Transmit](b.arrive(linkBack, false, 100, asked()...))
	if len(sent) != 1 || sent[0].Changes.Custody != nil || b.kept[0].Custodial {
		t.Errorf("sent on as %+v", sent)
	}
	if said := b.signals(); len(said) != 0 {
		t.Errorf("it said %v", said)
	}
	b.arrive(linkBack, false, 100, asked(bundletest.To(eid(1).WithService(1)))...)
	if got := verdict(b.signals()[eid(2)]); got != "accepted" {
		t.Errorf("about a bundle for itself it said: %s", got)
	}
}

// Every reason to refuse, what becomes of the bundle, and what is told to whom.
func TestCustodyAdmission(t *testing.T) {
	plan, err := contact.New(slices.Concat(between(1, 2, 0, 90, 1000), between(1, 3, 40, 90, 1000), between(3, 4, 95, 99, 1000)))
	if err != nil {
		t.Fatal(err)
	}
	policy := func(p core.CustodyPolicy) func(*core.Config) {
		return func(cfg *core.Config) { cfg.Custody = p }
	}
	planned := func(cfg *core.Config) {
		cfg.Plan, cfg.Neighbours = plan, []core.Neighbour{{Peer: eid(2)}, {Peer: eid(3)}}
	}
	only := func(left int64) func() int64 { return func() int64 { return left } }
	tests := []struct {
		name   string
		change []func(*core.Config)
		opts   []bundletest.Option
		why    string // "" when it is taken
		kept   bool
	}{
		{"room for it and a tenth", []func(*core.Config){policy(core.CustodyPolicy{Space: only(220)})}, asked(), "", true},
		{"a byte less", []func(*core.Config){policy(core.CustodyPolicy{Space: only(219)})}, asked(), "depleted-storage", true},
		{"no room at its destination", []func(*core.Config){policy(core.CustodyPolicy{Space: only(0)})}, asked(bundletest.To(eid(1).WithService(1))), "depleted-storage", false},
		{"custodian not listed", []func(*core.Config){policy(core.CustodyPolicy{Custodians: []bundle.EID{eid(4)}})}, asked(), "policy", true},
		{"custodian listed", []func(*core.Config){policy(core.CustodyPolicy{Custodians: []bundle.EID{eid(4), eid(2)}})}, asked(), "", true},
		{"source not listed", []func(*core.Config){policy(core.CustodyPolicy{Sources: []bundle.EID{eid(4)}})}, asked(), "policy", true},
		{"source listed", []func(*core.Config){policy(core.CustodyPolicy{Sources: []bundle.EID{eid(2)}})}, asked(), "", true},
		{"its destination takes what policy forbids", []func(*core.Config){policy(core.CustodyPolicy{Sources: []bundle.EID{eid(4)}})}, asked(bundletest.To(eid(1).WithService(1))), "", true},
		{"too little lifetime", []func(*core.Config){policy(core.CustodyPolicy{MinLifetime: 2 * dtntime.Hour})}, asked(), "lifetime-too-short", true},
		{"no route", nil, asked(bundletest.To(eid(9).WithService(1))), "no-route", false},
		{"no contact in time", []func(*core.Config){planned}, asked(bundletest.To(eid(4).WithService(1)), bundletest.Lifetime(90*second)), "no-timely-contact", false},
		{"a contact in time", []func(*core.Config){planned}, asked(bundletest.To(eid(4).WithService(1)), bundletest.Lifetime(97*second)), "", true},
		{"a fragment", nil, []bundletest.Option{
			bundletest.From(eid(2).WithService(1)), bundletest.To(eid(3).WithService(1)), bundletest.PreviousNode(eid(2)),
			bundletest.Custody(eid(2), 7, 5), bundletest.Fragment(0, 1000),
		}, "fragment", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newRelay(t, tt.change...)
			effects := b.arrive(linkBack, false, 100, tt.opts...)
			if r := of[core.Reply](effects); len(r) != 1 || r[0].Err != nil {
				t.Fatalf("answered by %v: a refusal of custody refuses no transfer", r)
			}
			if kept := len(b.kept) == 1; kept != tt.kept {
				t.Fatalf("kept: %v, want %v", kept, tt.kept)
			}
			if tt.kept && b.kept[0].Custodial != (tt.why == "") {
				t.Errorf("kept in custody: %v", b.kept[0].Custodial)
			}
			for _, x := range of[core.Transmit](effects) {
				if tt.why != "" && x.Changes.Custody != nil {
					t.Error("the block of a declined bundle was changed")
				}
			}
			want, said := map[string]uint64{}, "accepted"
			if tt.why != "" {
				want[tt.why], said = 1, "refused"
				if list := news(effects, app.EventCustodyDeclined); len(list) != 1 || list[0].Detail != tt.why {
					t.Errorf("events %+v", list)
				}
			}
			if got := b.core.Status(1).Custody.Declined; !maps.Equal(got, want) {
				t.Errorf("counted %v, want %v", got, want)
			}
			if got := verdict(b.signals()[eid(2)]); got != said {
				t.Errorf("its custodian was told: %s, want %s", got, said)
			}
		})
	}
}

func TestCustodyIndexLimit(t *testing.T) {
	b := newRelay(t, func(cfg *core.Config) { cfg.Custody.MaxBundles = 2 })
	for i := range 4 {
		b.arrive(linkBack, false, 100, asked(bundletest.Custody(eid(2), 7, uint64(i)))...)
	}
	if s := b.core.Status(1).Custody; s.Held != 2 || s.Declined["custody-index-full"] != 2 {
		t.Errorf("%d held, declined %v, want 2 of each", s.Held, s.Declined)
	}
}

// A bundle that carries a custody block but may be cut into fragments is not taken
// over, since one fragment would release all of it.
func TestCustodyOfWhatMayBeFragmented(t *testing.T) {
	b := newRelay(t)
	bndl := bundletest.New(asked(bundletest.At(b.now, 1), bundletest.Lifetime(dtntime.Hour))...)
	bndl.Primary.Flags &^= bundle.FlagMustNotFragment
	b.step(core.Arrival{Token: 1, Link: linkBack, Bundle: &bndl, HeaderLen: 100, Size: 200})
	if len(b.kept) != 1 || b.kept[0].Custodial {
		t.Errorf("kept %+v, want it outside custody", b.kept)
	}
	if got := verdict(b.signals()[eid(2)]); got != "refused" {
		t.Errorf("its custodian was told: %s", got)
	}
}

// All fragments of a bundle carry its custody block. They are refused once.
func TestCustodyOfFragmentsIsRefusedOnce(t *testing.T) {
	b := newRelay(t)
	at := bundletest.At(b.now, 77)
	told := 0
	for i := range uint64(5) {
		b.arrive(linkBack, false, 100, asked(at, bundletest.Fragment(100*i, 500))...)
		told += len(b.signals()[eid(2)])
	}
	if told != 1 || len(b.kept) < 5 {
		t.Errorf("told %d times about %d fragments, want once about 5", told, len(b.kept))
	}
	b.arrive(linkBack, false, 100, asked(bundletest.At(b.now, 78), bundletest.Fragment(0, 500), bundletest.Custody(eid(2), 7, 6))...)
	if got := verdict(b.signals()[eid(2)]); got != "refused" {
		t.Errorf("about a fragment of another bundle it said: %s", got)
	}
}

// What an application sends under custody must be able to arrive in time.
func TestCustodyIsRefusedToAnApplication(t *testing.T) {
	plan, err := contact.New(between(1, 2, 50, 90, 1000))
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, plan, false)
	if r := of[core.Reply](b.arrive(0, true, 100, bundletest.Lifetime(49*second))); len(r) != 1 || r[0].Err == nil {
		t.Errorf("too short a lifetime: %v", r)
	}
	if r := of[core.Reply](b.arrive(0, true, 10_000_000)); len(r) != 1 || r[0].Err == nil {
		t.Errorf("larger than every contact: %v", r)
	}
	if r := of[core.Reply](b.arrive(0, true, 100, bundletest.Lifetime(55*second))); len(r) != 1 || r[0].Err != nil {
		t.Errorf("in time: %v", r)
	}
}

// The pause after a refusal doubles, and ends with the start of the next contact.
func TestCustodyHoldDown(t *testing.T) {
	plan, err := contact.New(slices.Concat(between(1, 2, 0, 90, 1000), between(2, 3, 0, 90, 1000)))
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, plan, false)
	b.step(core.LinkUp{Link: 2, Peer: eid(2), Dialed: true})
	sent := of[core.Transmit](b.arrive(0, true, 100, bundletest.To(eid(3).WithService(1))))
	for i, want := range []dtntime.Time{
		start.Add(32 * second),  // refused at 2
		start.Add(100 * second), // refused at 34: 60 s, but then no contact is open
		start.Add(200 * second), // refused at 102: the contact at 200 comes before 120 s are over
	} {
		if len(sent) != 1 {
			t.Fatalf("attempt %d: %d transmissions", i+1, len(sent))
		}
		own := sent[0].Record.Own
		b.step(core.Sent{Link: 2, Handle: sent[0].Record.Handle})
		b.now = b.now.Add(2 * second)
		effects := b.signal(eid(2), 2, bundle.CustodySignal{Refused: []bundle.Sequence{{SeqID: own.SeqID, Ranges: []bundle.Range{{First: own.SeqNum, Count: 1}}}}})
		if s := b.core.Status(1); s.Custody.Held != 1 || s.Custody.InFlight != 0 {
			t.Fatalf("after a refusal: %+v", s.Custody)
		}
		if len(news(effects, app.EventCustodyRefused)) != 1 {
			t.Error("no news of the refusal")
		}
		for sent = of[core.Transmit](effects); len(sent) == 0; sent = of[core.Transmit](effects) {
			b.now = b.core.NextWake()
			if b.now > want {
				t.Fatalf("attempt %d: not sent again by %v", i+1, want.Sub(start))
			}
			effects = b.step(core.Tick{})
			if b.now == start.Add(100*second) || b.now == start.Add(200*second) {
				effects = append(effects, b.step(core.LinkUp{Link: 2, Peer: eid(2), Dialed: true})...)
			}
		}
		if b.now != want {
			t.Errorf("attempt %d went at %v, want %v", i+2, b.now.Sub(start), want.Sub(start))
		}
	}
}
