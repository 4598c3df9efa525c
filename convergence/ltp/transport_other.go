//go:build !linux

package ltp

import (
	"net"
	"time"
)

func newTransport(conn *net.UDPConn) transport { return packetTransport{conn} }

// shortSleep waits for a short time, as exactly as Go's timers can.
func shortSleep(d time.Duration) {
	t := time.NewTimer(d)
	<-t.C
}
