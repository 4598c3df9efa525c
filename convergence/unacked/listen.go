package unacked

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"perigee/convergence"
)

// acceptPause is the wait after a failed accept (no file descriptors left, say), so
// that the loop does not spin.
const acceptPause = 100 * time.Millisecond

type listener struct {
	framing Framing
	cfg     Config
	tcp     net.Listener
	ctx     context.Context // ends when the listener closes
	cancel  context.CancelFunc
	ready   chan convergence.Session
	slots   chan struct{} // one for each session that has not ended

	goroutines sync.WaitGroup
}

// Listen binds address ("host:port") and takes sessions from peers, whose names stay
// unknown. The context bounds the binding only; Close ends the listener.
func Listen(ctx context.Context, address string, f Framing, cfg Config) (convergence.Listener, error) {
	cfg, err := cfg.withDefaults(f)
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	tcp, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for %s peers: %w", f.Name(), err)
	}
	l := &listener{
		framing: f, cfg: cfg, tcp: tcp, ready: make(chan convergence.Session), slots: make(chan struct{}, cfg.MaxSessions),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.goroutines.Go(l.acceptLoop)
	return l, nil
}

func (l *listener) Addr() string { return l.tcp.Addr().String() }

func (l *listener) Accept(ctx context.Context) (convergence.Session, error) {
	if l.ctx.Err() != nil {
		return nil, convergence.ErrClosed
	}
	select {
	case s := <-l.ready:
		return s, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-l.ctx.Done():
		return nil, convergence.ErrClosed
	}
}

func (l *listener) Close() error {
	l.cancel()
	err := l.tcp.Close()
	l.goroutines.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close %s listener %s: %w", l.framing.Name(), l.Addr(), err)
	}
	return nil
}

func (l *listener) acceptLoop() {
	for l.ctx.Err() == nil {
		conn, err := l.tcp.Accept()
		if err != nil {
			select {
			case <-l.ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		select {
		case l.slots <- struct{}{}:
			l.offer(conn)
		default: // too many peers: the newest goes
			conn.Close()
		}
	}
}

// offer makes a session and waits until Accept takes it. Others wait in the backlog
// of the socket.
func (l *listener) offer(conn net.Conn) {
	tune(conn, l.cfg.Stall)
	s := newSession(conn, l.framing, l.cfg, false, func() { <-l.slots })
	select {
	case l.ready <- s:
	case <-l.ctx.Done():
		s.Close(l.ctx)
	}
}
