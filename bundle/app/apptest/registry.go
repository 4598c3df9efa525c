package apptest

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"perigee/bundle/app"
)

// store keeps a new bundle: one copy for each registration at a non-singleton
// endpoint. The caller holds mu.
func (n *Memory) store(b memBundle) {
	if b.record.Destination.IsSingleton() {
		n.stored = append(n.stored, &b)
		return
	}
	for _, r := range n.registered {
		if r.Endpoint == b.record.Destination {
			one := b
			one.copyOf = r
			n.stored = append(n.stored, &one)
		}
	}
}

// registrations lists what status shows of them. The caller holds mu.
func (n *Memory) registrations() []app.Registered {
	list := []app.Registered{}
	for _, r := range n.registered {
		one := app.Registered{Registration: r}
		for _, b := range n.stored {
			if b.copyOf == r {
				one.Waiting++
			}
		}
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b app.Registered) int {
		return cmp.Or(cmp.Compare(a.Endpoint.String(), b.Endpoint.String()), cmp.Compare(a.Name, b.Name))
	})
	return list
}

func (c *memClient) Register(_ context.Context, r app.Registration) error {
	if err := r.Check(); err != nil {
		return err
	}
	n := c.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Contains(n.registered, r) {
		n.registered = append(n.registered, r)
	}
	return nil
}

func (c *memClient) Unregister(_ context.Context, r app.Registration) error {
	n := c.node
	n.mu.Lock()
	defer n.mu.Unlock()
	i := slices.Index(n.registered, r)
	if i < 0 {
		return fmt.Errorf("%w: nobody is registered at %s", app.ErrNotFound, r)
	}
	n.registered = slices.Delete(n.registered, i, i+1)
	n.stored = slices.DeleteFunc(n.stored, func(b *memBundle) bool { return b.copyOf == r })
	close(n.changed)
	n.changed = make(chan struct{})
	return nil
}

func (c *memClient) ReceiveAs(ctx context.Context, r app.Registration) (*app.Delivery, error) {
	if err := c.Register(ctx, r); err != nil {
		return nil, err
	}
	d, err := c.await(ctx, func(b *memBundle) bool { return b.copyOf == r })
	if err != nil {
		return nil, fmt.Errorf("waiting for a bundle at %s: %w", r, err)
	}
	return d, nil
}
