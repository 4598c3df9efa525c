package tcpcl

import "encoding/binary"

const xferAckLength = 1 + 1 + 8 + 8

// An xferAck acknowledges a segment (RFC 9174 section 5.2.3).
type xferAck struct {
	flags uint8 // those of the segment
	id    uint64
	total uint64 // bytes of the transfer up to and with the segment
}

func parseXferAck(b []byte) (xferAck, int, error) {
	if len(b) < xferAckLength {
		return xferAck{}, 0, errShort
	}
	return xferAck{
		flags: b[1],
		id:    binary.BigEndian.Uint64(b[2:]),
		total: binary.BigEndian.Uint64(b[10:]),
	}, xferAckLength, nil
}

func (m xferAck) append(b []byte) []byte {
	b = append(b, typeXferAck, m.flags)
	b = binary.BigEndian.AppendUint64(b, m.id)
	return binary.BigEndian.AppendUint64(b, m.total)
}
