package link

import (
	"context"
	"errors"
	"fmt"
	"os"

	"perigee/bundle/contact"
)

// NetnsBackend makes links of three network namespaces: one for each end, and one
// between them that forwards packets at the rates of the link. It needs root, the ip
// and tc commands and the token bucket filter of the kernel. A lane has a rate and a
// queue and nothing else.
type NetnsBackend struct {
	run Runner
	pid int
}

// NewNetns returns a backend that works through run, RunCommand if nil.
func NewNetns(run Runner) *NetnsBackend {
	if run == nil {
		run = RunCommand
	}
	return &NetnsBackend{run: run, pid: os.Getpid()}
}

// Name implements Backend.
func (*NetnsBackend) Name() string { return netns }

// Probe implements Backend: it makes a link and takes it down.
func (b *NetnsBackend) Probe(ctx context.Context) error {
	lane := Lane{Rate: contact.MegabitPerSecond}
	return probe(ctx, b, Config{Shape: Shape{Out: lane, Back: lane}})
}

// probe makes a link and takes it down again.
func probe(ctx context.Context, b Backend, c Config) error {
	l, err := b.Up(ctx, c)
	if err == nil {
		err = l.SetOpen(ctx, false)
		err = errors.Join(err, l.Down(context.WithoutCancel(ctx)))
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUnavailable, b.Name(), err)
	}
	return nil
}

// Check implements Backend.
func (*NetnsBackend) Check(c Config) error {
	return c.without(netns, hasDelay, hasJitter, hasLoss, hasDuplication, hasTwoLimits, hasKeptQueue, hasKeptFlight)
}

// Up implements Backend. The link is a NamespaceLink.
func (b *NetnsBackend) Up(ctx context.Context, c Config) (Link, error) {
	return upRouted(ctx, b, b.run, b.pid, c)
}

// disciplines implements router.
func (*NetnsBackend) disciplines(d device, c Config, l Lane) []command {
	return bucket(d, c, l, "1:", "root")
}
