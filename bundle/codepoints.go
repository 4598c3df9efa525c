package bundle

import "fmt"

// CodePoints are the numbers under which custody and reporting travel between this
// node and a neighbour, and the form that signals have between them. CCSDS
// 734.6-O-1 is experimental, and implementations of its drafts differ.
type CodePoints struct {
	Custody   BlockType // of the custody transfer extension block (CTEB)
	Reporting BlockType // of the compressed reporting extension block (CREB)

	// CustodySignal and ReportingSignal are the types of the administrative
	// records CCS and CRS; 0 when the neighbour has no such record.
	CustodySignal, ReportingSignal uint64

	// Unwrapped tells that a disposition of a signal stands for one sequence,
	// not for a list of them.
	Unwrapped bool
	// Extents is how many runs a sequence that is sent has at most, 1 to
	// MaxExtents. Sequences that are received may have MaxExtents.
	Extents int
}

// StandardCodePoints are those of CCSDS 734.6-O-1, as ION 4.2 has them.
func StandardCodePoints() CodePoints {
	return CodePoints{
		Custody: TypeCustody, Reporting: TypeReporting,
		CustodySignal: RecordCustodySignal, ReportingSignal: RecordReportingSignal,
		Extents: MaxExtents,
	}
}

// BplibDraftCodePoints are those of bplib's implementation of a draft.
func BplibDraftCodePoints() CodePoints {
	return CodePoints{Custody: 15, Reporting: 16, CustodySignal: 4, Unwrapped: true, Extents: 9}
}

// Check tells whether a node can use cp: its numbers are not taken by RFC 9171 or
// by each other, and a sequence can be sent.
func (cp CodePoints) Check() error {
	for _, t := range [...]BlockType{cp.Custody, cp.Reporting} {
		switch t {
		case 0, TypePayload, TypePreviousNode, TypeBundleAge, TypeHopCount, TypeBIB, TypeBCB, TypePriority:
			return fmt.Errorf("custody code points: block type %d is not free; use another one", uint64(t))
		}
	}
	switch {
	case cp.Custody == cp.Reporting:
		return fmt.Errorf("custody code points: block type %d stands for custody and for reporting; use another one for one of them", uint64(cp.Custody))
	case cp.CustodySignal == 0:
		return fmt.Errorf("custody code points: custody signals need a record type")
	case cp.CustodySignal == RecordStatusReport || cp.ReportingSignal == RecordStatusReport:
		return fmt.Errorf("custody code points: record type %d is the status report's; use another one", RecordStatusReport)
	case cp.CustodySignal == cp.ReportingSignal:
		return fmt.Errorf("custody code points: record type %d stands for both signals; use another one for one of them", cp.CustodySignal)
	case cp.Extents < 1 || cp.Extents > MaxExtents:
		return fmt.Errorf("custody code points: %d runs to a sequence; use 1 to %d", cp.Extents, MaxExtents)
	}
	return nil
}

// only returns the one block of type t; nil when there is none, when there are
// two, or when it is encrypted.
func (b *Bundle) only(t BlockType) *Block {
	var found *Block
	for i := range b.Extensions {
		if b.Extensions[i].Type != t {
			continue
		}
		if found != nil {
			return nil
		}
		found = &b.Extensions[i]
	}
	if found == nil || b.Encrypted(found.Number) {
		return nil
	}
	return found
}
