package custody_test

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"

	"perigee/bundle"
	"perigee/bundle/custody"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

const now = dtntime.Time(800_000_000_000)

var (
	gs  = bundle.IPN(1, 0)
	sat = bundle.IPN(2, 0)
)

// shelf keeps counters as a store would.
type shelf map[string]uint64

func (s shelf) load(name string) (uint64, error) { return s[name], nil }

func (s shelf) keep(n *custody.Numbers, list []custody.Reservation) {
	for _, r := range list {
		s[r.Name] = r.Value
	}
	n.Kept(list)
}

type number struct{ id, num uint64 }

func next(t *testing.T, n *custody.Numbers, to bundle.EID, at dtntime.Time) (number, []custody.Reservation) {
	t.Helper()
	id, num, keep, err := n.Next(to, bundle.PriorityNormal, at)
	if err != nil {
		t.Fatal(err)
	}
	return number{id, num}, keep
}

func TestNumbersAreNeverUsedTwice(t *testing.T) {
	kept, used := shelf{}, map[number]bool{}
	for life := range 5 {
		n := custody.NewNumbers(custody.ForCustody, kept.load)
		for i := range custody.ReserveBlock + 10*life {
			for _, to := range []bundle.EID{gs, sat} {
				got, keep := next(t, n, to, now)
				if got.id == 0 {
					t.Fatal("sequence ID 0 was given out")
				}
				if used[got] {
					t.Fatalf("life %d: number %v came twice", life, got)
				}
				used[got] = true
				if i%3 == 0 { // the others' commits fail
					kept.keep(n, keep)
				} else if len(keep) > 0 {
					delete(used, got) // and so their numbers never left the node
				}
			}
		}
	}
}

func TestNumbersAreKeptOnceDurable(t *testing.T) {
	kept := shelf{}
	n := custody.NewNumbers(custody.ForCustody, kept.load)
	_, first := next(t, n, gs, now)
	if len(first) != 3 {
		t.Fatalf("the first number came with counters %v, want the last ID, the ID and its numbers", first)
	}
	if _, again := next(t, n, gs, now); !slices.Equal(again, first) {
		t.Errorf("before the counters are durable, the second number came with %v, want %v", again, first)
	}
	kept.keep(n, first)
	if _, none := next(t, n, gs, now); len(none) != 0 {
		t.Errorf("once the counters are durable, a number came with %v", none)
	}
}

func TestNumbersAfterCountersAreLost(t *testing.T) {
	before := shelf{}
	n := custody.NewNumbers(custody.ForCustody, before.load)
	old, keep := next(t, n, gs, now)
	before.keep(n, keep)

	later := now.Add(dtntime.Minute)
	fresh, _ := next(t, custody.NewNumbers(custody.ForCustody, shelf{}.load), gs, later)
	if fresh.id == old.id {
		t.Errorf("after all counters were lost, sequence ID %d came again", fresh.id)
	}
	seen := custody.NewNumbers(custody.ForCustody, shelf{}.load)
	seen.Seen(old.id + 1_000_000)
	if got, _ := next(t, seen, gs, later); got.id <= old.id+1_000_000 {
		t.Errorf("sequence ID %d is not above the one of a stored bundle", got.id)
	}
	// The clock is behind, and the bundle that showed the latest ID has left.
	slow := custody.NewNumbers(custody.ForCustody, shelf{}.load)
	slow.Seen(old.id - 40)
	if got, _ := next(t, slow, gs, now-dtntime.Time(dtntime.Hour)); got.id <= old.id {
		t.Errorf("with a clock that is behind, sequence ID %d is not above %d", got.id, old.id)
	}
	for name := range before { // the counter of the numbers alone is lost
		if name != "custody/last-id" && before[name] == custody.ReserveBlock {
			delete(before, name)
		}
	}
	if got, _ := next(t, custody.NewNumbers(custody.ForCustody, before.load), gs, later); got.id == old.id {
		t.Errorf("after its numbers were lost, sequence ID %d came again", got.id)
	}
}

