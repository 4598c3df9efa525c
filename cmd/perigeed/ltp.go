package main

import (
	"context"
	"fmt"
	"strconv"

	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/convergence"
	"perigee/convergence/ltp"
)

// Defaults and limits of [ltp].
const (
	defaultLTPRate = 10_000_000

	minLTPMTU    = 256
	maxLTPMTU    = 65507
	minLTPHeld   = size(1 << 20)
	maxLTPHeld   = size(64 << 30)
	minLTPMargin = 10 * dtntime.Millisecond
	maxLTPMargin = dtntime.Minute
	maxLTPDead   = dtntime.Day
	// ltpAggregate is the size of the blocks in which small bundles travel together,
	// with neighbours that take them apart.
	ltpAggregate = 32 << 10
)

// ltpConfig is the table [ltp], for all links of that layer.
type ltpConfig struct {
	// EngineID is the number of this node's engine; the node number of an ipn
	// node.id.
	EngineID uint64 `toml:"engine_id"`
	// RateBPS is how many bits are sent to a neighbour in a second at most, outside
	// of contacts, which have their own rates; 0 for no limit; 10000000.
	RateBPS uint64 `toml:"rate_bps"`
	// MTU is the largest datagram sent, in bytes, 256 to 65507; 1400.
	MTU int `toml:"mtu"`
	// Margin is what an answer may take besides the way, "10ms" to "1m"; 500ms.
	Margin dtntime.Duration `toml:"margin"`
	// DeadAfter is how long a neighbour may answer nothing in a contact, besides
	// four light times, from the margin to "24h"; 1m.
	DeadAfter dtntime.Duration `toml:"dead_after"`
	// MaxUnclaimed and MaxHeld bound the memory for one neighbour: of what is sent
	// and not claimed, and of what has come and not been read; 32MiB.
	MaxUnclaimed size `toml:"max_unclaimed"`
	MaxHeld      size `toml:"max_held"`
}

func defaultLTP() ltpConfig {
	return ltpConfig{
		RateBPS: defaultLTPRate, MTU: ltp.DefaultMTU, Margin: dtntime.Of(ltp.DefaultMargin), DeadAfter: dtntime.Of(ltp.DefaultDeadAfter),
		MaxUnclaimed: ltp.DefaultMaxUnclaimed, MaxHeld: ltp.DefaultMaxHeld,
	}
}

// ltpLayer is the layer of LTP. One engine serves all its links.
func ltpLayer() layer {
	return layer{
		name: layerLTP, network: "udp",
		dialer: func(c *config, l linkConfig, plan *currentPlan) convergence.Dialer {
			id, _ := engineOf(l.EngineID, l.Peer)
			return c.ltp.Dialer(id, func() convergence.Contact { return c.contactWith(l.Peer, plan) })
		},
		listen: func(_ context.Context, c *config, _ listenConfig) (convergence.Listener, error) {
			return c.ltp.Listener(), nil
		},
	}
}

// contactWith is what the plan says now of the link with a neighbour.
func (c *config) contactWith(peer bundle.EID, plan *currentPlan) convergence.Contact {
	link := convergence.Contact{Open: true}
	p, now := plan.Load(), clock{}.Now()
	if p == nil {
		return link
	}
	if out, ok := p.Active(c.Node.ID, peer, now); ok {
		link.Rate, link.LightTime = uint64(out.Rate), out.Light.Std()
	} else if in, ok := p.Active(peer, c.Node.ID, now); ok {
		link.LightTime = in.Light.Std()
	}
	return link
}

// engineOf is the number of a node's engine: the one that was written, or else that of
// an ipn node.
func engineOf(written uint64, node bundle.EID) (uint64, bool) {
	if written != 0 {
		return written, true
	}
	if node.Scheme() != bundle.SchemeIPN {
		return 0, false
	}
	return node.NodeNumber(), true
}

// usesLTP tells whether anything is of the layer, and where it listens, if it does.
func (c *config) usesLTP() (address string, uses bool) {
	address = ":0"
	for _, l := range c.Link {
		uses = uses || l.Layer == layerLTP
	}
	for _, l := range c.Listen {
		if l.Layer == layerLTP {
			return l.Address, true
		}
	}
	return address, uses
}

