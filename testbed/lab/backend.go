package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"perigee/testbed/emu"
	"perigee/testbed/link"
	"perigee/testbed/sim"
)

// BackendSim is the backend that simulates a network in this process. The others run
// daemons on emulated links.
const BackendSim = "sim"

// NetworkBackends are the backends of networks: BackendSim, and those of links that
// join network namespaces.
func NetworkBackends() []string {
	links := slices.DeleteFunc(link.Names(), func(name string) bool { return name == link.ProxyBackend{}.Name() })
	return append([]string{BackendSim}, links...)
}

// NetworkOptions are what a run of a network needs besides its scenario.
type NetworkOptions struct {
	Out      string // folder of the results
	Perigeed string // path of the daemon's program; not needed by BackendSim
	// Keep leaves the folder of the daemons, with their logs and stores, where it is.
	Keep     bool
	Progress Progress
}

// networkBackend carries out a network.
type networkBackend interface {
	// name is how the report calls it.
	name() string
	// run carries the network out. Late is the most that a packet was late because
	// the machine was busy, if that can be.
	run(ctx context.Context, c sim.Config) (r *sim.Result, late time.Duration, err error)
}

// backend returns what carries out a network that is laid out.
func (o NetworkOptions) backend(ctx context.Context, name string, c sim.Config) (networkBackend, error) {
	if name == BackendSim {
		return simulated{}, nil
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("backend %s makes network namespaces, which needs root: run it with sudo, or with --backend %s", name, BackendSim)
	}
	if _, err := os.Stat(o.Perigeed); err != nil {
		return nil, fmt.Errorf("looking for the daemon's program: %w; run make build, or name it with --perigeed", err)
	}
	b, err := emu.Choose(ctx, name, c)
	if err != nil {
		return nil, err
	}
	return &emulated{options: o, links: b}, nil
}

// simulated runs networks on one goroutine.
type simulated struct{}

func (simulated) name() string { return BackendSim }

func (simulated) run(ctx context.Context, c sim.Config) (*sim.Result, time.Duration, error) {
	r, err := sim.Run(ctx, c)
	return r, 0, err
}

// emulated runs networks of daemons.
type emulated struct {
	options NetworkOptions
	links   link.Backend
}

func (e *emulated) name() string { return e.links.Name() }

func (e *emulated) run(ctx context.Context, c sim.Config) (r *sim.Result, late time.Duration, err error) {
	// Not in the folder of the results, since the paths of sockets must be short.
	dir, err := os.MkdirTemp("", "perigee-lab-")
	if err != nil {
		return nil, 0, fmt.Errorf("making the folder of the daemons: %w", err)
	}
	defer func() {
		if e.options.Keep {
			e.options.Progress.Say("daemons: " + filepath.Join(dir, "*", "perigeed.log"))
			return
		}
		if gone := os.RemoveAll(dir); gone != nil {
			err = errors.Join(err, fmt.Errorf("removing the folder of the daemons: %w", gone))
		}
	}()
	o, err := emu.Run(ctx, c, emu.Options{Backend: e.links, Perigeed: e.options.Perigeed, Dir: dir})
	if err != nil {
		if !e.options.Keep && ctx.Err() == nil {
			err = fmt.Errorf("%w; --keep leaves the logs of the daemons", err)
		}
		return nil, 0, err
	}
	return &o.Result, o.Late, nil
}