// Numbers stay below 2^32: then another sequence begins.
func TestNumbersFitIntoConstrainedNodes(t *testing.T) {
	kept := shelf{}
	n := custody.NewNumbers(custody.ForCustody, kept.load)
	first, keep := next(t, n, gs, now)
	kept.keep(n, keep)
	for name, value := range kept {
		if value == custody.ReserveBlock {
			kept[name] = custody.MaxSeqNum - 1 // as if all before had been used
		}
	}
	n = custody.NewNumbers(custody.ForCustody, kept.load)
	used := map[number]bool{}
	for range 4 {
		got, keep := next(t, n, gs, now)
		kept.keep(n, keep)
		if got.num > custody.MaxSeqNum || used[got] {
			t.Errorf("number %d of sequence %d", got.num, got.id)
		}
		used[got] = true
	}
	if !used[number{first.id, custody.MaxSeqNum}] || len(used) != 4 {
		t.Errorf("used %v, want the last of the first sequence among them", used)
	}
	again, _ := next(t, custody.NewNumbers(custody.ForCustody, kept.load), gs, now)
	if again.id == first.id || used[again] {
		t.Errorf("after a restart, number %d of sequence %d", again.num, again.id)
	}
}

func TestNumbersReportTheStore(t *testing.T) {
	broken := errors.New("broken")
	n := custody.NewNumbers(custody.ForCustody, func(string) (uint64, error) { return 0, broken })
	if _, _, _, err := n.Next(gs, bundle.PriorityBulk, now); !errors.Is(err, broken) {
		t.Errorf("Next with a broken store: %v", err)
	}
}

func sequence(id uint64, ranges ...bundle.Range) []bundle.Sequence {
	return []bundle.Sequence{{SeqID: id, Ranges: ranges}}
}

func TestBookMatch(t *testing.T) {
	b := custody.NewBook()
	for i := range uint64(10) {
		b.Hold(store.Handle(100+i), 7, i)
	}
	b.Hold(200, 8, math.MaxUint64)
	everything := bundle.Range{First: 0, Count: math.MaxUint64}
	tests := []struct {
		name   string
		signal []bundle.Sequence
		want   []store.Handle
	}{
		{"one", sequence(7, bundle.Range{First: 3, Count: 1}), []store.Handle{103}},
		{"runs", sequence(7, bundle.Range{First: 0, Count: 2}, bundle.Range{First: 8, Count: 5}), []store.Handle{100, 101, 108, 109}},
		{"another sequence", sequence(9, everything), nil},
		{"numbers not in the book", sequence(7, bundle.Range{First: 10, Count: 1 << 40}), nil},
		{"the last number there is", sequence(8, bundle.Range{First: math.MaxUint64, Count: 1}), []store.Handle{200}},
		{"a run that ends with it", sequence(8, bundle.Range{First: 1, Count: math.MaxUint64}), []store.Handle{200}},
		{"by destination", []bundle.Sequence{{Destination: gs, Ranges: []bundle.Range{everything}}}, nil},
		{"named twice", append(sequence(7, bundle.Range{First: 3, Count: 2}), sequence(7, bundle.Range{First: 4, Count: 2})...), []store.Handle{103, 104, 105}},
		{"nothing", nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := b.Match(tt.signal); !slices.Equal(got, tt.want) {
				t.Errorf("Match = %v, want %v", got, tt.want)
			}
		})
	}
}

// A hostile signal may name all numbers in all its sequences. That must cost no
// more than what is in the book.
func TestBookMatchHostile(t *testing.T) {
	b := custody.NewBook()
	for i := range uint64(1000) {
		b.Hold(store.Handle(i+1), 7, i)
	}
	var hostile []bundle.Sequence
	for range bundle.MaxSequences {
		hostile = append(hostile, sequence(7, bundle.Range{First: 0, Count: math.MaxUint64})...)
		hostile = append(hostile, sequence(1<<60, bundle.Range{First: 0, Count: math.MaxUint64})...)
	}
	if got := b.Match(hostile); len(got) != 1000 {
		t.Errorf("Match returned %d handles of 1000 bundles", len(got))
	}
}

func TestBookTimers(t *testing.T) {
	b := custody.NewBook()
	for h := range store.Handle(4) {
		b.Hold(h+1, 7, uint64(h))
	}
	b.Sent(1, gs, now+30)
	b.Sent(2, gs, now+10)
	b.Sent(3, gs, now+10)
	b.Sent(9, gs, now+5) // not in the book
	if got := b.NextDue(); got != now+10 {
		t.Errorf("NextDue = %d, want %d", got, now+10)
	}
	if held, flying := b.Len(); held != 4 || flying != 3 {
		t.Errorf("Len = %d, %d, want 4, 3", held, flying)
	}
	if got := b.Due(now + 9); got != nil {
		t.Errorf("Due before time = %v", got)
	}
	b.Return(3)
	if got := b.Due(now + 10); !slices.Equal(got, []store.Handle{2}) {
		t.Errorf("Due = %v, want 2: 3 was returned", got)
	}
	b.Sent(2, gs, now+20)
	b.Sent(2, gs, now+40) // sent again: the first deadline counts no more
	b.Drop(1)
	if got := b.Due(now + 30); got != nil {
		t.Errorf("Due = %v, want nothing: 1 was dropped, 2 sent again", got)
	}
	if got := b.Due(now + 40); !slices.Equal(got, []store.Handle{2}) {
		t.Errorf("Due = %v, want 2", got)
	}
	if held, flying := b.Len(); held != 3 || flying != 0 {
		t.Errorf("Len = %d, %d, want 3, 0", held, flying)
	}
	if got := b.NextDue(); got != dtntime.Forever {
		t.Errorf("NextDue of nothing in flight = %d", got)
	}
}

