package tcpcl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"perigee/convergence"
)

type dialer struct {
	cfg Config
}

// NewDialer returns a dialer that opens sessions over TCP. Addresses are
// "host:port", or "host" alone for port 4556. A config that cannot hold is
// reported by Dial.
func NewDialer(cfg Config) convergence.Dialer {
	return &dialer{cfg: cfg}
}

func (d *dialer) Dial(ctx context.Context, address string) (convergence.Session, error) {
	cfg, err := d.cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.ContactTimeout)
	defer cancel()
	var tcp net.Dialer
	nc, err := tcp.DialContext(ctx, "tcp", withPort(address))
	if err != nil {
		return nil, fmt.Errorf("dial TCPCL peer: %w", err)
	}
	return Client(ctx, nc, cfg)
}

// withPort adds the TCPCL port to an address that has none.
func withPort(address string) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	return net.JoinHostPort(address, DefaultPort)
}

// Client opens a session as the active entity over an open connection, which it
// then owns: it is closed when the session ends or cannot be established.
func Client(ctx context.Context, nc net.Conn, cfg Config) (convergence.Session, error) {
	return establish(ctx, nc, cfg, true)
}

// Server opens a session as the passive entity over an open connection, which it
// then owns: it is closed when the session ends or cannot be established.
func Server(ctx context.Context, nc net.Conn, cfg Config) (convergence.Session, error) {
	return establish(ctx, nc, cfg, false)
}

func establish(ctx context.Context, nc net.Conn, cfg Config, active bool) (convergence.Session, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	s := newSession(nc, cfg, active)
	timeout := time.NewTimer(cfg.ContactTimeout)
	defer timeout.Stop()
	select {
	case <-s.established:
		return s, nil
	case <-s.done:
		err = s.Err()
	case <-timeout.C:
		err = fmt.Errorf("nothing heard for the contact timeout of %s", cfg.ContactTimeout)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	s.end(err)
	s.goroutines.Wait()
	return nil, fmt.Errorf("establish TCPCL session with %s: %w", s.RemoteAddr(), err)
}
