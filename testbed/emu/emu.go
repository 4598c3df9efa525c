// Package emu runs networks of real daemons: each node is a perigeed of its own in a
// network namespace of its own, and emulated links between them are open during the
// contacts of the plan.
//
// It is given what package sim is given and returns what that returns, so that a
// network can be tried both ways. It looks at daemons as applications and operators do,
// through their sockets, and refuses to know their insides. It decides nothing that a
// daemon decides.
package emu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"perigee/bundle/dtntime"
	"perigee/testbed/link"
	"perigee/testbed/sim"
)

// Options are what a run needs besides what is to be run.
type Options struct {
	Backend  link.Backend // see Choose
	Perigeed string       // path of the daemon's program
	// Dir is the folder for all that the daemons keep. Its path is short, since their
	// sockets are there, and the caller removes it.
	Dir string
}

// Outcome is what a run measured.
type Outcome struct {
	sim.Result
	// Late is the most that a packet was late because the machine was busy, where the
	// backend can tell.
	Late time.Duration
}

const (
	// lead and leadEach are how long before its start a run makes its plan known, so
	// that all daemons have it by then.
	lead     = time.Second
	leadEach = 100 * time.Millisecond
	// startAtOnce is how many daemons are started and stopped at a time.
	startAtOnce = 4
	// lookEvery is how often a run looks whether it is over.
	lookEvery = 50 * time.Millisecond
)

// world is a run.
type world struct {
	sim.Config
	options Options
	nodes   []*node
	links   []*line
	passes  []*use // of all links, as in the plan
	spaces  *link.Namespaces
	ledger  *ledger
	begin   time.Time // when the run starts; of whole milliseconds
}

// Run runs a network. What it did not keep is in the Outcome; an error tells that it
// could not be carried out, or that ctx ended. It needs root. Either way nothing of it
// is left when Run returns, but for files in the folder.
func Run(ctx context.Context, c sim.Config, o Options) (out *Outcome, err error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("making network namespaces needs root: run it with sudo")
	}
	w := &world{Config: c, options: o, ledger: newLedger()}
	defer func() { err = errors.Join(err, w.takeDown(context.WithoutCancel(ctx))) }()
	if err := w.setUp(ctx); err != nil {
		return nil, err
	}
	if err := w.spreadPlan(ctx); err != nil {
		return nil, err
	}
	drained, err := w.live(ctx)
	if err != nil {
		return nil, err
	}
	return w.outcome(ctx, drained)
}

// setUp makes namespaces and links, and starts the daemons.
func (w *world) setUp(ctx context.Context) (err error) {
	var names []string
	for _, n := range w.Nodes {
		names = append(names, n.Name)
	}
	// What a run that was killed has left behind.
	if _, err := link.Sweep(ctx, nil); err != nil {
		return err
	}
	if w.spaces, err = link.MakeNamespaces(ctx, nil, names...); err != nil {
		return err
	}
	if err := w.layLinks(ctx); err != nil {
		return err
	}
	for _, n := range w.Nodes {
		one, err := w.newNode(n)
		if err != nil {
			return err
		}
		w.nodes = append(w.nodes, one)
	}
	return w.eachNode(ctx, func(ctx context.Context, n *node) error { return n.Start(ctx) })
}

// eachNode calls f for some nodes at a time.
func (w *world) eachNode(ctx context.Context, f func(context.Context, *node) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(startAtOnce)
	for _, n := range w.nodes {
		group.Go(func() error { return f(ctx, n) })
	}
	return group.Wait()
}

// takeDown ends all that a run has begun.
func (w *world) takeDown(ctx context.Context) error {
	var errs []error
	ended := make([]error, len(w.nodes))
	var group errgroup.Group
	group.SetLimit(startAtOnce)
	for i, n := range w.nodes {
		group.Go(func() error {
			ended[i] = errors.Join(n.Stop(), n.client.Close(), n.Close())
			return nil
		})
	}
	_ = group.Wait() // every error is in ended
	errs = append(errs, ended...)
	for _, l := range w.links {
		errs = append(errs, l.link.Down(ctx))
	}
	if w.spaces != nil {
		errs = append(errs, w.spaces.Down(ctx))
	}
	return errors.Join(errs...)
}

// live lets everything happen, until all has arrived or the time is over. It returns when
// all had arrived, 0 for never.
func (w *world) live(ctx context.Context) (drained time.Duration, err error) {
	ctx, done := context.WithCancel(ctx)
	defer done()
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range w.links {
		group.Go(func() error { return l.follow(ctx) })
	}
	w.beginTraffic(ctx, group)
	troubles, troubled := context.WithCancel(ctx)
	group.Go(func() error { defer troubled(); return w.makeTrouble(ctx) })
	group.Go(func() (err error) {
		defer done()
		drained, err = w.watch(ctx, troubles)
		return err
	})
	return drained, group.Wait()
}

// watch waits for the end: when all has arrived after the applications have stopped, and
// nothing more goes wrong, or when the time is over.
func (w *world) watch(ctx, troubles context.Context) (drained time.Duration, err error) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	total := w.Length.Std() + w.Drain.Std()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
		now := w.since()
		for _, n := range w.nodes {
			if n.Ended() {
				return 0, fmt.Errorf("the daemon of %s ended by itself; its log says:\n%s", n.Name(), n.lastWords())
			}
		}
		if w.Progress != nil {
			w.Progress(dtntime.Of(max(now, 0)), dtntime.Of(total))
		}
		quiet := troubles.Err() != nil
		switch {
		case quiet && now >= w.Length.Std() && w.ledger.isDrained(w.clock()):
			return now, nil
		case quiet && now >= total:
			return 0, nil
		}
	}
}

// since is how long ago the run started, below zero before that.
func (w *world) since() time.Duration { return time.Since(w.begin) }

// clock is the time of the run's Config, which no daemon shows.
func (w *world) clock() dtntime.Time { return w.Start.Add(dtntime.Of(max(w.since(), 0))) }

// until waits for a time since the start. It is false when ctx ended before.
func (w *world) until(ctx context.Context, at time.Duration) bool {
	timer := time.NewTimer(time.Until(w.begin.Add(at)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// folder is where a node keeps all it has. Names of nodes may be long, and those of
// sockets may not.
func (w *world) folder(number int) string {
	return filepath.Join(w.options.Dir, fmt.Sprint(number))
}
