package main

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/convergence"
	"perigee/convergence/dtn7"
	"perigee/convergence/mtcp"
	"perigee/convergence/stcp"
	"perigee/convergence/tcpcl"
	"perigee/convergence/udpcl"
)

// Convergence layers.
const (
	layerTCPCL    = "tcpcl"     // TCPCLv4, RFC 9174
	layerLTP      = "ltp"       // LTP, RFC 5326, over UDP
	layerMTCP     = "mtcp"      // draft-ietf-dtn-mtcpcl-01
	layerSTCP     = "stcp"      // as of ION and HDTN
	layerUDP      = "udp"       // draft-ietf-dtn-udpcl, one bundle in each datagram
	layerDTN7MTCP = "dtn7-mtcp" // MTCP by dtn7-go's own code
)

// layer is how a convergence layer is put to use.
type layer struct {
	name string
	// unnamed tells that neighbours do not say who they are: sessions that they
	// open only receive, and a link needs an address.
	unnamed bool
	network string // "tcp" or "udp"
	dialer  func(*config, linkConfig, *currentPlan) convergence.Dialer
	listen  func(context.Context, *config, listenConfig) (convergence.Listener, error)
}

func layers() []layer {
	return []layer{
		{
			name: layerTCPCL, network: "tcp",
			dialer: func(c *config, l linkConfig, _ *currentPlan) convergence.Dialer {
				return tcpcl.NewDialer(c.sessions(l.TLS))
			},
			listen: func(ctx context.Context, c *config, l listenConfig) (convergence.Listener, error) {
				return tcpcl.Listen(ctx, l.Address, c.sessions(l.TLS))
			},
		},
		ltpLayer(),
		{
			name: layerMTCP, unnamed: true, network: "tcp",
			dialer: func(_ *config, l linkConfig, _ *currentPlan) convergence.Dialer {
				return mtcp.NewDialer(mtcp.Config{Peer: l.Peer.String()})
			},
			listen: func(ctx context.Context, _ *config, l listenConfig) (convergence.Listener, error) {
				return mtcp.Listen(ctx, l.Address, mtcp.Config{})
			},
		},
		{
			name: layerSTCP, unnamed: true, network: "tcp",
			dialer: func(_ *config, l linkConfig, _ *currentPlan) convergence.Dialer {
				return stcp.NewDialer(stcp.Config{Peer: l.Peer.String()})
			},
			listen: func(ctx context.Context, _ *config, l listenConfig) (convergence.Listener, error) {
				return stcp.Listen(ctx, l.Address, stcp.Config{})
			},
		},
		{
			name: layerUDP, unnamed: true, network: "udp",
			dialer: func(c *config, l linkConfig, plan *currentPlan) convergence.Dialer {
				return &pacedDialer{me: c.Node.ID, peer: l.Peer, plan: plan, cfg: udpcl.Config{
					Peer: l.Peer.String(), Rate: c.UDP.RateBPS, MaxDatagram: c.UDP.MaxDatagram,
				}}
			},
			listen: func(ctx context.Context, _ *config, l listenConfig) (convergence.Listener, error) {
				return udpcl.Listen(ctx, l.Address, udpcl.Config{})
			},
		},
		{
			name: layerDTN7MTCP, unnamed: true, network: "tcp",
			dialer: func(_ *config, l linkConfig, _ *currentPlan) convergence.Dialer {
				return dtn7.NewDialer(dtn7.Config{Peer: l.Peer.String()})
			},
			listen: func(ctx context.Context, _ *config, l listenConfig) (convergence.Listener, error) {
				return dtn7.Listen(ctx, l.Address, dtn7.Config{})
			},
		},
	}
}

// layerOf finds a layer by its name.
func layerOf(name string) (layer, bool) {
	for _, l := range layers() {
		if l.name == name {
			return l, true
		}
	}
	return layer{}, false
}

// linkRate is how fast a link of a layer sends without a contact, in bits per second, and
// 0 where the configuration does not say.
func (c *config) linkRate(layer string) uint64 {
	switch layer {
	case layerLTP:
		return c.LTP.RateBPS
	case layerUDP:
		return uint64(c.UDP.RateBPS)
	}
	return 0
}

func layerNames() []string {
	var names []string
	for _, l := range layers() {
		names = append(names, l.name)
	}
	return names
}

// checkLayer reports a layer that does not exist.
func checkLayer(p *problems, key, name string) (layer, bool) {
	l, ok := layerOf(name)
	if !ok {
		p.add("%s.layer is %q; write one of %q", key, name, layerNames())
	}
	return l, ok
}

// checkLinkLayer reports what keeps a link from its layer.
func (c *config) checkLinkLayer(p *problems, key string, l linkConfig) {
	is, ok := checkLayer(p, key, l.Layer)
	if !ok {
		return
	}
	if is.unnamed && l.Address == "" {
		p.add("%s has no address; over %q neighbours do not say who they are, so write where to reach this one", key, l.Layer)
	}
	if l.Layer == layerDTN7MTCP && !l.Peer.IsNull() {
		if err := dtn7.CheckNode(l.Peer.String()); err != nil {
			p.add("%s.peer: %w; use layer = %q, which speaks the same protocol", key, err, layerMTCP)
		}
	}
}

// checkListenLayer reports what keeps a listener from its layer.
func (c *config) checkListenLayer(p *problems, key string, l listenConfig) {
	if _, ok := checkLayer(p, key, l.Layer); !ok || l.Layer != layerDTN7MTCP {
		return
	}
	if _, port, _ := net.SplitHostPort(l.Address); port == "0" {
		p.add("%s.address is %q; write a port, since dtn7-go does not tell which it got", key, l.Address)
	}
	c.checkReach(p, key+".address", l.Address)
}

// checkReach reports an address that other hosts may reach with what is for trusted
// ones.
func (c *config) checkReach(p *problems, key, address string) {
	if !c.DTN7.TrustNetwork && !isLoopback(address) {
		p.add("%s is %q, where other hosts may reach what trusts them all; write a loopback address, or dtn7.trust_network = true", key, address)
	}
}

// isLoopback tells whether only this host reaches an address.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// isAwaited tells whether there is a listener where neighbours come over a layer.
func (c *config) isAwaited(layer string) bool {
	return slices.ContainsFunc(c.Listen, func(l listenConfig) bool { return l.Layer == layer })
}

// ports are those where this node takes MTCP sessions, as far as they are known.
func (c *config) ports() []int {
	var ports []int
	for _, l := range c.Listen {
		if l.Layer != layerMTCP && l.Layer != layerDTN7MTCP {
			continue
		}
		_, text, _ := net.SplitHostPort(l.Address)
		if port, err := strconv.Atoi(text); err == nil && port > 0 {
			ports = append(ports, port)
		}
	}
	return ports
}

// currentPlan is the contact plan in force, for those who look at it now and then.
type currentPlan struct{ atomic.Pointer[contact.Plan] }

// pacedDialer opens UDP sessions at the rate of the contact in which they begin, or
// else at that of the configuration.
type pacedDialer struct {
	me, peer bundle.EID
	plan     *currentPlan
	cfg      udpcl.Config
}

// Dial implements convergence.Dialer.
func (d *pacedDialer) Dial(ctx context.Context, address string) (convergence.Session, error) {
	cfg := d.cfg
	if plan := d.plan.Load(); plan != nil {
		if open, ok := plan.Active(d.me, d.peer, clock{}.Now()); ok {
			cfg.Rate = int64(open.Rate)
		}
	}
	return udpcl.NewDialer(cfg).Dial(ctx, address)
}
