package ltp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socketBuffer is what is asked of the kernel for datagrams that wait, in bytes.
const socketBuffer = 8 << 20

// udpTransport moves datagrams over a UDP socket. Where the kernel can (from Linux
// 5.0 on), one system call takes many datagrams of one size: it cuts them when they
// are sent, and joins them when they come.
type udpTransport struct {
	conn  *net.UDPConn
	is6   bool
	joins atomic.Bool // datagrams are sent many at a time

	readControl []byte // belongs to whoever calls read
}

func newTransport(conn *net.UDPConn) transport {
	t := &udpTransport{conn: conn, readControl: make([]byte, 128)}
	t.is6 = conn.LocalAddr().(*net.UDPAddr).IP.To4() == nil
	raw, err := conn.SyscallConn()
	if err != nil {
		return packetTransport{conn}
	}
	var sends error
	err = raw.Control(func(fd uintptr) {
		s := int(fd)
		if unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer) != nil { // needs privilege
			_ = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUF, socketBuffer)
		}
		_ = unix.SetsockoptInt(s, unix.IPPROTO_UDP, unix.UDP_GRO, 1) // without it they come one by one
		_, sends = unix.GetsockoptInt(s, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
	})
	t.joins.Store(err == nil && sends == nil)
	return t
}

func (t *udpTransport) read(b []byte) (n, size int, from netip.AddrPort, err error) {
	n, control, _, from, err := t.conn.ReadMsgUDPAddrPort(b, t.readControl)
	if err != nil {
		return 0, 0, netip.AddrPort{}, err
	}
	return n, joinedSize(t.readControl[:control], n), unmap(from), nil
}

// joinedSize is the size of the datagrams that the kernel joined to n bytes.
func joinedSize(control []byte, n int) int {
	for len(control) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			break
		}
		if h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 4 {
			return max(int(binary.NativeEndian.Uint32(data)), 1)
		}
		control = rest
	}
	return n
}

func (t *udpTransport) write(b []byte, size int, to netip.AddrPort) error {
	if t.is6 && to.Addr().Is4() {
		to = netip.AddrPortFrom(netip.AddrFrom16(to.Addr().As16()), to.Port())
	}
	if len(b) > size && t.joins.Load() {
		_, _, err := t.conn.WriteMsgUDPAddrPort(b, segmentControl(size), to)
		if !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.EINVAL) {
			return err
		}
		t.joins.Store(false) // the way out cannot cut them, or they are too large for it
	}
	for len(b) > 0 {
		n := min(size, len(b))
		if _, err := t.conn.WriteToUDPAddrPort(b[:n], to); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// segmentControl tells the kernel to cut what is sent into datagrams of a size.
func segmentControl(size int) []byte {
	control := make([]byte, unix.CmsgSpace(2))
	binary.NativeEndian.PutUint64(control, uint64(unix.CmsgLen(2)))
	binary.NativeEndian.PutUint32(control[unix.SizeofCmsghdr-8:], unix.IPPROTO_UDP)
	binary.NativeEndian.PutUint32(control[unix.SizeofCmsghdr-4:], unix.UDP_SEGMENT)
	binary.NativeEndian.PutUint16(control[unix.CmsgLen(0):], uint16(size))
	return control
}

func (t *udpTransport) localAddr() net.Addr { return t.conn.LocalAddr() }
func (t *udpTransport) close() error        { return t.conn.Close() }

// shortSleep waits for less than the granularity of Go's timers, which is 1 ms on
// Linux: bursts at the rates of fast links are shorter.
func shortSleep(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil) // when a signal ends it early, the caller waits again
}
