package core_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/bundletest"
	"perigee/bundle/contact"
	"perigee/bundle/core"
	"perigee/bundle/dtntime"
	"perigee/bundle/route"
	"perigee/bundle/store"
)

// runs makes a signal part about numbers of one sequence.
func runs(id uint64, ranges ...bundle.Range) []bundle.Sequence {
	return []bundle.Sequence{{SeqID: id, Ranges: ranges}}
}

// hostileSignals are what nobody should send. They name every number there is.
func hostileSignals(id uint64) map[string][]byte {
	everything := bundle.Range{First: 0, Count: math.MaxUint64}
	overlapping := bundle.CustodySignal{}
	for i := range uint64(bundle.MaxSequences) {
		overlapping.Accepted = append(overlapping.Accepted, runs(id, bundle.Range{First: i, Count: 1 << 63})...)
	}
	long := []bundle.Range{}
	for i := range uint64((bundle.MaxExtents + 1) / 2) {
		long = append(long, bundle.Range{First: i << 55, Count: 1 << 54})
	}
	full := bundle.CustodySignal{}
	for i := range uint64(bundle.MaxSequences) {
		full.Refused = append(full.Refused, runs(id+i, long...)...)
	}
	records := map[string][]byte{
		"everything":             (&bundle.CustodySignal{Accepted: runs(id, everything)}).Append(nil),
		"everything refused":     (&bundle.CustodySignal{Refused: runs(id, everything)}).Append(nil),
		"everything, both ways":  (&bundle.CustodySignal{Accepted: runs(id, everything), Refused: runs(id, everything)}).Append(nil),
		"overlapping":            overlapping.Append(nil),
		"64 sequences, 255 runs": full.Append(nil),
		"every destination": (&bundle.CustodySignal{Accepted: []bundle.Sequence{
			{Destination: eid(3).WithService(1), Ranges: []bundle.Range{everything}},
			{Destination: eid(1), Ranges: []bundle.Range{everything}},
		}}).Append(nil),
	}
	for name, text := range malformedSignals {
		records[name], _ = hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	}
	return records
}

// malformedSignals break the layout (CCSDS 734.6-O-1 section 4.2).
var malformedSignals = map[string]string{
	"no map":              "820d 80",
	"no array":            "820d a1 01 05",
	"empty":               "820d a0",
	"extent 0":            "820d a1 01 81 83 03 05 00",
	"even length":         "820d a1 01 81 83 03 05 82 01 01",
	"run of 0":            "820d a1 01 81 83 03 05 83 01 00 01",
	"sum beyond 2^64-1":   "820d a1 01 81 83 03 05 1b ffffffffffffffff",
	"65 sequences":        "820d a1 01 9841" + strings.Repeat("83030501", 65),
	"257 runs":            "820d a1 01 81 83 03 05 990101" + strings.Repeat("01", 257),
	"a stranger's number": "820d a1 01 81 84 03 05 01 8202821842 00",
	"disposition twice":   "820d a2 01 81 83030501 01 81 83030501",
	"cut off":             "820d a1 01 81 83 03",
}

// outstanding makes a bench with count bundles in flight to node 2, for node 3, and
// returns their sequence ID.
func outstanding(t *testing.T, count int) (*bench, uint64) {
	t.Helper()
	routes, err := route.NewTable([]route.Route{{To: "*", Next: eid(2)}})
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, nil, true, func(cfg *core.Config) { cfg.Routes = routes })
	b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true})
	var own store.Episode
	for range count {
		for _, x := range of[core.Transmit](b.arrive(0, true, 100, bundletest.To(eid(3).WithService(1)))) {
			own = x.Record.Own
			b.step(core.Sent{Link: 1, Handle: x.Record.Handle})
		}
	}
	if _, flying := custodyOf(b); flying != count {
		t.Fatalf("%d bundles in flight, want %d", flying, count)
	}
	return b, own.SeqID
}

func custodyOf(b *bench) (held, flying int) {
	s := b.core.Status(0).Custody
	return int(s.Held), int(s.InFlight)
}

// say gives the core an administrative record.
func (b *bench) say(from bundle.EID, record []byte) []core.Effect {
	b.token++
	bndl := bundletest.New(bundletest.From(from), bundletest.To(eid(1)), bundletest.Flags(bundle.FlagAdminRecord), bundletest.At(b.now, uint64(b.token)))
	return b.step(core.Arrival{Token: b.token, Link: 1, Bundle: &bndl, Size: 100, Admin: record})
}

