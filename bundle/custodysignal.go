package bundle

import (
	"slices"

	"perigee/bundle/internal/cbor"
)

const ccsSection = "CCSDS 734.6-O-1 section 4.2"

// Dispositions of a custody signal.
const (
	custodyAccepted = 1
	custodyRefused  = -1
)

// CustodySignal is a compressed custody signal (CCSDS 734.6-O-1 section 4.2): what
// a node tells a custodian about the bundles it was asked to take over.
type CustodySignal struct {
	Accepted []Sequence
	Refused  []Sequence
	// Ignored counts entries with reserved dispositions. They are read over
	// and not encoded again.
	Ignored int
}

// entries are those of the signal as they are sent. Who issued the numbers is not
// named: the signal goes there.
func (s *CustodySignal) entries() []signalEntry {
	return []signalEntry{{custodyAccepted, nameless(s.Accepted)}, {custodyRefused, nameless(s.Refused)}}
}

func nameless(list []Sequence) []Sequence {
	out := slices.Clone(list)
	for i := range out {
		out[i].Source = EID{}
	}
	return out
}

// Append appends the signal as an administrative record with the standard code
// points. Ranges may come in any order, overlap and touch; a sequence with more
// runs than MaxExtents becomes several. It must fit one record: see
// CustodyRecords for signals that do not. One without any range gives an
// empty map, which receivers refuse.
func (s *CustodySignal) Append(dst []byte) []byte {
	cp := StandardCodePoints()
	records := cp.CustodyRecords(s)
	if len(records) == 0 {
		return append(dst, 0x82, RecordCustodySignal, 0xa0)
	}
	return append(dst, records[0]...)
}

// CustodyRecords returns administrative records that together say what s
// says, each in the form of cp and within the limits of one record. Ranges may
// come in any order, overlap and touch. Without any range there are no records.
func (cp CodePoints) CustodyRecords(s *CustodySignal) [][]byte {
	return cp.appendSignals(cp.CustodySignal, s.entries())
}

// parseCustodySignal reads the content of the record, with or without a tag in
// front of it. own is an endpoint of this node, or null: sequences that name it as
// the one who issued the numbers are taken although they should not name anyone.
func (cp CodePoints) parseCustodySignal(d *cbor.Decoder, own EID) (*CustodySignal, error) {
	at := d.Offset()
	var s CustodySignal
	p := signalParser{
		name: "custody signal", section: ccsSection, record: cp.CustodySignal, unwrapped: cp.Unwrapped, sources: !own.IsNull(),
		take: func(key int64, list []Sequence) bool {
			switch key {
			case custodyAccepted:
				s.Accepted = list
			case custodyRefused:
				s.Refused = list
			default:
				return false
			}
			return true
		},
	}
	var err error
	if s.Ignored, err = p.parse(d); err != nil {
		return nil, err
	}
	for _, list := range [...][]Sequence{s.Accepted, s.Refused} {
		for i := range list {
			seq := &list[i]
			if !seq.Source.IsNull() && seq.Source.Node() != own.Node() {
				err := malformed(at, "", "sequence %d is of numbers that %s issued, not this node", i, seq.Source)
				err.Section = ccsSection
				return nil, err
			}
			seq.Source = EID{}
		}
	}
	return &s, nil
}
