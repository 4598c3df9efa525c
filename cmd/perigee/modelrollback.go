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

perigee model ls shows which network that is: one is kept. When there is none, everything
stays and the exit code is 1.`,
		`  perigee model rollback
  perigee model rollback --reason "sees ships in clouds" --socket /run/perigee/sat.sock`,
		func(ctx context.Context, e *env, client app.Client) error {
			return runModelRollback(ctx, e, client, reason)
		})
	cmd.Flags().StringVar(&reason, "reason", "the operator wants the network before", "`why`, for the receipt")
	return cmd
}

func runModelRollback(ctx context.Context, e *env, client app.Client, reason string) error {
	satellite, ok := client.(app.Satellite)
	if !ok {
		return errors.New("model rollback: only a daemon's socket takes it")
	}
	done, err := satellite.RollBack(ctx, reason)
	if err != nil {
		return fmt.Errorf("model rollback: %w", err)
	}
	return e.print(done, func(w io.Writer) {
		row(w, "", "NETWORK", "VERSION", "UPDATE")
		row(w, "was", shortHash(done.Was.Network), done.Was.Version, updateText(done.Was))
		row(w, "flies", shortHash(done.Flies.Network), done.Flies.Version, updateText(done.Flies))
	})
}
