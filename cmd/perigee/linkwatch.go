package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"perigee/bundle"
	"perigee/bundle/app"
)

type linkWatchOptions struct {
	peer    bundle.EID // null: all
	count   int
	timeout time.Duration
}

func newLinkWatch(e *env) *cobra.Command {
	var o linkWatchOptions
	cmd := &cobra.Command{
		Use: "watch [PEER]", Short: "Show what becomes of the links, as it happens",
		Long: `Watch shows the events of all links, or of the one with PEER, from now on: one line
each, in JSON one object a line.

  link-up        a session with the neighbour is there
  link-down      it has ended, and why
  link-held      the operator holds the link down
  link-released  and does so no longer
  contact-start  a contact of the plan towards the neighbour has begun
  contact-end    it is over
  lost           some events came faster than they were read, and are not shown

It goes on until it is interrupted, or as --count and --timeout say. The exit code is
75 when the time is over before all events came.`,
		Example: `  perigee link watch
  perigee link watch ipn:3.0 --count 1 --timeout 2h
  perigee link watch -o json >>links.jsonl`,
		Args: peerArgs(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.peer, err = parsePeer(args); err != nil {
				return err
			}
			return e.withDaemon(func(client app.Client) error { return runLinkWatch(cmd.Context(), e, client, o) })
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.count, "count", 0, "`number` of events to show; 0 goes on for ever")
	f.DurationVar(&o.timeout, "timeout", 0, "how long to wait for them; 0 waits for ever")
	return cmd
}

// errEnough ends a watch.
var errEnough = errors.New("as many events as were asked for")

func runLinkWatch(ctx context.Context, e *env, client app.Client, o linkWatchOptions) error {
	if o.count < 0 || o.timeout < 0 {
		return usagef("link watch: --count and --timeout must not be negative")
	}
	wait := ctx
	if o.timeout > 0 {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
	}
	shown := 0
	err := client.WatchLinks(wait, func(ev app.Event) error {
		if !o.peer.IsNull() && ev.Peer != nil && *ev.Peer != o.peer {
			return nil
		}
		if err := e.showEvent(ev); err != nil {
			return err
		}
		if shown++; shown == o.count {
			return errEnough
		}
		return nil
	})
	switch {
	case errors.Is(err, errEnough), ctx.Err() != nil: // or it was interrupted
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("link watch: %d events came within %s: %w", shown, o.timeout, app.ErrTryAgain)
	}
	return fmt.Errorf("link watch: %w", err)
}

// showEvent writes one line about an event.
func (e *env) showEvent(ev app.Event) error {
	if e.output == formatJSON {
		return printed(json.NewEncoder(e.out).Encode(ev))
	}
	peer, detail := "-", orDash(ev.Detail)
	if ev.Peer != nil {
		peer = ev.Peer.String()
	}
	if ev.Kind == app.EventLost {
		detail = fmt.Sprintf("%d events", ev.Count)
	}
	_, err := fmt.Fprintf(e.out, "%s  %-13s  %s  %s\n", ev.At, ev.Kind, peer, detail)
	return printed(err)
}