func TestBookDropAndRenumber(t *testing.T) {
	b := custody.NewBook()
	b.Hold(1, 7, 5)
	b.Hold(1, 7, 6) // does nothing
	b.Hold(2, 7, 5) // the same number, from a lost counter
	b.Sent(1, gs, now+10)
	b.Renumber(1, 8, 1)
	if got := b.Match(sequence(7, bundle.Range{First: 0, Count: 100})); !slices.Equal(got, []store.Handle{2}) {
		t.Errorf("by the old number: %v, want 2 alone", got)
	}
	if got := b.Match(sequence(8, bundle.Range{First: 1, Count: 1})); !slices.Equal(got, []store.Handle{1}) {
		t.Errorf("by the new number: %v, want 1", got)
	}
	if got := b.Due(now + 10); !slices.Equal(got, []store.Handle{1}) {
		t.Errorf("Due after a new number = %v, want 1: it is still in flight", got)
	}
	b.Drop(1)
	b.Drop(1)
	b.Drop(2)
	if held, flying := b.Len(); held != 0 || flying != 0 {
		t.Errorf("Len = %d, %d, want nothing", held, flying)
	}
}

func TestBookList(t *testing.T) {
	b := custody.NewBook()
	b.Hold(5, 7, 1)
	b.Hold(3, 7, 2)
	if n := b.Attempt(3); n != 1 {
		t.Errorf("first Attempt = %d", n)
	}
	if n := b.Attempt(99); n != 0 {
		t.Errorf("Attempt of an unknown bundle = %d", n)
	}
	b.Sent(3, gs, now)
	want := []custody.Outstanding{{Handle: 3, SeqID: 7, SeqNum: 2, Attempts: 1, Next: gs, Deadline: now}, {Handle: 5, SeqID: 7, SeqNum: 1}}
	if got := b.List(10); !reflect.DeepEqual(got, want) {
		t.Errorf("List = %+v, want %+v", got, want)
	}
	if got := b.List(1); len(got) != 1 {
		t.Errorf("List(1) has %d entries", len(got))
	}
}

func episode(id, num uint64) store.Episode {
	return store.Episode{Custodian: gs, SeqID: id, SeqNum: num}
}

func TestSignalsAggregate(t *testing.T) {
	s := custody.NewSignals()
	for _, num := range []uint64{5, 7, 6, 9, 5, 0, math.MaxUint64, math.MaxUint64 - 1} {
		s.Add(episode(7, num), sat, true, now, now+100)
	}
	s.Add(episode(3, 1), sat, true, now+1, now+500)
	if got := s.Since(gs); got != now {
		t.Errorf("Since = %d, want the time of the oldest entry", got)
	}
	signals, until := s.Take(gs)
	want := []bundle.CustodySignal{{Accepted: []bundle.Sequence{
		{SeqID: 3, Ranges: []bundle.Range{{First: 1, Count: 1}}},
		{SeqID: 7, Ranges: []bundle.Range{{First: 0, Count: 1}, {First: 5, Count: 3}, {First: 9, Count: 1}, {First: math.MaxUint64 - 1, Count: 2}}},
	}}}
	if !reflect.DeepEqual(signals, want) || until != now+500 {
		t.Errorf("Take = %+v until %d, want %+v until %d", signals, until, want, now+500)
	}
	if left, _ := s.Take(gs); left != nil || len(s.Custodians()) != 0 {
		t.Errorf("after Take, %v is still owed", left)
	}
}

