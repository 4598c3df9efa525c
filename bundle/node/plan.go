package node

import (
	"context"
	"fmt"

	"perigee/bundle/app"
	"perigee/bundle/contact"
	"perigee/bundle/core"
)

// ReloadPlan replaces the contact plan by the one that read returns. No client changes
// it meanwhile, so that read may look where Config.KeepPlan puts plans.
func (n *Node) ReloadPlan(ctx context.Context, read func() (*contact.Plan, error)) error {
	n.planning.Lock()
	defer n.planning.Unlock()
	plan, err := read()
	if err != nil {
		return err
	}
	return n.putPlan(ctx, plan)
}

// putPlan puts a plan in force. The caller holds planning.
func (n *Node) putPlan(ctx context.Context, plan *contact.Plan) error {
	done := make(chan struct{})
	n.post(input{event: core.PlanChanged{Plan: plan}})
	n.plan = plan // what was posted is carried out even when nobody waits
	n.post(input{call: func(*core.Core) { close(done) }})
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-n.stopped:
		return fmt.Errorf("replacing the contact plan: %w", app.ErrClosed)
	}
}

// Plan implements app.Client.
func (c *client) Plan(context.Context) (*contact.Plan, error) {
	c.node.planning.Lock()
	defer c.node.planning.Unlock()
	return c.node.plan, nil
}

// SetPlan implements app.Client.
func (c *client) SetPlan(ctx context.Context, plan *contact.Plan, was uint64) error {
	n := c.node
	n.planning.Lock()
	defer n.planning.Unlock()
	if n.plan.Generation() != was {
		return fmt.Errorf("replacing the contact plan: %w: it was changed meanwhile", app.ErrTryAgain)
	}
	if n.cfg.KeepPlan != nil {
		if err := n.cfg.KeepPlan(plan); err != nil {
			return fmt.Errorf("keeping the contact plan: %w", err)
		}
	}
	return n.putPlan(ctx, plan)
}
