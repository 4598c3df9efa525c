package custody

import (
	"cmp"
	"maps"
	"slices"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// Signals gathers the custody signals that this node owes to others, so that one
// small bundle answers for many.
type Signals struct {
	owed map[bundle.EID]*owed // by custodian
	runs int                  // for all of them
}

// owed is what one custodian has to be told.
type owed struct {
	accepted map[uint64]*ranges // by sequence ID
	refused  map[uint64]*ranges
	runs     int // in both
	numbers  int // that were entered
	bytes    int // as a record, when it had sized runs
	sized    int
	foreign  []foreign // numbers of sequences that name the destination
	since    dtntime.Time
	until    dtntime.Time // the longest expiry among the bundles
}

// foreign is a number issued under sequence ID 0, whose sequence is named by the
// destination of the bundle.
type foreign struct {
	destination bundle.EID
	seqNum      uint64
	accepted    bool
}

// Limits on what waits to be told. What goes beyond them is left to
// retransmission.
const (
	maxCustodians = 4096
	maxRuns       = 8192    // of numbers, for one custodian
	maxAllRuns    = 1 << 18 // for all
	// maxSignalRuns bounds one signal, so that it stays below the 8192 bytes that
	// ION takes.
	maxSignalRuns = 400
	maxForeign    = 64 // numbers of sequence ID 0, for one custodian
)

// NewSignals returns Signals that owe nothing.
func NewSignals() *Signals { return &Signals{owed: make(map[bundle.EID]*owed)} }

// Add notes that the custodian of an episode is to be told whether this node
// accepted the bundle. An acceptance outweighs a refusal of the same number.
// Expiry is that of the bundle; one that has passed owes nothing.
func (s *Signals) Add(e store.Episode, destination bundle.EID, accepted bool, now, expiry dtntime.Time) {
	if expiry <= now {
		return
	}
	o := s.owed[e.Custodian]
	if o == nil {
		if len(s.owed) >= maxCustodians {
			return
		}
		o = &owed{accepted: make(map[uint64]*ranges), refused: make(map[uint64]*ranges), since: now}
		s.owed[e.Custodian] = o
	}
	o.until = max(o.until, expiry)
	if e.SeqID == 0 {
		o.addForeign(foreign{destination, e.SeqNum, accepted})
		return
	}
	if o.runs >= maxRuns || s.runs >= maxAllRuns {
		return
	}
	before := o.runs
	defer func() { s.runs += o.runs - before }()
	if accepted {
		o.remove(o.refused, e.SeqID, e.SeqNum)
		o.insert(o.accepted, e.SeqID, e.SeqNum)
		return
	}
	if r := o.accepted[e.SeqID]; r != nil && r.has(e.SeqNum) {
		return
	}
	o.insert(o.refused, e.SeqID, e.SeqNum)
}

func (o *owed) addForeign(f foreign) {
	for i := range o.foreign {
		if g := &o.foreign[i]; g.destination == f.destination && g.seqNum == f.seqNum {
			g.accepted = g.accepted || f.accepted
			return
		}
	}
	if len(o.foreign) < maxForeign {
		o.foreign = append(o.foreign, f)
	}
}

func (o *owed) insert(m map[uint64]*ranges, id, n uint64) {
	r := m[id]
	if r == nil {
		r = new(ranges)
		m[id] = r
	}
	before := len(*r)
	if r.add(n) {
		o.numbers++
	}
	o.runs += len(*r) - before
}

func (o *owed) remove(m map[uint64]*ranges, id, n uint64) {
	r := m[id]
	if r == nil {
		return
	}
	before := len(*r)
	r.remove(n)
	o.runs += len(*r) - before
	if len(*r) == 0 {
		delete(m, id)
	}
}

// Forget drops what is owed about bundles that have all expired, since their
// custodians have let go of them by themselves.
func (s *Signals) Forget(now dtntime.Time) {
	maps.DeleteFunc(s.owed, func(_ bundle.EID, o *owed) bool {
		if o.until > now {
			return false
		}
		s.runs -= o.runs
		return true
	})
}

// has tells whether n is in the set.
func (r ranges) has(n uint64) bool {
	i := r.after(n)
	return i > 0 && n-r[i-1].First < r[i-1].Count
}

// Custodians returns who is owed a signal, in a fixed order.
func (s *Signals) Custodians() []bundle.EID {
	return slices.SortedFunc(maps.Keys(s.owed), contact.CompareEID)
}

// Since returns how long the oldest entry for a custodian has waited, as the time
// it was entered, and dtntime.Forever when nothing waits.
func (s *Signals) Since(custodian bundle.EID) dtntime.Time {
	if o := s.owed[custodian]; o != nil {
		return o.since
	}
	return dtntime.Forever
}

// Large tells whether what a custodian is owed fills a signal.
func (s *Signals) Large(custodian bundle.EID) bool {
	o := s.owed[custodian]
	if o == nil {
		return false
	}
	if o.numbers >= MaxSignalNumbers {
		return true
	}
	if o.runs+2*len(o.foreign) < minLargeRuns {
		return false
	}
	if now := o.runs + len(o.foreign)<<16; now != o.sized {
		o.sized, o.bytes = now, 0
		signal := o.signal()
		for _, record := range bundle.StandardCodePoints().CustodyRecords(&signal) {
			o.bytes += len(record)
		}
	}
	return o.bytes > MaxSignalBytes
}

// minLargeRuns is how many runs a signal has at least when it is large: each takes
// at most 18 bytes, and its sequence 11 more.
const minLargeRuns = MaxSignalBytes / 29

// Shift moves the times since when signals are owed, as a step of the clock has
// moved the present.
func (s *Signals) Shift(shift func(dtntime.Time) dtntime.Time) {
	for _, o := range s.owed {
		o.since = shift(o.since)
	}
}

// Take returns the signals owed to a custodian, each within the limits of one
// record, and the longest expiry among the bundles they speak of. Nothing is owed
// afterwards.
func (s *Signals) Take(custodian bundle.EID) ([]bundle.CustodySignal, dtntime.Time) {
	o := s.owed[custodian]
	if o == nil {
		return nil, 0
	}
	delete(s.owed, custodian)
	s.runs -= o.runs
	all := o.signal()
	var signals []bundle.CustodySignal
	for len(all.Accepted) > 0 || len(all.Refused) > 0 {
		room := maxSignalRuns
		var part bundle.CustodySignal
		part.Accepted, all.Accepted = cut(all.Accepted, &room)
		part.Refused, all.Refused = cut(all.Refused, &room)
		signals = append(signals, part)
	}
	return signals, o.until
}

// cut takes sequences of at most room runs, but one at least if there is room, off
// the front of a list.
func cut(list []bundle.Sequence, room *int) (front, rest []bundle.Sequence) {
	n := 0
	for n < len(list) && n < MaxSequences && *room > 0 {
		*room -= len(list[n].Ranges)
		n++
	}
	if n == 0 {
		return nil, list
	}
	return list[:n:n], list[n:]
}

// signal is everything that is owed.
func (o *owed) signal() bundle.CustodySignal {
	s := bundle.CustodySignal{Accepted: sequences(o.accepted), Refused: sequences(o.refused)}
	for _, f := range o.foreign {
		seq := bundle.Sequence{Destination: f.destination, Ranges: []bundle.Range{{First: f.seqNum, Count: 1}}}
		if f.accepted {
			s.Accepted = append(s.Accepted, seq)
		} else {
			s.Refused = append(s.Refused, seq)
		}
	}
	return s
}

// sequences cuts sets of numbers into sequences of at most MaxRanges runs, in
// order of sequence ID.
func sequences(m map[uint64]*ranges) []bundle.Sequence {
	var list []bundle.Sequence
	for _, id := range slices.SortedFunc(maps.Keys(m), cmp.Compare[uint64]) {
		for part := range slices.Chunk(*m[id], MaxRanges) {
			list = append(list, bundle.Sequence{SeqID: id, Ranges: part})
		}
	}
	return list
}
