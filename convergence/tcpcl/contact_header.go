package tcpcl

import "errors"

const (
	contactHeaderLength = 6
	contactMagic        = "dtn!"
	protocolVersion     = 4
	flagCanTLS          = 0x01
)

// errMagic says that the peer does not speak TCPCL.
var errMagic = errors.New("contact header does not begin with \"dtn!\"")

// A contactHeader is the first thing each side sends (RFC 9174 section 4.2).
type contactHeader struct {
	version uint8
	flags   uint8
}

// parseContactHeader returns errMagic as soon as a byte of the magic is wrong.
func parseContactHeader(b []byte) (contactHeader, int, error) {
	n := min(len(b), len(contactMagic))
	if string(b[:n]) != contactMagic[:n] {
		return contactHeader{}, 0, errMagic
	}
	if len(b) < contactHeaderLength {
		return contactHeader{}, 0, errShort
	}
	return contactHeader{version: b[4], flags: b[5]}, contactHeaderLength, nil
}

func (h contactHeader) append(b []byte) []byte {
	return append(append(b, contactMagic...), h.version, h.flags)
}
