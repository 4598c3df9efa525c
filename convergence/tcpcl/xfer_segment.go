package tcpcl

import "encoding/binary"

// Flags of XFER_SEGMENT and XFER_ACK, RFC 9174 table 5.
const (
	flagEnd   = 0x01
	flagStart = 0x02
)

const xferSegmentFixed = 1 + 1 + 8 // up to the extension list or data length

// An xferSegment is the front of a segment (RFC 9174 section 5.2.2); its data
// follow it. The extension list is present in START segments only.
type xferSegment struct {
	flags      uint8
	id         uint64
	extensions []byte // encoded items, a part of the parsed input
	dataLength uint64 // a claim
}

// parseXferSegment parses all of a segment but its data.
func parseXferSegment(b []byte) (xferSegment, int, error) {
	if len(b) < xferSegmentFixed {
		return xferSegment{}, 0, errShort
	}
	m := xferSegment{flags: b[1], id: binary.BigEndian.Uint64(b[2:])}
	n := xferSegmentFixed
	if m.flags&flagStart != 0 {
		list, used, err := cutExtensions(b[n:])
		if err != nil {
			return xferSegment{}, 0, err
		}
		m.extensions = list
		n += used
	}
	if len(b) < n+8 {
		return xferSegment{}, 0, errShort
	}
	m.dataLength = binary.BigEndian.Uint64(b[n:])
	return m, n + 8, nil
}

func (m xferSegment) append(b []byte) []byte {
	b = append(b, typeXferSegment, m.flags)
	b = binary.BigEndian.AppendUint64(b, m.id)
	if m.flags&flagStart != 0 {
		b = appendExtensions(b, m.extensions)
	}
	return binary.BigEndian.AppendUint64(b, m.dataLength)
}
