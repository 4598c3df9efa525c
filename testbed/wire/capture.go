package wire

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"
)

// Constants of the file format (draft-ietf-opsawg-pcap).
const (
	pcapMagic   = 0xa1b2c3d4 // times in microseconds
	pcapMajor   = 2
	pcapMinor   = 4
	linkTypeRaw = 101 // packets begin with their IP header
	snapLength  = 1 << 16
)

// Constants of IPv4, RFC 791.
const (
	ipHeader     = 20
	ipVersionIHL = 0x45
	ipTTL        = 64
)

// A Capture writes packets of IPv4 into a pcap file. The first error stays. It may be
// used concurrently.
type Capture struct {
	mu  sync.Mutex // guards all below
	w   io.Writer
	err error
}

// NewCapture begins a capture file.
func NewCapture(w io.Writer) *Capture {
	c := &Capture{w: w}
	b := binary.LittleEndian.AppendUint32(nil, pcapMagic)
	b = binary.LittleEndian.AppendUint16(b, pcapMajor)
	b = binary.LittleEndian.AppendUint16(b, pcapMinor)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0) // of no use any more
	b = binary.LittleEndian.AppendUint32(b, snapLength)
	c.write(binary.LittleEndian.AppendUint32(b, linkTypeRaw))
	return c
}

// Err is the error that ended the capture, or nil.
func (c *Capture) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *Capture) write(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	if _, err := c.w.Write(b); err != nil {
		c.err = fmt.Errorf("write capture: %w", err)
	}
}

// packet writes one packet of the given protocol. The checksum of its transport
// header, which stands at the given offset, is filled in.
func (c *Capture) packet(at time.Time, from, to netip.Addr, protocol byte, transport []byte, checksumAt int) {
	sum := pseudoHeader(from, to, protocol, len(transport))
	binary.BigEndian.PutUint16(transport[checksumAt:], checksum(sum, transport))

	ip := make([]byte, ipHeader, ipHeader+len(transport))
	ip[0], ip[8], ip[9] = ipVersionIHL, ipTTL, protocol
	binary.BigEndian.PutUint16(ip[2:], uint16(ipHeader+len(transport)))
	copy(ip[12:], from.AsSlice())
	copy(ip[16:], to.AsSlice())
	binary.BigEndian.PutUint16(ip[10:], checksum(0, ip))
	ip = append(ip, transport...)

	b := binary.LittleEndian.AppendUint32(nil, uint32(at.Unix()))
	b = binary.LittleEndian.AppendUint32(b, uint32(at.Nanosecond()/1000))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(ip)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(ip)))
	c.write(append(b, ip...))
}

// pseudoHeader is the sum of what stands in front of a transport header for its
// checksum, RFC 9293 section 3.1.
func pseudoHeader(from, to netip.Addr, protocol byte, length int) uint32 {
	b := append(from.AsSlice(), to.AsSlice()...)
	b = append(b, 0, protocol)
	return sum(0, binary.BigEndian.AppendUint16(b, uint16(length)))
}

// sum adds up 16-bit words.
func sum(total uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		total += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		total += uint32(b[0]) << 8
	}
	return total
}

// checksum is the Internet checksum, RFC 1071.
func checksum(total uint32, b []byte) uint16 {
	total = sum(total, b)
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return ^uint16(total)
}
