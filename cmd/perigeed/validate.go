package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"

	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/convergence/udpcl"
)

// maxSocketPath is what fits a Unix socket address, with room for the name that the
// socket has while it is made.
const maxSocketPath = 103

// problems collects what is wrong with a configuration.
type problems []error

func (p *problems) add(format string, args ...any) { *p = append(*p, fmt.Errorf(format, args...)) }

// validate reports everything that cannot work, one line for each. Each names the
// key and says what to write instead.
func (c *config) validate() error {
	var p problems
	c.validateNode(&p)
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		p.add("log.level is %q; write \"debug\", \"info\", \"warn\" or \"error\"", c.Log.Level)
	}
	switch {
	case c.Node.Clock != clockSystem && c.Node.Clock != clockNone:
		p.add("node.clock is %q; write %q or %q", c.Node.Clock, clockSystem, clockNone)
	case c.Node.Clock == clockNone && c.Node.ContactPlan != "":
		p.add("node.clock is %q, but node.contact_plan needs a clock; write links with mode = %q instead of a plan", clockNone, modeAlways)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		p.add("log.format is %q; write \"text\" or \"json\"", c.Log.Format)
	}
	if c.Store.Quota < minQuota {
		p.add("store.quota is %s; write at least \"%s\"", c.Store.Quota, minQuota)
	}
	if c.Store.MaxResident < minResident {
		p.add("store.max_resident is %d; write at least %d", c.Store.MaxResident, minResident)
	}
	for _, share := range []struct {
		key     string
		percent int
	}{
		{"custody", c.Store.CustodyPercent},
		{"bulk", c.Store.BulkPercent},
		{"normal", c.Store.NormalPercent},
		{"expedited", c.Store.ExpeditedPercent},
	} {
		if share.percent < 1 || share.percent > 100 {
			p.add("store.%s_percent is %d; write a share of the quota, 1 to 100", share.key, share.percent)
		}
	}
	c.validateCustody(&p)
	c.validateTCPCL(&p)
	c.validateTLS(&p)
	c.validateLTP(&p)
	if r := c.UDP.RateBPS; r < 1 {
		p.add("udp.rate_bps is %d; write how many bits may be sent in a second, from 1", r)
	}
	if d := c.UDP.MaxDatagram; d < udpcl.MinMaxDatagram || d > udpcl.MaxDatagram {
		p.add("udp.max_datagram is %d; write %d to %d", d, udpcl.MinMaxDatagram, udpcl.MaxDatagram)
	}
	c.validateDTN7(&p)
	c.validateListens(&p)
	c.validateLinks(&p)
	c.validateRoutes(&p)
	if _, err := c.Share.shares(); err != nil {
		p.add("share: %w", err)
	}
	c.validateEngine(&p)
	if c.Satellite != nil {
		if err := c.Satellite.Validate(); err != nil {
			p.add("satellite: %w", err)
		}
	}
	if c.Ground != nil {
		if err := c.Ground.Validate(); err != nil {
			p.add("ground: %w", err)
		}
	}
	if _, err := c.readPlan(); err != nil {
		p.add("%w", err)
	}
	return errors.Join(p...)
}

func (c *config) validateNode(p *problems) {
	n := c.Node
	switch {
	case n.ID.IsNull():
		p.add("node.id is missing; write the node ID, such as id = \"ipn:2.0\"")
	case n.ID.Node() != n.ID:
		p.add("node.id is %q, which is an endpoint of a node; write the node itself, %q", n.ID, n.ID.Node())
	case n.ID.NodeNumber() == bundle.LocalNode:
		p.add("node.id is %q, which stands for any node itself; write a number of its own, such as \"ipn:2.0\"", n.ID)
	}
	if n.DataDir == "" {
		p.add("node.data_dir is empty; name a folder, such as %q", defaultDataDir)
	}
	if n.Socket == "" {
		p.add("node.socket is empty; name a file, such as %q", defaultSocket)
	}
	if len(n.Socket) > maxSocketPath {
		p.add("node.socket %q has %d bytes; write a path of at most %d", n.Socket, len(n.Socket), maxSocketPath)
	}
	if n.SocketMode&0o600 != 0o600 {
		p.add("node.socket_mode is \"%04o\"; the owner must be able to read and write, such as \"0660\"", n.SocketMode)
	}
	if n.Memory != 0 && n.Memory < minMemory {
		p.add("node.memory is %s; write at least \"%s\"", n.Memory, minMemory)
	}
	if n.ClockError > maxClockError {
		p.add("node.clock_error is %s; write \"0s\" to \"%s\"", n.ClockError, maxClockError)
	}
	if n.MaxBundle < minMaxBundle {
		p.add("node.max_bundle is %s; write at least \"%s\"", n.MaxBundle, minMaxBundle)
	}
}

