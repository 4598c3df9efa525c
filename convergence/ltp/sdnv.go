package ltp

import "math/bits"

// maxSDNV is the most bytes that a number of 64 bits takes, RFC 5326 section 2.
const maxSDNV = 10

// appendSDNV appends a self-delimiting number in its shortest form.
func appendSDNV(b []byte, v uint64) []byte {
	for shift := 7 * (sdnvLen(v) - 1); shift > 0; shift -= 7 {
		b = append(b, 0x80|byte(v>>shift))
	}
	return append(b, byte(v)&0x7f)
}

// sdnvLen is the length in bytes of v.
func sdnvLen(v uint64) int {
	return (bits.Len64(v|1) + 6) / 7
}

// parseSDNV reads a number. Leading zeros are taken, up to maxSDNV bytes in all,
// since no section forbids them; what needs more than 64 bits is not.
func parseSDNV(b []byte) (v uint64, n int, err error) {
	for n < len(b) {
		if n == maxSDNV || v>>(64-7) != 0 {
			return 0, 0, errMalformed
		}
		v = v<<7 | uint64(b[n]&0x7f)
		n++
		if b[n-1] < 0x80 {
			return v, n, nil
		}
	}
	return 0, 0, errShort
}

// A reader takes fields from the front of a segment. Its first error stays.
type reader struct {
	in  []byte
	at  int
	err error
}

func (r *reader) sdnv() uint64 {
	if r.err != nil {
		return 0
	}
	v, n, err := parseSDNV(r.in[r.at:])
	r.at, r.err = r.at+n, err
	return v
}

func (r *reader) octet() byte {
	if b := r.bytes(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

// bytes takes n bytes; they are a part of the input.
func (r *reader) bytes(n uint64) []byte {
	switch {
	case r.err != nil:
		return nil
	case n > uint64(len(r.in)-r.at):
		r.err = errShort
		return nil
	}
	b := r.in[r.at : r.at+int(n) : r.at+int(n)]
	r.at += int(n)
	return b
}

func (r *reader) left() int { return len(r.in) - r.at }

// fail notes that a field is not as it must be.
func (r *reader) fail() {
	if r.err == nil {
		r.err = errMalformed
	}
}

// used is the result of a parser.
func (r *reader) used() (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	return r.at, nil
}
