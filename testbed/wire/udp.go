package wire

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"
)

// Constants of UDP, RFC 768.
const (
	udpProtocol = 17
	udpHeader   = 8
	udpChecksum = 6 // where it stands in the header
)

// A UDPConn is one end of an exchange of datagrams whose traffic is captured. What it
// writes is captured, so both ends need one.
type UDPConn struct {
	net.PacketConn
	now      func() time.Time
	lose     func(datagram []byte) bool
	c        *Capture
	from, to netip.AddrPort
}

// CaptureUDP captures what goes over pc from now on as datagrams between two
// addresses. What lose picks is captured and then lost; nil for nothing.
func CaptureUDP(pc net.PacketConn, c *Capture, from, to netip.AddrPort, now func() time.Time, lose func(datagram []byte) bool) *UDPConn {
	return &UDPConn{PacketConn: pc, now: now, lose: lose, c: c, from: from, to: to}
}

// WriteTo captures a datagram, before it can be answered.
func (u *UDPConn) WriteTo(b []byte, to net.Addr) (int, error) {
	u.c.datagram(u.now(), u.from, u.to, b)
	if u.lose != nil && u.lose(b) {
		return len(b), nil
	}
	return u.PacketConn.WriteTo(b, to)
}

// datagram writes one datagram.
func (c *Capture) datagram(at time.Time, from, to netip.AddrPort, data []byte) {
	b := binary.BigEndian.AppendUint16(nil, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	b = binary.BigEndian.AppendUint16(b, uint16(udpHeader+len(data)))
	b = append(b, 0, 0)
	c.packet(at, from.Addr(), to.Addr(), udpProtocol, append(b, data...), udpChecksum)
}
