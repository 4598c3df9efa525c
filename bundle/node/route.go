package node

import (
	"context"
	"fmt"

	"perigee/bundle/app"
	"perigee/bundle/core"
)

// ExplainRoute implements app.Client.
func (c *client) ExplainRoute(ctx context.Context, q app.RouteQuery) (app.RouteExplanation, error) {
	if q.To.IsNull() {
		return app.RouteExplanation{}, fmt.Errorf("%w: nothing goes to the null endpoint", app.ErrRejected)
	}
	n := c.node
	answer := make(chan app.RouteExplanation, 1)
	n.post(input{call: func(c *core.Core) { answer <- c.ExplainRoute(q, n.now()) }})
	select {
	case x := <-answer:
		return x, nil
	case <-ctx.Done():
		return app.RouteExplanation{}, ctx.Err()
	case <-n.stopped:
		return app.RouteExplanation{}, fmt.Errorf("asking for a route: %w", app.ErrClosed)
	}
}
