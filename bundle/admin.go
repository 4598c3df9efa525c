package bundle

import (
	"perigee/bundle/internal/cbor"
)

// Types of administrative records.
const (
	RecordStatusReport    = 1  // RFC 9171 section 6.1.1
	RecordCustodySignal   = 13 // compressed custody signal, CCSDS 734.6-O-1 section 4.2
	RecordReportingSignal = 14 // compressed reporting signal, CCSDS 734.6-O-1 section 5.2
)

// MaxAdminRecord is the longest administrative record in bytes that a node needs
// to hold in memory; the records it understands stay far below.
const MaxAdminRecord = 64 << 10

// AdminRecord is the payload of an administrative bundle (RFC 9171 section
// 6.1). One of Status, CustodySignal and ReportingSignal is set when the type is
// theirs.
type AdminRecord struct {
	Type            uint64
	Status          *StatusReport
	CustodySignal   *CustodySignal
	ReportingSignal *ReportingSignal
	Content         []byte // the encoded content, whatever its type
}

// ParseAdminRecord reads an administrative record, which must fill payload.
// Records of unknown types are well-formed if their content is one CBOR item.
// The cost depends on the bytes of payload only, never on counts found in it.
// Content aliases payload. Its error is a *ParseError.
func ParseAdminRecord(payload []byte) (AdminRecord, error) {
	return StandardCodePoints().ParseAdminRecord(payload, EID{})
}

// ParseAdminRecord reads an administrative record like the function of that name,
// from a neighbour with these code points. own is an endpoint of this node, or
// null. A custody signal that names the issuer of its numbers, which it should
// not, is taken when that is the node of own, and refused otherwise.
func (cp CodePoints) ParseAdminRecord(payload []byte, own EID) (AdminRecord, error) {
	d := cbor.NewDecoder(payload)
	f := openFields(&d, "6.1")
	rec := AdminRecord{Type: f.uint()}
	if f.next() {
		start := d.Offset()
		rec.parseContent(&f, cp, own)
		rec.Content = d.Slice(start)
	}
	err := f.end()
	if err == nil {
		err = trailing(&d, "6.1")
	}
	if err != nil {
		return AdminRecord{}, err
	}
	return rec, nil
}

func (rec *AdminRecord) parseContent(f *fields, cp CodePoints, own EID) {
	var err error
	switch {
	case rec.Type == RecordStatusReport:
		rec.Status, err = parseStatusReport(f.d)
	case rec.Type == cp.CustodySignal && rec.Type != 0:
		rec.CustodySignal, err = cp.parseCustodySignal(f.d, own)
	case rec.Type == cp.ReportingSignal && rec.Type != 0:
		rec.ReportingSignal, err = cp.parseReportingSignal(f.d)
	default:
		err = f.d.Skip()
	}
	f.keep(err)
}
