package bundle

import "perigee/bundle/internal/cbor"

// fields reads the fields of an array in order and keeps the first error, so
// that a parser reads like the table of fields in the standard.
type fields struct {
	d     *cbor.Decoder
	items cbor.Items
	start int // of the array
	sect  string
	err   *ParseError
}

// openFields reads the head of an array. Errors name the section sect.
func openFields(d *cbor.Decoder, sect string) fields {
	f := fields{d: d, start: d.Offset(), sect: sect}
	var err error
	if f.items, err = d.Array(); err != nil {
		f.err = asParseError(err, 0, sect)
	}
	return f
}

// next requires another field and tells whether it may be read.
func (f *fields) next() bool {
	if f.err == nil {
		f.keep(f.d.Next(&f.items))
	}
	return f.err == nil
}

func (f *fields) keep(err error) {
	if err != nil && f.err == nil {
		f.err = asParseError(err, 0, f.sect)
	}
}

// fail keeps an error about the field at offset at.
func (f *fields) fail(at int, sect, format string, args ...any) {
	if f.err == nil {
		f.err = malformed(at, sect, format, args...)
	}
}

// more tells whether another field follows, where the last ones may be left out.
func (f *fields) more() bool {
	if f.err != nil {
		return false
	}
	more, err := f.d.More(&f.items)
	f.keep(err)
	return more && f.err == nil
}

func (f *fields) uint() uint64 {
	if !f.next() {
		return 0
	}
	return f.value()
}

// value reads a number behind next or more.
func (f *fields) value() uint64 {
	v, err := f.d.Uint()
	f.keep(err)
	return v
}

func (f *fields) eid() EID {
	if !f.next() {
		return EID{}
	}
	return f.endpoint()
}

// endpoint reads an endpoint ID behind next or more.
func (f *fields) endpoint() EID {
	e, err := decodeEID(f.d)
	f.keep(err)
	return e
}

func (f *fields) timestamp() Timestamp {
	if !f.next() {
		return Timestamp{}
	}
	t, err := decodeTimestamp(f.d)
	f.keep(err)
	return t
}

func (f *fields) crcType() CRCType {
	at := f.d.Offset()
	v := f.uint()
	if v > uint64(CRC32C) {
		f.fail(at, "4.2.1", "CRC type %d is none of 0, 1, 2", v)
		return CRCNone
	}
	return CRCType(v)
}

// end requires that the array has no further item. It returns the section's
// error, or nil.
func (f *fields) end() error {
	if f.err == nil {
		f.keep(f.d.End(&f.items))
	}
	return f.result()
}

// result is the first error as an error value. It is a copy, so that a decoder may
// stay on the stack although the error does not.
func (f *fields) result() error {
	if f.err == nil {
		return nil
	}
	err := *f.err
	return &err
}

// crc reads the CRC field and the end of the block, and verifies the CRC over
// the whole block.
func (f *fields) crc(t CRCType) {
	at := f.d.Offset()
	var value []byte
	if t != CRCNone && f.next() {
		at = f.d.Offset()
		var err error
		value, err = f.d.Bytes()
		f.keep(err)
		if f.err == nil && len(value) != t.size() {
			f.fail(at, "4.2.2", "CRC has %d bytes instead of %d", len(value), t.size())
		}
	}
	valueEnd := f.d.Offset()
	if f.end() != nil || t == CRCNone {
		return
	}
	block := f.d.Slice(f.start)
	c := newChecksum(t)
	c.add(block[:valueEnd-f.start-t.size()])
	c.add(t.zeroField()[1:])
	c.add(block[valueEnd-f.start:])
	if got := crcValue(value); got != c.sum() {
		f.fail(at, "4.2.2", "CRC is %0*x but the block's bytes give %0*x", 2*t.size(), got, 2*t.size(), c.sum())
	}
}
