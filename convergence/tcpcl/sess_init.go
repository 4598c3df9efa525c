package tcpcl

import (
	"encoding/binary"
	"fmt"
)

const sessInitFixed = 1 + 2 + 8 + 8 + 2 // up to the node ID

// A sessInit announces the parameters of one side (RFC 9174 section 4.6). Its
// slices are parts of the parsed input.
type sessInit struct {
	keepalive   uint16 // seconds, 0 disables
	segmentMRU  uint64 // bytes
	transferMRU uint64 // bytes
	nodeID      []byte
	extensions  []byte // encoded items
}

// parseSessInit parses a whole message, type octet included.
func parseSessInit(b []byte) (sessInit, int, error) {
	if len(b) < sessInitFixed {
		return sessInit{}, 0, errShort
	}
	m := sessInit{
		keepalive:   binary.BigEndian.Uint16(b[1:]),
		segmentMRU:  binary.BigEndian.Uint64(b[3:]),
		transferMRU: binary.BigEndian.Uint64(b[11:]),
	}
	idLength := int(binary.BigEndian.Uint16(b[19:]))
	if idLength > maxNodeIDLength {
		return sessInit{}, 0, fmt.Errorf("node ID of %d bytes, at most %d: %w", idLength, maxNodeIDLength, errTooLong)
	}
	n := sessInitFixed + idLength
	if len(b) < n {
		return sessInit{}, 0, errShort
	}
	m.nodeID = b[sessInitFixed:n]
	list, used, err := cutExtensions(b[n:])
	if err != nil {
		return sessInit{}, 0, err
	}
	m.extensions = list
	return m, n + used, nil
}

func (m sessInit) append(b []byte) []byte {
	b = append(b, typeSessInit)
	b = binary.BigEndian.AppendUint16(b, m.keepalive)
	b = binary.BigEndian.AppendUint64(b, m.segmentMRU)
	b = binary.BigEndian.AppendUint64(b, m.transferMRU)
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.nodeID)))
	b = append(b, m.nodeID...)
	return appendExtensions(b, m.extensions)
}
