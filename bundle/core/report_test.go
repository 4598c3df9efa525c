package core_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/bundletest"
	"perigee/bundle/core"
	"perigee/bundle/store"
)

// judge is where reports go in these tests.
var judge = eid(3)

const everything = bundle.ReportFlags

// reported makes a bench with reports switched on, and with links to nodes 2 and 3.
func reported(t *testing.T, change ...func(*core.Config)) *bench {
	t.Helper()
	on := func(cfg *core.Config) { cfg.StatusReports = true }
	return newRelay(t, append([]func(*core.Config){on}, change...)...)
}

// reports returns what was reported since the last call, as "received 0" and such.
func (b *bench) reports() []string {
	b.t.Helper()
	var list []string
	for i, made := range b.made {
		rec, err := bundle.ParseAdminRecord(b.said[i])
		if err != nil {
			b.t.Fatal(err)
		}
		s := rec.Status
		if s == nil {
			continue
		}
		for what, item := range map[string]bundle.StatusItem{"received": s.Received, "forwarded": s.Forwarded, "delivered": s.Delivered, "deleted": s.Deleted} {
			if item.Asserted {
				word := fmt.Sprintf("%s %d", what, s.Reason)
				if item.Time != 0 {
					word += " timed"
				}
				list = append(list, word)
			}
		}
		if made.Primary.Destination != judge || made.Primary.Flags&everything != 0 || !made.Primary.ReportTo.IsNull() {
			b.t.Errorf("the report goes to %s with flags %#x and reports to %s", made.Primary.Destination, made.Primary.Flags, made.Primary.ReportTo)
		}
	}
	b.made, b.said = nil, nil
	return list
}

func (b *bench) wantReports(when string, want ...string) {
	b.t.Helper()
	if got := b.reports(); !slices.Equal(got, want) {
		b.t.Errorf("%s: reported %q, want %q", when, got, want)
	}
}

func onward(opts ...bundletest.Option) []bundletest.Option {
	return append([]bundletest.Option{
		bundletest.From(eid(2).WithService(1)), bundletest.To(eid(3).WithService(1)), bundletest.ReportTo(judge, everything),
	}, opts...)
}

func TestReportsOfABundleSentOn(t *testing.T) {
	b := reported(t)
	sent := of[core.Transmit](b.arrive(linkBack, false, 10, onward(bundletest.Flags(bundle.FlagStatusTime))...))
	b.wantReports("when it came", "received 0 timed")
	for _, x := range sent {
		if x.Record.Flags&bundle.FlagAdminRecord == 0 {
			b.step(core.Sent{Link: linkOn, Handle: x.Record.Handle})
		}
	}
	b.wantReports("when it had left", "forwarded 0 timed")
}

func TestReportsOfADeliveredBundle(t *testing.T) {
	b := reported(t)
	b.step(core.Receive{Token: 1001, Endpoint: eid(1).WithService(1)})
	got := of[core.Deliver](b.arrive(linkBack, false, 10, onward(bundletest.To(eid(1).WithService(1)))...))
	b.wantReports("when it came", "received 0")
	b.step(core.Ack{Token: 1002, Handle: got[0].Record.Handle})
	b.wantReports("when the application had it", "delivered 0")
}

func TestReportsOfDeletedBundles(t *testing.T) {
	unknown := func(flags bundle.BlockFlags) bundletest.Option {
		return bundletest.Block(bundle.Block{Type: 199, Number: 9, Flags: flags, Data: []byte{0}})
	}
	for name, c := range map[string]struct {
		opts []bundletest.Option
		want []string
	}{
		"expired on the way":         {[]bundletest.Option{bundletest.At(start-1000, 1), bundletest.Lifetime(500)}, []string{"received 0", "deleted 1"}},
		"too many hops":              {[]bundletest.Option{bundletest.Hops(3, 3)}, []string{"received 0", "deleted 9"}},
		"a block that deletes":       {[]bundletest.Option{unknown(bundle.BlockDeleteBundle)}, []string{"received 0", "deleted 11"}},
		"a block that reports":       {[]bundletest.Option{unknown(bundle.BlockReport)}, []string{"received 11", "received 0"}},
		"one that does both":         {[]bundletest.Option{unknown(bundle.BlockReport | bundle.BlockDeleteBundle)}, []string{"received 0", "received 11", "deleted 11"}},
		"no such endpoint":           {[]bundletest.Option{bundletest.To(eid(1))}, []string{"deleted 5"}},
		"a rule broken":              {[]bundletest.Option{bundletest.CRC(bundle.CRCNone)}, []string{"deleted 8"}},
		"asked by a block alone":     {[]bundletest.Option{quietly, unknown(bundle.BlockReport)}, []string{"received 11"}},
		"nothing asked":              {[]bundletest.Option{quietly, bundletest.Hops(3, 3)}, nil},
		"an administrative record":   {[]bundletest.Option{quietly, bundletest.Flags(bundle.FlagAdminRecord), bundletest.Hops(3, 3)}, nil},
		"of nobody":                  {[]bundletest.Option{bundletest.From(bundle.EID{}), bundletest.Hops(3, 3)}, nil},
		"nowhere to report to":       {[]bundletest.Option{bundletest.ReportTo(bundle.EID{}, everything), bundletest.Hops(3, 3)}, nil},
		"custody that leads nowhere": {[]bundletest.Option{bundletest.To(eid(77)), bundletest.Custody(eid(2), 7, 5)}, []string{"received 0", "deleted 6"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := reported(t)
			b.arrive(linkBack, false, 10, onward(c.opts...)...)
			b.wantReports("when it came", c.want...)
		})
	}
}

