package bundle

import (
	"cmp"
	"math"
	"slices"

	"perigee/bundle/internal/cbor"
)

// Limits on compressed signals: custody signals and reporting signals.
const (
	MaxSequences = 64  // sequences of one disposition or status
	MaxExtents   = 255 // included and excluded runs of one sequence
	maxEntries   = 16  // dispositions or statuses of one signal
)

// Range is a run of Count sequence numbers from First on. Count is at least 1,
// and First+Count-1 at most 2^64-1: the last number of a range always fits.
type Range struct{ First, Count uint64 }

// Last is the last number of the range.
func (r Range) Last() uint64 { return r.First + r.Count - 1 }

// Sequence names numbers of one sequence (CCSDS 734.6-O-1 section 3.3), in
// ascending ranges that do not touch. The sequence is known by SeqID or, when that
// is 0, by Destination.
type Sequence struct {
	SeqID       uint64
	Destination EID
	Ranges      []Range
	Source      EID // who issued the numbers; null for who is told about them
}

// splitAll returns list in canonical form, cut so that no sequence has more than
// extents runs.
func splitAll(list []Sequence, extents int) []Sequence {
	var out []Sequence
	for _, seq := range list {
		for part := range slices.Chunk(Normalize(seq.Ranges), (extents+1)/2) {
			seq.Ranges = part
			out = append(out, seq)
		}
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
	if seq.Source.IsNull() {
		dst = append(dst, 0x83)
	} else {
		dst = append(dst, 0x84)
	}
	if seq.SeqID > 0 {
		dst = cbor.AppendUint(dst, seq.SeqID)
	} else {
		dst = seq.Destination.AppendCBOR(dst)
	}
	dst = cbor.AppendUint(dst, seq.Ranges[0].First)
	dst = appendExtent(dst, seq.Ranges)
	if !seq.Source.IsNull() {
		dst = seq.Source.AppendCBOR(dst)
	}
	return dst
}

// appendExtent appends a count, or the runs that are included and excluded in turn.
func appendExtent(dst []byte, ranges []Range) []byte {
	if len(ranges) == 1 {
		return cbor.AppendUint(dst, ranges[0].Count)
	}
	dst = cbor.AppendArray(dst, 2*len(ranges)-1)
	for i, r := range ranges {
		if i > 0 {
			dst = cbor.AppendUint(dst, r.First-ranges[i-1].Last()-1)
		}
		dst = cbor.AppendUint(dst, r.Count)
	}
	return dst
}

// parseSequences reads the sequences of one disposition or status.
func parseSequences(d *cbor.Decoder, sources bool) ([]Sequence, error) {
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
			return nil, malformed(at, "", "signal has more than %d sequences in one entry", MaxSequences)
		}
		seq, err := parseSequence(d, sources)
		if err != nil {
			return nil, err
		}
		out = append(out, seq)
	}
	if len(out) == 0 {
		return nil, malformed(at, "", "signal has an entry with no sequences")
	}
	return out, nil
}

// parseSequence reads a sequence. sources tells that it may name the source of
// the numbers.
func parseSequence(d *cbor.Decoder, sources bool) (Sequence, error) {
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
	if sources && f.more() {
		seq.Source = f.endpoint()
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
		return malformed(at, "", "sequence ID 0 is reserved")
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
			return nil, malformed(at, "", "sequence has more than %d runs", MaxExtents)
		}
		if n > 0 && next == 0 {
			return nil, malformed(d.Offset(), "", "sequence numbers reach beyond 2^64-1")
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
		return nil, malformed(at, "", "sequence has %d runs; the last must be an included one", n)
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
		return 0, malformed(at, "", "run of 0 sequence numbers")
	case run-1 > math.MaxUint64-first:
		return 0, malformed(at, "", "sequence numbers reach beyond 2^64-1")
	}
	return run, nil
}