// What a stranger says changes nothing, whatever it is, and is counted by cause.
func TestHostileSignalsOfAStranger(t *testing.T) {
	const count = 50
	for name := range hostileSignals(1) {
		t.Run(name, func(t *testing.T) {
			b, id := outstanding(t, count)
			effects := b.say(eid(66), hostileSignals(id)[name])
			if held, flying := custodyOf(b); held != count || flying != count {
				t.Errorf("%d in custody and %d in flight, want %d of each", held, flying, count)
			}
			if r := of[core.Reply](effects); len(r) != 1 || len(b.kept) != count || len(of[core.Transmit](effects)) != 0 {
				t.Errorf("effects %v, want an answer and nothing more", effects)
			}
			rejected := b.core.Status(0).Custody.Rejected
			want := "stranger"
			switch _, malformed := malformedSignals[name]; {
			case malformed:
				want = "malformed"
			case name == "every destination":
				want = "unknown-numbers"
			}
			if rejected[want] != 1 || len(rejected) != 1 {
				t.Errorf("counted %v, want one %s", rejected, want)
			}
		})
	}
}

// What a custodian says is taken for what is outstanding, however much more it
// names; and malformed signals change nothing at all.
func TestHostileSignalsOfACustodian(t *testing.T) {
	const count = 50
	for name, want := range map[string]int{
		"everything": 0, "everything, both ways": 0, "overlapping": 0,
		"everything refused": count, "64 sequences, 255 runs": count, "every destination": count,
	} {
		b, id := outstanding(t, count)
		b.say(eid(2), hostileSignals(id)[name])
		if held, _ := custodyOf(b); held != want {
			t.Errorf("%s: %d in custody, want %d", name, held, want)
		}
	}
	for name := range malformedSignals {
		b, id := outstanding(t, count)
		b.say(eid(2), hostileSignals(id)[name])
		if held, flying := custodyOf(b); held != count || flying != count || b.core.Status(0).Custody.Rejected["malformed"] != 1 {
			t.Errorf("%s: %d in custody, %d in flight", name, held, flying)
		}
	}
}

// A flood of signals is looked at only in part, whoever seems to send it; and the
// signals of nodes that are known go through all the same.
func TestFloodOfSignals(t *testing.T) {
	b, id := outstanding(t, 10)
	record := hostileSignals(id)["overlapping"]
	for i := range 1000 {
		b.say(eid(66+i%2*i), record) // one stranger, and every other time a new one
	}
	rejected := b.core.Status(0).Custody.Rejected
	if looked := rejected["stranger"]; looked < 16 || looked > 100 || rejected["flood"] != 1000-looked {
		t.Errorf("counted %v of 1000", rejected)
	}
	b.say(eid(2), record)
	if held, _ := custodyOf(b); held != 0 {
		t.Errorf("in the flood, the neighbour's signal was not honoured: %d in custody", held)
	}
	b.now = b.now.Add(dtntime.Minute)
	b.say(eid(66), record)
	if got := b.core.Status(0).Custody.Rejected["flood"]; got != rejected["flood"] {
		t.Error("a minute later the stranger is still kept off")
	}
}

// Reserved dispositions are passed over, the rest of their signal is honoured.
func TestReservedDisposition(t *testing.T) {
	b, id := outstanding(t, 1)
	record := (&bundle.CustodySignal{Accepted: runs(id, bundle.Range{First: 0, Count: 5})}).Append(nil)
	record = slices.Concat([]byte{0x82, 0x0d, 0xa2, 0x21, 0x00}, record[3:]) // -2: 0
	b.say(eid(2), record)
	if held, _ := custodyOf(b); held != 0 {
		t.Error("the acceptance beside it was not honoured")
	}
	if rejected := b.core.Status(0).Custody.Rejected; rejected["reserved-disposition"] != 1 {
		t.Errorf("counted %v", rejected)
	}
	b.say(eid(2), record) // a second acceptance changes nothing
	if s := b.core.Status(0); s.Counters.CustodyReleased != 1 || s.Custody.Rejected["unknown-numbers"] != 1 {
		t.Errorf("after the same signal again: %+v, %v", s.Counters, s.Custody.Rejected)
	}
}

