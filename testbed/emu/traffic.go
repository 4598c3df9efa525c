package emu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/app/apphttp"
	"perigee/testbed/sim"
)

const (
	// answerPatience is how long a node may take to answer.
	answerPatience = 20 * time.Second
	// pause is how long an application waits before it asks a daemon again that does
	// not answer.
	pause = 20 * time.Millisecond
)

// nodeOf returns the node with an ID.
func (w *world) nodeOf(id bundle.EID) *node {
	return w.nodes[slices.IndexFunc(w.nodes, func(n *node) bool { return n.id == id })]
}

// beginTraffic starts the applications: one that sends for each traffic, and one that
// receives for each endpoint.
func (w *world) beginTraffic(ctx context.Context, group *errgroup.Group) {
	listening := make(map[bundle.EID]bool)
	for _, m := range w.Makers() {
		group.Go(func() error { return w.send(ctx, m) })
		endpoint := m.To.WithService(m.Kind.Service())
		if !listening[endpoint] {
			listening[endpoint] = true
			group.Go(func() error { return w.receive(ctx, endpoint) })
		}
	}
}

// send is an application that sends until the end of Length. While its node is down, so
// is the application.
func (w *world) send(ctx context.Context, m *sim.Maker) error {
	n := w.nodeOf(m.From)
	for at := m.First; at < w.Length.Std() && w.until(ctx, at); at += m.Every.Std() {
		if n.down.Load() {
			continue
		}
		bodies, err := m.Next(w.clock(), n.state(ctx, m.Kind))
		if err != nil {
			return err
		}
		for _, body := range bodies {
			if err := w.sendOne(ctx, n, &m.Traffic, body); err != nil {
				return err
			}
		}
	}
	return nil
}

// state is what telemetry tells of a node, nothing while the daemon does not answer.
func (n *node) state(ctx context.Context, k sim.Kind) sim.State {
	if k != sim.Telemetry {
		return sim.State{}
	}
	s, err := n.client.Status(ctx)
	if err != nil {
		return sim.State{}
	}
	return sim.State{Used: uint64(s.Store.Bytes), Free: uint64(max(s.Store.Quota-s.Store.Bytes, 0)), Bundles: uint64(s.Store.Bundles)}
}

// sendOne sends one message and waits for the answer, even when ctx ends meanwhile.
func (w *world) sendOne(ctx context.Context, n *node, t *sim.Traffic, body []byte) error {
	service := t.Kind.Service()
	from, to := t.From.WithService(service), t.To.WithService(service)
	now := w.since()
	entry, err := w.ledger.asked(t, keyOf(from, to, body), len(body), now, w.clock().Add(t.Lifetime))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerPatience)
	defer cancel()
	id, err := n.client.Send(ctx, app.Outgoing{
		From: from, To: to, Custody: t.Custody, Lifetime: t.Lifetime, Priority: t.Priority,
		Payload: bytes.NewReader(body), Length: int64(len(body)),
	})
	switch {
	case err == nil:
		w.ledger.taken(entry, id)
	case errors.Is(err, app.ErrRejected):
		return fmt.Errorf("sending %s from %s to %s: %w", t.Kind, t.From, t.To, err)
	default: // the store is full, or the daemon has been killed
		w.ledger.refused(entry)
	}
	return nil
}

// receive is an application that receives at an endpoint until ctx ends.
func (w *world) receive(ctx context.Context, endpoint bundle.EID) error {
	client := apphttp.Dial(w.nodeOf(endpoint.Node()).Socket())
	defer client.Close()
	for ctx.Err() == nil {
		d, err := client.Receive(ctx, endpoint)
		if err != nil {
			w.until(ctx, w.since()+pause) // its daemon is down
			continue
		}
		w.consume(context.WithoutCancel(ctx), d)
	}
	return nil
}

// consume takes a delivery and acknowledges it.
func (w *world) consume(ctx context.Context, d *app.Delivery) {
	body, err := io.ReadAll(d.Payload)
	if err := errors.Join(err, d.Payload.Close()); err != nil {
		return // the daemon was killed meanwhile; it is delivered again
	}
	m := w.ledger.handed(keyOf(d.Source, d.Destination, body), d.ID, w.since())
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	if err := d.Ack(ctx); err == nil && m != nil {
		w.ledger.settled(m)
	}
}

// killPatience is how long a daemon may take to answer before it is killed.
const killPatience = time.Second

// makeTrouble kills daemons and starts them again, when it is time. Outages of links are
// the links' own.
func (w *world) makeTrouble(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	byNode := make(map[bundle.EID][]sim.Trouble)
	for _, t := range w.Troubles() {
		if t.Peer.IsNull() {
			byNode[t.Node] = append(byNode[t.Node], t)
		}
	}
	for id, list := range byNode {
		slices.SortFunc(list, func(a, b sim.Trouble) int { return int(a.At/time.Microsecond - b.At/time.Microsecond) })
		group.Go(func() error { return w.killAtTimes(ctx, w.nodeOf(id), list) })
	}
	return group.Wait()
}

// killAtTimes kills a daemon by SIGKILL for each trouble that comes while it is up.
func (w *world) killAtTimes(ctx context.Context, n *node, list []sim.Trouble) error {
	for _, t := range list {
		if w.since() > t.At { // it was down then
			continue
		}
		if !w.until(ctx, t.At) {
			return nil
		}
		// What it counted is lost with it, so it is asked once more.
		ask, cancel := context.WithTimeout(ctx, killPatience)
		_, _ = n.Status(ask) // the counters are a little lower then
		cancel()
		n.down.Store(true)
		n.Kill()
		w.ledger.crashed()
		if !w.until(ctx, t.At+t.For) {
			return nil
		}
		if err := n.Start(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("starting %s after it was killed: %w", n.Name(), err)
		}
		n.down.Store(false)
	}
	return nil
}