func (c *config) validateCustody(p *problems) {
	if c.Custody.Aggregate > maxAggregate {
		p.add("custody.aggregate is %s; write \"0s\" to \"%s\"", c.Custody.Aggregate, maxAggregate)
	}
	if a := c.Custody.PeerAggregate; a == 0 || a > maxAggregate {
		p.add("custody.peer_aggregate is %s; write \"1ms\" to \"%s\"", a, maxAggregate)
	}
	if s := c.Custody.RetransmitPercent; s < 1 || s > 100 {
		p.add("custody.retransmit_percent is %d; write a share of a contact, 1 to 100", s)
	}
	c.validateKeys(p)
	if c.Custody.MaxBundles < 1 {
		p.add("custody.max_bundles is %d; write at least 1, or accept = false to take no custody", c.Custody.MaxBundles)
	}
	for _, list := range []struct {
		key   string
		nodes []bundle.EID
	}{{"custody.custodians", c.Custody.Custodians}, {"custody.sources", c.Custody.Sources}} {
		for i, e := range list.nodes {
			if e.IsNull() || e.Node() != e {
				p.add("%s[%d] is %q, which is no node; write a node ID, such as \"ipn:2.0\"", list.key, i, e)
			}
		}
	}
}

// validateKeys reports keys that cannot be used.
func (c *config) validateKeys(p *problems) {
	seen := map[bundle.EID]bool{}
	for i, k := range c.Custody.Key {
		key := "custody.key[" + strconv.Itoa(i) + "]"
		switch {
		case k.Peer.IsNull() || k.Peer.Node() != k.Peer:
			p.add("%s.peer is %q; write the node ID of the other node, such as \"ipn:2.0\"", key, k.Peer)
		case seen[k.Peer]:
			p.add("%s.peer %q is there twice; a node has one key", key, k.Peer)
		}
		seen[k.Peer] = true
		if k.File == "" {
			p.add("%s.file is missing; name the file with the key", key)
		} else if _, err := readKey(k.File); err != nil {
			p.add("%s.file: %w", key, err)
		}
	}
}

func (c *config) validateTCPCL(p *problems) {
	t := c.TCPCL
	if k := t.Keepalive; k > maxKeepalive || k%dtntime.Second != 0 {
		p.add("tcpcl.keepalive is %s; write whole seconds, \"0s\" to \"%s\"", k, maxKeepalive)
	}
	if t.SegmentMRU < minSegmentMRU {
		p.add("tcpcl.segment_mru is %s; write at least \"%s\"", t.SegmentMRU, minSegmentMRU)
	}
	for _, span := range []struct {
		key         string
		is          dtntime.Duration
		least, most dtntime.Duration
	}{
		{"contact_timeout", t.ContactTimeout, dtntime.Second, 10 * dtntime.Minute},
		{"stall_timeout", t.StallTimeout, 10 * dtntime.Second, dtntime.Day},
	} {
		if span.is < span.least || span.is > span.most {
			p.add("tcpcl.%s is %s; write \"%s\" to \"%s\"", span.key, span.is, span.least, span.most)
		}
	}
	if t.MaxSessions < 1 || t.MaxSessionsPerAddress < 1 {
		p.add("tcpcl.max_sessions is %d and tcpcl.max_sessions_per_address %d; write at least 1", t.MaxSessions, t.MaxSessionsPerAddress)
	}
}