// The published custody vectors: signals that announce everything or a reserved
// disposition are read, release what is outstanding and cost nothing more.
func TestCustodyVectors(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "vectors", "bpv7_computed.json"))
	if err != nil {
		t.Skipf("the shared vectors are not here: %v", err)
	}
	var vectors []struct{ ID, Hex, Verdict string }
	if err := json.Unmarshal(raw, &vectors); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, v := range vectors {
		data, err := hex.DecodeString(v.Hex)
		if err != nil {
			t.Fatal(err)
		}
		switch v.ID {
		case "own-ct1":
			b := newRelay(t)
			parsed, _, err := bundle.Parse(data, bundle.DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			parsed.Primary = parsed.Primary.Editable()
			parsed.Primary.Created.Time, parsed.Primary.Lifetime = b.now, dtntime.Hour
			parsed.Primary.Destination = eid(3).WithService(1)
			b.step(core.Arrival{Token: 1, Link: linkBack, Bundle: &parsed, HeaderLen: 100, Size: int64(len(data))})
			if len(b.kept) != 1 || b.kept[0].From != (store.Episode{Custodian: bundle.IPN(10, 0), SeqID: 3, SeqNum: 7}) {
				t.Errorf("own-ct1: kept %+v", b.kept)
			}
		case "own-ct2", "own-ct4-payload", "neg-28", "neg-31":
			b, _ := outstanding(t, 3)
			record := data
			if v.Verdict != "payload" {
				_, payload, err := bundle.Parse(data, bundle.DefaultLimits())
				if err != nil {
					t.Fatal(err)
				}
				record = payload
			}
			if r := of[core.Reply](b.say(eid(2), record)); len(r) != 1 || r[0].Err != nil {
				t.Errorf("%s: answered by %v", v.ID, r)
			}
			if held, _ := custodyOf(b); held != 3 {
				t.Errorf("%s: %d in custody: it names another sequence", v.ID, held)
			}
		default:
			continue
		}
		seen++
	}
	if seen != 5 {
		t.Errorf("%d of 5 vectors are there", seen)
	}
}

// Signals leave when there is enough to say, when it has waited, when a contact
// is about to end, when one begins, and when the node stops.
func TestSignalsAreFlushed(t *testing.T) {
	plan, err := contact.New(slices.Concat(between(1, 2, 0, 60, 1000), between(1, 3, 0, 90, 1000)))
	if err != nil {
		t.Fatal(err)
	}
	planned := func(cfg *core.Config) {
		cfg.Plan, cfg.Neighbours = plan, []core.Neighbour{{Peer: eid(2)}, {Peer: eid(3)}}
	}
	ask := func(b *bench, n int) {
		for range n {
			b.arrive(linkBack, false, 10, asked(bundletest.Custody(eid(2), 7, 2*uint64(b.token)))...)
		}
	}
	said := func(b *bench) int { return len(b.made) }
	wait := func(b *bench, at int) {
		for b.now < moment(at) {
			b.now = min(b.core.NextWake(), moment(at))
			b.step(core.Tick{})
		}
	}
	t.Run("age", func(t *testing.T) {
		b := newRelay(t, planned)
		ask(b, 3)
		if wait(b, 4); said(b) != 0 {
			t.Error("said before 5 s were over")
		}
		if wait(b, 5); said(b) != 1 {
			t.Errorf("%d signals after 5 s, want 1", said(b))
		}
		made := b.made[0]
		if p := made.Primary; p.Flags != bundle.FlagAdminRecord|bundle.FlagMustNotFragment || !p.ReportTo.IsNull() || p.Source != eid(1) ||
			p.Destination != eid(2) || made.Priority() != bundle.PriorityExpedited {
			t.Errorf("sent as %+v", p)
		}
		if _, custodial := made.Custody(); custodial || b.kept[len(b.kept)-1].Custodial {
			t.Error("a signal is in custody")
		}
		if life := made.Primary.Lifetime; life < dtntime.Hour-6*second || life > dtntime.Hour {
			t.Errorf("its lifetime is %s, not what is left of the bundles'", life)
		}
	})
	t.Run("size", func(t *testing.T) {
		b := newRelay(t, planned)
		ask(b, 1000)
		if n := said(b); n < 1 || n > 3 {
			t.Errorf("%d signals about 1000 numbers with gaps", n)
		}
		for _, payload := range b.said {
			if len(payload) < 1000 || len(payload) > 1100 {
				t.Errorf("a signal of %d bytes went out", len(payload))
			}
		}
	})
	t.Run("contact ends", func(t *testing.T) {
		b := newRelay(t, planned)
		wait(b, 54)
		ask(b, 1)
		if wait(b, 55); said(b) != 1 {
			t.Errorf("%d signals 5 s before the contact ends", said(b))
		}
	})
	t.Run("contact begins", func(t *testing.T) {
		b := newRelay(t, planned)
		wait(b, 54)
		b.step(core.LinkDown{Link: linkBack})
		b.step(core.LinkUp{Link: 7, Peer: eid(66)})
		b.arrive(linkOn, false, 10, asked(bundletest.PreviousNode(eid(3)), bundletest.To(eid(1).WithService(1)))...)
		if wait(b, 99); said(b) != 0 {
			t.Errorf("%d signals without a link", said(b))
		}
		b.now = moment(100)
		b.step(core.LinkUp{Link: 8, Peer: eid(2)})
		if said(b) != 1 {
			t.Errorf("%d signals when the contact begins", said(b))
		}
	})
	t.Run("shutdown", func(t *testing.T) {
		b := newRelay(t, planned)
		ask(b, 2)
		if b.step(core.Shutdown{}); said(b) != 1 {
			t.Errorf("%d signals when the node stops", said(b))
		}
	})
	t.Run("lifetime", func(t *testing.T) {
		b := newRelay(t, planned)
		b.arrive(linkBack, false, 10, asked(bundletest.Lifetime(30*dtntime.Day))...)
		if wait(b, 5); said(b) != 1 || b.made[0].Primary.Lifetime != 7*dtntime.Day {
			t.Errorf("its lifetime is %s, want 7 days at most", b.made[0].Primary.Lifetime)
		}
	})
}

