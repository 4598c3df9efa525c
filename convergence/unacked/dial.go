package unacked

import (
	"context"
	"fmt"
	"net"

	"perigee/convergence"
)

type dialer struct {
	framing Framing
	cfg     Config
}

// NewDialer returns a dialer that opens sessions over TCP with the node cfg.Peer.
// Addresses are "host:port". A config that cannot hold is reported by Dial.
func NewDialer(f Framing, cfg Config) convergence.Dialer {
	return &dialer{f, cfg}
}

func (d *dialer) Dial(ctx context.Context, address string) (convergence.Session, error) {
	cfg, err := d.cfg.withDefaults(d.framing)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.DialTimeout)
	defer cancel()
	var tcp net.Dialer
	conn, err := tcp.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("dial %s peer: %w", d.framing.Name(), err)
	}
	tune(conn, cfg.Stall)
	return newSession(conn, d.framing, cfg, true, func() {}), nil
}
