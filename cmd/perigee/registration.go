package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"perigee/bundle/app"
)

// registrationCommands look at registrations at non-singleton endpoints and change them.
func registrationCommands(e *env) *cobra.Command {
	return group("registration", "Register at endpoints of many nodes",
		`An endpoint whose name begins with "~" behind the node, such as dtn://fleet/~news, is
not one node's: what is sent there goes to every registration at every node that it
reaches. A registration is an endpoint and a name. It gets a copy of each bundle that
comes while it lasts, acknowledges it on its own, and lasts until it is removed, also
over restarts of the daemon. Receivers with the same registration share its copies.`,
		newRegistrationLs(e), newRegistrationAdd(e), newRegistrationRm(e))
}

func newRegistrationLs(e *env) *cobra.Command {
	return daemonCommand(e, "ls", "List the registrations of the node",
		`Ls lists the registrations, and how many bundles each has not acknowledged yet.`,
		"  perigee registration ls\n  perigee registration ls -o json",
		func(ctx context.Context, e *env, client app.Client) error {
			s, err := client.Status(ctx)
			if err != nil {
				return fmt.Errorf("registration ls: %w", err)
			}
			return e.print(orEmpty(s.Registrations), func(w io.Writer) {
				row(w, "ENDPOINT", "NAME", "WAITING")
				for _, r := range s.Registrations {
					row(w, r.Endpoint, orDash(r.Name), r.Waiting)
				}
			})
		})
}

func newRegistrationAdd(e *env) *cobra.Command {
	return registrationCommand(e, "add", "Register an application",
		`Add registers an application, which perigee recv does too. From then on the node keeps
a copy of every bundle for the endpoint until it is received under this registration.
One that there is already stays.`,
		func(ctx context.Context, client app.Client, r app.Registration) error { return client.Register(ctx, r) })
}

func newRegistrationRm(e *env) *cobra.Command {
	return registrationCommand(e, "rm", "End a registration",
		`Rm ends a registration. What it has not received is not kept for it any more.`,
		func(ctx context.Context, client app.Client, r app.Registration) error {
			return client.Unregister(ctx, r)
		})
}

// registrationCommand returns a command that changes one registration.
func registrationCommand(e *env, verb, short, long string, change func(context.Context, app.Client, app.Registration) error) *cobra.Command {
	var r app.Registration
	cmd := &cobra.Command{
		Use: verb + " --endpoint EID", Short: short, Long: long,
		Example: "  perigee registration " + verb + " --endpoint dtn://fleet/~news\n  perigee registration " + verb + " --endpoint dtn://fleet/~news --name ops",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r.Endpoint.IsNull() {
				return usagef("registration %s: an endpoint is missing; give --endpoint EID", verb)
			}
			return e.withDaemon(func(client app.Client) error {
				if err := change(cmd.Context(), client, r); err != nil {
					return fmt.Errorf("registration %s: %w", verb, err)
				}
				return nil
			})
		},
	}
	registrationFlags(cmd, &r)
	return cmd
}

func registrationFlags(cmd *cobra.Command, r *app.Registration) {
	eidVar(cmd.Flags(), &r.Endpoint, "endpoint", "`EID` of the endpoint (required)")
	cmd.Flags().StringVar(&r.Name, "name", "", "`name` of the registration, at an endpoint of many nodes")
}
