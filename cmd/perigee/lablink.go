package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"perigee/testbed/link"
)

func newLabLink(e *env) *cobra.Command {
	var o labLink
	c := &cobra.Command{
		Use:   "link [flags] [-- COMMAND [ARGS...]]",
		Short: "Hold an emulated link between two network namespaces",
		Long: `Link makes two network namespaces, joins them by an emulated link and holds it until
COMMAND ends, or without one until it is interrupted. Then it takes everything down
and shows what the link has carried. It needs root.

Left sends out, right sends back. A flag with a V for each direction takes one value
for both, or two: --loss 1%,0. Rates are in bits, such as 100kbit/s; a share is 1% or
0.01; a queue is 64kB or 100packets, and by default a fifth of a second at the rate,
but ten packets at least. What is lost has taken its time at the rate. With --burst,
losses come in bursts of so many packets on average.

A --window opens the link for a while and leaves it closed outside of all of them; a
--cut closes it for a while. Both begin so long after the link is up, may be given
several times, and end without anybody being told: packets vanish. What waits and what
is under way then is lost too, unless it is to be kept.

The backends are netem (the kernel's), tun (this process), and netns (a rate alone);
auto takes the first that works here and can do what is asked.

COMMAND runs outside, or with --in at an end. It finds the names and addresses of the
ends in PERIGEE_LEFT, PERIGEE_LEFT_ADDR, PERIGEE_RIGHT and PERIGEE_RIGHT_ADDR. Its
output comes before what the link has carried.`,
		Example: `  perigee lab link --rate-out 100Mbit/s --rate-back 100kbit/s --delay 8ms --loss 1%
  perigee lab link --left sat --right gs --delay 8ms --jitter 2ms --loss 2% --burst 5 --seed 7
  perigee lab link --delay 250ms --in left -- sh -c 'ping -c 3 $PERIGEE_RIGHT_ADDR'
  perigee lab link --rate-out 10Mbit/s --cut 5s+3s -o json -- ./transfer.sh`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 && c.ArgsLenAtDash() != 0 {
				return usagef(`lab link: put "--" before the command, as in: perigee lab link --delay 8ms -- %s`, strings.Join(args, " "))
			}
			o.seeded = c.Flags().Changed("seed")
			return o.run(c.Context(), e, args)
		},
	}
	o.flags(c.Flags())
	_ = c.RegisterFlagCompletionFunc("backend", cobra.FixedCompletions(o.backends(), cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("in", cobra.FixedCompletions([]string{"left", "right"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// run makes the link, holds it and takes it down.
func (o *labLink) run(ctx context.Context, e *env, args []string) (err error) {
	config, changes, err := o.settings()
	if err != nil {
		return usagef("lab link: %w", err)
	}
	if o.in != "" && len(args) == 0 {
		return usagef(`lab link: --in needs a command after "--"`)
	}
	if os.Geteuid() != 0 {
		return errors.New("lab link: making network namespaces needs root: run it with sudo")
	}
	if !o.seeded {
		config.Seed = uint64(rand.Uint32()) // short, to be given again by hand
	}
	removed, err := link.Sweep(ctx, nil)
	if err != nil {
		return fmt.Errorf("lab link: %w", err)
	}
	for _, name := range removed {
		fmt.Fprintf(e.err, "removed namespace %s, which a link that is no more had left behind\n", name)
	}
	backend, err := link.Choose(ctx, o.backend, config)
	if err != nil {
		return fmt.Errorf("lab link: %w", err)
	}
	made, err := backend.Up(ctx, config)
	if err != nil {
		return fmt.Errorf("lab link: %w", err)
	}
	h := &heldLink{NamespaceLink: made.(link.NamespaceLink), env: e, options: o, begun: time.Now()}
	err = h.hold(ctx, changes, args)
	// However it ended, what the link has carried is of use, and it goes.
	ctx = context.WithoutCancel(ctx)
	view, statsErr := h.view(ctx, backend.Name(), config)
	err = errors.Join(err, statsErr, h.Down(ctx))
	if statsErr == nil {
		err = errors.Join(err, e.print(view, view.table))
	}
	if err != nil {
		return fmt.Errorf("lab link: %w", err)
	}
	return nil
}

// heldLink is a link while the command holds it.
type heldLink struct {
	link.NamespaceLink
	env     *env
	options *labLink
	begun   time.Time
}

// hold opens and closes the link at its times until the command or ctx has ended. It
// is no failure that ctx has.
func (h *heldLink) hold(ctx context.Context, changes []change, args []string) error {
	h.greet()
	ctx, done := context.WithCancel(ctx)
	defer done()
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return h.follow(groupCtx, changes) })
	group.Go(func() error {
		if len(args) == 0 {
			<-groupCtx.Done()
			return nil
		}
		defer done()
		return h.command(groupCtx, args)
	})
	return group.Wait()
}

// greet tells where the ends are and how to enter them.
func (h *heldLink) greet() {
	left, right := h.Left(), h.Right()
	fmt.Fprintf(h.env.err, "the link is up: %s (%s) on the left, %s (%s) on the right\n", left.Name, left.Addr, right.Name, right.Addr)
	fmt.Fprintf(h.env.err, "to enter an end, for instance:\n  ip netns exec %s bash\n  ip netns exec %s ping %s\n", left.Name, right.Name, left.Addr)
}

// follow opens and closes the link at its times.
func (h *heldLink) follow(ctx context.Context, changes []change) error {
	for _, c := range changes {
		if pause(ctx, time.Until(h.begun.Add(c.at)), nil) != nil {
			return nil
		}
		if err := h.SetOpen(ctx, c.open); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		fmt.Fprintf(h.env.err, "%s: %s\n", c.at, map[bool]string{true: "open", false: "closed"}[c.open])
	}
	return nil
}

// command runs the command to its end.
func (h *heldLink) command(ctx context.Context, args []string) error {
	left, right := h.Left(), h.Right()
	run := exec.CommandContext
	switch h.options.in {
	case "left":
		run = left.Command
	case "right":
		run = right.Command
	}
	cmd := run(ctx, args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = h.env.in, h.env.out, h.env.err
	cmd.Env = append(os.Environ(),
		"PERIGEE_LEFT="+left.Name, "PERIGEE_LEFT_ADDR="+left.Addr.String(),
		"PERIGEE_RIGHT="+right.Name, "PERIGEE_RIGHT_ADDR="+right.Addr.String())
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	const patience = 5 * time.Second // with a command that is told to end
	cmd.WaitDelay = patience
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("running %s: %w", args[0], err)
	}
	return nil
}

// linkView is what is shown of a link in the end.
type linkView struct {
	Backend string   `json:"backend"`
	Seed    uint64   `json:"seed"`
	Left    endView  `json:"left"`
	Right   endView  `json:"right"`
	Seconds float64  `json:"seconds"`
	Windows int      `json:"windows"`
	Out     flowView `json:"out"`
	Back    flowView `json:"back"`
}

type endView struct {
	Namespace string `json:"namespace"`
	Address   string `json:"address"`
}

type flowView struct {
	Packets    int64   `json:"packets"`
	Bytes      int64   `json:"bytes"`
	Busy       float64 `json:"busy_seconds"`
	Lost       int64   `json:"lost"`
	Overflowed int64   `json:"overflowed"`
	Cut        int64   `json:"cut"`
	Duplicated int64   `json:"duplicated"`
	Refused    int64   `json:"refused"`
	Late       float64 `json:"late_ms"`
}

func (h *heldLink) view(ctx context.Context, backend string, c link.Config) (*linkView, error) {
	stats, err := h.Stats(ctx)
	if err != nil {
		return nil, err
	}
	end := func(n link.Namespace) endView { return endView{n.Name, n.Addr.String()} }
	flow := func(f link.Flow) flowView {
		return flowView{
			Packets: f.Packets, Bytes: f.Bytes, Busy: f.Busy.Seconds(), Lost: f.Lost, Overflowed: f.Overflowed, Cut: f.Cut,
			Duplicated: f.Duplicated, Refused: f.Refused, Late: f.Late.Seconds() * 1000,
		}
	}
	return &linkView{
		Backend: backend, Seed: c.Seed, Left: end(h.Left()), Right: end(h.Right()),
		Seconds: time.Since(h.begun).Seconds(), Windows: stats.Windows, Out: flow(stats.Out), Back: flow(stats.Back),
	}, nil
}

func (v *linkView) table(w io.Writer) {
	row(w, "backend", v.Backend)
	row(w, "seed", v.Seed)
	row(w, "up for", fmt.Sprintf("%.1fs", v.Seconds))
	row(w, "windows", v.Windows)
	section(w, "CARRIED")
	row(w, "DIRECTION", "PACKETS", "BYTES", "BUSY", "LOST", "OVERFLOWED", "CUT", "DUPLICATED", "REFUSED", "LATE AT MOST")
	for _, f := range []struct {
		name string
		flowView
	}{{"out", v.Out}, {"back", v.Back}} {
		row(w, f.name, f.Packets, bytesText(f.Bytes), fmt.Sprintf("%.2fs", f.Busy),
			f.Lost, f.Overflowed, f.Cut, f.Duplicated, f.Refused, fmt.Sprintf("%.3g ms", f.Late))
	}
}
