package ltp

import "errors"

// Limits on what a segment may say.
const (
	maxBlockLength = 1 << 62 // bytes; no offset or bound may lie above
	maxExtension   = 1 << 10 // bytes of the value of one extension
)

// Segment types, RFC 5326 section 3.1.2. Types 5, 6, 10 and 11 are undefined.
const (
	typeRed               = 0x0
	typeRedCheckpoint     = 0x1
	typeRedEnd            = 0x2 // checkpoint, end of red part, green part follows
	typeRedBlockEnd       = 0x3 // checkpoint, end of red part and of block
	typeGreen             = 0x4
	typeGreenBlockEnd     = 0x7
	typeReport            = 0x8
	typeReportAck         = 0x9
	typeCancelBySender    = 0xc
	typeCancelAckSender   = 0xd // acknowledges a cancellation by the sender
	typeCancelByReceiver  = 0xe
	typeCancelAckReceiver = 0xf // acknowledges a cancellation by the receiver
)

// errShort says that the bytes end before the segment does.
var errShort = errors.New("segment is incomplete")

// errMalformed says that a field breaks RFC 5326, so that the segment must be
// discarded (section 6).
var errMalformed = errors.New("segment is malformed")

// segmentType is the type of the segment at the front of b, if there is a segment
// of version 0.
func segmentType(b []byte) (uint8, error) {
	switch {
	case len(b) == 0:
		return 0, errShort
	case b[0]>>4 != 0:
		return 0, errMalformed
	}
	return b[0] & 0x0f, nil
}

// A header is the front of every segment (RFC 5326 section 3.1).
type header struct {
	kind       uint8
	originator uint64 // engine ID of the block's sender
	session    uint64 // session number, which the sender chose
	extensions extensions
	trailers   uint8 // number of extensions behind the content
}

// parse reads a header whose type lies in from..to.
func (h *header) parse(r *reader, from, to uint8) {
	control := r.octet()
	h.kind = control & 0x0f
	if control>>4 != 0 || h.kind < from || h.kind > to {
		r.fail()
	}
	h.originator, h.session = r.sdnv(), r.sdnv()
	counts := r.octet()
	h.trailers = counts & 0x0f
	h.extensions = parseExtensions(r, counts>>4)
}

// end skips the trailer.
func (h *header) end(r *reader) (int, error) {
	parseExtensions(r, h.trailers)
	return r.used()
}

func (h *header) append(b []byte) []byte {
	b = append(b, h.kind)
	b = appendSDNV(b, h.originator)
	b = appendSDNV(b, h.session)
	b = append(b, h.extensions.count<<4)
	return append(b, h.extensions.list...)
}

// encodedLen is the length of the header in bytes.
func (h *header) encodedLen() int {
	return 2 + sdnvLen(h.originator) + sdnvLen(h.session) + len(h.extensions.list)
}
