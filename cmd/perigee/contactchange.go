package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

// planChange says what a command has made of the plan.
type planChange struct {
	Contacts int `json:"contacts"` // that the plan has now
	Added    int `json:"added"`
	Removed  int `json:"removed"`
}

// changePlan puts what change makes of the plan in its place. When somebody else was
// faster it begins anew.
func changePlan(ctx context.Context, e *env, client app.Client, change func(*contact.Plan) (*contact.Plan, error)) error {
	const tries = 5
	for try := 1; ; try++ {
		before, err := client.Plan(ctx)
		if err != nil {
			return err
		}
		after, err := change(before)
		if err != nil {
			return err
		}
		if after.Generation() != before.Generation() {
			err = client.SetPlan(ctx, after, before.Generation())
		}
		if errors.Is(err, app.ErrTryAgain) && try < tries {
			continue
		}
		if err != nil {
			return err
		}
		c := planChange{Contacts: after.Len(), Added: missing(after, before), Removed: missing(before, after)}
		return e.print(c, func(w io.Writer) {
			row(w, fmt.Sprintf("%d contacts: %d added, %d removed", c.Contacts, c.Added, c.Removed))
		})
	}
}

// missing counts the contacts of a that b has not.
func missing(a, b *contact.Plan) int {
	has := make(map[contact.Contact]bool)
	for c := range b.All() {
		has[c] = true
	}
	n := 0
	for c := range a.All() {
		if !has[c] {
			n++
		}
	}
	return n
}

// pairFlags choose two nodes.
type pairFlags struct {
	from, to string
	both     bool
}

func (p *pairFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.from, "from", "", "the sending `node`, such as ipn:2.0")
	f.StringVar(&p.to, "to", "", "the receiving `node`")
	f.BoolVar(&p.both, "both", false, "in both directions")
}

// nodes reads the two nodes.
func (p *pairFlags) nodes() (from, to bundle.EID, err error) {
	for _, n := range []struct {
		flag, text string
		to         *bundle.EID
	}{{"--from", p.from, &from}, {"--to", p.to, &to}} {
		if n.text == "" {
			return from, to, usagef("give %s NODE", n.flag)
		}
		if *n.to, err = bundle.ParseEID(n.text); err != nil {
			return from, to, usagef("%s: %w", n.flag, err)
		}
	}
	return from.Node(), to.Node(), nil
}

type contactAddOptions struct {
	pairFlags
	start, end moment
	rate       bitRate
	light      dtntime.Duration
	confidence float64
	layer      string
	replace    bool
}

func newContactAdd(e *env) *cobra.Command {
	var o contactAddOptions
	cmd := &cobra.Command{
		Use: "add", Short: "Add a contact to the plan of the daemon",
		Long: `Add adds a contact to the plan of the running daemon, at once and for good. Contacts from
one node to another may not overlap; with --replace the older ones give way.`,
		Example: `  perigee contact add --from ipn:2.0 --to ipn:1.0 --start 2026-12-01T06:12:00Z --end 2026-12-01T06:20:30Z --rate 100Mbit/s --owlt 4ms
  perigee contact add --from ipn:1.0 --to ipn:2.0 --start now --end +10m --rate 256kbit/s --both`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.contact(e.now())
			if err != nil {
				return err
			}
			return e.withDaemon(func(client app.Client) error { return runContactAdd(cmd.Context(), e, client, c, o) })
		},
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.Var(&o.start, "start", "`time` of the start, such as 2026-12-01T06:12:00Z, now or +90s")
	f.Var(&o.end, "end", "`time` of the end")
	f.Var(&o.rate, "rate", "data `rate`, such as 256kbit/s")
	f.TextVar(&o.light, "owlt", dtntime.Duration(0), "one-way light `time`")
	f.Float64Var(&o.confidence, "confidence", 1, "likelihood that it comes to pass, above 0 and at most 1")
	f.StringVar(&o.layer, "layer", "", "convergence `layer`; empty for the node's own choice")
	f.BoolVar(&o.replace, "replace", false, "take the place of contacts that overlap")
	return cmd
}

