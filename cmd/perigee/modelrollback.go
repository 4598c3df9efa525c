package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"perigee/bundle/app"
)

func newModelRollback(e *env) *cobra.Command {
	var reason string
	cmd := daemonCommand(e, "rollback", "Have the network before fly again",
		`Rollback asks the daemon of a satellite to take the network that flies out of use and to
run the one that flew before. It returns once that is durable. The ground hears of it in
a receipt, and the update that brought the network is not taken into use again; what
comes with another number may be.

perigee model ls shows which network that is. When there is none, everything stays and
the exit code is 1.`,
		`  perigee model rollback
  perigee model rollback --reason "sees ships in clouds" --socket /run/perigee/sat.sock`,
		func(ctx context.Context, e *env, client app.Client) error {
			return runModelRollback(ctx, e, client, reason)
		})
	cmd.Flags().StringVar(&reason, "reason", "the operator wants the network before", "`why`, for the receipt")
	return cmd
}

// rollbackView is what model rollback shows.
type rollbackView struct {
	Was   app.Slot `json:"was"`
	Flies app.Slot `json:"flies"`
}

func runModelRollback(ctx context.Context, e *env, client app.Client, reason string) error {
	satellite, ok := client.(app.Satellite)
	if !ok {
		return errors.New("model rollback: this client cannot ask for it")
	}
	was, err := flyingNow(ctx, client)
	if err != nil {
		return fmt.Errorf("model rollback: %w", err)
	}
	if err := satellite.RollBack(ctx, reason); err != nil {
		return fmt.Errorf("model rollback: %w", err)
	}
	flies, err := flyingNow(ctx, client)
	if err != nil {
		return fmt.Errorf("model rollback: it was done, but %w", err)
	}
	return e.print(rollbackView{was, flies}, func(w io.Writer) {
		row(w, "", "NETWORK", "VERSION", "UPDATE")
		row(w, "was", shortHash(was.Network), was.Version, updateText(was))
		row(w, "flies", shortHash(flies.Network), flies.Version, updateText(flies))
	})
}

// flyingNow returns the slot of the network that flies.
func flyingNow(ctx context.Context, client app.Client) (app.Slot, error) {
	s, err := client.Status(ctx)
	switch {
	case err != nil:
		return app.Slot{}, err
	case s.OnBoard == nil:
		return app.Slot{}, fmt.Errorf("node %s runs no satellite application; name the socket of one that does with --socket", s.Node)
	case s.OnBoard.Failure != "":
		return app.Slot{}, fmt.Errorf("the daemon could not %s", s.OnBoard.Failure)
	case len(s.OnBoard.Slots) == 0:
		return app.Slot{}, errors.New("the satellite application has not started yet; try again")
	}
	return s.OnBoard.Slots[0], nil
}
