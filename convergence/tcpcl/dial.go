package tcpcl

import (
	"context"
	"fmt"
	"net"
	"net/netip"

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
	return client(ctx, nc, cfg, dialledName(address))
}

// dialledName is the host name in an address, empty when it is a number.
func dialledName(address string) string {
	host, _, err := net.SplitHostPort(withPort(address))
	if err != nil {
		return ""
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	return host
}

// withPort adds the TCPCL port to an address that has none.
func withPort(address string) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	return net.JoinHostPort(address, DefaultPort)
}
