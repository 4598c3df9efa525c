package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
)

func newLink(e *env) *cobra.Command {
	return group("link", "Look at links, take them down and up, watch them",
		`A link is what the node has with one neighbour. Its schedule, which the configuration
and the contact plan make, what is really there, and what the operator wants are three
things, and are shown as such.`,
		newLinkLs(e), newLinkDown(e), newLinkUp(e), newLinkWatch(e))
}

func newLinkLs(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "ls [PEER]", Short: "List the links, or show one",
		Long: `Ls lists the links of the node by neighbour, or shows the one with PEER in detail.

  SCHEDULED  always; open for how long; in how long the next contact opens; none
  PHYSICAL   up; suspended until the next contact; closing; connecting; backing off
             for how long, after an attempt to connect failed; down
  OPERATOR   held down, by perigee link down
  RATE       at which may be sent in the contact, or by the configuration
  SENT, RECEIVED  bundles, bytes on the wire, and the rate of the last ten seconds

Counters begin with the daemon. In JSON, the fields are those of docs/links.md, and
times are DTN times in milliseconds.`,
		Example: `  perigee link ls
  perigee link ls ipn:3.0
  perigee link ls -o json | jq '.[] | select(.physical != "up") | .peer'`,
		Args: peerArgs(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			peer, err := parsePeer(args)
			if err != nil {
				return err
			}
			return e.withDaemon(func(client app.Client) error { return runLinkLs(cmd.Context(), e, client, peer) })
		},
	}
}

func newLinkDown(e *env) *cobra.Command {
	return linkHold(e, "down", true, "Hold a link down",
		`Down takes the link with a neighbour out of use, whatever the plan says, until
perigee link up or until the daemon ends: a daemon that starts holds no link down.

Bundles go other ways meanwhile; those that have none wait, and custody stays where it
is. A session that is open ends in an orderly way: nothing more is sent, and what is
being transferred has half a minute to finish. The link is down when perigee link ls
says so. While it is held, sessions that the neighbour opens are ended at once.

A link that is held down already stays so. The exit code is 1 when there is no such
neighbour.`)
}

func newLinkUp(e *env) *cobra.Command {
	return linkHold(e, "up", false, "Release a link that is held down, and connect at once",
		`Up gives a link that perigee link down holds back to its schedule. If there is to be
a session now, the node tries at once to open it, however long it would have waited
after attempts that failed; else it waits for the next contact.

It does the same for a link that is not held down. The exit code is 1 when there is no
such neighbour.`)
}

// linkHold returns a command that holds a link down or gives it back.
func linkHold(e *env, verb string, held bool, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " PEER", Short: short, Long: long,
		Example: "  perigee link " + verb + " ipn:3.0\n  perigee link " + verb + " dtn://relay/ -o json",
		Args:    peerArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			peer, err := parsePeer(args)
			if err != nil {
				return err
			}
			return e.withDaemon(func(client app.Client) error {
				err := client.HoldLink(cmd.Context(), peer, held)
				switch {
				case errors.Is(err, app.ErrNotFound):
					return fmt.Errorf("link %s: %w; perigee link ls lists the neighbours", verb, err)
				case err != nil:
					return fmt.Errorf("link %s: %w", verb, err)
				}
				return runLinkLs(cmd.Context(), e, client, peer)
			})
		},
	}
}

// peerArgs takes a neighbour, which may be left out if least is 0.
func peerArgs(least int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if least <= len(args) && len(args) <= 1 {
			return nil
		}
		return exactArgs("PEER")(cmd, args)
	}
}

// parsePeer reads the argument PEER, and returns the null EID for none.
func parsePeer(args []string) (bundle.EID, error) {
	if len(args) == 0 {
		return bundle.EID{}, nil
	}
	peer, err := bundle.ParseEID(args[0])
	if err != nil {
		return peer, usagef("%w; perigee link ls lists the neighbours", err)
	}
	if peer.IsNull() {
		return peer, usagef("the null endpoint is no neighbour; perigee link ls lists them")
	}
	return peer.Node(), nil
}

