package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

func newStatus(e *env) *cobra.Command {
	return daemonCommand(e, "status", "Show the node, its links, store, custody and next contacts",
		`Status shows a snapshot of the node. Of a link it tells what is meant to be, what is
there and whether the operator holds it down; perigee link ls --help says more. Of a
satellite it tells which network flies, and of a ground station where its loop stands;
perigee model ls shows more. In JSON, times are DTN times in milliseconds.`,
		`  perigee status
  perigee status -o json --socket /run/perigee/sat.sock`, runStatus)
}

// statusContacts is how many contacts the table of status shows.
const statusContacts = 8

func runStatus(ctx context.Context, e *env, client app.Client) error {
	s, err := client.Status(ctx)
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	return e.print(s, func(w io.Writer) {
		row(w, "node", s.Node)
		row(w, "version", orDash(s.Version))
		row(w, "running for", ago(s.Now, s.Started))
		row(w, "store", storeText(s.Store))
		row(w, "custody", fmt.Sprintf("%d held, %d in flight", s.Custody.Held, s.Custody.InFlight))
		c := s.Counters
		row(w, "bundles", fmt.Sprintf("%d created, %d received, %d sent, %d delivered, %d deleted, %d duplicates",
			c.BundlesCreated, c.BundlesReceived, c.BundlesSent, c.BundlesDelivered, c.BundlesDeleted, c.Duplicates))
		row(w, "transfers", fmt.Sprintf("%d accepted, %d released, %d refused, %d retransmissions",
			c.CustodyAccepted, c.CustodyReleased, c.CustodyRefused, c.Retransmissions))
		networkRows(w, s)
		section(w, "LINKS")
		linkTable(w, s)
		section(w, "CONTACTS")
		rest := len(s.Contacts) - statusContacts
		s.Contacts = s.Contacts[:min(len(s.Contacts), statusContacts)]
		contactTable(w, s)
		if rest > 0 {
			row(w, fmt.Sprintf("and %d more; see perigee contact ls", rest))
		}
	})
}

func storeText(s store.Stats) string {
	text := fmt.Sprintf("%d bundles, %s of %s", s.Bundles, bytesText(s.Bytes), bytesText(s.Quota))
	if s.FailedReason != "" {
		text += "; FAILED: " + s.FailedReason
	}
	return text
}

// nodeText prints a node, and a dash for none.
func nodeText(e bundle.EID) string {
	if e.IsNull() {
		return "-"
	}
	return e.String()
}

// rateText prints a data rate for people.
func rateText(bps uint64) string {
	units := []string{"bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"}
	value := float64(bps)
	i := 0
	for value >= 1000 && i < len(units)-1 {
		value /= 1000
		i++
	}
	return fmt.Sprintf("%.4g %s", value, units[i])
}

func newCustodyLs(e *env) *cobra.Command {
	return daemonCommand(e, "ls", "List the custodies that the node waits to be relieved of",
		`Ls lists bundles in the custody of this node that it has sent or will send on.
A bundle in flight is waiting for a custody signal until its deadline; one that is
held waits for a contact.`,
		"  perigee custody ls\n  perigee custody ls -o json",
		func(ctx context.Context, e *env, client app.Client) error {
			s, err := client.Status(ctx)
			if err != nil {
				return fmt.Errorf("custody ls: %w", err)
			}
			return e.print(s.Custody, func(w io.Writer) { custodyTable(w, s.Now, s.Custody) })
		})
}

func custodyTable(w io.Writer, now dtntime.Time, c app.Custody) {
	row(w, "BUNDLE", "NEXT", "SEQUENCE", "ATTEMPTS", "STATE", "SIGNAL DUE IN")
	for _, o := range c.Outstanding {
		row(w, o.Bundle, nodeText(o.Next), fmt.Sprintf("%d.%d", o.SeqID, o.SeqNum), o.Attempts, o.State, until(now, o.Deadline))
	}
	if rest := c.Held - int64(len(c.Outstanding)); rest > 0 {
		fmt.Fprintf(w, "and %d more\n", rest)
	}
}

// orEmpty makes an absent list an empty one, which JSON shows as [].
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
