package node

import (
	"context"
	"fmt"

	"perigee/bundle/app"
	"perigee/bundle/core"
)

// Register implements app.Client.
func (c *client) Register(_ context.Context, r app.Registration) error {
	_, err := c.node.register(r)
	return err
}

// Unregister implements app.Client.
func (c *client) Unregister(_ context.Context, r app.Registration) error {
	return c.node.registry.unregister(r, c.node.tell)
}

// ReceiveAs implements app.Client.
func (c *client) ReceiveAs(ctx context.Context, r app.Registration) (*app.Delivery, error) {
	number, err := c.node.register(r)
	if err != nil {
		return nil, err
	}
	d, err := c.await(ctx, core.Receive{Endpoint: r.Endpoint, Registration: number})
	if err != nil {
		return nil, fmt.Errorf("waiting for a bundle at %s: %w", r, err)
	}
	return d, nil
}

// register returns the number of a registration, which is made if there is none.
func (n *Node) register(r app.Registration) (uint64, error) {
	return n.registry.register(r, n.now(), n.tell)
}

// tell gives the core an event that nobody waits for.
func (n *Node) tell(e core.Event) { n.post(input{event: e}) }

// registered lists the registrations with what waits for them.
func (n *Node) registered(c *core.Core, all []registered) []app.Registered {
	list := make([]app.Registered, len(all))
	for i, k := range all {
		list[i] = app.Registered{Registration: k.Registration, Waiting: c.Waiting(k.Number)}
	}
	return list
}
