package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// version is set by the linker; see the Makefile.
var version = "unknown"

// defaultSocket is where the daemon listens unless it is told otherwise.
const defaultSocket = "/run/perigee/perigee.sock"

// env is what the commands have from outside: streams, environment, the clock,
// and the global flags. Tests put their own in its place.
type env struct {
	in     io.Reader
	out    io.Writer // data
	err    io.Writer // messages
	getenv func(string) string
	now    func() dtntime.Time

	output format // -o
	socket string // --socket
}

// commands lists the commands; each has a file of its own.
func commands(e *env) []*cobra.Command {
	return append(daemonCommands(e),
		newBundle(e),
		newModel(e),
		newKeys(e),
		newLab(e),
		newMan(e),
	)
}

// run executes the command line args and returns the exit code.
func run(ctx context.Context, args []string, e *env) int {
	e.output = formatOf(args)
	root := newRoot(e)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil {
		e.report(err)
	}
	return exitCode(err)
}

func newRoot(e *env) *cobra.Command {
	root := group("perigee", "Carry bundles across links that come and go",
		`Perigee moves data in bundles (BPv7) between nodes whose links come and go.
This is the command line of a node. Data goes to standard output, messages go
to standard error.

Exit codes:
  0   done
  1   failed
  2   wrong usage
  65  malformed input
  69  daemon unreachable
  75  try again later

Environment:
  PERIGEE_SOCKET  the daemon's socket (default `+defaultSocket+`)`)
	root.Example = `  perigee bundle create --to ipn:2.10 --from ipn:1.10 --out hello.bundle hello.txt
  perigee bundle inspect hello.bundle
  perigee bundle inspect -o json hello.bundle`
	socket := e.getenv("PERIGEE_SOCKET")
	if socket == "" {
		socket = defaultSocket
	}
	flags := root.PersistentFlags()
	flags.VarP(&e.output, "output", "o", "how data is written: `table` or json")
	flags.StringVar(&e.socket, "socket", socket, "`path` of the daemon's socket")
	root.Version = version
	root.SilenceUsage = true
	root.SilenceErrors = true
	root.SetIn(e.in)
	root.SetOut(e.out)
	root.SetErr(e.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w; see %s --help", err, cmd.CommandPath())
	})
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddCommand(commands(e)...)
	// Cobra makes one that takes any shell for none.
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		completion.Args, completion.RunE = cobra.ArbitraryArgs, showOrRefuse
	}
	return root
}

// group returns a command that only holds others.
func group(use, short, long string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Long:  long,
		Args:  cobra.ArbitraryArgs,
		RunE:  showOrRefuse,
	}
	cmd.AddCommand(subs...)
	return cmd
}

// showOrRefuse runs a command that only holds others: it shows them, or says that there
// is none of that name.
func showOrRefuse(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	cmd.SuggestionsMinimumDistance = 2
	hint := "see " + cmd.CommandPath() + " --help"
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf("did you mean %q?", near[0])
	}
	return usagef("%s has no command %q; %s", cmd.CommandPath(), args[0], hint)
}

// eidVar defines a flag for an EID. Its usage says what holds without it, since dtn:none
// would say that of none.
func eidVar(f *pflag.FlagSet, eid *bundle.EID, name, usage string) {
	f.TextVar(eid, name, bundle.EID{}, usage)
	f.Lookup(name).DefValue = ""
}

// exactArgs requires one argument for each name.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return usagef("%s: %s is missing; see %s --help", cmd.CommandPath(), names[len(args)], cmd.CommandPath())
		}
		if len(args) > len(names) {
			return usagef("%s: %q is one argument too many; see %s --help", cmd.CommandPath(), args[len(names)], cmd.CommandPath())
		}
		return nil
	}
}
