package agent

import (
	"context"
	"errors"
	"fmt"

	"perigee/bundle/app"
)

// command is a wish of the operator's on its way to the goroutine that owns the
// updates.
type command struct {
	reason string
	done   chan error // is told what became of it
}

// RollBack takes the network that flies out of use for a reason and has the one before
// it fly again, as the watchdog does. It returns once that is durable; the ground hears
// of it in a receipt, and the update that brought the network has ended. It waits for
// the picture or the installation that is under way, and for the agent to run. The
// error wraps app.ErrRejected when there is no network before.
func (a *Agent) RollBack(ctx context.Context, reason string) error {
	c := command{toValid(reason), make(chan error, 1)}
	select {
	case a.commands <- c:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rollBack runs the network before the active one again, if there is one.
func (r *runner) rollBack(reason string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.slots.hasPrevious() {
		return fmt.Errorf("%w: there is no network before version %d, %v, to go back to", app.ErrRejected, r.active.Version, r.active.Hash)
	}
	n, err := r.slots.revert(reason)
	switch {
	case errors.Is(err, errNoOther):
		return fmt.Errorf("%w: %v flies on: %w", app.ErrRejected, r.active.Hash, err)
	case err != nil:
		return grave(err)
	}
	return r.takeUp(n)
}
