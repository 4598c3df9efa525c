package ltp

import (
	"fmt"
	"net"
	"net/netip"
)

// A transport moves datagrams, several of one size at a time where it can.
type transport interface {
	// read waits for datagrams. They come one after the other in b, each of size
	// bytes but for the last, which may be shorter.
	read(b []byte) (n, size int, from netip.AddrPort, err error)

	// write sends datagrams that lie so in b.
	write(b []byte, size int, to netip.AddrPort) error

	localAddr() net.Addr
	close() error
}

// Bounds of what goes through a transport at a time.
const (
	readSize   = 64 << 10
	batchSize  = 63 << 10 // bytes of one write, so that it fits into one packet of the kernel
	batchCount = 64       // datagrams of one write
)

// packetTransport moves one datagram at a time over any net.PacketConn.
type packetTransport struct{ conn net.PacketConn }

func (t packetTransport) read(b []byte) (n, size int, from netip.AddrPort, err error) {
	n, addr, err := t.conn.ReadFrom(b)
	if err != nil {
		return 0, 0, netip.AddrPort{}, err
	}
	udp, ok := addr.(*net.UDPAddr)
	if !ok {
		return 0, 0, netip.AddrPort{}, fmt.Errorf("receive: address %s is not one of UDP", addr)
	}
	return n, n, unmap(udp.AddrPort()), nil
}

func (t packetTransport) write(b []byte, size int, to netip.AddrPort) error {
	addr := net.UDPAddrFromAddrPort(to)
	for len(b) > 0 {
		n := min(size, len(b))
		if _, err := t.conn.WriteTo(b[:n], addr); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func (t packetTransport) localAddr() net.Addr { return t.conn.LocalAddr() }
func (t packetTransport) close() error        { return t.conn.Close() }

// unmap gives IPv4 addresses their own form, whatever socket they came from.
func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
