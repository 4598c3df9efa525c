package tcpcl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"perigee/convergence"
)

// acceptPause is the wait after a failed accept (no file descriptors left, say),
// so that the loop does not spin.
const acceptPause = 100 * time.Millisecond

type listener struct {
	cfg    Config
	tcp    net.Listener
	ctx    context.Context // ends when the listener closes
	cancel context.CancelFunc
	door   *door
	ready  chan convergence.Session

	goroutines sync.WaitGroup
}

// Listen binds address ("host:port", or "host" alone for port 4556) and takes
// sessions from peers. The context bounds the binding only; Close ends the
// listener.
func Listen(ctx context.Context, address string, cfg Config) (convergence.Listener, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	tcp, err := lc.Listen(ctx, "tcp", withPort(address))
	if err != nil {
		return nil, fmt.Errorf("listen for TCPCL peers: %w", err)
	}
	l := &listener{
		cfg:   cfg,
		tcp:   tcp,
		door:  newDoor(cfg.MaxPending, cfg.MaxSessions, cfg.MaxSessionsPerAddress),
		ready: make(chan convergence.Session),
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
		return fmt.Errorf("close TCPCL listener %s: %w", l.Addr(), err)
	}
	return nil
}

func (l *listener) acceptLoop() {
	for l.ctx.Err() == nil {
		nc, err := l.tcp.Accept()
		if err != nil {
			select {
			case <-l.ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		ctx, cancel := context.WithCancelCause(l.ctx)
		g := l.door.enter(nc.RemoteAddr(), cancel)
		l.goroutines.Go(func() {
			defer cancel(nil)
			defer l.door.leave(g)
			l.serve(ctx, nc, g)
		})
	}
}

// serve establishes one session and offers it to Accept.
func (l *listener) serve(ctx context.Context, nc net.Conn, g *guest) {
	c := newContact(nc, l.cfg, false)
	c.busy = !l.door.hasSeat(g)
	s, err := c.establish(ctx)
	if err != nil {
		if l.cfg.Refused != nil {
			l.cfg.Refused(err)
		}
		return
	}
	if !l.door.sit(g) { // others were faster
		s.terminate(TermBusy)
		s.Close(l.ctx)
		return
	}
	s.whenEnded(func() { l.door.rise(g) })
	select {
	case l.ready <- s:
	case <-s.Done():
		s.Close(l.ctx)
	case <-ctx.Done():
		s.Close(ctx)
	}
}
