package unacked

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// queueOf returns a function that tells how many bytes written to conn the peer's
// TCP has not acknowledged, and false when that cannot be told.
func queueOf(conn net.Conn) func() (int64, bool) {
	unknown := func() (int64, bool) { return 0, false }
	tcp, ok := conn.(syscall.Conn)
	if !ok {
		return unknown
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return unknown
	}
	return func() (int64, bool) {
		waiting, failed := 0, error(nil)
		err := raw.Control(func(fd uintptr) { waiting, failed = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
		return int64(waiting), err == nil && failed == nil
	}
}

// tune makes TCP give up on a peer that has gone: one that acknowledges nothing for
// the stall time, whether data is under way or not.
func tune(conn net.Conn, stall time.Duration) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	const probes = 4
	every := max(stall/(probes+1), time.Second)
	// A connection that refuses an option still carries bundles, and is given up later.
	_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: every, Interval: every, Count: probes})
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(stall.Milliseconds()))
	})
}
