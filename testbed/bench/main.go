// Command bench measures Perigee and judges what it measures.
//
// Every measure stands beside its reference in the same run, taken in turns, so
// that a ratio holds on a machine of any speed. Nodes are measured as they fly:
// perigeed as processes with configuration files, driven over their sockets.
//
// Networks are measured in this process, but for their memory, which is that of a
// process that does nothing else (the hidden command forward).
//
// It refuses to explain: "make microbench" runs the benchmarks of single functions,
// and --profile writes where the daemons spend their time.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1 // a measure could not be taken
	exitUsage  = 2
	exitMissed = 3 // everything was measured, and a bar was missed
)

// Errors that choose the exit code.
var (
	errUsage  = errors.New("usage")
	errMissed = errors.New("bar missed")
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newCommand().ExecuteContext(ctx)
	stop()
	os.Exit(report(os.Stderr, err))
}

// report prints err and returns the exit code.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitDone
	}
	fmt.Fprintf(w, "bench: %v\n", err)
	switch {
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, errMissed):
		return exitMissed
	}
	return exitFailed
}

// options are the flags of bench.
type options struct {
	suite   string
	only    string
	out     string
	bin     string
	profile string
	list    bool
}

func newCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "bench [--only PREFIX]",
		Short: "Measure Perigee against its bars",
		Long: `Bench takes the measures whose names begin with --only, prints a table, and writes
them to --out. It exits with 0 when every bar is reached, 3 when one is missed, and
1 when a measure could not be taken; what was measured is written in any case.`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), o, cmd.OutOrStdout(), os.Stderr)
		},
	}
	cmd.AddCommand(newStockCommand(), newTargetCommand())
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	f := cmd.Flags()
	f.StringVar(&o.suite, "suite", suiteNode, "what to measure: `node` or learning")
	f.StringVar(&o.only, "only", "", "take only measures whose names begin with `PREFIX`")
	f.StringVar(&o.out, "out", "out/bench.json", "`file` for the results; those of measures not taken are kept")
	f.StringVar(&o.bin, "bin", "bin", "`folder` of the perigeed to measure")
	f.StringVar(&o.profile, "profile", "", "write CPU profiles of the daemons into `folder`")
	cmd.AddCommand(newForward(), newFly())
	f.BoolVar(&o.list, "list", false, "list the measures and their bars, and take none")
	return cmd
}

// run takes the measures that o asks for.
func run(ctx context.Context, o options, out io.Writer, messages *os.File) error {
	all := measures(o.suite)
	if len(all) == 0 {
		return fmt.Errorf("%w: there is no suite %q; want %s or %s", errUsage, o.suite, suiteNode, suiteLearning)
	}
	chosen := choose(all, o.only)
	if len(chosen) == 0 {
		return fmt.Errorf("%w: no measure begins with %q; --list lists them", errUsage, o.only)
	}
	if o.list {
		return printList(out, chosen)
	}
	dir, err := os.MkdirTemp("", "perigee-bench-")
	if err != nil {
		return fmt.Errorf("making the folder of the measures: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // only what was measured with
	if o.profile != "" {
		if o.profile, err = filepath.Abs(o.profile); err != nil {
			return fmt.Errorf("finding the folder of profiles: %w", err)
		}
		if err := os.MkdirAll(o.profile, 0o755); err != nil {
			return fmt.Errorf("making the folder of profiles: %w", err)
		}
	}
	b := &bench{
		dir: dir, perigeed: filepath.Join(o.bin, "perigeed"), profile: o.profile,
		progress: newProgress(messages, term.IsTerminal(int(messages.Fd()))),
	}
	results, failed := b.takeAll(ctx, chosen)
	if err := printTable(out, results); err != nil {
		return err
	}
	if err := writeResults(o.out, results); err != nil {
		return errors.Join(failed, err)
	}
	return errors.Join(failed, missed(results))
}
