package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"perigee/bundle/contact"
	"perigee/bundle/core"
	"perigee/bundle/node"
	"perigee/bundle/store"
	"perigee/bundle/store/badgerstore"
	"perigee/convergence"
	"perigee/convergence/dtn7"
	"perigee/convergence/tcpcl"
)

// ownedNode is a node together with the store that was opened for it.
type ownedNode struct {
	*node.Node
	store store.Store
	ltp   func() error // ends it
	plan  *currentPlan
}

// ReloadPlan replaces the contact plan, for the node and for its links.
func (o *ownedNode) ReloadPlan(ctx context.Context, read func() (*contact.Plan, error)) error {
	return o.Node.ReloadPlan(ctx, func() (*contact.Plan, error) {
		plan, err := read()
		if err == nil {
			o.plan.Store(plan)
		}
		return plan, err
	})
}

// Run runs the node and then closes what was opened for it.
func (o *ownedNode) Run(ctx context.Context) error {
	err := errors.Join(o.Node.Run(ctx), o.ltp())
	if closeErr := o.store.Close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("closing the store: %w", closeErr))
	}
	return err
}

// newNode opens the store and the listeners and makes the node.
func newNode(ctx context.Context, c *config, plan *contact.Plan, log *slog.Logger) (engine, error) {
	routes, err := c.routes()
	if err != nil {
		return nil, err
	}
	if err := c.loadCredentials(log); err != nil {
		return nil, err
	}
	disk, err := badgerstore.Open(c.storeDir(), badgerstore.Options{
		Quota: int64(c.Store.Quota), Shares: c.Store.shares(), Logger: log.With("part", "store"),
	})
	if err != nil {
		return nil, fmt.Errorf("opening the bundle store (node.data_dir): %w", err)
	}
	n, err := c.assemble(ctx, disk, plan, log)
	if err != nil {
		return nil, errors.Join(err, c.closeLTP(), disk.Close())
	}
	n.cfg.Routes = routes
	made, err := node.New(n.cfg)
	if err != nil {
		return nil, errors.Join(err, n.closeListeners(), c.closeLTP(), disk.Close())
	}
	return &ownedNode{Node: made, store: disk, ltp: c.closeLTP, plan: n.plan}, nil
}

// assembly is a node's configuration with what was opened for it.
type assembly struct {
	cfg  node.Config
	plan *currentPlan
}

func (a *assembly) closeListeners() error {
	var errs []error
	for _, l := range a.cfg.Listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// assemble opens the listeners and fills in the node's configuration.
func (c *config) assemble(ctx context.Context, s store.Store, plan *contact.Plan, log *slog.Logger) (*assembly, error) {
	if c.usesDTN7() {
		dtn7.LogTo(log.With("part", "dtn7"))
	}
	peers, err := c.custodyPeers()
	if err != nil {
		return nil, err
	}
	shares, err := c.Share.shares()
	if err != nil {
		return nil, err
	}
	a := &assembly{plan: new(currentPlan)}
	a.cfg = node.Config{
		Node: c.Node.ID, Version: version, Store: s, Clock: new(watchedClock), Log: log.With("part", "node"), Plan: plan,
		KeepPlan: func(p *contact.Plan) error {
			err := c.keepPlan(p, log)
			if err == nil {
				a.plan.Store(p)
			}
			return err
		},
		AcceptCustody: c.Custody.Accept, Aggregate: c.Custody.Aggregate, PeerAggregate: c.Custody.PeerAggregate,
		ClockError: c.Node.ClockError, MaxLifetime: c.Node.MaxLifetime, Retransmit: c.Custody.RetransmitPercent, Shares: shares, Flood: c.Node.Flood,
		Custody: core.CustodyPolicy{
			Custodians: c.Custody.Custodians, Sources: c.Custody.Sources,
			MaxBundles: c.Custody.MaxBundles, MinLifetime: c.Custody.MinLifetime,
		},
		Peers:             peers,
		RegistrationsFile: filepath.Join(c.Node.DataDir, "registrations.json"),
		StatusReports:     c.Node.StatusReports, NoClock: c.Node.Clock == clockNone, MaxBundle: int64(c.Node.MaxBundle), MaxResident: c.Store.MaxResident, SpoolDir: c.Node.DataDir,
	}
	a.plan.Store(plan)
	c.refused = func(err error) { log.Debug("a neighbour got no session", "error", err) }
	if err := c.openLTP(ctx); err != nil {
		return nil, err
	}
	for _, l := range c.Link {
		var dialer convergence.Dialer
		if is, ok := layerOf(l.Layer); ok && l.Address != "" {
			dialer = is.dialer(c, l, a.plan)
		}
		a.cfg.Links = append(a.cfg.Links, node.Link{
			Peer: l.Peer, Layer: l.Layer, Address: l.Address, Dialer: dialer, Always: l.Mode == modeAlways, Rate: c.linkRate(l.Layer),
		})
	}
	for i, l := range c.Listen {
		is, ok := layerOf(l.Layer)
		if !ok {
			continue // validate has said so
		}
		opened, err := is.listen(ctx, c, l)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listening for neighbours (listen[%d].address): %w", i, err), a.closeListeners())
		}
		a.cfg.Listeners = append(a.cfg.Listeners, node.Listener{Layer: l.Layer, Unnamed: is.unnamed, Listener: opened})
		log.Info("listening for neighbours", "layer", l.Layer, "address", opened.Addr())
	}
	if c.DTN7.Discovery {
		found, err := c.discover(ctx, log.With("part", "dtn7"))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("looking for neighbours (dtn7.discovery): %w", err), a.closeListeners())
		}
		a.cfg.Listeners = append(a.cfg.Listeners, node.Listener{Layer: layerMTCP, Listener: found})
		log.Info("looking for dtn7 neighbours", "group", found.Addr())
	}
	return a, nil
}

// sessions says how TCPCL sessions are held under a policy on TLS.
func (c *config) sessions(policy string) tcpcl.Config {
	keepalive := c.TCPCL.Keepalive.Std()
	if keepalive == 0 {
		keepalive = -1 // none; zero would be the default
	}
	return c.secure(tcpcl.Config{
		NodeID: c.Node.ID.String(), Keepalive: keepalive,
		SegmentMRU: uint64(c.TCPCL.SegmentMRU), TransferMRU: uint64(c.Node.MaxBundle),
		ContactTimeout: c.TCPCL.ContactTimeout.Std(), StallTimeout: c.TCPCL.StallTimeout.Std(),
		MaxSessions: c.TCPCL.MaxSessions, MaxSessionsPerAddress: c.TCPCL.MaxSessionsPerAddress,
		Refused: c.refused,
	}, policy)
}
