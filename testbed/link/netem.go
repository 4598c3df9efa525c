package link

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"time"
)

// NetemBackend makes links of three network namespaces: one for each end, and one
// between them that forwards packets through the kernel's network emulator and token
// bucket filter. It needs root, the ip and tc commands with the seed of netem
// (iproute2 6.6) and a kernel that has netem.
//
// A packet meets its delay and loss before the rate, so that what is lost takes no
// time of the sender, and what jitter spreads leaves no faster than the rate. Seeds
// decide, but the kernel draws by the packet that it sees, also by those that it
// sends of itself.
type NetemBackend struct {
	run Runner
	pid int
}

// NewNetem returns a backend that works through run, RunCommand if nil.
func NewNetem(run Runner) *NetemBackend {
	if run == nil {
		run = RunCommand
	}
	return &NetemBackend{run: run, pid: os.Getpid()}
}

// Name implements Backend.
func (*NetemBackend) Name() string { return netem }

// Probe implements Backend. It tries netem on the loopback interface of a namespace
// made for it: whether there is a file of a module says nothing.
func (b *NetemBackend) Probe(ctx context.Context) (err error) {
	scratch := spaces{run: b.run}
	defer func() {
		err = errors.Join(err, scratch.remove(context.WithoutCancel(ctx)))
		if err != nil {
			err = fmt.Errorf("%w: %s: %w", ErrUnavailable, netem, err)
		}
	}()
	names, err := scratch.add(ctx, Config{}, b.pid, partMiddle)
	if err != nil {
		return err
	}
	try := command{"tc", "-n", names[0], "qdisc", "replace", "dev", "lo", "root", "netem"}
	return runAll(ctx, b.run, []command{try, append(try, "loss", "random", "1%", "seed", "1")})
}

// Check implements Backend.
func (*NetemBackend) Check(c Config) error {
	return c.without(netem, hasTwoLimits, hasKeptQueue, hasKeptFlight)
}

// Up implements Backend. The link is a NamespaceLink.
func (b *NetemBackend) Up(ctx context.Context, c Config) (Link, error) {
	return upRouted(ctx, b, b.run, b.pid, c)
}

// disciplines implements router: netem, and below it the token bucket filter.
func (*NetemBackend) disciplines(d device, c Config, l Lane) []command {
	space := append(command{"tc", "-n", d.namespace, "qdisc", "replace", "dev", d.name, "root", "handle", "1:"},
		netemArguments(l, laneSeed(c.Seed, d))...)
	return append([]command{space}, bucket(d, c, l, "2:", "parent", "1:1")...)
}

// laneSeed gives each direction a seed of its own.
func laneSeed(seed uint64, d device) uint64 {
	if d.name == towardLeft {
		return ^seed
	}
	return seed
}

// netemArguments returns what tc is told of a lane, but for its rate and queue.
func netemArguments(l Lane, seed uint64) []string {
	args := []string{"netem", "limit", strconv.FormatInt(netemLimit(l), 10)}
	if l.Delay != 0 {
		args = append(args, "delay", nanoseconds(l.Delay))
	}
	if l.Jitter != 0 {
		args = append(args, nanoseconds(l.Jitter))
		if !l.Reorder {
			// With a rate, even one that nothing reaches, netem keeps the order.
			args = append(args, "rate", strconv.FormatUint(uint64(MaxRate), 10)+"bit")
		}
	}
	switch {
	case l.Loss.Mean == 0:
	case l.Loss.Burst == 0:
		args = append(args, "loss", "random", percent(l.Loss.Mean))
	default:
		begin, end := l.Loss.gilbert()
		args = append(args, "loss", "gemodel", percent(begin), percent(end))
	}
	if l.Duplicate != 0 {
		args = append(args, "duplicate", percent(l.Duplicate))
	}
	if l.Jitter != 0 || l.Loss.Mean != 0 || l.Duplicate != 0 {
		args = append(args, "seed", strconv.FormatUint(seed, 10))
	}
	return args
}

// netemLimit is how many packets may be in flight: as many as there can be of the
// smallest, within what the kernel can hold.
func netemLimit(l Lane) int64 {
	const least, most, smallest = 1000, 1_000_000, 64
	if l.Rate == 0 {
		return most
	}
	n := float64(l.Rate) / 8 / smallest * (l.Delay + l.Jitter).Seconds()
	return least + int64(min(math.Ceil(n), most-least))
}

func nanoseconds(d time.Duration) string { return strconv.FormatInt(d.Nanoseconds(), 10) + "ns" }

func percent(share float64) string { return strconv.FormatFloat(share*100, 'g', 9, 64) + "%" }
