package link

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"

	"perigee/bundle/contact"
)

// routedLink is a link of three network namespaces: one for each end, and one between
// them that forwards packets. What shapes them are queueing disciplines of the kernel,
// where they leave the middle.
//
// Outside a window the middle forwards nothing: packets vanish, interfaces stay up
// and nobody is told.
type routedLink struct {
	run         Runner
	left, right Namespace
	middle      string
	config      Config // but for its shape
	backend     router

	mu      sync.Mutex // guards all below
	spaces  spaces
	down    bool
	open    bool
	windows int
	shape   Shape
	out     meter
	back    meter
}

// router is a backend of links that a namespace in the middle forwards.
type router interface {
	Backend
	// disciplines returns the commands that make what leaves a device pass a lane.
	// They replace what is there.
	disciplines(d device, c Config, l Lane) []command
}

// device is an interface in the middle.
type device struct{ namespace, name string }

// meter turns the kernel's counters into a Flow.
type meter struct {
	counted counters // at the last look
	flow    Flow
}

type counters struct{ packets, bytes int64 }

// Interfaces: those of the ends in their own namespaces, and their counterparts in
// the middle. Names need to be unique only within a namespace.
const (
	leftEnd, rightEnd       = "left0", "right0"
	towardLeft, towardRight = "toleft0", "toright0"
)

// Addresses, unless others are given. Every link has the same, since none sees another.
// The middle has the one before the end's.
const (
	leftAddr  = "10.77.1.2"
	rightAddr = "10.77.2.2"
	netBits   = 30
	netmask   = "/30"
)

// upRouted makes a link of three namespaces.
func upRouted(ctx context.Context, b router, run Runner, pid int, c Config) (Link, error) {
	if err := b.Check(c); err != nil {
		return nil, err
	}
	l := &routedLink{run: run, config: c, backend: b, spaces: spaces{run: run}, shape: c.Shape}
	if err := l.make(ctx, pid); err != nil {
		err = fmt.Errorf("making a %s link: %w", b.Name(), err)
		return nil, errors.Join(err, l.Down(context.WithoutCancel(ctx)))
	}
	return l, nil
}

func (l *routedLink) make(ctx context.Context, pid int) error {
	if err := l.place(ctx, pid); err != nil {
		return err
	}
	commands := append(l.build(), l.shaping(l.shape)...)
	if !l.config.Closed {
		l.open, l.windows = true, 1
	}
	return runAll(ctx, l.run, append(commands, l.forward(l.open)))
}

// place finds the places of the ends, or makes them, and makes the middle.
func (l *routedLink) place(ctx context.Context, pid int) error {
	if l.config.joins() {
		names, err := l.spaces.add(ctx, l.config, pid, partMiddle)
		if err != nil {
			return err
		}
		l.left, l.middle, l.right = l.config.Ends[0], names[0], l.config.Ends[1]
		return nil
	}
	names, err := l.spaces.add(ctx, l.config, pid, partLeft, partMiddle, partRight)
	if err != nil {
		return err
	}
	l.left = Namespace{names[0], leftEnd, netip.MustParseAddr(leftAddr)}
	l.middle = names[1]
	l.right = Namespace{names[2], rightEnd, netip.MustParseAddr(rightAddr)}
	return nil
}

// build returns the commands that join and address the namespaces.
func (l *routedLink) build() []command {
	var commands []command
	mtu := strconv.Itoa(l.config.mtu())
	for _, end := range []struct {
		Namespace
		counterpart string
		other       netip.Addr
	}{{l.left, towardLeft, l.right.Addr}, {l.right, towardRight, l.left.Addr}} {
		ns, dev, router := end.Name, end.Device, end.Addr.Prev().String()
		commands = append(commands,
			command{"ip", "link", "add", dev, "netns", ns, "mtu", mtu, "type", "veth", "peer", "name", end.counterpart, "netns", l.middle, "mtu", mtu},
			command{"ip", "-n", ns, "addr", "add", end.Addr.String() + netmask, "dev", dev},
			command{"ip", "-n", l.middle, "addr", "add", router + netmask, "dev", end.counterpart},
			command{"ip", "-n", ns, "link", "set", "lo", "up"},
			command{"ip", "-n", ns, "link", "set", dev, "up"},
			command{"ip", "-n", l.middle, "link", "set", end.counterpart, "up"},
			command{"ip", "-n", ns, "route", "add", end.other.String(), "via", router},
		)
	}
	return commands
}

// shaping returns the commands that give the link a shape.
func (l *routedLink) shaping(s Shape) []command {
	return append(l.backend.disciplines(device{l.middle, towardRight}, l.config, s.Out),
		l.backend.disciplines(device{l.middle, towardLeft}, l.config, s.Back)...)
}

// empty returns the commands that throw away what is queued and under way: a
// discipline of a kind that no shape has takes the place of what is there.
func (l *routedLink) empty() []command {
	return []command{
		{"tc", "-n", l.middle, "qdisc", "replace", "dev", towardRight, "root", "bfifo"},
		{"tc", "-n", l.middle, "qdisc", "replace", "dev", towardLeft, "root", "bfifo"},
	}
}

