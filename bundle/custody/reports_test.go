package custody_test

import (
	"math"
	"slices"
	"testing"

	"perigee/bundle"
	"perigee/bundle/bundletest"
	"perigee/bundle/custody"
	"perigee/bundle/dtntime"
)

// told makes a report about number n of sequence 7, which gs has issued.
func told(n uint64, status bundle.ReportedStatus) custody.Reported {
	return custody.Reported{To: gs, Source: gs.WithService(4), Status: status, SeqID: 7, SeqNum: n}
}

func TestReportsAreGathered(t *testing.T) {
	s := custody.NewReports()
	for _, n := range []uint64{5, 6, 9, 5, 7} {
		if !s.Add(told(n, bundle.StatusDelivered), now) {
			t.Fatalf("no room for number %d", n)
		}
	}
	s.Add(told(5, bundle.StatusReceived), now+1)
	other := told(3, bundle.StatusReceived)
	other.Source, other.SeqID, other.Destination = sat.WithService(1), 0, bundle.IPN(3, 11)
	s.Add(other, now+2)
	elsewhere := told(1, bundle.StatusDeleted)
	elsewhere.To = sat
	s.Add(elsewhere, now+3)
	if to := s.To(); !slices.Equal(to, []bundle.EID{gs, sat}) || s.Since(gs) != now || s.Since(sat) != now+3 || s.Since(bundle.IPN(9, 0)) != dtntime.Forever {
		t.Errorf("to %v, since %d and %d", to, s.Since(gs), s.Since(sat))
	}
	signals := s.Take(gs)
	if len(signals) != 1 {
		t.Fatalf("%d signals", len(signals))
	}
	delivered, received := signals[0].Sequences[bundle.StatusDelivered], signals[0].Sequences[bundle.StatusReceived]
	if len(delivered) != 1 || !slices.Equal(delivered[0].Ranges, []bundle.Range{{First: 5, Count: 3}, {First: 9, Count: 1}}) || !delivered[0].Source.IsNull() {
		t.Errorf("delivered: %+v", delivered)
	}
	if len(received) != 2 || received[0].SeqID != 7 || received[1].Destination != bundle.IPN(3, 11) || received[1].Source != sat.WithService(1) {
		t.Errorf("received: %+v; the source must be named when the signal does not go to its node", received)
	}
	if again := s.Take(gs); again != nil || s.Since(gs) != dtntime.Forever || len(s.To()) != 1 {
		t.Errorf("after it was taken: %+v", again)
	}
	if got := s.Take(sat); len(got) != 1 || got[0].Sequences[bundle.StatusDeleted][0].Source != gs.WithService(4) {
		t.Errorf("to another node: %+v", got)
	}
}

func TestReportsAreLarge(t *testing.T) {
	few := custody.NewReports()
	for n := range uint64(4000) {
		few.Add(told(n, bundle.StatusDelivered), now)
	}
	if few.Large(gs) {
		t.Error("4000 numbers in a row fill a signal")
	}
	for n := range uint64(200) {
		few.Add(told(n+4000, bundle.StatusDelivered), now)
	}
	if !few.Large(gs) {
		t.Error("more numbers than one endpoint should wait for do not fill a signal")
	}
	gaps := custody.NewReports()
	n := uint64(0)
	for ; !gaps.Large(gs); n += 2 {
		gaps.Add(told(n, bundle.StatusDelivered), now)
	}
	signals := gaps.Take(gs)
	size := 0
	for i := range signals {
		for _, r := range bundle.StandardCodePoints().ReportingRecords(&signals[i]) {
			size += len(r)
		}
	}
	if size <= custody.MaxSignalBytes || size > custody.MaxSignalBytes+40 {
		t.Errorf("it was full with %d bytes", size)
	}
}

