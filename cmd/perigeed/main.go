// Command perigeed runs a Perigee node: a relay, or a satellite or a ground
// station with its application, by its configuration.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"runtime/pprof"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker; see the Makefile.
var version = "unknown"

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // of the command line or in the configuration
)

func main() {
	// The first signal asks for an orderly end; the second one ends at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	os.Exit(execute(ctx, os.Args[1:], hangup, os.Stdout, os.Stderr))
}

// options are the flags of perigeed.
type options struct {
	config string
	check  bool
	// profile is where to write what takes the processor's time, or empty.
	profile string
}

// execute runs the command line args and returns the exit code.
func execute(ctx context.Context, args []string, hangup <-chan os.Signal, stdout, stderr io.Writer) int {
	var o options
	cmd := &cobra.Command{
		Use:     "perigeed --config FILE",
		Short:   "Run a Perigee node",
		Version: version,
		Long: `Perigeed runs a node: it keeps bundles, takes custody of them and sends them on
while links are there. With a table [satellite] or [ground] in its configuration
it also runs that application. It logs to standard error.

Signals:
  SIGINT, SIGTERM  end in an orderly way; a second one ends at once
  SIGHUP           read the contact plan and the certificates again

Exit codes:
  0  ended in an orderly way, or the configuration is valid
  1  failed
  2  wrong usage or an invalid configuration`,
		Example: `  perigeed --config /etc/perigee/perigeed.toml --check
  perigeed --config /etc/perigee/perigeed.toml`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%q is one argument too many; see perigeed --help", args[0])
			}
			return nil
		},
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), hangup, stdout, stderr)
		},
	}
	cmd.Flags().StringVar(&o.config, "config", "", "configuration `file` (required)")
	cmd.Flags().BoolVar(&o.check, "check", false, "validate the configuration and exit")
	cmd.Flags().StringVar(&o.profile, "cpu-profile", "", "write a CPU profile of the whole run to `file`, for go tool pprof")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w; see perigeed --help", err) })
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	started := false
	cmd.PreRun = func(*cobra.Command, []string) { started = true }
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	fmt.Fprintf(stderr, "perigeed: %v\n", err)
	var bad *configError
	if !started || errors.As(err, &bad) {
		return exitUsage
	}
	return exitFailed
}

func (o options) run(ctx context.Context, hangup <-chan os.Signal, stdout, stderr io.Writer) error {
	if o.config == "" {
		return &configError{errors.New("--config is missing; name the configuration file, see perigeed --help")}
	}
	c, err := load(o.config)
	if err != nil {
		return err
	}
	if o.check {
		_, err := fmt.Fprintf(stdout, "%s: valid; %s\n", o.config, c.describe())
		return err
	}
	stopProfile, err := startProfile(o.profile)
	if err != nil {
		return err
	}
	// GOMEMLIMIT in the environment goes before the configuration.
	if limit := c.memory(); limit != 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(limit))
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(gcPercent) // a busy heap is small beside the limit
		}
	}
	return errors.Join(serve(ctx, c, newLog(c.Log, stderr), hangup), stopProfile())
}

// gcPercent is how much a heap may grow, in percent, before its garbage is collected,
// while the memory limit is not near.
const gcPercent = 200

// startProfile begins a CPU profile if a file is named, and returns what ends it.
func startProfile(name string) (stop func() error, err error) {
	if name == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, fmt.Errorf("writing the CPU profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("writing the CPU profile: %w", err), f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		if err := f.Close(); err != nil {
			return fmt.Errorf("writing the CPU profile: %w", err)
		}
		return nil
	}, nil
}

// describe says in a few words what the configuration makes.
func (c *config) describe() string {
	role := "relay"
	switch {
	case c.Satellite != nil && c.Ground != nil:
		role = "satellite and ground"
	case c.Satellite != nil:
		role = "satellite"
	case c.Ground != nil:
		role = "ground"
	}
	return fmt.Sprintf("node %s, %s, %d listeners, %d links, %d routes", c.Node.ID, role, len(c.Listen), len(c.Link), len(c.Route))
}

func newLog(c logConfig, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.level()}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
