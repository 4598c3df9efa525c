package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

// headerBytes are those of IPv4 and TCP with the timestamp option, on each segment.
const headerBytes = 20 + 20 + 12

// relay passes one TCP connection on to another address, so that its traffic can be
// counted by somebody who takes no part in it.
type relay struct {
	listener net.Listener
	to       string
	work     sync.WaitGroup

	mu   sync.Mutex // guards far and near
	near net.Conn
	far  *net.TCPConn
}

// startRelay listens for the connection that goes on to address.
func startRelay(ctx context.Context, address string) (*relay, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the relay: %w", err)
	}
	r := &relay{listener: l, to: address}
	r.work.Go(func() { r.serve(ctx) })
	return r, nil
}

func (r *relay) address() string { return r.listener.Addr().String() }

// serve passes the first connection on. A connection that fails shows at its ends.
func (r *relay) serve(ctx context.Context) {
	near, err := r.listener.Accept()
	if err != nil {
		return
	}
	defer near.Close()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", r.to)
	if err != nil {
		return
	}
	defer conn.Close()
	far := conn.(*net.TCPConn)
	r.mu.Lock()
	r.near, r.far = near, far
	r.mu.Unlock()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(near, far)
		_ = near.(*net.TCPConn).CloseWrite()
	})
	_, _ = io.Copy(far, near)
	_ = far.CloseWrite()
	back.Wait()
}

// traffic is what has gone over the far connection since it was opened, in bytes and
// both directions.
func (r *relay) traffic() (int64, error) {
	r.mu.Lock()
	far := r.far
	r.mu.Unlock()
	if far == nil {
		return 0, errors.New("nobody has connected through the relay")
	}
	raw, err := far.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("counting the traffic: %w", err)
	}
	var info *unix.TCPInfo
	var infoErr error
	if err := raw.Control(func(fd uintptr) {
		info, infoErr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}); err != nil {
		return 0, fmt.Errorf("counting the traffic: %w", err)
	}
	if infoErr != nil {
		return 0, fmt.Errorf("counting the traffic: %w", infoErr)
	}
	segments := int64(info.Segs_in) + int64(info.Segs_out)
	return int64(info.Bytes_received) + int64(info.Bytes_acked) + segments*headerBytes, nil
}

// close ends the connection and waits for it.
func (r *relay) close() error {
	err := r.listener.Close()
	r.mu.Lock()
	for _, c := range []net.Conn{r.near, r.far} {
		if c != nil && r.far != nil {
			_ = c.Close() // it ends anyway
		}
	}
	r.mu.Unlock()
	r.work.Wait()
	return err
}
