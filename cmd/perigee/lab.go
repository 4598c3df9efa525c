package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"perigee/testbed/lab"
)

// reportFile is the report within the folder of a run's results.
const reportFile = "report.json"

func newLab(e *env) *cobra.Command {
	c := group("lab", "Run scenarios with real daemons on emulated links",
		`Scenarios start daemons as processes of their own, join them by emulated links
and measure what they do.`)
	c.AddCommand(newLabRun(e), newLabLink(e), newLabReport(e))
	return c
}

// labRun is perigee lab run.
type labRun struct {
	out, perigeed string
	backend       string
	kill          int
	killSeed      uint64
	keep          bool
}

func (o *labRun) flags(f *pflag.FlagSet) {
	f.StringVar(&o.out, "out", filepath.Join("out", "demo"), "`folder` of the results; for a network, out/NAME unless given")
	f.StringVar(&o.perigeed, "perigeed", "", "`path` of the daemon's program (default: beside this one)")
	f.StringVar(&o.backend, "backend", "", "`how` links are emulated: auto, netem, tun, netns, or proxy; for a network not proxy, but sim (default: what the scenario says)")
	f.BoolVar(&o.keep, "keep", false, "leave the folder of a network's daemons, with their logs and stores")
	f.IntVar(&o.kill, "kill", 0, "kill the satellite's daemon so many `times` at random moments")
	f.Uint64Var(&o.killSeed, "kill-seed", 0, "`seed` of these moments (default: random, printed)")
}

func newLabRun(e *env) *cobra.Command {
	var o labRun
	c := &cobra.Command{
		Use:   "run SCENARIO",
		Short: "Run a scenario and report what it measured",
		Long: `Run a scenario and write what it measured into the folder of the results.

A scenario of learning fetches what it needs once, starts the daemons, emulates the passes, and
writes report.json and before-after.png.

A network (kind = "network") is simulated in this process by the backend sim: hundreds of
nodes and days of passes in a minute, the same way each time from its seed. By the other
backends each node is a daemon in a network namespace of its own, on links that are
open during its contacts; that needs root, and takes as long as the scenario says. Either
way it writes report.json and passes.svg.

It exits with 1 when the run did not keep what the scenario promises.`,
		Example: `  perigee lab run testbed/scenarios/first-light.toml
  perigee lab run testbed/scenarios/constellation-24x3.toml
  sudo perigee lab run testbed/scenarios/three-stations.toml
  perigee lab run --kill 3 --kill-seed 7 testbed/scenarios/first-light.toml`,
		Args: exactArgs("SCENARIO"),
		RunE: func(c *cobra.Command, args []string) error { return o.run(c, e, args[0]) },
	}
	o.flags(c.Flags())
	return c
}

func (o *labRun) run(c *cobra.Command, e *env, path string) error {
	kind, err := lab.KindOf(path)
	switch {
	case err != nil:
		return err
	case kind == lab.KindNetwork:
		return o.runNetwork(c, e, path)
	}
	scenario, err := lab.ReadScenario(path)
	if err != nil {
		return err
	}
	if o.backend != "" {
		if err := scenario.SetBackend(o.backend); err != nil {
			return usagef("--backend: %w", err)
		}
	}
	if o.kill < 0 {
		return usagef("--kill is %d; it cannot be negative", o.kill)
	}
	if err := o.findPaths(); err != nil {
		return err
	}
	if _, err := os.Stat(o.perigeed); err != nil {
		return fmt.Errorf("looking for the daemon's program: %w; run make build, or name it with --perigeed", err)
	}
	file, ok := e.err.(*os.File)
	progress := lab.NewProgress(e.err, ok && term.IsTerminal(int(file.Fd())))
	if o.kill > 0 {
		if o.killSeed == 0 {
			o.killSeed = rand.Uint64()
		}
		progress.Say(fmt.Sprintf("kill seed: %d", o.killSeed))
	}
	report, err := lab.Run(c.Context(), scenario, lab.Options{
		Out: o.out, Perigeed: o.perigeed, Progress: progress, Kill: o.kill, KillSeed: o.killSeed,
	})
	if report == nil {
		return err
	}
	progress.Say("report: " + filepath.Join(o.out, reportFile))
	progress.Say("picture: " + filepath.Join(o.out, "before-after.png"))
	return errors.Join(printReport(e, report), err)
}

// findPaths makes paths absolute, that of perigeed beside this program unless given.
func (o *labRun) findPaths() (err error) {
	if o.perigeed == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("looking for perigeed beside this program: %w", err)
		}
		o.perigeed = filepath.Join(filepath.Dir(self), "perigeed")
	}
	for _, p := range []*string{&o.out, &o.perigeed} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	return nil
}

// runNetwork runs a scenario of kind "network".
func (o *labRun) runNetwork(c *cobra.Command, e *env, path string) error {
	n, err := lab.ReadNetwork(path)
	if err != nil {
		return err
	}
	if o.backend != "" {
		if err := n.SetBackend(o.backend); err != nil {
			return usagef("--backend: %w", err)
		}
	}
	if o.kill != 0 {
		return usagef("--kill: a network names its crashes under faults")
	}
	if !c.Flags().Changed("out") {
		o.out = filepath.Join("out", n.Name)
	}
	if err := o.findPaths(); err != nil {
		return err
	}
	file, ok := e.err.(*os.File)
	progress := lab.NewProgress(e.err, ok && term.IsTerminal(int(file.Fd())))
	report, err := lab.RunNetwork(c.Context(), n, lab.NetworkOptions{Out: o.out, Perigeed: o.perigeed, Keep: o.keep, Progress: progress})
	if report == nil {
		return err
	}
	progress.Say("report: " + filepath.Join(o.out, lab.NetworkReportFile))
	progress.Say("picture: " + filepath.Join(o.out, lab.NetworkPictureFile))
	return errors.Join(printNetworkReport(e, report), err)
}

func printNetworkReport(e *env, r *lab.NetworkReport) error {
	if e.output == formatJSON {
		return e.print(r, nil)
	}
	return r.Table(e.out)
}

func newLabReport(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "report [FOLDER]",
		Short: "Show the report of the last run",
		Example: `  perigee lab report
  perigee lab report -o json out/demo`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			folder := filepath.Join("out", "demo")
			if len(args) == 1 {
				folder = args[0]
			}
			if network, err := lab.ReadNetworkReport(filepath.Join(folder, reportFile)); err == nil {
				return printNetworkReport(e, network)
			}
			report, err := lab.ReadReport(filepath.Join(folder, reportFile))
			if err != nil {
				return err
			}
			return printReport(e, report)
		},
	}
}

func printReport(e *env, r *lab.Report) error {
	if e.output == formatJSON {
		return e.print(r, nil)
	}
	return r.Table(e.out)
}
