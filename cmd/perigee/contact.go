package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

func newContact(e *env) *cobra.Command {
	return group("contact", "Look at the contact plan, change it, predict one",
		`A contact plan says who can send to whom, when and how fast. Ls, add, rm and import
work on the plan of a running daemon, which keeps every change in the file that its
node.contact_plan names. Predict makes a plan out of orbits and needs no daemon.`,
		newContactLs(e), newContactAdd(e), newContactRm(e), newContactImport(e), newContactPredict(e))
}

type contactLsOptions struct {
	all  bool
	plan planForm
}

func newContactLs(e *env) *cobra.Command {
	var o contactLsOptions
	cmd := daemonCommand(e, "ls", "List the contacts of the plan",
		`Ls lists the present and coming contacts of the node. In JSON, times are DTN times in
milliseconds. With --plan it writes them in a form that perigee, ION or HDTN reads.`,
		`  perigee contact ls
  perigee contact ls --all -o json
  perigee contact ls --all --plan ion >contacts.ionrc`,
		func(ctx context.Context, e *env, client app.Client) error { return runContactLs(ctx, e, client, o) })
	f := cmd.Flags()
	f.BoolVarP(&o.all, "all", "a", false, "also contacts that are over, and those among other nodes")
	f.Var(&o.plan, "plan", "write a plan in a `form`: perigee, ion or hdtn")
	return cmd
}

// contactView is a contact with -o json.
type contactView struct {
	From       bundle.EID   `json:"from"`
	To         bundle.EID   `json:"to"`
	Start      dtntime.Time `json:"start"`
	End        dtntime.Time `json:"end"`
	RateBPS    uint64       `json:"rate_bps"`
	LightMS    uint64       `json:"owlt_ms"`
	Confidence float64      `json:"confidence"`
	Layer      string       `json:"cl,omitempty"`
	Volume     int64        `json:"volume_bytes"` // of the whole contact
	Open       bool         `json:"open"`
}

func viewContact(c contact.Contact, now dtntime.Time) contactView {
	return contactView{
		From: c.From, To: c.To, Start: c.Start, End: c.End, RateBPS: uint64(c.Rate), LightMS: uint64(c.Light),
		Confidence: c.Confidence, Layer: c.Layer, Volume: c.VolumeAt(c.Start), Open: c.ActiveAt(now),
	}
}

func runContactLs(ctx context.Context, e *env, client app.Client, o contactLsOptions) error {
	plan, err := client.Plan(ctx)
	if err != nil {
		return fmt.Errorf("contact ls: %w", err)
	}
	s, err := client.Status(ctx)
	if err != nil {
		return fmt.Errorf("contact ls: %w", err)
	}
	if !o.all {
		plan, _ = plan.Without(func(c contact.Contact) bool {
			return c.End <= s.Now || c.From != s.Node && c.To != s.Node
		})
	}
	if o.plan != "" {
		return contextual("contact ls", o.plan.write(plan, e.out))
	}
	views := []contactView{}
	for c := range plan.All() {
		views = append(views, viewContact(c, s.Now))
	}
	return e.print(views, func(w io.Writer) {
		row(w, "FROM", "TO", "START", "END", "STATE", "RATE", "LIGHT", "VOLUME", "CONFIDENCE")
		for _, c := range views {
			row(w, c.From, c.To, c.Start, c.End, stateText(s.Now, c.Start, c.End), rateText(c.RateBPS),
				dtntime.Duration(c.LightMS), bytesText(c.Volume), c.Confidence)
		}
	})
}

// stateText says how a span of time stands to now.
func stateText(now, start, end dtntime.Time) string {
	switch {
	case end <= now:
		return "over"
	case start <= now:
		return "open for " + until(now, end)
	}
	return "in " + until(now, start)
}

// contactTable is the table of contacts in a status.
func contactTable(w io.Writer, s app.Status) {
	row(w, "FROM", "TO", "START", "END", "STATE", "RATE")
	for _, c := range s.Contacts {
		row(w, c.From, c.To, c.Start, c.End, stateText(s.Now, c.Start, c.End), rateText(c.RateBPS))
	}
}
