package bundle

import (
	"cmp"
	"math"
	"slices"

	"perigee/bundle/internal/cbor"
)

const ccsSection = "CCSDS 734.6-O-1 section 4.2"

// Limits on compressed custody signals.
const (
	MaxSequences    = 64  // sequences of one disposition
	MaxExtents      = 255 // included and excluded runs of one sequence
	maxDispositions = 16
)

// Dispositions of a custody signal.
const (
	custodyAccepted = 1
	custodyRefused  = -1
)

// Range is a run of Count sequence numbers from First on. Count is at least 1,
// and First+Count-1 at most 2^64-1: the last number of a range always fits.
type Range struct{ First, Count uint64 }

// Last is the last number of the range.
func (r Range) Last() uint64 { return r.First + r.Count - 1 }

// Sequence names numbers of one sequence, in ascending ranges that do not touch.
// The sequence is known by SeqID or, when that is 0, by Destination.
type Sequence struct {
	SeqID       uint64
	Destination EID
	Ranges      []Range
}

// CustodySignal is a compressed custody signal (CCSDS 734.6-O-1 section 4.2): what
// a node tells a custodian about the bundles it was asked to take over.
type CustodySignal struct {
	Accepted []Sequence
	Refused  []Sequence
	// Ignored counts entries with reserved dispositions. They are read over
	// and not encoded again.
	Ignored int
}

// Append appends the signal as an administrative record. Ranges may come in any
// order, overlap and touch; a sequence with more runs than MaxExtents becomes
// several. A signal without any range gives an empty map, which receivers refuse.
func (s *CustodySignal) Append(dst []byte) []byte {
	dst = append(dst, 0x82, RecordCustodySignal)
	accepted, refused := splitAll(s.Accepted), splitAll(s.Refused)
	pairs := min(len(accepted), 1) + min(len(refused), 1)
	dst = cbor.AppendHead(dst, cbor.MajorMap, uint64(pairs))
	dst = appendDisposition(dst, custodyAccepted, accepted)
	return appendDisposition(dst, custodyRefused, refused)
}

func appendDisposition(dst []byte, disposition int64, list []Sequence) []byte {
	if len(list) == 0 {
		return dst
	}
	dst = cbor.AppendInt(dst, disposition)
	dst = cbor.AppendArray(dst, len(list))
	for i := range list {
		dst = list[i].append(dst)
	}
	return dst
}

func splitAll(list []Sequence) []Sequence {
	var out []Sequence
	for _, seq := range list {
		out = append(out, seq.split()...)
	}
	return out
}

// split returns seq with its ranges in canonical form, cut so that each part fits
// MaxExtents.
func (seq Sequence) split() []Sequence {
	const most = (MaxExtents + 1) / 2
	var out []Sequence
	for part := range slices.Chunk(Normalize(seq.Ranges), most) {
		out = append(out, Sequence{SeqID: seq.SeqID, Destination: seq.Destination, Ranges: part})
	}
	return out
}

// Normalize returns the ranges in ascending order, those that overlap or touch
// joined. It does not change its argument. Empty ranges vanish, and ranges that
// reach beyond 2^64-1 end there; the one range that a Count cannot express, of all
// 2^64 numbers, loses its last.
func Normalize(ranges []Range) []Range {
	sorted := slices.Clone(ranges)
	slices.SortFunc(sorted, func(a, b Range) int { return cmp.Compare(a.First, b.First) })
	out := sorted[:0]
	for _, r := range sorted {
		if r.Count == 0 {
			continue
		}
		if r.Count-1 > math.MaxUint64-r.First {
			r.Count = math.MaxUint64 - r.First + 1
		}
		if len(out) > 0 {
			prev := &out[len(out)-1]
			if prev.Last() == math.MaxUint64 || r.First <= prev.Last()+1 {
				last := max(prev.Last(), r.Last())
				prev.Count = min(last-prev.First, math.MaxUint64-1) + 1
				continue
			}
		}
		out = append(out, r)
	}
	return out
}

// append appends the sequence, whose ranges are in canonical form.
func (seq *Sequence) append(dst []byte) []byte {
	dst = append(dst, 0x83)
	if seq.SeqID > 0 {
		dst = cbor.AppendUint(dst, seq.SeqID)
	} else {
		dst = seq.Destination.AppendCBOR(dst)
	}
	dst = cbor.AppendUint(dst, seq.Ranges[0].First)
	if len(seq.Ranges) == 1 {
		return cbor.AppendUint(dst, seq.Ranges[0].Count)
	}
	dst = cbor.AppendArray(dst, 2*len(seq.Ranges)-1)
	for i, r := range seq.Ranges {
		if i > 0 {
			dst = cbor.AppendUint(dst, r.First-seq.Ranges[i-1].Last()-1)
		}
		dst = cbor.AppendUint(dst, r.Count)
	}
	return dst
}

// signalError makes a ParseError about a custody signal.
func signalError(at int, format string, args ...any) *ParseError {
	err := malformed(at, "", format, args...)
	err.Section = ccsSection
	return err
}

