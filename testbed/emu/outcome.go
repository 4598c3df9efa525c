package emu

import (
	"context"
	"fmt"
	"time"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/store"
	"perigee/testbed/daemon"
	"perigee/testbed/sim"
)

// outcome puts the figures together. The daemons still run.
func (w *world) outcome(ctx context.Context, drained time.Duration) (*Outcome, error) {
	// Taken first: asking takes its time.
	now, clock := w.since(), w.clock()
	held, err := w.held(ctx)
	if err != nil {
		return nil, err
	}
	o := &Outcome{Result: sim.Result{Simulated: now, Drained: drained, Crashes: w.ledger.crashes}}
	var counters app.Counters
	for _, n := range w.nodes {
		if _, err := n.Status(ctx); err != nil {
			return nil, fmt.Errorf("asking %s for its counters: %w", n.Name(), err)
		}
		counters = daemon.Sum(counters, n.Counters())
	}
	o.Transmissions, o.Retransmissions, o.Alarms = int(counters.BundlesSent), int(counters.Retransmissions), int(counters.CustodyAlarms)
	var shipments []sim.Shipment
	took := make(map[sim.Kind][]time.Duration)
	sent := make(map[sim.Kind]int)
	for _, m := range w.ledger.order {
		o.Sent++
		if !m.accepted {
			o.Refused++
			continue
		}
		o.Accepted++
		kind := m.traffic.Kind
		sent[kind]++
		shipments = append(shipments, sim.Shipment{
			From: m.traffic.From, To: m.traffic.To, Size: m.size, Sent: max(m.sent, 0), Arrived: m.arrived, Delivered: m.handed,
		})
		switch {
		case m.handed:
			took[kind] = append(took[kind], m.arrived-m.sent)
			o.Delivered++
			o.Bytes += m.size
			if m.arrived <= w.Length.Std() {
				o.InTime += m.size
			}
		case clock >= m.expiry:
			o.Expired++
		case held[m.id]:
			o.Waiting++
		default:
			o.Lost++
			w.ledger.fail("%s was accepted and is nowhere, neither delivered nor expired", m.id)
		}
	}
	o.Twice = w.ledger.twice
	o.Failures = append([]string{}, w.ledger.failures...)
	for _, k := range sim.Kinds() {
		if sent[k] > 0 {
			one := sim.KindResult{Kind: k, Sent: sent[k]}
			one.Took(took[k])
			o.Kinds = append(o.Kinds, one)
		}
	}
	o.Bound = w.Bound(shipments)
	for _, u := range w.passes {
		o.Passes = append(o.Passes, sim.NewPassResult(u.Contact, u.bytes))
	}
	for _, l := range w.links {
		stats, err := l.link.Stats(ctx)
		if err != nil {
			return nil, err
		}
		o.Late = max(o.Late, stats.Out.Late, stats.Back.Late)
	}
	return o, nil
}

// pageSize is how many bundles a node is asked for at a time.
const pageSize = 1000

// held returns the bundles that are in the store of some node.
func (w *world) held(ctx context.Context) (map[bundle.ID]bool, error) {
	ids := make(map[bundle.ID]bool)
	for _, n := range w.nodes {
		after := store.Handle(0)
		for {
			page, err := n.client.Bundles(ctx, after, pageSize)
			if err != nil {
				return nil, fmt.Errorf("asking %s what it holds: %w", n.Name(), err)
			}
			for _, r := range page {
				ids[r.ID] = true
				after = r.Handle
			}
			if len(page) < pageSize {
				break
			}
		}
	}
	return ids, nil
}
