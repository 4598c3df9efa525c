package tcpcl

import (
	"encoding/binary"

	"perigee/convergence"
)

const xferRefuseLength = 1 + 1 + 8

// An xferRefuse refuses a transfer (RFC 9174 section 5.2.4).
type xferRefuse struct {
	reason convergence.RefuseReason
	id     uint64
}

func parseXferRefuse(b []byte) (xferRefuse, int, error) {
	if len(b) < xferRefuseLength {
		return xferRefuse{}, 0, errShort
	}
	return xferRefuse{
		reason: convergence.RefuseReason(b[1]),
		id:     binary.BigEndian.Uint64(b[2:]),
	}, xferRefuseLength, nil
}

func (m xferRefuse) append(b []byte) []byte {
	b = append(b, typeXferRefuse, uint8(m.reason))
	return binary.BigEndian.AppendUint64(b, m.id)
}
