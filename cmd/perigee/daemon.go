package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/app/apphttp"
	"perigee/bundle/dtntime"
)

// withDaemon runs work with a client of the daemon.
func (e *env) withDaemon(work func(app.Client) error) error {
	if e.socket == "" {
		return usagef("--socket names no socket; leave it out for %s", defaultSocket)
	}
	client := apphttp.Dial(e.socket)
	err := errors.Join(work(client), client.Close())
	if errors.Is(err, app.ErrUnreachable) {
		return fmt.Errorf("%w; name another socket with --socket or PERIGEE_SOCKET", err)
	}
	return err
}

// daemonCommands lists the commands that talk to the daemon and stand alone.
func daemonCommands(e *env) []*cobra.Command {
	return []*cobra.Command{
		newStatus(e),
		newSend(e),
		newRecv(e),
		newPing(e),
		newTrace(e),
		registrationCommands(e),
		group("custody", "Look at custody", "", newCustodyLs(e)),
		newLink(e),
		newContact(e),
		newRoute(e),
		group("store", "Look at the bundle store", "", newStoreStats(e), newStoreVerify(e)),
	}
}

// parseID reads the argument BUNDLE-ID.
func parseID(text string) (bundle.ID, error) {
	id, err := bundle.ParseID(text)
	if err != nil {
		return id, usagef("%w; perigee bundle ls lists the IDs of stored bundles", err)
	}
	return id, nil
}

// daemonCommand returns a command without arguments that asks the daemon once.
func daemonCommand(e *env, use, short, long, example string, run func(context.Context, *env, app.Client) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long, Example: example,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.withDaemon(func(client app.Client) error { return run(cmd.Context(), e, client) })
		},
	}
}

// bytesText prints a number of bytes for people.
func bytesText[T int64 | uint64](n T) string { return humanize.Bytes(uint64(max(n, 0))) }

// ago prints how long before now t was.
func ago(now, t dtntime.Time) string {
	if t == 0 {
		return "-"
	}
	return now.Sub(t).Std().Round(time.Second).String()
}

// until prints how long after now t is.
func until(now, t dtntime.Time) string {
	switch {
	case t == 0:
		return "-"
	case t == dtntime.Forever:
		return "never"
	case t <= now:
		return "now"
	}
	return t.Sub(now).Std().Round(time.Second).String()
}

// orDash prints text, or a dash in place of nothing.
func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// section begins a further table.
func section(w io.Writer, name string) { fmt.Fprintf(w, "\n%s\n", name) }