func runLinkLs(ctx context.Context, e *env, client app.Client, peer bundle.EID) error {
	s, err := client.Status(ctx)
	if err != nil {
		return fmt.Errorf("link ls: %w", err)
	}
	if peer.IsNull() {
		return e.print(orEmpty(s.Links), func(w io.Writer) { linkTable(w, s) })
	}
	i := slices.IndexFunc(s.Links, func(l app.Link) bool { return l.Peer == peer })
	if i < 0 {
		return fmt.Errorf("link ls: there is no link with %s: %w; without PEER all are listed", peer, app.ErrNotFound)
	}
	return e.print(s.Links[i], func(w io.Writer) { linkDetails(w, &s.Links[i], s.Now) })
}

func linkTable(w io.Writer, s app.Status) {
	row(w, "PEER", "LAYER", "SCHEDULED", "PHYSICAL", "OPERATOR", "RATE", "QUEUED", "SENT", "RECEIVED", "LAST ERROR")
	for i := range s.Links {
		l := &s.Links[i]
		row(w, l.Peer, orDash(l.Layer), scheduledText(l, s.Now), physicalText(l, s.Now), operatorText(l), rateOrDash(l.RateBPS),
			fmt.Sprintf("%d (%s)", l.Queued, bytesText(l.QueuedBytes)),
			carriedText(l.BundlesSent, l.BytesSent, l.SentBPS), carriedText(l.BundlesReceived, l.BytesReceived, l.ReceivedBPS),
			errorText(l, s.Now))
	}
}

// linkDetails writes one link, a line for each thing.
func linkDetails(w io.Writer, l *app.Link, now dtntime.Time) {
	row(w, "peer", l.Peer)
	row(w, "layer", orDash(l.Layer))
	row(w, "address", orDash(l.Address))
	row(w, "scheduled", scheduledText(l, now))
	if l.Until != 0 {
		row(w, "contact ends", l.Until)
	}
	if l.Next != 0 {
		row(w, "next contact", l.Next)
	}
	row(w, "physical", physicalText(l, now))
	if l.Since != 0 {
		row(w, "last change", fmt.Sprintf("%s (%s ago)", l.Since, ago(now, l.Since)))
	}
	row(w, "sessions", l.Sessions)
	row(w, "operator", operatorText(l))
	if l.HeldSince != 0 {
		row(w, "operator's change", fmt.Sprintf("%s (%s ago)", l.HeldSince, ago(now, l.HeldSince)))
	}
	row(w, "rate", rateOrDash(l.RateBPS))
	row(w, "queued", fmt.Sprintf("%d (%s)", l.Queued, bytesText(l.QueuedBytes)))
	row(w, "sent", carriedText(l.BundlesSent, l.BytesSent, l.SentBPS))
	row(w, "received", carriedText(l.BundlesReceived, l.BytesReceived, l.ReceivedBPS))
	row(w, "refused", l.BundlesRefused)
	row(w, "last error", errorText(l, now))
}

// scheduledText says what is meant to be.
func scheduledText(l *app.Link, now dtntime.Time) string {
	switch l.Scheduled {
	case app.LinkInContact:
		return "open for " + until(now, l.Until)
	case app.LinkWaiting:
		return "in " + until(now, l.Next)
	}
	return string(l.Scheduled)
}

// physicalText says what there is.
func physicalText(l *app.Link, now dtntime.Time) string {
	if l.Physical == app.LinkBackingOff {
		return "backing off for " + until(now, l.RetryAt)
	}
	return string(l.Physical)
}

func operatorText(l *app.Link) string {
	if l.Held {
		return "held down"
	}
	return "-"
}

func rateOrDash(bps uint64) string {
	if bps == 0 {
		return "-"
	}
	return rateText(bps)
}

// carriedText says what went in one direction.
func carriedText(bundles, bytes, bps uint64) string {
	text := fmt.Sprintf("%d (%s)", bundles, bytesText(bytes))
	if bps > 0 {
		text += " at " + rateText(bps)
	}
	return text
}

// errorText says what went wrong last, and when.
func errorText(l *app.Link, now dtntime.Time) string {
	if l.LastError == "" {
		return "-"
	}
	return fmt.Sprintf("%s ago: %s", ago(now, l.LastErrorAt), l.LastError)
}