// contact makes the contact of the flags.
func (o *contactAddOptions) contact(now dtntime.Time) (contact.Contact, error) {
	from, to, err := o.nodes()
	switch {
	case err != nil:
		return contact.Contact{}, err
	case !o.start.given() || !o.end.given():
		return contact.Contact{}, usagef("give --start TIME and --end TIME")
	case o.rate == 0:
		return contact.Contact{}, usagef("give --rate RATE, such as 256kbit/s")
	case o.confidence == 0:
		return contact.Contact{}, usagef("--confidence 0: such a contact never comes; leave it out")
	}
	c := contact.Contact{
		From: from, To: to, Start: o.start.time(now), End: o.end.time(now), Rate: contact.BitRate(o.rate),
		Light: o.light, Confidence: o.confidence, Layer: o.layer,
	}
	if _, err := contact.New([]contact.Contact{c}); err != nil {
		return c, usagef("%w", err)
	}
	return c, nil
}

func runContactAdd(ctx context.Context, e *env, client app.Client, c contact.Contact, o contactAddOptions) error {
	added := []contact.Contact{c}
	if o.both {
		back := c
		back.From, back.To = c.To, c.From
		added = append(added, back)
	}
	err := changePlan(ctx, e, client, func(p *contact.Plan) (*contact.Plan, error) {
		if !o.replace {
			return p.With(added...)
		}
		q, err := contact.New(added)
		if err != nil {
			return nil, err
		}
		return p.Replacing(q)
	})
	if errors.Is(err, contact.ErrPlan) {
		return fmt.Errorf("contact add: %w; --replace puts the new one in its place", err)
	}
	return contextual("contact add", err)
}

// contextual says what failed, if it did.
func contextual(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

type contactRmOptions struct {
	pairFlags
	start moment
	over  bool
}

func newContactRm(e *env) *cobra.Command {
	var o contactRmOptions
	cmd := &cobra.Command{
		Use: "rm", Short: "Remove contacts from the plan of the daemon",
		Long: `Rm removes contacts from the plan of the running daemon: the one from a node to another
that starts at --start, all of them without it, or with --over all contacts of all
nodes that are over.`,
		Example: `  perigee contact rm --from ipn:2.0 --to ipn:1.0 --start 2026-12-01T06:12:00Z
  perigee contact rm --from ipn:2.0 --to ipn:1.0 --both
  perigee contact rm --over`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			drop, err := o.choice(e.now())
			if err != nil {
				return err
			}
			return e.withDaemon(func(client app.Client) error { return runContactRm(cmd.Context(), e, client, drop, o.over) })
		},
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.Var(&o.start, "start", "`time` at which the contact starts")
	f.BoolVar(&o.over, "over", false, "all contacts that are over")
	return cmd
}

// choice tells which contacts the flags mean.
func (o *contactRmOptions) choice(now dtntime.Time) (func(contact.Contact) bool, error) {
	if o.over {
		if o.from != "" || o.to != "" || o.both || o.start.given() {
			return nil, usagef("--over stands alone")
		}
		return func(c contact.Contact) bool { return c.End <= now }, nil
	}
	from, to, err := o.nodes()
	if err != nil {
		return nil, err
	}
	start := o.start.time(now)
	return func(c contact.Contact) bool {
		return (c.Between(from, to) || o.both && c.Between(to, from)) && (!o.start.given() || c.Start == start)
	}, nil
}

func runContactRm(ctx context.Context, e *env, client app.Client, drop func(contact.Contact) bool, mayBeNone bool) error {
	return contextual("contact rm", changePlan(ctx, e, client, func(p *contact.Plan) (*contact.Plan, error) {
		rest, n := p.Without(drop)
		if n == 0 && !mayBeNone {
			return nil, errors.New("there is no such contact; perigee contact ls --all lists them")
		}
		return rest, nil
	}))
}