// quietly asks for nothing.
func quietly(b *bundle.Bundle) { b.Primary.Flags &^= everything }

func TestReportsOfMalformedBundles(t *testing.T) {
	b := reported(t)
	made := bundletest.New(onward()...)
	b.step(core.Malformed{Link: linkBack, Primary: made.Primary, ID: made.ID(), Err: &bundle.ParseError{Reason: "nonsense"}})
	b.wantReports("after nonsense", "received 0", "deleted 8")
}

func TestReportsOfRemovedAndExpiredBundles(t *testing.T) {
	b := reported(t)
	b.arrive(linkBack, false, 10, onward(bundletest.To(eid(77)))...)
	b.reports()
	b.step(core.Remove{Token: 1001, Record: b.kept[0]})
	b.wantReports("removed", "deleted 3")
	b.arrive(linkBack, false, 10, onward(bundletest.To(eid(77)))...)
	b.reports()
	b.now = b.now.Add(2 * 3600 * second)
	b.step(core.Tick{})
	b.wantReports("expired", "deleted 1")
}

// Reports are off unless they are switched on. That a bundle in custody was deleted
// is told in any case.
func TestReportsAreOff(t *testing.T) {
	b := newRelay(t)
	b.arrive(linkBack, false, 10, onward(bundletest.Hops(3, 3))...)
	b.wantReports("switched off")
	b.arrive(0, true, 10, bundletest.To(eid(77).WithService(1)), bundletest.ReportTo(judge, 0))
	b.wantReports("taken in custody")
	b.now = b.now.Add(2 * 3600 * second)
	b.step(core.Tick{})
	b.wantReports("expired in custody", "deleted 1")
	b.arrive(0, true, 10, bundletest.To(eid(77).WithService(1)))
	b.now = b.now.Add(2 * 3600 * second)
	b.step(core.Tick{})
	b.wantReports("expired in custody without an address")
}

// A report to this node itself reaches those who watch it, and one to an endpoint of
// it is delivered there.
func TestReportsToThisNode(t *testing.T) {
	b := reported(t)
	effects := b.arrive(linkBack, false, 10, onward(bundletest.ReportTo(eid(1), everything), bundletest.Hops(3, 3))...)
	var told []string
	for _, n := range of[core.Notify](effects) {
		if n.Event.Kind == app.EventReported {
			told = append(told, n.Event.Detail)
		}
	}
	if len(told) != 2 || !strings.Contains(told[0], "received") || !strings.Contains(told[1], "deleted, hop limit") || len(b.made) != 0 {
		t.Errorf("told %q, %d bundles made", told, len(b.made))
	}
	b.step(core.Receive{Token: 1001, Endpoint: eid(1).WithService(9)})
	got := of[core.Deliver](b.arrive(linkBack, false, 10, onward(bundletest.ReportTo(eid(1).WithService(9), everything), bundletest.Hops(3, 3))...))
	if len(got) != 1 || got[0].Record.Flags&bundle.FlagAdminRecord == 0 || got[0].Record.Duty != store.DutyDeliver {
		t.Errorf("delivered %+v", got)
	}
}

// A flood of bundles that ask for reports does not become a flood of reports.
func TestReportsAreBounded(t *testing.T) {
	b := reported(t)
	for n := range 3000 {
		b.arrive(linkBack, false, 10, onward(bundletest.Hops(3, 3), bundletest.Sequence(uint64(n)))...)
	}
	s := b.core.Status(10).Counters
	if s.ReportsSent > 1100 || s.ReportsSent+s.ReportsSuppressed != 6000 {
		t.Errorf("%d reports sent, %d suppressed", s.ReportsSent, s.ReportsSuppressed)
	}
	b.now = b.now.Add(10 * second)
	b.reports()
	b.arrive(linkBack, false, 10, onward(bundletest.Hops(3, 3))...)
	b.wantReports("after a pause", "received 0", "deleted 9")
}