// parseCustodySignal reads the content of the record, with or without a tag 13 in
// front of it.
func parseCustodySignal(d *cbor.Decoder) (*CustodySignal, error) {
	s, err := scanCustodySignal(d)
	if err != nil {
		parse := asParseError(err, 0, "6.1")
		parse.Section = ccsSection
		return nil, parse
	}
	return s, nil
}

func scanCustodySignal(d *cbor.Decoder) (*CustodySignal, error) {
	at := d.Offset()
	if tag, ok, err := d.Tag(); err != nil {
		return nil, err
	} else if ok && tag != RecordCustodySignal {
		return nil, signalError(at, "custody signal has tag %d", tag)
	}
	pairs, err := d.Map()
	if err != nil {
		return nil, err
	}
	var s CustodySignal
	var seen [maxDispositions]int64
	for n := 0; ; n++ {
		more, err := d.More(&pairs)
		if err != nil {
			return nil, err
		}
		if !more {
			if n == 0 {
				return nil, signalError(at, "custody signal is empty")
			}
			return &s, nil
		}
		keyAt := d.Offset()
		if n == maxDispositions {
			return nil, signalError(keyAt, "custody signal has more than %d entries", maxDispositions)
		}
		disposition, err := d.Int()
		if err != nil {
			return nil, err
		}
		if slices.Contains(seen[:n], disposition) {
			return nil, signalError(keyAt, "disposition %d comes twice", disposition)
		}
		seen[n] = disposition
		if err := s.parseEntry(d, disposition); err != nil {
			return nil, err
		}
	}
}

// parseEntry reads the sequences of one disposition.
func (s *CustodySignal) parseEntry(d *cbor.Decoder, disposition int64) error {
	var err error
	switch disposition {
	case custodyAccepted:
		s.Accepted, err = parseSequences(d)
	case custodyRefused:
		s.Refused, err = parseSequences(d)
	default:
		s.Ignored++
		err = d.Skip()
	}
	return err
}

func parseSequences(d *cbor.Decoder) ([]Sequence, error) {
	at := d.Offset()
	items, err := d.Array()
	if err != nil {
		return nil, err
	}
	var out []Sequence
	for {
		more, err := d.More(&items)
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		if len(out) == MaxSequences {
			return nil, signalError(at, "disposition has more than %d sequences", MaxSequences)
		}
		seq, err := parseSequence(d)
		if err != nil {
			return nil, err
		}
		out = append(out, seq)
	}
	if len(out) == 0 {
		return nil, signalError(at, "disposition has no sequences")
	}
	return out, nil
}

func parseSequence(d *cbor.Decoder) (Sequence, error) {
	f := openFields(d, "6.1")
	var seq Sequence
	if f.next() {
		f.keep(seq.parseRef(d))
	}
	first := f.uint()
	if f.next() {
		ranges, err := parseExtent(d, first)
		f.keep(err)
		seq.Ranges = ranges
	}
	return seq, f.end()
}

// parseRef reads what names the sequence: its ID or a destination.
func (seq *Sequence) parseRef(d *cbor.Decoder) error {
	at := d.Offset()
	c, err := d.Peek()
	if err != nil {
		return err
	}
	if cbor.Major(c>>5) == cbor.MajorArray {
		seq.Destination, err = decodeEID(d)
		return err
	}
	if seq.SeqID, err = d.Uint(); err != nil {
		return err
	}
	if seq.SeqID == 0 {
		return signalError(at, "sequence ID 0 is reserved")
	}
	return nil
}

// parseExtent reads how many numbers from first on are meant: a count, or runs
// that are included and excluded in turn.
func parseExtent(d *cbor.Decoder, first uint64) ([]Range, error) {
	at := d.Offset()
	c, err := d.Peek()
	if err != nil {
		return nil, err
	}
	if cbor.Major(c>>5) != cbor.MajorArray {
		run, err := parseRun(d, first)
		if err != nil {
			return nil, err
		}
		return []Range{{first, run}}, nil
	}
	items, err := d.Array()
	if err != nil {
		return nil, err
	}
	var out []Range
	next, n := first, 0
	for ; ; n++ {
		more, err := d.More(&items)
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		if n == MaxExtents {
			return nil, signalError(at, "sequence has more than %d runs", MaxExtents)
		}
		if n > 0 && next == 0 {
			return nil, signalError(d.Offset(), "sequence numbers reach beyond 2^64-1")
		}
		run, err := parseRun(d, next)
		if err != nil {
			return nil, err
		}
		if n%2 == 0 {
			out = append(out, Range{next, run})
		}
		next += run // 0 behind the run that ends with 2^64-1
	}
	if n%2 == 0 {
		return nil, signalError(at, "sequence has %d runs; the last must be an included one", n)
	}
	return out, nil
}

// parseRun reads the length of a run that begins with number first.
func parseRun(d *cbor.Decoder, first uint64) (uint64, error) {
	at := d.Offset()
	run, err := d.Uint()
	switch {
	case err != nil:
		return 0, err
	case run == 0:
		return 0, signalError(at, "run of 0 sequence numbers")
	case run-1 > math.MaxUint64-first:
		return 0, signalError(at, "sequence numbers reach beyond 2^64-1")
	}
	return run, nil
}
