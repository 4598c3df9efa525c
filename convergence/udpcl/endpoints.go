package udpcl

import (
	"context"
	"fmt"
	"net"
	"sync"

	"perigee/convergence"
)

type dialer struct{ cfg Config }

// NewDialer returns a dialer of sessions with the node cfg.Peer. Addresses are
// "host:port"; the registered port is 4556. A config that cannot hold is reported by
// Dial, which sends nothing and so does not notice when nobody listens.
func NewDialer(cfg Config) convergence.Dialer { return &dialer{cfg} }

func (d *dialer) Dial(ctx context.Context, address string) (convergence.Session, error) {
	cfg, err := d.cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	var udp net.Dialer
	conn, err := udp.DialContext(ctx, "udp", address)
	if err != nil {
		return nil, fmt.Errorf("dial UDPCL peer: %w", err)
	}
	return newSession(conn, cfg, true), nil
}

// A listener has one session, in which the bundles of all peers arrive.
type listener struct {
	address string
	session *session
	closed  chan struct{}

	mu       sync.Mutex // guards all below
	accepted bool
	isClosed bool
}

// Listen binds address ("host:port"). The context bounds the binding only. The first
// Accept returns the one session, which lives until it is closed.
func Listen(ctx context.Context, address string, cfg Config) (convergence.Listener, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	conn, err := lc.ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for UDPCL peers: %w", err)
	}
	return &listener{
		address: conn.LocalAddr().String(), session: newSession(conn.(*net.UDPConn), cfg, false), closed: make(chan struct{}),
	}, nil
}

func (l *listener) Addr() string { return l.address }

func (l *listener) Accept(ctx context.Context) (convergence.Session, error) {
	l.mu.Lock()
	first := !l.accepted && !l.isClosed
	l.accepted = true
	l.mu.Unlock()
	if first {
		return l.session, nil
	}
	select {
	case <-l.closed:
		return nil, convergence.ErrClosed
	case <-l.session.Done():
		return nil, l.session.Err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isClosed {
		return nil
	}
	l.isClosed = true
	close(l.closed)
	if !l.accepted {
		l.session.end(convergence.ErrClosed)
	}
	return nil
}
