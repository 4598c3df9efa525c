package bundle

import (
	"perigee/bundle/internal/cbor"
)

// Types of administrative records.
const (
	RecordStatusReport  = 1  // RFC 9171 section 6.1.1
	RecordCustodySignal = 13 // compressed custody signal, CCSDS 734.6-O-1 section 4.2
)

// MaxAdminRecord is the longest administrative record in bytes that a node needs
// to hold in memory; the records it understands stay far below.
const MaxAdminRecord = 64 << 10

// AdminRecord is the payload of an administrative bundle (RFC 9171 section
// 6.1). Status or CustodySignal is set when the type is one of theirs.
type AdminRecord struct {
	Type          uint64
	Status        *StatusReport
	CustodySignal *CustodySignal
	Content       []byte // the encoded content, whatever its type
}

// ParseAdminRecord reads an administrative record, which must fill payload.
// Records of unknown types are well-formed if their content is one CBOR item.
// The cost depends on the bytes of payload only, never on counts found in it.
// Content aliases payload. Its error is a *ParseError.
func ParseAdminRecord(payload []byte) (AdminRecord, error) {
	d := cbor.NewDecoder(payload)
	f := openFields(&d, "6.1")
	rec := AdminRecord{Type: f.uint()}
	if f.next() {
		start := d.Offset()
		rec.parseContent(&f)
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

func (rec *AdminRecord) parseContent(f *fields) {
	var err error
	switch rec.Type {
	case RecordStatusReport:
		rec.Status, err = parseStatusReport(f.d)
	case RecordCustodySignal:
		rec.CustodySignal, err = parseCustodySignal(f.d)
	default:
		err = f.d.Skip()
	}
	f.keep(err)
}