func TestSignalsAcceptBeatsRefuse(t *testing.T) {
	for _, first := range []bool{true, false} {
		for _, id := range []uint64{0, 7} {
			s := custody.NewSignals()
			for num := range uint64(3) {
				s.Add(episode(id, num), sat, false, now, now+100)
			}
			s.Add(episode(id, 5), sat, first, now, now+100)
			s.Add(episode(id, 1), sat, true, now, now+100)
			s.Add(episode(id, 5), sat, !first, now, now+100)
			signals, _ := s.Take(gs)
			accepted, refused := numbers(signals)
			if !slices.Equal(accepted, []uint64{1, 5}) || !slices.Equal(refused, []uint64{0, 2}) {
				t.Errorf("sequence %d: accepted %v, refused %v, want 1 5 and 0 2", id, accepted, refused)
			}
		}
	}
}

// numbers returns all numbers of some signals, in order.
func numbers(signals []bundle.CustodySignal) (accepted, refused []uint64) {
	flatten := func(list []bundle.Sequence) (all []uint64) {
		for _, q := range list {
			for _, r := range q.Ranges {
				for i := range r.Count {
					all = append(all, r.First+i)
				}
			}
		}
		return all
	}
	for _, s := range signals {
		accepted = append(accepted, flatten(s.Accepted)...)
		refused = append(refused, flatten(s.Refused)...)
	}
	slices.Sort(accepted)
	slices.Sort(refused)
	return accepted, refused
}

// Whatever is owed fits into records that others can read.
func TestSignalsSplitWithinLimits(t *testing.T) {
	s := custody.NewSignals()
	for id := range uint64(70) {
		for num := range uint64(100) {
			s.Add(episode(id+1, 2*num), sat, num%2 == 0, now, now+100)
		}
	}
	for num := range uint64(300) {
		s.Add(episode(99, 3*num), sat, true, now, now+100)
	}
	if !s.Large(gs) {
		t.Error("thousands of runs do not count as large")
	}
	signals, _ := s.Take(gs)
	accepted, refused := numbers(signals)
	if len(accepted) != 70*50+300 || len(refused) != 70*50 {
		t.Errorf("%d accepted and %d refused, want %d and %d", len(accepted), len(refused), 70*50+300, 70*50)
	}
	for i := range signals {
		rec, err := bundle.ParseAdminRecord(signals[i].Append(nil))
		if err != nil {
			t.Fatalf("signal %d cannot be read: %v", i, err)
		}
		if !reflect.DeepEqual(rec.CustodySignal.Accepted, signals[i].Accepted) {
			t.Errorf("signal %d reads otherwise than it was written", i)
		}
	}
}

func TestSignalsAreBounded(t *testing.T) {
	s := custody.NewSignals()
	for i := range uint64(20_000) {
		s.Add(store.Episode{Custodian: bundle.IPN(i+10, 0), SeqID: 1, SeqNum: 1}, sat, true, now, now+100)
		s.Add(episode(i+1, 2*i), sat, true, now, now+100)
		s.Add(episode(0, i), sat, true, now, now+100)
	}
	if n := len(s.Custodians()); n > 5000 {
		t.Errorf("signals wait for %d custodians", n)
	}
	signals, _ := s.Take(gs)
	if accepted, _ := numbers(signals); len(accepted) > 10_000 {
		t.Errorf("%d numbers wait for one custodian", len(accepted))
	}
}

func TestSignalsForget(t *testing.T) {
	s := custody.NewSignals()
	s.Add(episode(1, 1), sat, true, now, now) // has expired already
	if len(s.Custodians()) != 0 {
		t.Error("a signal is owed about a bundle that has expired")
	}
	s.Add(episode(1, 1), sat, true, now, now+100)
	s.Forget(now + 99)
	if len(s.Custodians()) != 1 {
		t.Error("a signal was forgotten before its bundle expired")
	}
	s.Forget(now + 100)
	if len(s.Custodians()) != 0 {
		t.Error("a signal outlives its bundle")
	}
	if got := s.Since(gs); got != dtntime.Forever {
		t.Errorf("Since of nothing = %d", got)
	}
}

// Signals about many bundles do not wait for the longest time.
func TestManyNumbersAreLarge(t *testing.T) {
	s := custody.NewSignals()
	who := bundle.IPN(7, 0)
	for i := range uint64(custody.MaxSignalNumbers) {
		if s.Large(who) {
			t.Fatalf("%d numbers in one run are large", i)
		}
		s.Add(store.Episode{Custodian: who, SeqID: 3, SeqNum: i}, bundle.IPN(1, 1), true, 1000, 2000)
	}
	if !s.Large(who) {
		t.Errorf("%d numbers are not large", custody.MaxSignalNumbers)
	}
}