// openLTP starts the engine that all links of the layer share, if there are any.
func (c *config) openLTP(ctx context.Context) error {
	address, uses := c.usesLTP()
	if !uses {
		return nil
	}
	id, _ := engineOf(c.LTP.EngineID, c.Node.ID)
	cfg := ltp.Config{
		EngineID: id, MTU: c.LTP.MTU, Margin: c.LTP.Margin.Std(), DeadAfter: c.LTP.DeadAfter.Std(),
		MaxUnclaimed: int64(c.LTP.MaxUnclaimed), MaxHeld: int64(c.LTP.MaxHeld),
	}
	for _, l := range c.Link {
		if l.Layer != layerLTP {
			continue
		}
		peer := ltp.Peer{Node: l.Peer.String(), Address: l.Address, Rate: c.LTP.RateBPS, Aggregate: ltpAggregate}
		peer.EngineID, _ = engineOf(l.EngineID, l.Peer)
		cfg.Peers = append(cfg.Peers, peer)
	}
	engine, err := ltp.Listen(ctx, address, cfg)
	if err != nil {
		return fmt.Errorf("starting LTP at %s: %w", address, err)
	}
	c.ltp = engine
	return nil
}

// closeLTP ends the engine, if there is one.
func (c *config) closeLTP() error {
	if c.ltp == nil {
		return nil
	}
	return c.ltp.Close()
}

func (c *config) validateLTP(p *problems) {
	t := c.LTP
	if t.MTU < minLTPMTU || t.MTU > maxLTPMTU {
		p.add("ltp.mtu is %d; write the bytes of a datagram, %d to %d", t.MTU, minLTPMTU, maxLTPMTU)
	}
	if t.Margin < minLTPMargin || t.Margin > maxLTPMargin {
		p.add("ltp.margin is %s; write \"%s\" to \"%s\"", t.Margin, minLTPMargin, maxLTPMargin)
	}
	if t.DeadAfter < t.Margin || t.DeadAfter > maxLTPDead {
		p.add("ltp.dead_after is %s; write \"%s\", which is ltp.margin, to \"%s\"", t.DeadAfter, t.Margin, maxLTPDead)
	}
	for _, memory := range []struct {
		key string
		is  size
	}{{"max_unclaimed", t.MaxUnclaimed}, {"max_held", t.MaxHeld}} {
		if memory.is < minLTPHeld || memory.is > maxLTPHeld {
			p.add("ltp.%s is %s; write \"%s\" to \"%s\"", memory.key, memory.is, minLTPHeld, maxLTPHeld)
		}
	}
	_, uses := c.usesLTP()
	own, ok := engineOf(t.EngineID, c.Node.ID)
	if uses && !ok {
		p.add("ltp.engine_id is missing; node.id %q has no number that LTP could know it by, so write one", c.Node.ID)
	}
	c.validateEngines(p, own)
	listens := 0
	for _, l := range c.Listen {
		if l.Layer == layerLTP {
			listens++
		}
	}
	if listens > 1 {
		p.add("listen: %d entries with layer %q; one engine serves all neighbours, so write one", listens, layerLTP)
	}
}

// validateEngines reports neighbours that LTP could not tell from each other.
func (c *config) validateEngines(p *problems, own uint64) {
	seen := map[uint64]bool{own: true}
	for i, l := range c.Link {
		key := "link[" + strconv.Itoa(i) + "]"
		switch id, ok := engineOf(l.EngineID, l.Peer); {
		case l.Layer != layerLTP && l.EngineID != 0:
			p.add("%s.engine_id is %d; only links with layer %q have one", key, l.EngineID, layerLTP)
		case l.Layer != layerLTP:
		case !ok:
			p.add("%s.engine_id is missing; peer %q has no number that LTP could know it by, so write one", key, l.Peer)
		case seen[id]:
			p.add("%s.engine_id is %d, which another node has too, or this one", key, id)
		default:
			seen[id] = true
		}
	}
}
