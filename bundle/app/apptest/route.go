package apptest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"perigee/bundle"
	"perigee/bundle/app"
)

// ExplainRoute implements app.Client. The node knows no way to any other.
func (c *memClient) ExplainRoute(_ context.Context, q app.RouteQuery) (app.RouteExplanation, error) {
	if q.To.IsNull() {
		return app.RouteExplanation{}, fmt.Errorf("%w: nothing goes to the null endpoint", app.ErrRejected)
	}
	c.node.mu.Lock()
	defer c.node.mu.Unlock()
	return app.RouteExplanation{
		Node: c.node.id, To: q.To, Now: c.node.clock, Candidates: []app.RouteCandidate{}, Failure: "no route",
	}, nil
}

// explainRoute asks for the way to where none leads.
func explainRoute(t *testing.T, c *checker) {
	q := app.RouteQuery{To: bundle.IPN(987654, 3), Size: 1 << 40, Priority: bundle.PriorityExpedited, Lifetime: 1, Critical: true}
	x, err := c.client.ExplainRoute(c.ctx, q)
	if err != nil || x.Node != c.Node || x.To != q.To || x.Now == 0 || x.Failure == "" || x.Candidates == nil {
		t.Errorf("ExplainRoute to an unknown node: %+v, %v; want a failure that is no error", x, err)
	}
	if _, err := c.client.ExplainRoute(c.ctx, app.RouteQuery{}); !errors.Is(err, app.ErrRejected) {
		t.Errorf("ExplainRoute to the null endpoint: %v, want ErrRejected", err)
	}
}
