package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/core"
	"perigee/bundle/dtntime"
	"perigee/bundle/route"
)

type routeOptions struct {
	query    app.RouteQuery
	size     byteSize
	lifetime dtntime.Duration

	// Without a daemon.
	plan string
	form planForm
	from bundle.EID
	at   moment
}

func newRoute(e *env) *cobra.Command {
	return group("route", "Look at routes", "", newRouteExplain(e))
}

func newRouteExplain(e *env) *cobra.Command {
	o := routeOptions{query: app.RouteQuery{Priority: bundle.PriorityNormal}, lifetime: dtntime.Day, form: formPerigee}
	cmd := &cobra.Command{
		Use: "explain --to EID", Short: "Tell which way a bundle would go, and why no other",
		Long: `Explain asks the daemon which way a bundle would go if it were sent now, beside
everything that waits already, and lists every way that was looked at with why it was
taken or left. A way is a list of nodes, each with when the contact to it opens. In JSON,
times are DTN times in milliseconds.

With --plan it works without a daemon: on the contacts of a file, for the node --from,
with nothing else to send. The exit code is 0 whether or not there is a way.

Verdicts:
  taken      the bundle goes this way
  later      it could go this way, and arrives later
  passed     a route that goes before it was taken
  partial    there is room for a piece of the bundle alone
  full       a contact is spoken for by bundles of at least this priority
  too-small  a contact is over, or too short for the bundle
  too-late   the bundle expires on the way
  unlikely   a likelier way was taken (see docs/routing.md)
  excluded   the neighbour does not take the bundle now, or its link is held down
  returns    the way leads back to where the bundle came from
  no-way     no contact leads on from the neighbour`,
		Example: `  perigee route explain --to ipn:5.12
  perigee route explain --to ipn:5.12 --size 30MB --priority bulk --lifetime 6h -o json
  perigee route explain --to ipn:5.0 --from ipn:1.0 --plan plan.jsonl --at 2026-12-01T06:00:00Z`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return runRouteExplain(cmd.Context(), e, o) },
	}
	f := cmd.Flags()
	eidVar(f, &o.query.To, "to", "`EID` of the destination (required)")
	f.Var(&o.size, "size", "`size` of the bundle, such as 30MB")
	f.TextVar(&o.query.Priority, "priority", bundle.PriorityNormal, "`class` of service: bulk, normal or expedited")
	f.TextVar(&o.lifetime, "lifetime", o.lifetime, "`duration` for which the bundle is still of use")
	f.BoolVar(&o.query.Critical, "critical", false, "the bundle is critical: a copy goes over every neighbour")
	f.StringVar(&o.plan, "plan", "", "work on the contacts of a `file` instead of asking the daemon; - is standard input")
	f.Var(&o.form, "form", "`form` of that file: perigee, ion or hdtn")
	eidVar(f, &o.from, "from", "`node` that the bundle is sent from, with --plan")
	f.Var(&o.at, "at", "`time` at which it is sent, with --plan (default now)")
	_ = cmd.RegisterFlagCompletionFunc("priority", cobra.FixedCompletions([]string{"bulk", "normal", "expedited"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func runRouteExplain(ctx context.Context, e *env, o routeOptions) error {
	q := o.query
	q.Size, q.Lifetime = int64(o.size), o.lifetime
	switch {
	case q.To.IsNull():
		return usagef("route explain: a destination is missing; give --to EID")
	case q.Lifetime == 0:
		return usagef("route explain: --lifetime 0s is over at once")
	case o.plan == "" && (!o.from.IsNull() || o.at.given()):
		return usagef("route explain: --from and --at need --plan FILE; the daemon routes from its own node, now")
	case o.plan != "" && o.from.IsNull():
		return usagef("route explain: --plan needs --from NODE")
	}
	if o.plan != "" {
		x, err := o.offline(e, q)
		if err != nil {
			return err
		}
		return printRoutes(e, x)
	}
	return e.withDaemon(func(client app.Client) error {
		x, err := client.ExplainRoute(ctx, q)
		if err != nil {
			return fmt.Errorf("route explain: %w", err)
		}
		return printRoutes(e, x)
	})
}

// offline explains on the contacts of a file.
func (o *routeOptions) offline(e *env, q app.RouteQuery) (app.RouteExplanation, error) {
	in, err := e.openInput(o.plan)
	if err != nil {
		return app.RouteExplanation{}, err
	}
	defer in.Close()
	now := e.now()
	if o.at.given() {
		now = o.at.time(e.now())
	}
	plan, err := o.form.read(in, e.now())
	if err != nil {
		return app.RouteExplanation{}, fmt.Errorf("route explain: %s: %w", o.plan, err)
	}
	r := route.New(o.from, nil)
	r.SetPlan(plan)
	r.SetGuard(core.Guard)
	return core.ExplainRoute(o.from.Node(), r, q, now), nil
}

func printRoutes(e *env, x app.RouteExplanation) error {
	return e.print(x, func(w io.Writer) {
		row(w, "VERDICT", "NEXT", "VIA", "ARRIVES", "LIKELY", "WAY", "WHY")
		for _, c := range x.Candidates {
			arrives := "-"
			if c.Arrival != 0 {
				arrives = "in " + until(x.Now, c.Arrival)
			}
			row(w, c.Verdict, c.Next, c.Via, arrives, fmt.Sprintf("%.3g", c.Confidence), wayText(x.Now, c.Hops), c.Detail)
		}
		if x.Failure != "" {
			section(w, x.Failure)
		}
	})
}

// wayText lists the nodes of a way, each with when the contact to it opens.
func wayText(now dtntime.Time, hops []app.RouteHop) string {
	var steps []string
	for _, h := range hops {
		switch {
		case h.Start == 0:
			steps = append(steps, h.To.String())
		case h.Start <= now:
			steps = append(steps, h.To.String()+" (open)")
		default:
			steps = append(steps, fmt.Sprintf("%s (in %s)", h.To, until(now, h.Start)))
		}
	}
	return orDash(strings.Join(steps, ", "))
}

// byteSize is the value of a flag: a number of bytes such as "30MB".
type byteSize int64

func (s *byteSize) String() string {
	if *s == 0 {
		return ""
	}
	return bytesText(int64(*s))
}
func (s *byteSize) Type() string { return "size" }

// Set implements pflag.Value.
func (s *byteSize) Set(text string) error {
	n, err := humanize.ParseBytes(text)
	if err != nil || n > math.MaxInt64 {
		return fmt.Errorf("%q is not a size; write it like \"500MB\", \"2GB\" or \"64MiB\"", text)
	}
	*s = byteSize(n)
	return nil
}
