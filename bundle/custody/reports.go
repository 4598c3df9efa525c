package custody

import (
	"cmp"
	"maps"
	"slices"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
	"perigee/bundle/internal/cbor"
)

// Reported says what became of one bundle that asked for compressed reports.
type Reported struct {
	To     bundle.EID // where signals about it go
	Source bundle.EID // who issued the number
	Status bundle.ReportedStatus
	// SeqID and SeqNum are the number. When SeqID is 0, Destination names the
	// sequence.
	SeqID, SeqNum uint64
	Destination   bundle.EID
}

// Reports gathers what is to be reported, so that one small signal tells of many
// bundles (CCSDS 734.6-O-1 section 5.2).
type Reports struct {
	owed map[bundle.EID]*toldOf // by where it goes
	runs int                    // for all of them
}

// toldOf is what is to be reported to one endpoint.
type toldOf struct {
	numbers map[sequenceOf]*ranges
	runs    int
	count   int // of numbers
	bytes   int // as records, when it had sized runs
	sized   int
	since   dtntime.Time
}

// sequenceOf is one status of one sequence.
type sequenceOf struct {
	status      bundle.ReportedStatus
	source      bundle.EID
	seqID       uint64
	destination bundle.EID // when seqID is 0
}

func compareSequences(a, b sequenceOf) int {
	return cmp.Or(
		cmp.Compare(a.status, b.status), contact.CompareEID(a.source, b.source),
		cmp.Compare(a.seqID, b.seqID), contact.CompareEID(a.destination, b.destination),
	)
}

// Limits on what waits to be reported.
const (
	maxReportTo  = 1024    // endpoints
	maxToldRuns  = 8192    // of numbers, for one of them
	maxTolds     = 1 << 17 // for all
	maxSequences = 1024    // of one of them
)

// NewReports returns Reports of nothing.
func NewReports() *Reports { return &Reports{owed: make(map[bundle.EID]*toldOf)} }

// Add notes something to be reported and tells whether there was room for it. What is
// noted already needs none.
func (s *Reports) Add(r Reported, now dtntime.Time) bool {
	o := s.owed[r.To]
	if o == nil {
		if len(s.owed) >= maxReportTo {
			return false
		}
		o = &toldOf{numbers: make(map[sequenceOf]*ranges), since: now}
		s.owed[r.To] = o
	}
	key := sequenceOf{status: r.Status, source: r.Source, seqID: r.SeqID}
	if r.SeqID == 0 {
		key.destination = r.Destination
	}
	if o.runs >= maxToldRuns || s.runs >= maxTolds || o.numbers[key] == nil && len(o.numbers) >= maxSequences {
		return false
	}
	set := o.numbers[key]
	if set == nil {
		set = new(ranges)
		o.numbers[key] = set
	}
	before := len(*set)
	if set.add(r.SeqNum) {
		o.count++
	}
	o.runs += len(*set) - before
	s.runs += len(*set) - before
	return true
}

// To returns where something is to be reported to, in a fixed order.
func (s *Reports) To() []bundle.EID { return slices.SortedFunc(maps.Keys(s.owed), contact.CompareEID) }

// Since returns how long the oldest entry for an endpoint has waited, as the time it
// was entered, and dtntime.Forever when nothing waits.
func (s *Reports) Since(to bundle.EID) dtntime.Time {
	if o := s.owed[to]; o != nil {
		return o.since
	}
	return dtntime.Forever
}

// Large tells whether what is to be reported to an endpoint fills a signal.
func (s *Reports) Large(to bundle.EID) bool {
	o := s.owed[to]
	if o == nil {
		return false
	}
	if o.count >= MaxSignalNumbers {
		return true
	}
	if o.runs < minToldRuns {
		return false
	}
	if o.runs != o.sized {
		o.sized, o.bytes = o.runs, 0
		signals := o.signals(to)
		for i := range signals {
			for _, record := range bundle.StandardCodePoints().ReportingRecords(&signals[i]) {
				o.bytes += len(record)
			}
		}
	}
	return o.bytes > MaxSignalBytes
}

// minToldRuns is how many runs are worth being measured.
const minToldRuns = 8

// Shift moves the times since when reports wait, as a step of the clock has moved the
// present.
func (s *Reports) Shift(shift func(dtntime.Time) dtntime.Time) {
	for _, o := range s.owed {
		o.since = shift(o.since)
	}
}

// maxReportBytes bounds one signal.
const maxReportBytes = 4096

// size is about how many bytes a sequence of these runs takes.
func (k *sequenceOf) size(runs ranges) int {
	n := 24 + len(k.source.String()) + len(k.destination.String()) + cbor.HeadLen(runs[0].First)
	for i, r := range runs {
		n += cbor.HeadLen(r.Count)
		if i > 0 {
			n += cbor.HeadLen(r.First - runs[i-1].Last())
		}
	}
	return n
}

// Take returns the signals for an endpoint, each within the limits of one record. A
// sequence names its source unless that is at the node of the endpoint. Nothing is
// owed afterwards.
func (s *Reports) Take(to bundle.EID) []bundle.ReportingSignal {
	o := s.owed[to]
	if o == nil {
		return nil
	}
	delete(s.owed, to)
	s.runs -= o.runs
	return o.signals(to)
}

// signals is everything that is to be reported.
func (o *toldOf) signals(to bundle.EID) []bundle.ReportingSignal {
	var signals []bundle.ReportingSignal
	size := 0
	for _, key := range slices.SortedFunc(maps.Keys(o.numbers), compareSequences) {
		for part := range slices.Chunk(*o.numbers[key], MaxRanges) {
			seq := bundle.Sequence{SeqID: key.seqID, Destination: key.destination, Ranges: part}
			if key.source.Node() != to.Node() {
				seq.Source = key.source
			}
			size += key.size(part)
			last := len(signals) - 1
			if last < 0 || size > maxReportBytes || len(signals[last].Sequences[key.status]) == MaxSequences {
				signals = append(signals, bundle.ReportingSignal{})
				last++
				size = key.size(part)
			}
			signals[last].Sequences[key.status] = append(signals[last].Sequences[key.status], seq)
		}
	}
	return signals
}
