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
	done   chan outcome // is told what became of it
}

// outcome is what became of a command.
type outcome struct {
	app.RolledBack
	err error
}

// RollBack takes the network that flies out of use for a reason and has the one before
// it fly again, as the watchdog does. It returns once that is durable; the ground hears
// of it in a receipt, and the update that brought the network has ended. It waits for
// the picture or the installation that is under way, and for the agent to run. The
// error wraps app.ErrRejected when there is no network before.
func (a *Agent) RollBack(ctx context.Context, reason string) (app.RolledBack, error) {
	c := command{toValid(reason), make(chan outcome, 1)}
	select {
	case a.commands <- c:
	case <-ctx.Done():
		return app.RolledBack{}, ctx.Err()
	}
	select {
	case o := <-c.done:
		return o.RolledBack, o.err
	case <-ctx.Done():
		return app.RolledBack{}, ctx.Err()
	}
}

// rollBack runs the network before the active one again, if there is one.
func (r *runner) rollBack(reason string) (done app.RolledBack, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.slots.hasPrevious() {
		return done, fmt.Errorf("%w: there is no network before version %d, %v, to go back to", app.ErrRejected, r.active.Version, r.active.Hash)
	}
	done.Was = r.active.report()
	n, err := r.slots.revert(reason)
	switch {
	case errors.Is(err, errNoOther):
		return done, fmt.Errorf("%w: %v flies on: %w", app.ErrRejected, r.active.Hash, err)
	case err != nil:
		return done, grave(err)
	}
	err = r.takeUp(n)
	done.Flies = r.active.report()
	done.Flies.Active = true
	return done, err
}
