package bundle

import (
	"bytes"
	"errors"
	"math"

	"perigee/bundle/internal/cbor"
)

// AppendCBOR appends e in the form it has in blocks (RFC 9171 section
// 4.2.5.1): [scheme, scheme-specific part], ipn always with two numbers, which
// every node reads.
func (e EID) AppendCBOR(dst []byte) []byte {
	switch {
	case e.ipn && e.node < 24 && e.service < 24:
		return append(dst, 0x82, byte(SchemeIPN), 0x82, byte(e.node), byte(e.service))
	case e.ipn:
		dst = append(dst, 0x82, byte(SchemeIPN), 0x82)
		return cbor.AppendUint(cbor.AppendUint(dst, e.node), e.service)
	case e.ssp == "":
		return append(dst, 0x82, byte(SchemeDTN), 0)
	}
	return cbor.AppendText(append(dst, 0x82, byte(SchemeDTN)), e.ssp)
}

// cborLen is the length of what AppendCBOR appends.
func (e EID) cborLen() int {
	switch {
	case e.ipn:
		return 3 + cbor.HeadLen(e.node) + cbor.HeadLen(e.service)
	case e.ssp == "":
		return 3
	}
	return 2 + cbor.HeadLen(uint64(len(e.ssp))) + len(e.ssp)
}

// DecodeEID reads an EID from the beginning of b and returns how many bytes it
// took. Its error is a *ParseError.
func DecodeEID(b []byte) (EID, int, error) {
	d := cbor.NewDecoder(b)
	e, err := decodeEID(&d)
	if err != nil {
		return EID{}, 0, asParseError(err, 0, "4.2.5.1")
	}
	return e, d.Offset(), nil
}

func decodeEID(d *cbor.Decoder) (EID, error) {
	e, ssp, err := scanEID(d)
	if err != nil {
		return EID{}, err
	}
	if ssp != nil {
		e.ssp = string(ssp)
		if bytes.IndexByte(ssp[2:], '/') < 0 {
			e.ssp += "/"
		}
	}
	return e, nil
}

// scanEID reads and checks an EID without allocating: a dtn EID other than
// dtn:none is returned as its scheme-specific part.
func scanEID(d *cbor.Decoder) (EID, []byte, error) {
	f := openFields(d, "4.2.5.1")
	at := d.Offset()
	switch scheme := f.uint(); {
	case f.err != nil:
		return EID{}, nil, f.result()
	case scheme == uint64(SchemeDTN):
		ssp := scanDTN(&f)
		return EID{}, ssp, f.end()
	case scheme == uint64(SchemeIPN):
		e := scanIPN(&f)
		return e, nil, f.end()
	default:
		return EID{}, nil, eidError(at, "4.2.5.1", "URI scheme %d is neither dtn (1) nor ipn (2)", scheme)
	}
}

func eidError(at int, sect, format string, args ...any) *ParseError {
	err := malformed(at, sect, format, args...)
	err.Err = ErrEID
	return err
}

// scanDTN reads the scheme-specific part of a dtn EID; nil stands for dtn:none.
// A node name without the "/" behind it is taken for a node ID, as bundles of
// dtn7-rs have it, although RFC 9171 wants the "/".
func scanDTN(f *fields) []byte {
	f.sect = "4.2.5.1.1"
	if !f.next() {
		return nil
	}
	at := f.d.Offset()
	first, err := f.d.Peek()
	if err != nil {
		f.keep(err)
		return nil
	}
	if cbor.Major(first>>5) == cbor.MajorUint {
		v, err := f.d.Uint()
		f.keep(err)
		if v != 0 {
			f.fail(at, f.sect, "dtn:none is the number 0, not %d", v)
		}
		return nil
	}
	ssp, err := f.d.Text(MaxEIDText)
	f.keep(err)
	if f.err != nil {
		return nil
	}
	if err := checkDTN(ssp); err != nil && !errors.Is(err, errNoDelimiter) {
		f.err = eidError(at, f.sect, "dtn EID %.64q: %s", ssp, err)
		return nil
	}
	return ssp
}

// scanIPN reads the scheme-specific part of an ipn EID: two or three numbers
// (RFC 9758 section 6).
func scanIPN(f *fields) EID {
	f.sect = "4.2.5.1.2"
	if !f.next() {
		return EID{}
	}
	at := f.d.Offset()
	inner := openFields(f.d, f.sect)
	var numbers [3]uint64
	n := 0
	for inner.err == nil {
		more, err := f.d.More(&inner.items)
		inner.keep(err)
		if !more || inner.err != nil {
			break
		}
		if n == len(numbers) {
			inner.err = eidError(at, f.sect, "ipn EID has more than three numbers")
			break
		}
		v, err := f.d.Uint()
		inner.keep(err)
		numbers[n] = v
		n++
	}
	if err := inner.result(); err != nil {
		f.keep(err)
		return EID{}
	}
	if n < 2 {
		f.err = eidError(at, f.sect, "ipn EID has %d numbers instead of two or three", n)
		return EID{}
	}
	if n == 2 {
		numbers = [3]uint64{numbers[0] >> 32, numbers[0] & math.MaxUint32, numbers[1]}
	}
	e, err := makeIPN(numbers[0], numbers[1], numbers[2])
	if err != nil {
		f.err = eidError(at, f.sect, "ipn EID: %s", err)
	}
	return e
}

func (t Timestamp) appendCBOR(dst []byte) []byte {
	return cbor.AppendUint(cbor.AppendUint(append(dst, 0x82), uint64(t.Time)), t.Sequence)
}

func (t Timestamp) cborLen() int {
	return 1 + cbor.HeadLen(uint64(t.Time)) + cbor.HeadLen(t.Sequence)
}
