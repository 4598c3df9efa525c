package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"perigee/bundle/contact"
)

// TunBackend makes links of two network namespaces, each with a TUN interface, whose
// packets this process carries from one to the other. It needs root, the ip command
// and /dev/net/tun, and can do everything that a link may be asked for.
//
// Each direction has a thread of its own, with real-time scheduling where that is
// allowed. A busy machine makes packets late all the same: see Flow.Late. The process
// should have little else to do.
type TunBackend struct {
	run Runner
	pid int
}

// NewTun returns a backend that works through run, RunCommand if nil.
func NewTun(run Runner) *TunBackend {
	if run == nil {
		run = RunCommand
	}
	return &TunBackend{run: run, pid: os.Getpid()}
}

// Name implements Backend.
func (*TunBackend) Name() string { return tun }

// Probe implements Backend: it makes a link and takes it down.
func (b *TunBackend) Probe(ctx context.Context) error {
	lane := Lane{Rate: contact.MegabitPerSecond, Delay: time.Millisecond}
	return probe(ctx, b, Config{Shape: Shape{Out: lane, Back: lane}})
}

// Check implements Backend.
func (*TunBackend) Check(c Config) error {
	if err := c.Check(); err != nil {
		return err
	}
	for _, l := range []Lane{c.Shape.Out, c.Shape.Back} {
		// Half, because a packet takes up to twice its size.
		if n := l.most(c.mtu()); n > MaxHeld/2 {
			return fmt.Errorf("%w: tun: %d bit/s over %v and the queue hold %.0f MB, which is more than %d MB",
				ErrUnsupported, l.Rate, l.Delay+l.Jitter, n/1e6, MaxHeld/2/1_000_000)
		}
	}
	return nil
}

// most is about how many bytes a lane holds when it is full.
func (l Lane) most(mtu int) float64 {
	q := l.queue(mtu)
	return float64(l.Rate)/8*(l.Delay+l.Jitter).Seconds() + max(float64(q.Bytes), float64(q.Packets)*float64(mtu))
}

// Ends of a tun link.
const (
	tunDevice   = "link0"
	tunLeft     = "10.77.0.1"
	tunRight    = "10.77.0.2"
	tunQueueLen = "10000" // packets that wait for this process
)

// TunLink is a link of two network namespaces that this process joins. It is a
// NamespaceLink.
type TunLink struct {
	config      Config // but for its shape
	backend     *TunBackend
	left, right Namespace
	begun       time.Time
	ends        []*tunEnd
	out, back   *carrier // nil until the ends are there
	owned       sync.WaitGroup

	mu      sync.Mutex // guards all below
	spaces  spaces
	halted  bool // nothing is carried any more
	down    bool // and the namespaces are gone
	open    bool
	windows int
}

// Up implements Backend. The link is a *TunLink.
func (b *TunBackend) Up(ctx context.Context, c Config) (Link, error) {
	if err := b.Check(c); err != nil {
		return nil, err
	}
	l := &TunLink{config: c, backend: b, spaces: spaces{run: b.run}, begun: time.Now()}
	if err := l.make(ctx); err != nil {
		err = fmt.Errorf("making a tun link: %w", err)
		return nil, errors.Join(err, l.Down(context.WithoutCancel(ctx)))
	}
	return l, nil
}

// make makes the namespaces and their interfaces, and begins to carry packets.
func (l *TunLink) make(ctx context.Context) error {
	c := l.config
	if err := l.place(ctx); err != nil {
		return err
	}
	for _, n := range [][2]Namespace{{l.left, l.right}, {l.right, l.left}} {
		end, err := openTun(n[0])
		if err != nil {
			return err
		}
		l.ends = append(l.ends, end)
		if err := runAll(ctx, l.backend.run, tunCommands(n[0], n[1].Addr, c.mtu())); err != nil {
			return err
		}
	}
	if !c.Closed {
		l.open, l.windows = true, 1
	}
	for i, lane := range []struct {
		carrier  **carrier
		from, to *tunEnd
		Lane
	}{{&l.out, l.ends[0], l.ends[1], c.Shape.Out}, {&l.back, l.ends[1], l.ends[0], c.Shape.Back}} {
		k, err := newCarrier(lane.from, lane.to, newPipe(c, lane.Lane, uint64(i)), l.now)
		if err != nil {
			return err
		}
		*lane.carrier = k
		l.owned.Go(k.run)
	}
	return nil
}

