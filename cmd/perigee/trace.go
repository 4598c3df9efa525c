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

func newTrace(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "trace BUNDLE-ID",
		Short: "Show what the node knows of a bundle and what happened to it",
		Long: `Trace shows where a bundle is, or why it left this node, and its recent events.
Bundles that left are remembered while they could come back.`,
		Example: `  perigee trace ipn:2.11@847912345678.3
  perigee trace -o json "$(perigee send --to ipn:1.11 --custody batch.cbor)"`,
		Args: exactArgs("BUNDLE-ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseID(args[0])
			if err != nil {
				return err
			}
			return e.withDaemon(func(client app.Client) error { return runTrace(cmd.Context(), e, client, id, true) })
		},
	}
}

// traceView is how a trace looks with -o json.
type traceView struct {
	State  string      `json:"state"` // "stored" or the reason for leaving
	Stored *bundleView `json:"stored,omitempty"`
	Gone   *goneView   `json:"gone,omitempty"`
	Events []app.Event `json:"events,omitempty"`
}

// goneView is what is left of a bundle. Times are DTN times in milliseconds.
type goneView struct {
	ID     bundle.ID    `json:"id"`
	Reason string       `json:"reason"`
	At     dtntime.Time `json:"at"`
	Until  dtntime.Time `json:"remembered_until"`
}

func runTrace(ctx context.Context, e *env, client app.Client, id bundle.ID, events bool) error {
	trace, err := client.Bundle(ctx, id)
	if err != nil {
		return fmt.Errorf("look up bundle %s: %w", id, err)
	}
	view := viewTrace(trace)
	if !events {
		view.Events = nil
	}
	return e.print(view, func(w io.Writer) {
		row(w, "state", view.State)
		if view.Stored != nil {
			view.Stored.table(w, e.now())
		}
		if g := view.Gone; g != nil {
			row(w, "bundle", g.ID)
			row(w, "left", g.At)
			row(w, "remembered until", g.Until)
		}
		if len(view.Events) > 0 {
			section(w, "EVENTS")
			row(w, "TIME", "EVENT", "PEER", "DETAIL")
		}
		for _, ev := range view.Events {
			peer := "-"
			if ev.Peer != nil {
				peer = ev.Peer.String()
			}
			row(w, ev.At, ev.Kind, peer, orDash(ev.Detail))
		}
	})
}

func viewTrace(t app.Trace) traceView {
	view := traceView{State: "unknown", Events: t.Events}
	switch {
	case t.Record != nil:
		view.State = "stored"
		record := viewBundle(t.Record)
		view.Stored = &record
	case t.Gone != nil:
		view.State = t.Gone.Reason.String()
		view.Gone = &goneView{t.Gone.ID, view.State, t.Gone.At, t.Gone.Until}
	}
	return view
}

// bundleView is a stored bundle. Times are DTN times in milliseconds.
type bundleView struct {
	Handle      store.Handle    `json:"handle"`
	ID          bundle.ID       `json:"id"`
	Destination bundle.EID      `json:"destination"`
	ReportTo    *bundle.EID     `json:"report_to,omitempty"`
	Previous    *bundle.EID     `json:"previous,omitempty"`
	Duty        string          `json:"duty"`
	Priority    bundle.Priority `json:"priority"`
	Flags       bundle.Flags    `json:"flags"`
	Received    dtntime.Time    `json:"received"`
	Expiry      dtntime.Time    `json:"expiry"`
	PayloadLen  int64           `json:"payload_bytes"`
	Size        int64           `json:"bytes"`
	Custodial   bool            `json:"custodial"`
	From        *episodeView    `json:"custody_from,omitempty"`
	Own         *episodeView    `json:"custody_own,omitempty"`
	Attempts    uint32          `json:"attempts"`
	// Spread is who has not got a bundle for many nodes yet.
	Spread *spreadView `json:"spread,omitempty"`
}

type spreadView struct {
	Registrations int          `json:"registrations"`
	Neighbours    []bundle.EID `json:"neighbours"`
}

// viewSpread returns nil for bundles that are not for many nodes.
func viewSpread(r *store.Record) *spreadView {
	if r.Duty != store.DutyGroup {
		return nil
	}
	registrations, neighbours, err := r.Spread.Parse()
	if err != nil {
		return nil
	}
	return &spreadView{len(registrations), orEmpty(neighbours)}
}

func (s *spreadView) String() string {
	text := fmt.Sprintf("registrations here: %d", s.Registrations)
	for _, n := range s.Neighbours {
		text += ", " + n.String()
	}
	return text
}

type episodeView struct {
	Custodian bundle.EID `json:"custodian"`
	SeqID     uint64     `json:"seq_id"`
	SeqNum    uint64     `json:"seq_num"`
}

func viewBundle(r *store.Record) bundleView {
	return bundleView{
		Handle: r.Handle, ID: r.ID, Destination: r.Destination,
		ReportTo: eidOrNil(r.ReportTo), Previous: eidOrNil(r.Previous),
		Duty: r.Duty.String(), Priority: r.Priority, Flags: r.Flags, Received: r.Received, Expiry: r.Expiry,
		PayloadLen: r.PayloadLen, Size: r.Size,
		Custodial: r.Custodial, From: viewEpisode(r.From), Own: viewEpisode(r.Own), Attempts: r.Attempts, Spread: viewSpread(r),
	}
}

func eidOrNil(e bundle.EID) *bundle.EID {
	if e.IsNull() {
		return nil
	}
	return &e
}

func viewEpisode(e store.Episode) *episodeView {
	if e == (store.Episode{}) {
		return nil
	}
	return &episodeView{e.Custodian, e.SeqID, e.SeqNum}
}

func (e *episodeView) String() string {
	return fmt.Sprintf("%s, sequence %d number %d", e.Custodian, e.SeqID, e.SeqNum)
}

// table writes the bundle for people.
func (v *bundleView) table(w io.Writer, now dtntime.Time) {
	row(w, "bundle", v.ID)
	row(w, "to", v.Destination)
	if v.ReportTo != nil {
		row(w, "reports to", v.ReportTo)
	}
	if v.Previous != nil {
		row(w, "came from", v.Previous)
	}
	row(w, "kept to", v.Duty)
	row(w, "priority", v.Priority)
	row(w, "payload", fmt.Sprintf("%d bytes (%s)", v.PayloadLen, bytesText(v.PayloadLen)))
	row(w, "received", v.Received)
	row(w, "expires", fmt.Sprintf("%s (in %s)", v.Expiry, until(now, v.Expiry)))
	if v.Spread != nil {
		row(w, "still to go to", v.Spread)
	}
	if !v.Custodial {
		row(w, "custody", "no")
		return
	}
	row(w, "custody", "this node is custodian")
	if v.From != nil {
		row(w, "taken over from", v.From)
	}
	if v.Own != nil {
		row(w, "own custody", v.Own)
	}
	row(w, "attempts", v.Attempts)
}