// Whatever is added, memory and signals are bounded.
func TestReportsAreBounded(t *testing.T) {
	s := custody.NewReports()
	refused := 0
	for i := range uint64(20_000) {
		r := told(2*i, bundle.StatusReceived)
		if !s.Add(r, now) {
			refused++
		}
		r.To = bundle.IPN(100+i, 0)
		if !s.Add(r, now) {
			refused++
		}
		r = told(i, bundle.ReportedStatus(i%6))
		r.To, r.SeqID, r.Source = sat, 1+i, bundle.IPN(100+i, 3)
		if !s.Add(r, now) {
			refused++
		}
	}
	if refused < 3*20_000-8192-1024-2048 {
		t.Errorf("only %d of 60,000 were refused", refused)
	}
	for _, to := range s.To() {
		for _, signal := range s.Take(to) {
			for status, list := range signal.Sequences {
				if len(list) > custody.MaxSequences {
					t.Errorf("%d sequences of status %d", len(list), status)
				}
			}
			for _, r := range bundle.StandardCodePoints().ReportingRecords(&signal) {
				if len(r) > 8192 {
					t.Errorf("a record of %d bytes", len(r))
				}
			}
		}
	}
}

func TestReportsFollowTheClock(t *testing.T) {
	s := custody.NewReports()
	s.Add(told(1, bundle.StatusReceived), now)
	s.Shift(func(at dtntime.Time) dtntime.Time { return at.Add(dtntime.Hour) })
	if got := s.Since(gs); got != now.Add(dtntime.Hour) {
		t.Errorf("since %d", got)
	}
}

func issuedID(n uint64) bundle.ID {
	b := bundletest.New(bundletest.At(now, n))
	return b.ID()
}

func TestIssued(t *testing.T) {
	s := custody.NewIssued()
	for _, n := range []uint64{3, 1, 2, 9} {
		s.Add(7, n, issuedID(n))
	}
	s.Add(8, 1, issuedID(100))
	everything := bundle.Range{First: 0, Count: math.MaxUint64}
	for name, tt := range map[string]struct {
		signal []bundle.Sequence
		limit  int
		want   []uint64
		more   bool
	}{
		"one":                {sequence(7, bundle.Range{First: 2, Count: 1}), 9, []uint64{2}, false},
		"runs":               {sequence(7, bundle.Range{First: 1, Count: 2}, bundle.Range{First: 5, Count: 50}), 9, []uint64{1, 2, 9}, false},
		"another sequence":   {sequence(8, everything), 9, []uint64{100}, false},
		"unknown":            {sequence(6, everything), 9, nil, false},
		"by destination":     {[]bundle.Sequence{{Destination: gs, Ranges: []bundle.Range{everything}}}, 9, nil, false},
		"more than is asked": {append(sequence(7, everything), sequence(7, everything)...), 5, []uint64{1, 2, 3, 9, 1}, true},
	} {
		ids, more := s.Match(tt.signal, tt.limit)
		var got []uint64
		for _, id := range ids {
			got = append(got, id.Created.Sequence)
		}
		if !slices.Equal(got, tt.want) || more != tt.more {
			t.Errorf("%s: matched %v, more: %v", name, got, more)
		}
	}
}

// The latest numbers are remembered, and no more.
func TestIssuedIsBounded(t *testing.T) {
	s := custody.NewIssued()
	const count = 3 * custody.MaxIssued
	for n := range uint64(count) {
		s.Add(7+n%2, n, issuedID(n))
		s.Add(7+n%2, n, issuedID(n))
	}
	everything := bundle.Range{First: 0, Count: math.MaxUint64}
	ids, _ := s.Match(append(sequence(7, everything), sequence(8, everything)...), count)
	if len(ids) != custody.MaxIssued {
		t.Errorf("%d are remembered, want %d", len(ids), custody.MaxIssued)
	}
	for _, id := range ids {
		if id.Created.Sequence < count-custody.MaxIssued {
			t.Fatalf("number %d is remembered, which is not among the latest", id.Created.Sequence)
		}
	}
}
