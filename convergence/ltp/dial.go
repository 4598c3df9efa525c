package ltp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"perigee/convergence"
)

// dialNear is the round trip up to which Dial waits until the peer answers. Beyond
// it a contact is too precious: the session is there at once, and the peer shows
// itself later, or never.
const dialNear = 2 * time.Second

// Dialer opens sessions with the peer that has an engine ID. The address that Dial
// is given takes the place of the configured one, unless it is empty. Contact says
// what the link is like when a session begins; nil: as it was configured.
func (e *Engine) Dialer(id uint64, contact func() convergence.Contact) convergence.Dialer {
	return &dialer{e, id, contact}
}

type dialer struct {
	e       *Engine
	id      uint64
	contact func() convergence.Contact
}

func (d *dialer) Dial(ctx context.Context, address string) (convergence.Session, error) {
	p := d.e.peer(d.id)
	if p == nil {
		return nil, fmt.Errorf("dial LTP engine %d: it is not configured as a peer", d.id)
	}
	begin := p.configured()
	if d.contact != nil {
		begin = d.contact()
	}
	s, err := p.dial(ctx, address, begin)
	if err != nil {
		return nil, fmt.Errorf("dial LTP engine %d: %w", d.id, err)
	}
	return s, nil
}

// dial opens a session, or takes the one that the peer has just opened.
func (p *peer) dial(ctx context.Context, address string, c convergence.Contact) (*session, error) {
	if address != "" {
		at, err := resolve(ctx, address)
		if err != nil {
			return nil, err
		}
		p.moveTo(at)
	}
	s, waits, err := p.open(c)
	if err != nil || !waits {
		return s, err
	}
	select {
	case <-s.up:
		return s, nil
	case <-s.done:
		return nil, s.Err()
	case <-ctx.Done():
		err := fmt.Errorf("peer does not answer: %w", context.Cause(ctx))
		p.failSession(s, err)
		return nil, err
	}
}

// open opens a session; waits says that the peer must answer first.
func (p *peer) open(c convergence.Contact) (s *session, waits bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.engine.ctx.Err() != nil:
		return nil, false, errEngineClosed
	case !p.address.IsValid():
		return nil, false, errors.New("its address is not known: configure one, or let the peer speak first")
	case p.session != nil && p.engine.withdraw(p.session):
		return p.session, false, nil
	case p.session != nil:
		return nil, false, fmt.Errorf("%w: %s", convergence.ErrOpen, p.cfg.Node)
	}
	p.follow(c)
	p.machine.Open(p.engine.now())
	p.session = newSession(p)
	p.ready.notify()
	m := p.machine
	return p.session, m.asks() && m.roundTrip() <= dialNear && !m.suspended, nil
}

// resolve finds the address of a peer.
func resolve(ctx context.Context, address string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(withPort(address))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q: %w", address, err)
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port of address %q: %w", address, err)
	}
	hosts, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("host of address %q: %w", address, err)
	}
	return unmap(netip.AddrPortFrom(hosts[0], uint16(number))), nil
}