// forward returns the command that lets the middle forward, or not.
func (l *routedLink) forward(open bool) command {
	on := "0"
	if open {
		on = "1"
	}
	return command{
		"ip", "netns", "exec", l.middle, "sysctl", "-q", "-w",
		"net.ipv4.conf." + towardLeft + ".forwarding=" + on,
		"net.ipv4.conf." + towardRight + ".forwarding=" + on,
	}
}

// Left implements NamespaceLink.
func (l *routedLink) Left() Namespace { return l.left }

// Right implements NamespaceLink.
func (l *routedLink) Right() Namespace { return l.right }

// Set implements Link.
func (l *routedLink) Set(ctx context.Context, s Shape) error {
	c := l.config
	c.Shape = s
	if err := l.backend.Check(c); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return fmt.Errorf("shaping link %s: %w", l.middle, ErrDown)
	}
	// What has passed so far took its time at the old rates.
	if err := l.measure(ctx); err != nil {
		return err
	}
	if err := runAll(ctx, l.run, l.shaping(s)); err != nil {
		return fmt.Errorf("shaping link %s: %w", l.middle, err)
	}
	l.shape = s
	return nil
}

// SetOpen implements Link.
func (l *routedLink) SetOpen(ctx context.Context, open bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return fmt.Errorf("opening or cutting link %s: %w", l.middle, ErrDown)
	}
	if open == l.open {
		return nil
	}
	commands := []command{l.forward(open)}
	if !open {
		commands = append(append(commands, l.empty()...), l.shaping(l.shape)...)
	}
	if err := runAll(ctx, l.run, commands); err != nil {
		return fmt.Errorf("opening or cutting link %s: %w", l.middle, err)
	}
	l.open = open
	if open {
		l.windows++
	}
	return nil
}

// Stats implements Link. Packets are the frames that the middle has sent on.
func (l *routedLink) Stats(ctx context.Context) (Stats, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.down {
		if err := l.measure(ctx); err != nil {
			return Stats{}, err
		}
	}
	return Stats{Out: l.out.flow, Back: l.back.flow, Windows: l.windows}, nil
}

// measure brings the meters up to date. The mutex is held.
func (l *routedLink) measure(ctx context.Context) error {
	for _, m := range []struct {
		meter  *meter
		device string
		rate   contact.BitRate
	}{{&l.out, towardRight, l.shape.Out.Rate}, {&l.back, towardLeft, l.shape.Back.Rate}} {
		text, err := l.run(ctx, "ip", "-n", l.middle, "-s", "-j", "link", "show", "dev", m.device)
		if err != nil {
			return fmt.Errorf("measuring link %s: %w", l.middle, err)
		}
		sent, err := parseSent(text)
		if err != nil {
			return fmt.Errorf("measuring link %s: %w", l.middle, err)
		}
		m.meter.flow.Packets += sent.packets - m.meter.counted.packets
		m.meter.flow.Bytes += sent.bytes - m.meter.counted.bytes
		m.meter.flow.Busy += busy(sent.bytes-m.meter.counted.bytes, m.rate)
		m.meter.counted = sent
	}
	return nil
}

// parseSent finds what was sent in the output of ip -s -j link show.
func parseSent(text []byte) (counters, error) {
	var devices []struct {
		Stats *struct {
			Sent struct {
				Bytes   int64 `json:"bytes"`
				Packets int64 `json:"packets"`
			} `json:"tx"`
		} `json:"stats64"`
	}
	if err := json.Unmarshal(text, &devices); err != nil {
		return counters{}, fmt.Errorf("output of ip: %w", err)
	}
	if len(devices) != 1 || devices[0].Stats == nil {
		return counters{}, errors.New("output of ip has no counters of one device")
	}
	sent := devices[0].Stats.Sent
	return counters{sent.Packets, sent.Bytes}, nil
}

// Down implements Link.
func (l *routedLink) Down(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return nil
	}
	if err := l.spaces.remove(ctx); err != nil {
		return fmt.Errorf("taking down link %s: %w", l.middle, err)
	}
	l.down = true
	return nil
}

// bucket returns the commands that make a token bucket filter, which paces what leaves
// a device, and the queue in it. Its place is under parent, such as "root", and it is
// called by handle, such as "1:".
func bucket(d device, c Config, l Lane, handle string, parent ...string) []command {
	replace := func(what ...string) command {
		return append(command{"tc", "-n", d.namespace, "qdisc", "replace", "dev", d.name}, what...)
	}
	if l.Rate == 0 {
		return []command{replace(append(parent, "pfifo", "limit", "1000")...)}
	}
	// The bucket holds a full frame, and what passes between two ticks of a
	// kernel of 250 Hz.
	frame := c.mtu() + 100
	burst := max(int64(frame), int64(l.Rate)/8/250*2)
	kind, limit := "bfifo", l.queue(frame).Bytes+burst
	if l.Queue.Packets != 0 {
		kind, limit = "pfifo", int64(l.Queue.Packets)
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return []command{
		replace(append(parent, "handle", handle, "tbf", "rate", number(int64(l.Rate))+"bit",
			"burst", number(burst), "limit", number(limit))...),
		// Named, because a change of the filter alone would take a limit in bytes
		// for one in packets.
		replace("parent", handle+"1", kind, "limit", number(limit)),
	}
}
