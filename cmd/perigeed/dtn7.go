package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"

	"golang.org/x/sync/errgroup"

	"perigee/bundle"
	"perigee/bundle/app/dtn7agent"
	"perigee/bundle/dtntime"
	"perigee/convergence"
	"perigee/convergence/dtn7"
	"perigee/convergence/mtcp"
)

// dtn7Config is the table [dtn7], for what a node does as a dtn7 node beyond its links.
type dtn7Config struct {
	// Discovery looks for dtn7 nodes on the network and opens links to them over
	// MTCP; false.
	Discovery bool `toml:"discovery"`
	// Interval is the time between announcements of this node, "1s" to "1h"; "10s".
	Interval dtntime.Duration `toml:"interval"`
	// Interfaces are the network interfaces of discovery; all that carry multicast.
	Interfaces []string `toml:"interfaces"`
	// TrustNetwork allows agents and listeners of dtn7-go's code at addresses that
	// other hosts reach; false.
	TrustNetwork bool             `toml:"trust_network"`
	Agents       dtn7AgentsConfig `toml:"agents"`
}

// dtn7AgentsConfig is the table [dtn7.agents], for applications that were written for
// a dtn7 daemon.
type dtn7AgentsConfig struct {
	REST      string `toml:"rest"`      // HOST:PORT of the REST agent; none
	WebSocket string `toml:"websocket"` // HOST:PORT of the WebSocket agent, which may be the same; none
	Custody   bool   `toml:"custody"`   // what they send is under custody; false
}

// validateDTN7 reports what cannot work about [dtn7].
func (c *config) validateDTN7(p *problems) {
	d := c.DTN7
	if d.Interval < minDTN7Interval || d.Interval > maxDTN7Interval {
		p.add("dtn7.interval is %s; write \"%s\" to \"%s\"", d.Interval, minDTN7Interval, maxDTN7Interval)
	}
	if d.Discovery && !c.Node.ID.IsNull() {
		if err := dtn7.CheckNode(c.Node.ID.String()); err != nil {
			p.add("dtn7.discovery: %w; give this node an ID of the dtn scheme, or name its neighbours in [[link]]", err)
		}
	}
	for i, name := range d.Interfaces {
		if _, err := net.InterfaceByName(name); err != nil {
			p.add("dtn7.interfaces[%d]: %q: %w", i, name, err)
		}
	}
	for _, agent := range []struct{ key, address string }{{"dtn7.agents.rest", d.Agents.REST}, {"dtn7.agents.websocket", d.Agents.WebSocket}} {
		if agent.address == "" {
			continue
		}
		if checkAddress(p, agent.key, agent.address) {
			c.checkReach(p, agent.key, agent.address)
		}
	}
}

// discover begins to look for dtn7 nodes. Neighbours of the configuration are left to
// their own links.
func (c *config) discover(ctx context.Context, log *slog.Logger) (convergence.Listener, error) {
	configured := make(map[bundle.EID]bool)
	for _, l := range c.Link {
		configured[l.Peer] = true
	}
	return dtn7.Discover(ctx, dtn7.DiscoveryConfig{
		Node: c.Node.ID.String(), Ports: c.ports(), Interval: c.DTN7.Interval.Std(), Interfaces: c.DTN7.Interfaces, Log: log,
		Wanted: func(node string) bool {
			e, err := bundle.ParseEID(node)
			return err == nil && e.Node() != c.Node.ID && !configured[e.Node()]
		},
		Dial: func(ctx context.Context, n dtn7.Neighbour) (convergence.Session, error) {
			return mtcp.NewDialer(mtcp.Config{Peer: n.Node}).Dial(ctx, n.Address)
		},
	})
}

// usesDTN7 tells whether code of dtn7-go runs that logs.
func (c *config) usesDTN7() bool {
	return slices.ContainsFunc(c.Link, func(l linkConfig) bool { return l.Layer == layerDTN7MTCP }) ||
		slices.ContainsFunc(c.Listen, func(l listenConfig) bool { return l.Layer == layerDTN7MTCP })
}

// dtn7Agents returns what serves applications that were written for a dtn7 daemon,
// false when nothing does.
func (c *config) dtn7Agents(node engine, log *slog.Logger) (application, bool) {
	rest, webSocket := c.DTN7.Agents.REST, c.DTN7.Agents.WebSocket
	if rest == "" && webSocket == "" {
		return application{}, false
	}
	client := node.Client()
	agents := dtn7agent.New(dtn7agent.Config{
		Node: c.Node.ID, Client: client, Custody: c.DTN7.Agents.Custody, MaxBundle: int64(c.Node.MaxBundle), Log: log,
	})
	return application{name: "dtn7 agents", run: func(ctx context.Context) (err error) {
		defer func() { err = errors.Join(err, client.Close()) }()
		group, ctx := errgroup.WithContext(ctx)
		for _, address := range slices.Compact([]string{rest, webSocket}) {
			if address == "" {
				continue
			}
			l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
			if err != nil {
				group.Go(func() error { return fmt.Errorf("listening for dtn7 clients (dtn7.agents): %w", err) })
				break
			}
			log.Info("listening for dtn7 clients", "address", l.Addr(), "rest", address == rest, "websocket", address == webSocket)
			group.Go(func() error { return agents.Serve(ctx, l, agents.Handler(address == rest, address == webSocket)) })
		}
		return group.Wait()
	}}, true
}
