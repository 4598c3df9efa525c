package link

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"perigee/bundle/contact"
)

// Side is an end of a link.
type Side string

// Ends of a link.
const (
	Left  Side = "left"
	Right Side = "right"
)

// A Runner runs a command to its end and returns what it printed. Its error says
// what the command complained of.
type Runner func(ctx context.Context, name string, args ...string) (stdout []byte, err error)

// RunCommand is the Runner that runs commands of this machine.
func RunCommand(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(complaint.Bytes()))
	}
	return out, nil
}

// NetnsBackend makes links of three network namespaces: one for each end, and one
// between them that forwards packets at the rates of the link. It carries every
// protocol of the Internet. It needs root, the ip and tc commands and the token
// bucket filter of the kernel, and has no delay.
//
// Outside a window the middle forwards nothing: packets vanish, interfaces stay up
// and nobody is told.
type NetnsBackend struct {
	run  Runner
	pid  int
	made atomic.Int64 // links, to name them
}

// NewNetns returns a backend that works through run, RunCommand if nil.
func NewNetns(run Runner) *NetnsBackend {
	if run == nil {
		run = RunCommand
	}
	return &NetnsBackend{run: run, pid: os.Getpid()}
}

// Name implements Backend.
func (*NetnsBackend) Name() string { return "netns" }

// Probe implements Backend: it makes a link and takes it down.
func (b *NetnsBackend) Probe(ctx context.Context) error {
	lane := Lane{Rate: contact.MegabitPerSecond}
	l, err := b.Up(ctx, Config{Shape: Shape{Out: lane, Back: lane}})
	if err == nil {
		err = l.SetOpen(ctx, false)
		err = errors.Join(err, l.Down(context.WithoutCancel(ctx)))
	}
	if err != nil {
		return fmt.Errorf("%w: netns: %w", ErrUnavailable, err)
	}
	return nil
}

// NetnsLink is a link of network namespaces.
type NetnsLink struct {
	run                 Runner
	left, middle, right string // names of namespaces

	mu      sync.Mutex // guards all below
	down    bool
	open    bool
	windows int
	shape   Shape
	out     meter
	back    meter
}

// meter turns the kernel's counter of bytes into a Flow.
type meter struct {
	counted int64 // at the last look
	flow    Flow
}

// Interfaces: those of the ends in their own namespaces, and their counterparts in
// the middle. Names need to be unique only within a namespace.
const (
	leftEnd, rightEnd       = "left0", "right0"
	towardLeft, towardRight = "toleft0", "toright0"
)

// Addresses. Every link has the same, since none sees another.
const (
	leftAddr, leftRouter   = "10.77.1.2", "10.77.1.1"
	rightAddr, rightRouter = "10.77.2.2", "10.77.2.1"
	netmask                = "/24"
)

// Up implements Backend. The link is a *NetnsLink.
func (b *NetnsBackend) Up(ctx context.Context, c Config) (Link, error) {
	if err := checkNetns(c.Shape); err != nil {
		return nil, err
	}
	base := fmt.Sprintf("%s%d-%d", namePrefix, b.pid, b.made.Add(1))
	l := &NetnsLink{run: b.run, left: base + "-l", middle: base + "-m", right: base + "-r", shape: c.Shape}
	commands := l.build()
	commands = append(commands, shape(l.middle, towardRight, c.Shape.Out.Rate), shape(l.middle, towardLeft, c.Shape.Back.Rate))
	if !c.Closed {
		l.open, l.windows = true, 1
	}
	commands = append(commands, l.forward(l.open))
	if err := l.runAll(ctx, commands); err != nil {
		err = fmt.Errorf("making link %s: %w", base, err)
		return nil, errors.Join(err, l.Down(context.WithoutCancel(ctx)))
	}
	return l, nil
}

func checkNetns(s Shape) error {
	if s.Out.Delay != 0 || s.Back.Delay != 0 {
		return fmt.Errorf("%w: netns has no delay; use the proxy backend or leave it out", ErrUnsupported)
	}
	return s.check()
}

// command is a command line.
type command []string

// build returns the commands that make the namespaces, join and address them.
func (l *NetnsLink) build() []command {
	commands := []command{
		{"ip", "netns", "add", l.left},
		{"ip", "netns", "add", l.middle},
		{"ip", "netns", "add", l.right},
	}
	for _, end := range []struct {
		ns, device, counterpart, addr, router string
	}{
		{l.left, leftEnd, towardLeft, leftAddr, leftRouter},
		{l.right, rightEnd, towardRight, rightAddr, rightRouter},
	} {
		commands = append(commands,
			command{"ip", "link", "add", end.device, "netns", end.ns, "type", "veth", "peer", "name", end.counterpart, "netns", l.middle},
			command{"ip", "-n", end.ns, "addr", "add", end.addr + netmask, "dev", end.device},
			command{"ip", "-n", l.middle, "addr", "add", end.router + netmask, "dev", end.counterpart},
			command{"ip", "-n", end.ns, "link", "set", "lo", "up"},
			command{"ip", "-n", end.ns, "link", "set", end.device, "up"},
			command{"ip", "-n", l.middle, "link", "set", end.counterpart, "up"},
			command{"ip", "-n", end.ns, "route", "add", "default", "via", end.router},
		)
	}
	return commands
}

