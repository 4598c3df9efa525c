package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
)

// progressBytes is the smallest payload that a progress bar is shown for.
const progressBytes = 4 << 20

type sendOptions struct {
	file       string
	to, from   bundle.EID
	reportTo   bundle.EID
	reports    []string
	compressed []string
	custody    bool
	lifetime   time.Duration
	priority   bundle.Priority
	value      uint64
	critical   bool
	noProgress bool
}

func newSend(e *env) *cobra.Command {
	var opts sendOptions
	cmd := &cobra.Command{
		Use:   "send --to EID FILE|-",
		Short: "Send a file as a bundle",
		Long: `Send hands a file, or standard input ("-"), to the node as the payload of a bundle,
and prints the ID of the bundle once the node has it safe on its disk. The bundle
then leaves when a link allows it. Payloads of any size take little memory.

The exit code is 75 when the node cannot take the bundle now, for example because
its store is full.`,
		Example: `  perigee send --to ipn:1.11 --custody batch.cbor
  echo hello | perigee send --to ipn:1.42 --lifetime 10m -
  perigee trace $(perigee send --to ipn:1.11 --custody batch.cbor)`,
		Args: exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.file = args[0]
			return e.withDaemon(func(client app.Client) error { return runSend(cmd.Context(), e, client, opts) })
		},
	}
	f := cmd.Flags()
	eidVar(f, &opts.to, "to", "`EID` of the destination (required)")
	eidVar(f, &opts.from, "from", "`EID` of the source, at this node (default its administrative endpoint)")
	eidVar(f, &opts.reportTo, "report-to", "`EID` that reports go to")
	f.StringSliceVar(&opts.reports, "report", nil, "`events` to report: received, forwarded, delivered, deleted")
	f.StringSliceVar(&opts.compressed, "report-compressed", nil, "`events` to report in compressed form, many in one signal: those of --report, custody-accepted, custody-refused")
	f.BoolVar(&opts.custody, "custody", false, "send the bundle under custody: each node keeps it until the next has it safe")
	f.DurationVar(&opts.lifetime, "lifetime", 24*time.Hour, "how long the bundle is of use")
	f.TextVar(&opts.priority, "priority", bundle.PriorityNormal, "`class` of service: bulk, normal or expedited")
	f.Uint64Var(&opts.value, "value", 0, "what the bundle is worth to you, as a `number`: of equal priority, what is worth more a byte goes first")
	f.BoolVar(&opts.critical, "critical", false, "send a copy over every neighbour that leads there in time; not with --custody")
	f.BoolVar(&opts.noProgress, "no-progress", false, "show no progress bar on a terminal")
	_ = cmd.RegisterFlagCompletionFunc("priority", cobra.FixedCompletions([]string{"bulk", "normal", "expedited"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("report", cobra.FixedCompletions([]string{"received", "forwarded", "delivered", "deleted"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("report-compressed", cobra.FixedCompletions(compressedReports(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// sent is what is shown about a bundle that was handed to the node.
type sent struct {
	ID bundle.ID `json:"id"`
}

func runSend(ctx context.Context, e *env, client app.Client, opts sendOptions) error {
	out, err := opts.outgoing()
	if err != nil {
		return err
	}
	in, err := e.openInput(opts.file)
	if err != nil {
		return err
	}
	defer in.Close() // only read from
	out.Payload, out.Length = in, -1
	if f, ok := in.(*os.File); ok {
		info, err := f.Stat()
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		if info.Mode().IsRegular() {
			out.Length = info.Size()
		}
	}
	if !opts.noProgress && e.terminal() && (out.Length < 0 || out.Length >= progressBytes) {
		bar := e.progress(out.Length)
		defer bar.Exit() //nolint:errcheck // the bar is decoration
		out.Payload = io.TeeReader(in, bar)
	}
	id, err := client.Send(ctx, out)
	if err != nil {
		return fmt.Errorf("send %s to %s: %w", opts.file, opts.to, err)
	}
	return e.print(sent{id}, func(w io.Writer) { row(w, id) })
}

func (o *sendOptions) outgoing() (app.Outgoing, error) {
	out := app.Outgoing{
		To: o.to, From: o.from, ReportTo: o.reportTo, Custody: o.custody,
		Lifetime: dtntime.Of(o.lifetime), Priority: o.priority, Value: o.value, Critical: o.critical,
	}
	switch {
	case o.to.IsNull():
		return out, usagef("send: a destination is missing; give --to EID")
	case o.lifetime <= 0:
		return out, usagef("send: --lifetime %s is not above zero", o.lifetime)
	case o.critical && o.custody:
		return out, usagef("send: a critical bundle goes over every neighbour, so it cannot be under custody; drop --critical or --custody")
	case len(o.reports)+len(o.compressed) > 0 && o.reportTo.IsNull():
		return out, usagef("send: --report and --report-compressed need --report-to EID")
	}
	for _, name := range o.reports {
		flag, ok := map[string]bundle.Flags{
			"received": bundle.FlagReportReception, "forwarded": bundle.FlagReportForwarded,
			"delivered": bundle.FlagReportDelivered, "deleted": bundle.FlagReportDeleted,
		}[strings.TrimSpace(name)]
		if !ok {
			return out, usagef("send: --report %q is none of received, forwarded, delivered, deleted", name)
		}
		out.Reports |= flag
	}
	for _, name := range o.compressed {
		status := slices.Index(compressedReports(), strings.TrimSpace(name))
		if status < 0 {
			return out, usagef("send: --report-compressed %q is none of %s", name, strings.Join(compressedReports(), ", "))
		}
		out.Compressed |= 1 << status
	}
	return out, nil
}

// compressedReports names what can be reported in compressed form, by status.
func compressedReports() []string {
	var names []string
	for status := bundle.StatusReceived; status <= bundle.StatusCustodyRefused; status++ {
		names = append(names, strings.ReplaceAll(status.String(), " ", "-"))
	}
	return names
}

// terminal tells whether messages go to a terminal.
func (e *env) terminal() bool {
	f, ok := e.err.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// progress shows a bar for length bytes, or a count when length is negative.
func (e *env) progress(length int64) *progressbar.ProgressBar {
	return progressbar.NewOptions64(length,
		progressbar.OptionSetWriter(e.err),
		progressbar.OptionSetDescription("sending"),
		progressbar.OptionShowBytes(true),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)
}
