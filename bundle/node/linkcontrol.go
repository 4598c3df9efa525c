package node

import (
	"context"
	"fmt"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/core"
)

// HoldLink implements app.Client.
func (c *client) HoldLink(ctx context.Context, peer bundle.EID, held bool) error {
	if err := c.ask(ctx, core.HoldLink{Peer: peer, Held: held}, nil); err != nil {
		return fmt.Errorf("the link with %s: %w", peer, err)
	}
	return nil
}

// WatchLinks implements app.Client.
func (c *client) WatchLinks(ctx context.Context, see func(app.Event) error) error {
	return c.watch(ctx, app.EventKind.IsOfLink, see)
}
