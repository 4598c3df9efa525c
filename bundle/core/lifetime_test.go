package core_test

import (
	"math"
	"testing"

	"perigee/bundle"
	"perigee/bundle/bundletest"
	"perigee/bundle/core"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

func TestExpiryWithAndWithoutClock(t *testing.T) {
	for name, c := range map[string]struct {
		noClock bool
		opts    []bundletest.Option
		want    dtntime.Time
	}{
		"by the clock":                    {false, []bundletest.Option{bundletest.At(start-1000, 1), bundletest.Lifetime(5000)}, start + 4000},
		"by the clock despite its age":    {false, []bundletest.Option{bundletest.At(start-1000, 1), bundletest.Lifetime(5000), bundletest.Age(3000)}, start + 4000},
		"by age":                          {false, []bundletest.Option{bundletest.At(0, 1), bundletest.Lifetime(5000), bundletest.Age(3000)}, start + 2000},
		"no clock, by age":                {true, []bundletest.Option{bundletest.At(1, 1), bundletest.Lifetime(5000), bundletest.Age(3000)}, start + 2000},
		"no clock, from now on":           {true, []bundletest.Option{bundletest.At(1, 1), bundletest.Lifetime(5000)}, start + 5000},
		"no clock, from the future":       {true, []bundletest.Option{bundletest.At(start+dtntime.Time(dtntime.Day), 1), bundletest.Lifetime(5000)}, start + 5000},
		"no clock, no time, by age":       {true, []bundletest.Option{bundletest.At(0, 1), bundletest.Lifetime(5000), bundletest.Age(4999)}, start + 1},
		"the longest lifetime":            {false, []bundletest.Option{bundletest.At(start, 1), bundletest.Lifetime(math.MaxUint64)}, dtntime.Forever},
		"the longest lifetime, no clock":  {true, []bundletest.Option{bundletest.At(start, 1), bundletest.Lifetime(math.MaxUint64)}, dtntime.Forever},
		"the longest lifetime and an age": {true, []bundletest.Option{bundletest.At(0, 1), bundletest.Lifetime(math.MaxUint64), bundletest.Age(5)}, dtntime.Forever},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil, true, func(cfg *core.Config) { cfg.NoClock = c.noClock })
			b.step(core.LinkUp{Link: 1, Peer: eid(2)})
			b.arrive(1, false, 10, append([]bundletest.Option{bundletest.From(eid(2)), bundletest.To(eid(1).WithService(1))}, c.opts...)...)
			if len(b.kept) != 1 || b.kept[0].Expiry != c.want {
				t.Errorf("stored %+v, want one that expires at %d", b.kept, c.want)
			}
		})
	}
}

func TestExpiredByAgeWithoutClock(t *testing.T) {
	b := newBench(t, nil, true, func(cfg *core.Config) { cfg.NoClock = true })
	b.step(core.LinkUp{Link: 1, Peer: eid(2)})
	b.arrive(1, false, 10, bundletest.From(eid(2)), bundletest.To(eid(1).WithService(1)), bundletest.At(start, 1), bundletest.Lifetime(5000), bundletest.Age(5000))
	if len(b.kept) != 0 {
		t.Error("a bundle as old as its lifetime was stored")
	}
}

// Ages and hops stop at their ends instead of beginning anew.
func TestForwardingSaturates(t *testing.T) {
	b := bundletest.New(bundletest.Age(math.MaxUint64-5), bundletest.Hops(255, 254))
	rec := store.Record{ID: b.ID(), Previous: eid(2), Received: start, AgeReceived: math.MaxUint64 - 5, HasAge: true}
	if err := (core.Forwarding{Previous: eid(1)}).Apply(&b, &rec, start+1000); err != nil {
		t.Fatal(err)
	}
	if age, _ := b.Age(); age != math.MaxUint64 {
		t.Errorf("age %d", age)
	}
	if hops, _ := b.HopCount(); hops != (bundle.HopCount{Limit: 255, Count: 255}) {
		t.Errorf("hops %+v", hops)
	}
	if err := (core.Forwarding{Previous: eid(1)}).Apply(&b, &rec, start+1000); err == nil {
		t.Error("sent on beyond its hop limit")
	}
}

// A node that keeps what passes by no longer than so deletes it then, for a reason of
// its own. What it is custodian of, or delivers, or made itself, it keeps.
func TestLifetimeIsCutShort(t *testing.T) {
	short := func(cfg *core.Config) { cfg.MaxLifetime = dtntime.Minute }
	nowhere := bundletest.To(eid(77).WithService(1))
	lost := bundletest.To(eid(3).WithService(1)) // whose link is down
	for name, tt := range map[string]struct {
		link    core.LinkID
		custody bool
		opts    []bundletest.Option
		want    []string
	}{
		"passing by":       {linkBack, false, onward(nowhere), []string{"deleted 10"}},
		"short-lived":      {linkBack, false, onward(nowhere, bundletest.Lifetime(30*second)), []string{"deleted 1"}},
		"for an endpoint":  {linkBack, false, onward(bundletest.To(eid(1).WithService(1))), nil},
		"in custody":       {linkBack, false, onward(lost, bundletest.Custody(eid(2), 7, 5)), nil},
		"made here":        {0, false, []bundletest.Option{nowhere, bundletest.ReportTo(judge, everything)}, nil},
		"made in custody":  {0, true, []bundletest.Option{lost, bundletest.ReportTo(judge, everything)}, nil},
		"for many at once": {linkBack, false, onward(bundletest.To(fleet)), nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := reported(t, short, registered(5))
			b.step(core.LinkDown{Link: linkOn})
			b.arrive(tt.link, tt.custody, 10, tt.opts...)
			b.reports()
			b.now = b.now.Add(61 * second)
			b.step(core.Tick{})
			b.wantReports("a minute later", tt.want...)
		})
	}
}

// Custody that is taken of such a bundle gives it its lifetime back.
func TestCustodyRestoresLifetime(t *testing.T) {
	b := reported(t, func(cfg *core.Config) { cfg.MaxLifetime = dtntime.Minute })
	b.step(core.LinkDown{Link: linkOn})
	at := bundletest.At(start, 9)
	b.arrive(linkBack, false, 10, onward(at)...)
	rec := b.kept[0]
	if !rec.Pared || rec.Expiry != start.Add(dtntime.Minute) {
		t.Fatalf("kept %+v", rec)
	}
	made := bundletest.New(onward(at, bundletest.Lifetime(dtntime.Hour), bundletest.Flags(bundle.FlagMustNotFragment), bundletest.Custody(eid(2), 7, 5))...)
	b.step(core.Arrival{Token: 900, Link: linkBack, Bundle: &made, HeaderLen: 100, Size: 110, Known: store.Trace{Live: &rec}})
	b.reports()
	b.now = start.Add(10 * dtntime.Minute)
	b.step(core.Tick{})
	b.wantReports("after ten minutes")
	b.now = start.Add(dtntime.Hour)
	b.step(core.Tick{})
	b.wantReports("after an hour", "deleted 1")
}