// What is owed after a restart is owed again, for a day.
func TestSignalsAfterRestart(t *testing.T) {
	rec := func(age dtntime.Duration) store.Record {
		return store.Record{
			Handle: 1, ID: bundle.ID{Source: eid(2).WithService(1)}, Destination: eid(3).WithService(1), Duty: store.DutyForward, Custodial: true,
			From: store.Episode{Custodian: eid(2), SeqID: 7, SeqNum: 5}, Own: store.Episode{Custodian: eid(1), SeqID: 9, SeqNum: 1},
			Received: start - dtntime.Time(age), Expiry: start.Add(dtntime.Day), Size: 100,
		}
	}
	for _, tt := range []struct {
		age  dtntime.Duration
		want string
	}{{dtntime.Hour, "accepted"}, {25 * dtntime.Hour, "nothing"}} {
		b := newBench(t, nil, true)
		b.restore(rec(tt.age))
		b.step(core.LinkUp{Link: linkBack, Peer: eid(2), Dialed: true})
		if got := verdict(b.signals()[eid(2)]); got != tt.want {
			t.Errorf("accepted %s ago: said %s, want %s", tt.age, got, tt.want)
		}
	}
}

// deadlineOf returns the deadline of the only bundle in flight, or 0.
func deadlineOf(b *bench) dtntime.Time {
	for _, o := range b.core.Status(10).Custody.Outstanding {
		return o.Deadline
	}
	return 0
}

// Deadlines follow the plan, the clock, and what is known of who answers.
func TestDeadlinesAreComputedAnew(t *testing.T) {
	back := func(at int) *contact.Plan {
		list := []contact.Contact{
			{From: eid(1), To: eid(2), Start: start, End: moment(60), Rate: contact.MegabitPerSecond},
			{From: eid(2), To: eid(1), Start: moment(at), End: moment(at + 60), Rate: contact.MegabitPerSecond},
			{From: eid(2), To: eid(3), Start: start, End: moment(60), Rate: contact.MegabitPerSecond},
			{From: eid(3), To: eid(1), Start: moment(2000), End: moment(2100), Rate: contact.MegabitPerSecond},
		}
		plan, err := contact.New(list)
		if err != nil {
			t.Fatal(err)
		}
		return plan
	}
	fly := func(dest int) *bench {
		b := newBench(t, back(1000), false)
		b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true})
		for _, x := range of[core.Transmit](b.arrive(0, true, 100, bundletest.To(eid(dest).WithService(1)))) {
			b.step(core.Sent{Link: 1, Handle: x.Record.Handle})
		}
		if at := deadlineOf(b); at < moment(1000) || at > moment(1200) {
			t.Fatalf("deadline %s, want it after the way back opens", at.Sub(start))
		}
		return b
	}
	b := fly(2)
	b.step(core.PlanChanged{Plan: back(500)})
	if at := deadlineOf(b); at < moment(500) || at > moment(600) {
		t.Errorf("with a plan that leads back sooner, the deadline is %s", at.Sub(start))
	}
	b.step(core.PlanChanged{Plan: back(1500)})
	if at := deadlineOf(b); at < moment(1500) {
		t.Errorf("with a plan that leads back later, the deadline is %s", at.Sub(start))
	}
	b, _ = outstanding(t, 1)
	before := deadlineOf(b)
	b.now = start.Add(400 * second) // instead of at start
	if again := of[core.Transmit](b.step(core.ClockStepped{Was: start})); len(again) != 0 {
		t.Error("with the clock set forwards, a bundle is sent again at once")
	}
	if at := deadlineOf(b); at < before.Add(400*second) || at > before.Add(401*second) {
		t.Errorf("with the clock set forwards, the deadline went from %s to %s", before.Sub(start), at.Sub(start))
	}
	b = fly(2)
	b.now = start.Add(30 * second)
	b.step(core.Tick{})
	b.now = start - dtntime.Time(3600*second)
	b.step(core.ClockStepped{Was: start.Add(30 * second)})
	if next := b.core.NextWake(); next > start {
		t.Errorf("with the clock set backwards, nothing is awaited before %s", next)
	}
	if s := b.core.Status(1); s.Now != b.now || s.Custody.Held != 1 {
		t.Errorf("after the step: %+v", s)
	}
}

