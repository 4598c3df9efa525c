package convtest

import (
	"net"
	"sync"
	"time"
)

// throttleChunk is what a throttled connection writes at a time, in bytes.
const throttleChunk = 4 << 10

// A Conn is a connection whose writes can be cut and slowed down. It is for
// links that run over a net.Conn; its methods may be called concurrently.
type Conn struct {
	net.Conn

	mu    sync.Mutex // guards all below
	cut   bool
	left  int64 // bytes until the cut
	pause time.Duration
}

// WrapConn returns a connection that works like nc until it is told otherwise.
func WrapConn(nc net.Conn) *Conn { return &Conn{Conn: nc} }

// CutAfter closes the connection once n more bytes have been written.
func (c *Conn) CutAfter(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut, c.left = true, n
}

// Throttle limits writes to about so many bytes per second.
func (c *Conn) Throttle(bytesPerSecond int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pause = throttleChunk * time.Second / time.Duration(bytesPerSecond)
}

// Write writes b in pieces, each after its pause and none beyond the cut.
func (c *Conn) Write(b []byte) (int, error) {
	written := 0
	for {
		size, pause, cut := c.plan(len(b) - written)
		if cut {
			c.Conn.Close()
			return written, net.ErrClosed
		}
		time.Sleep(pause)
		n, err := c.Conn.Write(b[written : written+size])
		written += n
		if err != nil || written == len(b) {
			return written, err
		}
	}
}

// plan says how much of want bytes may be written next.
func (c *Conn) plan(want int) (size int, pause time.Duration, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		if c.left == 0 {
			return 0, 0, true
		}
		want = int(min(int64(want), c.left))
	}
	if c.pause > 0 {
		want = min(want, throttleChunk)
	}
	if c.cut {
		c.left -= int64(want)
	}
	return want, c.pause, false
}

// CloseWrite closes the writing half where the transport has one.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}