// shape returns the command that paces what leaves device.
func shape(ns, device string, rate contact.BitRate) command {
	c := command{"tc", "-n", ns, "qdisc", "replace", "dev", device, "root"}
	if rate == 0 {
		return append(c, "pfifo", "limit", "1000")
	}
	// The bucket holds a full frame, and what passes between two ticks of a
	// kernel of 250 Hz. The queue holds a fifth of a second and ten frames.
	const frame = 1600
	burst := max(frame, rate/8/250*2)
	queue := max(10*frame, rate/8/5) + burst
	return append(c, "tbf", "rate", strconv.FormatUint(uint64(rate), 10)+"bit",
		"burst", strconv.FormatUint(uint64(burst), 10), "limit", strconv.FormatUint(uint64(queue), 10))
}

// forward returns the command that lets the middle forward, or not.
func (l *NetnsLink) forward(open bool) command {
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

func (l *NetnsLink) runAll(ctx context.Context, commands []command) error {
	for _, c := range commands {
		if _, err := l.run(ctx, c[0], c[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// Addr returns the address of an end.
func (l *NetnsLink) Addr(s Side) netip.Addr {
	if s == Right {
		return netip.MustParseAddr(rightAddr)
	}
	return netip.MustParseAddr(leftAddr)
}

// Namespace returns the name of the network namespace of an end.
func (l *NetnsLink) Namespace(s Side) string {
	if s == Right {
		return l.right
	}
	return l.left
}

// Command returns a command that will run at an end of the link. It must have
// ended before the link is taken down.
func (l *NetnsLink) Command(ctx context.Context, s Side, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", l.Namespace(s), name}, args...)...)
}

// Set implements Link.
func (l *NetnsLink) Set(ctx context.Context, s Shape) error {
	if err := checkNetns(s); err != nil {
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
	err := l.runAll(ctx, []command{shape(l.middle, towardRight, s.Out.Rate), shape(l.middle, towardLeft, s.Back.Rate)})
	if err != nil {
		return fmt.Errorf("shaping link %s: %w", l.middle, err)
	}
	l.shape = s
	return nil
}

// SetOpen implements Link.
func (l *NetnsLink) SetOpen(ctx context.Context, open bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return fmt.Errorf("opening or cutting link %s: %w", l.middle, ErrDown)
	}
	if open == l.open {
		return nil
	}
	if err := l.runAll(ctx, []command{l.forward(open)}); err != nil {
		return fmt.Errorf("opening or cutting link %s: %w", l.middle, err)
	}
	l.open = open
	if open {
		l.windows++
	}
	return nil
}

// Stats implements Link. Bytes are those of frames the middle has sent on.
func (l *NetnsLink) Stats(ctx context.Context) (Stats, error) {
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
func (l *NetnsLink) measure(ctx context.Context) error {
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
		m.meter.flow.Bytes += sent - m.meter.counted
		m.meter.flow.Busy += busy(sent-m.meter.counted, m.rate)
		m.meter.counted = sent
	}
	return nil
}

// parseSent finds the bytes sent in the output of ip -s -j link show.
func parseSent(text []byte) (int64, error) {
	var devices []struct {
		Stats *struct {
			Sent struct {
				Bytes int64 `json:"bytes"`
			} `json:"tx"`
		} `json:"stats64"`
	}
	if err := json.Unmarshal(text, &devices); err != nil {
		return 0, fmt.Errorf("output of ip: %w", err)
	}
	if len(devices) != 1 || devices[0].Stats == nil {
		return 0, errors.New("output of ip has no counters of one device")
	}
	return devices[0].Stats.Sent.Bytes, nil
}

// Down implements Link.
func (l *NetnsLink) Down(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return nil
	}
	there, err := namespaces(ctx, l.run)
	if err != nil {
		return fmt.Errorf("taking down link %s: %w", l.middle, err)
	}
	for _, ns := range []string{l.left, l.right, l.middle} {
		if !there[ns] {
			continue
		}
		if _, e := l.run(ctx, "ip", "netns", "del", ns); e != nil {
			err = errors.Join(err, fmt.Errorf("taking down link %s: %w", l.middle, e))
		}
	}
	l.down = err == nil
	return err
}