// A neighbour that has never answered is not waited for when a bundle goes again:
// its destination is. Once the neighbour answers for another bundle, it is.
func TestDeadlineOfANeighbourThatAnswers(t *testing.T) {
	plan, err := contact.New(slices.Concat(between(1, 2, 0, 90, 1000), between(2, 3, 50, 90, 1000)))
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, plan, false)
	b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true})
	sent := of[core.Transmit](b.arrive(0, true, 100, bundletest.To(eid(3).WithService(1))))
	for range 2 {
		for _, x := range sent {
			b.step(core.Sent{Link: 1, Handle: x.Record.Handle})
		}
		if first := deadlineOf(b); first < moment(30) {
			b.now = first
			sent = of[core.Transmit](b.step(core.Tick{}))
		}
	}
	if at := deadlineOf(b); at < moment(50) {
		t.Fatalf("the second deadline is %s, before its destination can be reached", at.Sub(start))
	}
	for _, x := range of[core.Transmit](b.arrive(0, true, 100, bundletest.To(eid(3).WithService(1)))) {
		b.step(core.Sent{Link: 1, Handle: x.Record.Handle})
		b.signal(eid(2), 1, bundle.CustodySignal{Accepted: runs(x.Record.Own.SeqID, bundle.Range{First: x.Record.Own.SeqNum, Count: 1})})
	}
	if at := deadlineOf(b); at == 0 || at > moment(40) {
		t.Errorf("after an answer of the neighbour, the deadline is %s", at.Sub(start))
	}
}

// How long the answer is awaited depends on how long others gather signals, whatever
// this node does, and on the clocks.
func TestDeadlineKnowsThePeers(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*core.Config)
		want   dtntime.Duration
	}{
		"unknown":           {func(cfg *core.Config) { cfg.Aggregate = 10 }, 13 * second}, // 1 s to store it, 10 s to gather, a guard of 2 s
		"configured":        {func(cfg *core.Config) { cfg.PeerAggregate = second }, 4 * second},
		"clocks that drift": {func(cfg *core.Config) { cfg.PeerAggregate, cfg.ClockError = second, 30*second }, 32 * second},
	} {
		b := newBench(t, nil, true, tt.change)
		b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true})
		for _, x := range of[core.Transmit](b.arrive(0, true, 100)) {
			b.step(core.Sent{Link: 1, Handle: x.Record.Handle})
		}
		if got := deadlineOf(b).Sub(start); got != tt.want {
			t.Errorf("%s: the deadline is after %s, want %s", name, got, tt.want)
		}
	}
}

// What was passed on is known for as long as a clock may be behind.
func TestTombstonesKnowTheClocks(t *testing.T) {
	b := newBench(t, nil, true, func(cfg *core.Config) { cfg.ClockError = dtntime.Minute })
	b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true})
	var own store.Episode
	for _, x := range of[core.Transmit](b.arrive(0, true, 100, bundletest.Lifetime(dtntime.Hour))) {
		b.step(core.Sent{Link: 1, Handle: x.Record.Handle})
		own = x.Record.Own
	}
	var gone store.Gone
	for _, e := range slices.Clone(b.core.Step(b.now, core.Arrival{
		Token: 77, Link: 1, Bundle: adminFrom(eid(2)), Size: 100,
		Admin: (&bundle.CustodySignal{Accepted: runs(own.SeqID, bundle.Range{First: own.SeqNum, Count: 1})}).Append(nil),
	})) {
		if p, ok := e.(core.Persist); ok {
			gone = p.Ops[0].(store.Delete).Gone
		}
	}
	if want := start.Add(dtntime.Hour).Add(dtntime.Minute); gone.Until != want {
		t.Errorf("known until %s, want %s", gone.Until, want)
	}
}

