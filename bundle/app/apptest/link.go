package apptest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"perigee/bundle"
	"perigee/bundle/app"
)

// AddLink gives the node a link with another one, which never comes up.
func (n *Memory) AddLink(peer bundle.EID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.status.Links = append(slices.Clone(n.status.Links), app.Link{
		Peer: peer, Layer: "memory", Scheduled: app.LinkAlways, Physical: app.LinkConnecting, RateBPS: 1_000_000,
	})
}

// HoldLink implements app.Client.
func (c *memClient) HoldLink(_ context.Context, peer bundle.EID, held bool) error {
	n := c.node
	n.mu.Lock()
	defer n.mu.Unlock()
	links := slices.Clone(n.status.Links) // others may look at the old list
	i := slices.IndexFunc(links, func(l app.Link) bool { return l.Peer == peer })
	if i < 0 {
		return fmt.Errorf("%w: no link with %s", app.ErrNotFound, peer)
	}
	l := &links[i]
	if l.Held == held {
		return nil
	}
	n.clock++
	l.Held, l.HeldSince, l.Physical = held, n.clock, app.LinkConnecting
	kind := app.EventLinkReleased
	if held {
		l.Physical, kind = app.LinkDown, app.EventLinkHeld
	}
	n.status.Links = links
	n.announce(app.Event{At: n.clock, Kind: kind, Peer: &peer, Detail: "by the operator"})
	return nil
}

// WatchLinks implements app.Client.
func (c *memClient) WatchLinks(ctx context.Context, see func(app.Event) error) error {
	return c.Watch(ctx, func(e app.Event) error {
		if !e.Kind.IsOfLink() {
			return nil
		}
		return see(e)
	})
}

// link returns what the status shows of the link with a neighbour.
func (c *checker) link(client app.Client, peer bundle.EID) app.Link {
	c.t.Helper()
	s, err := client.Status(c.ctx)
	if err != nil {
		c.t.Fatalf("Status: %v", err)
	}
	i := slices.IndexFunc(s.Links, func(l app.Link) bool { return l.Peer == peer })
	if i < 0 {
		c.t.Fatalf("Status shows no link with %s: %+v", peer, s.Links)
	}
	return s.Links[i]
}

// The link with a neighbour is held down until it is released, whoever asks.
func holdLink(t *testing.T, c *checker) {
	if err := c.client.HoldLink(c.ctx, bundle.IPN(987654, 0), true); !errors.Is(err, app.ErrNotFound) {
		t.Errorf("HoldLink of an unknown neighbour: %v, want ErrNotFound", err)
	}
	if l := c.link(c.client, c.Peer); l.Held || l.HeldSince != 0 {
		t.Errorf("at first the link is %+v", l)
	}
	var since []any
	for i, held := range []bool{true, true, false, false} {
		client := c.dial()
		if err := client.HoldLink(c.ctx, c.Peer, held); err != nil {
			t.Fatalf("HoldLink %v: %v", held, err)
		}
		l := c.link(c.client, c.Peer)
		if l.Held != held || l.HeldSince == 0 || held && l.Physical != app.LinkDown {
			t.Errorf("after HoldLink %v the link is %+v", held, l)
		}
		if since = append(since, l.HeldSince); i%2 == 1 && since[i] != since[i-1] {
			t.Errorf("HoldLink %v a second time changed it: %v", held, since)
		}
	}
}

// A watcher of links sees what becomes of them and nothing else.
func watchLinks(t *testing.T, c *checker) {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	events := make(chan app.Event, 4096)
	done := make(chan error, 1)
	go func() {
		done <- c.client.WatchLinks(ctx, func(e app.Event) error {
			events <- e
			return nil
		})
	}()
	other := c.dial()
	c.eventually(func() error { // until the watch is in force
		c.send(c.endpoint(1), []byte("not of a link"))
		if err := errors.Join(other.HoldLink(c.ctx, c.Peer, true), other.HoldLink(c.ctx, c.Peer, false)); err != nil {
			t.Fatal(err)
		}
		if len(events) == 0 {
			return errors.New("no event was seen")
		}
		return nil
	})
	want := map[app.EventKind]bool{app.EventLinkHeld: true, app.EventLinkReleased: true}
	for len(want) > 0 {
		select {
		case e := <-events:
			if !e.Kind.IsOfLink() || e.Peer == nil || *e.Peer != c.Peer {
				t.Fatalf("seen %+v", e)
			}
			delete(want, e.Kind)
		case <-c.ctx.Done():
			t.Fatalf("not seen: %v", want)
		}
	}
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("WatchLinks after cancellation: %v", err)
	}
}
