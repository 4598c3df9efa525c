package bundle

import (
	"fmt"
	"slices"
)

// MaxPieces is how many pieces a Reassembly puts one application data unit
// together from.
const MaxPieces = 1 << 14

// Piece is a run of bytes that a fragment contributes to its application data
// unit: Length bytes of the fragment's payload, from byte From of it on.
type Piece struct {
	Fragment ID
	From     uint64
	Length   uint64
}

// Reassembly gathers the fragments of one bundle until their material extents
// (RFC 9171 section 5.9) cover its payload. Fragments come in any order, may
// overlap and may come twice; the bytes of the one that came first count.
//
// It holds numbers only, in memory bounded by MaxPieces: payloads and headers stay
// with the caller. The zero Reassembly is ready to gather. A copy shares memory with
// its original.
type Reassembly struct {
	of      ID // the first fragment's, without its place
	total   uint64
	started bool
	covered uint64
	extents []extent // ascending, disjoint
}

// extent is a run of bytes of the application data unit and the fragment that it
// is taken from.
type extent struct {
	from, to       uint64
	offset, length uint64 // of the fragment
}

// Add takes the fragment with the given ID, of a unit of total bytes. It returns
// true when the fragment is material, that is, carries bytes that none before did;
// one that is not needs not be kept.
//
// It refuses fragments that contradict what came before or themselves with a
// *RuleError, and those that would need more pieces than MaxPieces with an error
// that wraps ErrLimit. A refused fragment changes nothing.
func (r *Reassembly) Add(id ID, total uint64) (bool, error) {
	if err := r.check(id, total); err != nil {
		return false, err
	}
	r.of, r.total, r.started = id.Whole(), total, true
	i, j, merged, gained := r.merge(id)
	if len(r.extents)-(j-i)+len(merged) > MaxPieces {
		return false, fmt.Errorf("reassemble bundle from %s: it comes in more than %d pieces: %w", id, MaxPieces, ErrLimit)
	}
	r.covered += gained
	material := len(merged) > j-i
	if material {
		r.extents = slices.Replace(r.extents, i, j, merged...)
	}
	return material, nil
}

// check refuses fragments that do not belong together.
func (r *Reassembly) check(id ID, total uint64) error {
	rule := func(format string, args ...any) error {
		return &RuleError{Section: section("5.9"), Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case !id.Fragment:
		return rule("bundle %s is not a fragment", id)
	case id.Offset > total || id.Length > total-id.Offset:
		return rule("fragment %s reaches beyond the %d bytes of its application data unit", id, total)
	case !r.started:
		return nil
	case id.Whole() != r.of:
		return rule("fragment %s is not one of bundle %s", id, r.of)
	case total != r.total:
		return rule("fragment %s is of %d bytes, others are of %d", id, total, r.total)
	}
	return nil
}

// merge returns what stands for the extents i to j when the fragment's bytes fill
// the gaps before, between and behind them, and how many bytes that gains.
func (r *Reassembly) merge(id ID) (i, j int, merged []extent, gained uint64) {
	from, end := id.Offset, id.Offset+id.Length
	fill := func(to uint64) {
		merged = append(merged, extent{from: from, to: to, offset: id.Offset, length: id.Length})
		gained += to - from
	}
	i = r.search(from)
	for j = i; j < len(r.extents) && r.extents[j].from < end; j++ {
		if e := r.extents[j]; from < e.from {
			fill(e.from)
		}
		merged = append(merged, r.extents[j])
		from = r.extents[j].to
	}
	if from < end || r.total == 0 && len(r.extents) == 0 && end == 0 {
		fill(end)
	}
	return i, j, merged, gained
}

// search returns the index of the first extent that ends behind byte at.
func (r *Reassembly) search(at uint64) int {
	i, _ := slices.BinarySearchFunc(r.extents, at, func(e extent, at uint64) int {
		if e.to <= at {
			return -1
		}
		return 1
	})
	return i
}

// Complete tells whether the fragments cover the whole unit. Then the first piece
// of Plan is of a fragment with offset 0, whose header Whole turns into that of
// the reassembled bundle.
func (r *Reassembly) Complete() bool { return r.started && r.covered == r.total }

// Missing is how many bytes of the unit are still to come; 2^64-1 before the first
// fragment.
func (r *Reassembly) Missing() uint64 {
	if !r.started {
		return ^uint64(0)
	}
	return r.total - r.covered
}

// Plan returns the pieces that were gathered, in the order of the unit. When the
// unit is complete, they are its bytes.
func (r *Reassembly) Plan() []Piece {
	out := make([]Piece, len(r.extents))
	for i, e := range r.extents {
		id := r.of
		id.Fragment, id.Offset, id.Length = true, e.offset, e.length
		out[i] = Piece{Fragment: id, From: e.from - e.offset, Length: e.to - e.from}
	}
	return out
}
