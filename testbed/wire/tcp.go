package wire

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Constants of TCP, RFC 9293.
const (
	tcpProtocol  = 6
	tcpHeader    = 20
	tcpChecksum  = 16 // where it stands in the header
	tcpWindow    = 65535
	maxSegment   = 1448 // bytes of data in one packet, as on an Ethernet
	flagFIN      = 0x01
	flagSYN      = 0x02
	flagPSH      = 0x08
	flagACK      = 0x10
	dataOffset   = 5 << 4
	firstSeqNear = 1000
	firstSeqFar  = 2000
)

// A TCPConn is one end of a connection whose traffic is captured: as of a TCP
// connection, whatever it runs over.
type TCPConn struct {
	net.Conn
	now func() time.Time

	mu        sync.Mutex // guards all below
	c         *Capture
	near, far tcpEnd
	closed    bool
}

// tcpEnd is one end of the captured connection.
type tcpEnd struct {
	at  netip.AddrPort
	seq uint32 // of the next byte
}

// CaptureTCP captures what goes over nc from now on as a connection that near has
// opened to far.
func CaptureTCP(nc net.Conn, c *Capture, near, far netip.AddrPort, now func() time.Time) *TCPConn {
	t := &TCPConn{Conn: nc, now: now, c: c, near: tcpEnd{near, firstSeqNear}, far: tcpEnd{far, firstSeqFar}}
	t.segment(&t.near, &t.far, flagSYN, nil)
	t.segment(&t.far, &t.near, flagSYN|flagACK, nil)
	t.segment(&t.near, &t.far, flagACK, nil)
	return t
}

// Read captures what comes from the far end.
func (t *TCPConn) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	t.data(&t.far, &t.near, b[:n])
	return n, err
}

// Write captures what goes to the far end, before it can be answered.
func (t *TCPConn) Write(b []byte) (int, error) {
	t.data(&t.near, &t.far, b)
	return t.Conn.Write(b)
}

// Close captures the end of the connection.
func (t *TCPConn) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.closed = true
		t.segment(&t.near, &t.far, flagFIN|flagACK, nil)
		t.segment(&t.far, &t.near, flagFIN|flagACK, nil)
		t.segment(&t.near, &t.far, flagACK, nil)
	}
	return t.Conn.Close()
}

// data captures bytes in packets of an ordinary size.
func (t *TCPConn) data(from, to *tcpEnd, b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(b) > 0 {
		n := min(len(b), maxSegment)
		t.segment(from, to, flagPSH|flagACK, b[:n])
		b = b[n:]
	}
}

// segment captures one segment.
func (t *TCPConn) segment(from, to *tcpEnd, flags byte, data []byte) {
	b := make([]byte, tcpHeader, tcpHeader+len(data))
	binary.BigEndian.PutUint16(b, from.at.Port())
	binary.BigEndian.PutUint16(b[2:], to.at.Port())
	binary.BigEndian.PutUint32(b[4:], from.seq)
	if flags&flagACK != 0 {
		binary.BigEndian.PutUint32(b[8:], to.seq)
	}
	b[12], b[13] = dataOffset, flags
	binary.BigEndian.PutUint16(b[14:], tcpWindow)
	t.c.packet(t.now(), from.at.Addr(), to.at.Addr(), tcpProtocol, append(b, data...), tcpChecksum)
	from.seq += uint32(len(data))
	if flags&(flagSYN|flagFIN) != 0 {
		from.seq++
	}
}