// place finds the places of the ends, or makes them.
func (l *TunLink) place(ctx context.Context) error {
	if l.config.joins() {
		l.left, l.right = l.config.Ends[0], l.config.Ends[1]
		return nil
	}
	names, err := l.spaces.add(ctx, l.config, l.backend.pid, partLeft, partRight)
	if err != nil {
		return err
	}
	l.left = Namespace{names[0], tunDevice, netip.MustParseAddr(tunLeft)}
	l.right = Namespace{names[1], tunDevice, netip.MustParseAddr(tunRight)}
	return nil
}

// tunCommands returns the commands that make an interface ready, which leads to peer.
func tunCommands(n Namespace, peer netip.Addr, mtu int) []command {
	commands := []command{
		{"ip", "-n", n.Name, "link", "set", "lo", "up"},
		{"ip", "-n", n.Name, "addr", "add", n.Addr.String() + netmask, "dev", n.Device},
		// IPv6 would look for neighbours and routers, and nothing is to pass that
		// nobody has sent. A kernel without it has no such key (-e).
		{"ip", "netns", "exec", n.Name, "sysctl", "-q", "-e", "-w", "net.ipv6.conf." + n.Device + ".disable_ipv6=1"},
		{"ip", "-n", n.Name, "link", "set", "dev", n.Device, "mtu", strconv.Itoa(mtu), "txqueuelen", tunQueueLen, "up"},
	}
	if near, err := n.Addr.Prefix(netBits); err != nil || !near.Contains(peer) {
		commands = append(commands, command{"ip", "-n", n.Name, "route", "add", peer.String(), "dev", n.Device})
	}
	return commands
}

// now is the time of the link.
func (l *TunLink) now() time.Duration { return time.Since(l.begun) }

// Left implements NamespaceLink.
func (l *TunLink) Left() Namespace { return l.left }

// Right implements NamespaceLink.
func (l *TunLink) Right() Namespace { return l.right }

// Set implements Link.
func (l *TunLink) Set(_ context.Context, s Shape) error {
	c := l.config
	c.Shape = s
	if err := l.backend.Check(c); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.halted {
		return fmt.Errorf("shaping a tun link: %w", ErrDown)
	}
	return errors.Join(l.out.with(func(p *pipe) { p.lane = s.Out }), l.back.with(func(p *pipe) { p.lane = s.Back }))
}

// SetOpen implements Link.
func (l *TunLink) SetOpen(_ context.Context, open bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.halted {
		return fmt.Errorf("opening or cutting a tun link: %w", ErrDown)
	}
	if open == l.open {
		return nil
	}
	turn := func(p *pipe) { p.setOpen(l.now(), open) }
	if err := errors.Join(l.out.with(turn), l.back.with(turn)); err != nil {
		return err
	}
	l.open = open
	if open {
		l.windows++
	}
	return nil
}

// Stats implements Link.
func (l *TunLink) Stats(context.Context) (Stats, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out, err := l.out.stats()
	back, e := l.back.stats()
	return Stats{Out: out, Back: back, Windows: l.windows}, errors.Join(err, e)
}

// Down implements Link.
func (l *TunLink) Down(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return nil
	}
	err := errors.Join(l.halt(), l.spaces.remove(ctx))
	if err != nil {
		return fmt.Errorf("taking down a tun link: %w", err)
	}
	l.down = true
	return nil
}

// halt ends the carriers and gives back what they worked on, once. The mutex is held.
func (l *TunLink) halt() error {
	if l.halted {
		return nil
	}
	l.halted = true
	carriers := slices.DeleteFunc([]*carrier{l.out, l.back}, func(k *carrier) bool { return k == nil })
	for _, k := range carriers {
		k.stop()
	}
	l.owned.Wait()
	var err error
	for _, k := range carriers {
		err = errors.Join(err, k.close())
	}
	for _, end := range l.ends {
		err = errors.Join(err, end.close())
	}
	return err
}