func (c *config) validateListens(p *problems) {
	if len(c.Listen) > maxListens {
		p.add("listen: %d entries; at most %d", len(c.Listen), maxListens)
	}
	seen := map[string]bool{}
	for i, l := range c.Listen {
		key := "listen[" + strconv.Itoa(i) + "]"
		if l.Address == "" {
			p.add("%s.address is missing; write where to listen, such as \":4556\"", key)
		} else if checkAddress(p, key+".address", l.Address) {
			c.checkListenLayer(p, key, l)
		}
		is, _ := checkLayer(p, key, l.Layer)
		if at := is.network + " " + l.Address; seen[at] {
			p.add("%s.address %q is there twice; remove one", key, l.Address)
		} else {
			seen[at] = true
		}
	}
}

func (c *config) validateLinks(p *problems) {
	if len(c.Link) > maxLinks {
		p.add("link: %d entries; at most %d", len(c.Link), maxLinks)
	}
	seen := map[bundle.EID]bool{}
	for i, l := range c.Link {
		key := "link[" + strconv.Itoa(i) + "]"
		switch {
		case l.Peer.IsNull():
			p.add("%s.peer is missing; write the neighbour's node ID, such as \"ipn:1.0\"", key)
		case l.Peer.Node() != l.Peer:
			p.add("%s.peer is %q, which is an endpoint; write its node, %q", key, l.Peer, l.Peer.Node())
		case l.Peer == c.Node.ID:
			p.add("%s.peer is %q, which is this node; write a neighbour's node ID", key, l.Peer)
		case seen[l.Peer]:
			p.add("%s.peer %q is there twice; a neighbour has one link", key, l.Peer)
		}
		seen[l.Peer] = true
		is, _ := layerOf(l.Layer)
		c.checkLinkLayer(p, key, l)
		if l.Address != "" {
			checkAddress(p, key+".address", l.Address)
			if strings.HasPrefix(l.Address, ":") {
				p.add("%s.address is %q; write the neighbour's host before the port", key, l.Address)
			}
		} else if is.name != "" && !is.unnamed && !c.isAwaited(l.Layer) {
			p.add("%s has no address, so the neighbour must come to us, but there is no [[listen]] for it; add one of the two", key)
		}
		if !slices.Contains(custodyProfiles(), l.Custody) {
			p.add("%s.custody is %q; write one of %q", key, l.Custody, custodyProfiles())
		}
		if err := l.codePoints().Check(); err != nil {
			p.add("%s.code_points: %w", key, err)
		}
		switch {
		case l.Mode != modeScheduled && l.Mode != modeAlways:
			p.add("%s.mode is %q; write %q or %q", key, l.Mode, modeScheduled, modeAlways)
		case l.Mode == modeScheduled && c.Node.ContactPlan == "":
			p.add("%s.mode is %q, but there is no node.contact_plan; name a plan or write mode = %q", key, l.Mode, modeAlways)
		}
	}
}

func (c *config) validateRoutes(p *problems) {
	peers := map[bundle.EID]bool{}
	for _, l := range c.Link {
		peers[l.Peer] = true
	}
	for i, r := range c.Route {
		key := "route[" + strconv.Itoa(i) + "]"
		if r.To == "" {
			p.add("%s.to is missing; write an EID or a pattern, such as \"ipn:*\"", key)
		}
		if !peers[r.Via.Node()] {
			p.add("%s.via is %q, which no [[link]] has as its peer; write one of the links' peers or add a link", key, r.Via)
		}
	}
	if _, err := c.routes(); err != nil {
		p.add("route: %w", err)
	}
}

// checkAddress reports an address that is none, and tells whether it is one.
func checkAddress(p *problems, key, address string) bool {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		p.add("%s is %q; write HOST:PORT, such as \"gs.example:4556\"", key, address)
		return false
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		p.add("%s is %q, whose port is not a number from 0 to 65535 (%d)", key, address, n)
		return false
	}
	return true
}

// level is the level of logConfig, which validate has checked.
func (l logConfig) level() slog.Level {
	var level slog.Level
	if level.UnmarshalText([]byte(l.Level)) != nil {
		return slog.LevelInfo
	}
	return level
}
