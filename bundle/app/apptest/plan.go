package apptest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

// Plan implements app.Client.
func (c *memClient) Plan(context.Context) (*contact.Plan, error) {
	c.node.mu.Lock()
	defer c.node.mu.Unlock()
	return c.node.plan, nil
}

// SetPlan implements app.Client.
func (c *memClient) SetPlan(_ context.Context, plan *contact.Plan, was uint64) error {
	c.node.mu.Lock()
	defer c.node.mu.Unlock()
	if c.node.plan.Generation() != was {
		return fmt.Errorf("%w: the contact plan was changed meanwhile", app.ErrTryAgain)
	}
	c.node.plan = plan
	return nil
}

// plan changes the contact plan, which must not be done on the strength of an old one.
func plan(t *testing.T, c *checker) {
	before, err := c.client.Plan(c.ctx)
	if err != nil {
		t.Fatalf("Plan: %v", err)
	}
	with := func(start dtntime.Time) *contact.Plan {
		p, err := before.With(contact.Contact{
			From: c.Node, To: bundle.IPN(987654, 0), Start: start, End: start.Add(dtntime.Minute),
			Rate: 1000, Light: 4, Confidence: 0.5, Layer: "ltp",
		})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first, second := with(900_000_000_000), with(910_000_000_000)
	if err := c.client.SetPlan(c.ctx, first, before.Generation()); err != nil {
		t.Fatalf("SetPlan: %v", err)
	}
	if err := c.client.SetPlan(c.ctx, second, before.Generation()); !errors.Is(err, app.ErrTryAgain) {
		t.Errorf("SetPlan over a plan that was changed meanwhile: %v, want ErrTryAgain", err)
	}
	other := c.dial()
	if got, err := other.Plan(c.ctx); err != nil || got.Generation() != first.Generation() {
		t.Errorf("another client sees %d contacts, %v; want the plan that was set, of %d", got.Len(), err, first.Len())
	}
	if err := other.SetPlan(c.ctx, nil, first.Generation()); err != nil {
		t.Errorf("SetPlan of no plan: %v", err)
	}
	if got, err := c.client.Plan(c.ctx); err != nil || got.Len() != 0 {
		t.Errorf("after the plan was emptied: %d contacts, %v", got.Len(), err)
	}
}
