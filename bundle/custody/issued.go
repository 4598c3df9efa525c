package custody

import (
	"cmp"
	"slices"

	"perigee/bundle"
)

// MaxIssued is how many of the latest numbers for compressed reports are remembered.
const MaxIssued = 16_384

// Issued remembers which bundles the latest numbers for compressed reports were given
// to.
type Issued struct {
	byID  map[uint64][]issued // by sequence ID, in order of number
	order []issuedAt          // in which they came
}

type issued struct {
	seqNum uint64
	bundle bundle.ID
}

type issuedAt struct{ seqID, seqNum uint64 }

// NewIssued returns an empty Issued.
func NewIssued() *Issued { return &Issued{byID: make(map[uint64][]issued)} }

// Add enters a number. Entering it again does nothing.
func (s *Issued) Add(seqID, seqNum uint64, id bundle.ID) {
	list := s.byID[seqID]
	i, known := findIssued(list, seqNum)
	if known {
		return
	}
	s.byID[seqID] = slices.Insert(list, i, issued{seqNum, id})
	s.order = append(s.order, issuedAt{seqID, seqNum})
	if len(s.order) > MaxIssued {
		s.forget(s.order[0])
		s.order = s.order[1:]
	}
}

func (s *Issued) forget(at issuedAt) {
	list := s.byID[at.seqID]
	i, known := findIssued(list, at.seqNum)
	switch {
	case !known:
	case len(list) == 1:
		delete(s.byID, at.seqID)
	case i == 0: // the usual case, and one that need not move the others
		s.byID[at.seqID] = list[1:]
	default:
		s.byID[at.seqID] = slices.Delete(list, i, i+1)
	}
}

// Match returns up to limit bundles that sequences name, in order of number, and
// whether there are more. The cost depends on what is remembered, never on the counts
// that the sequences announce. Sequences that name a destination match nothing, since
// this node issues none.
func (s *Issued) Match(sequences []bundle.Sequence, limit int) (matched []bundle.ID, more bool) {
	for _, seq := range sequences {
		list := s.byID[seq.SeqID]
		if seq.SeqID == 0 {
			continue
		}
		for _, run := range seq.Ranges {
			i, _ := findIssued(list, run.First)
			for ; i < len(list) && list[i].seqNum-run.First < run.Count; i++ {
				if len(matched) == limit {
					return matched, true
				}
				matched = append(matched, list[i].bundle)
			}
		}
	}
	return matched, false
}

func findIssued(list []issued, seqNum uint64) (int, bool) {
	return slices.BinarySearchFunc(list, seqNum, func(n issued, seqNum uint64) int { return cmp.Compare(n.seqNum, seqNum) })
}