// adminFrom makes the bundle of an administrative record for node 1.
func adminFrom(node bundle.EID) *bundle.Bundle {
	b := bundletest.New(bundletest.From(node), bundletest.To(eid(1)), bundletest.Flags(bundle.FlagAdminRecord), bundletest.At(start, 1))
	return &b
}

// Retransmissions may take the configured part of a contact while less urgent bundles
// wait that were never sent.
func TestRetransmissionShare(t *testing.T) {
	plan, err := contact.New(between(1, 2, 0, 90, 8)) // 90 kB
	if err != nil {
		t.Fatal(err)
	}
	for share, want := range map[int]int{0: 2, 80: 4} {
		b := newBench(t, plan, false, func(cfg *core.Config) { cfg.RetransmitShare = share })
		b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true})
		for range 4 {
			b.arrive(0, true, 10_000, bundletest.Lifetime(dtntime.Day))
		}
		b.runTo(moment(42))
		for range 4 {
			b.arrive(0, true, 10_000, bundletest.Lifetime(dtntime.Day), bundletest.Priority(bundle.PriorityBulk))
		}
		b.step(core.LinkDown{Link: 1}) // and nothing has arrived
		effects := b.step(core.LinkUp{Link: 2, Peer: eid(2), Dialed: true})
		again, first := 0, 0
		for _, x := range of[core.Transmit](append(effects, b.runTo(moment(90))...)) {
			if x.Record.Attempts > 1 {
				again++
			} else {
				first++
			}
		}
		if again != want || again+first != 4 {
			t.Errorf("with a share of %d%%, %d retransmissions and %d others, want %d of 4", share, again, first, want)
		}
	}
}

// Five transmissions without an answer raise an alarm, once; the node goes on.
func TestCustodyAlarm(t *testing.T) {
	b := newBench(t, nil, true)
	b.step(core.LinkUp{Link: 1, Peer: eid(2), Dialed: true})
	effects := b.arrive(0, true, 100, bundletest.Lifetime(dtntime.Day))
	alarms := 0
	for sent := 0; sent < 8; {
		for _, x := range of[core.Transmit](effects) {
			sent++
			b.step(core.Sent{Link: 1, Handle: x.Record.Handle})
		}
		if b.now = b.core.NextWake(); b.now > start.Add(dtntime.Day) {
			t.Fatalf("sent %d times", sent)
		}
		effects = b.step(core.Tick{})
		if list := news(effects, app.EventAlarm); len(list) > 0 {
			alarms += len(list)
			if sent != 5 || !strings.Contains(list[0].Detail, fmt.Sprint(sent)) {
				t.Errorf("alarm after %d: %s", sent, list[0].Detail)
			}
		}
	}
	if got := b.core.Status(0).Counters.CustodyAlarms; alarms != 1 || got != 1 {
		t.Errorf("%d alarms, counted %d, want 1", alarms, got)
	}
}

// What is lost in custody raises an alarm, however it is lost.
func TestAlarmWhenCustodyEnds(t *testing.T) {
	b := newRelay(t)
	for name, lose := range map[string]func() []core.Effect{
		"expired": func() []core.Effect {
			b.now = b.now.Add(2 * dtntime.Hour)
			return b.step(core.Tick{})
		},
		"removed": func() []core.Effect {
			b.token++
			return b.step(core.Remove{Token: b.token, Record: b.kept[len(b.kept)-1]})
		},
	} {
		b.arrive(0, true, 100, bundletest.To(eid(77).WithService(1)))
		before := b.core.Status(0).Counters.CustodyAlarms
		effects := lose()
		if list := news(effects, app.EventAlarm); len(list) != 1 || b.core.Status(0).Counters.CustodyAlarms != before+1 {
			t.Errorf("%s: alarms %+v", name, list)
		}
		b.arrive(0, false, 100, bundletest.To(eid(77).WithService(1)))
		if list := news(lose(), app.EventAlarm); len(list) != 0 {
			t.Errorf("%s without custody: alarms %+v", name, list)
		}
	}
}
