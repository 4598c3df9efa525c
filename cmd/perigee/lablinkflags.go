package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"

	"perigee/bundle/contact"
	"perigee/testbed/lab"
	"perigee/testbed/link"
)

// labLink is perigee lab link.
type labLink struct {
	backend     string
	left, right string
	in          string

	rateOut, rateBack lab.Rate
	delay, jitter     bothWays[time.Duration]
	loss, duplicate   bothWays[float64]
	burst             bothWays[float64]
	queue             bothWays[link.Queue]
	reorder           bool

	windows, cuts         []string
	keepQueue, keepFlight bool
	mtu                   int
	seed                  uint64
	seeded                bool
}

func (o *labLink) flags(f *pflag.FlagSet) {
	f.StringVar(&o.backend, "backend", link.Auto, "emulate the link by this `backend`: auto, netem, tun or netns")
	f.StringVar(&o.left, "left", "", "`name` of the namespace on the left (default: made up)")
	f.StringVar(&o.right, "right", "", "`name` of the namespace on the right (default: made up)")
	f.StringVar(&o.in, "in", "", "run the command at the left or right `end`")
	f.Var((*rateValue)(&o.rateOut), "rate-out", "`rate` from left to right (default: no limit)")
	f.Var((*rateValue)(&o.rateBack), "rate-back", "`rate` from right to left (default: no limit)")
	o.delay.parse, o.jitter.parse = time.ParseDuration, time.ParseDuration
	o.loss.parse, o.duplicate.parse = parseShare, parseShare
	o.burst.parse = func(s string) (float64, error) { return strconv.ParseFloat(s, 64) }
	o.queue.parse = parseQueue
	f.Var(&o.delay, "delay", "time one way, `V` or V,V")
	f.Var(&o.jitter, "jitter", "by how much the delay differs at most, `V` or V,V")
	f.BoolVar(&o.reorder, "reorder", false, "let packets with a small delay overtake others")
	f.Var(&o.loss, "loss", "share of packets that are lost, `V` or V,V")
	f.Var(&o.burst, "burst", "packets lost in a row on average, `V` or V,V (default: each has its own luck)")
	f.Var(&o.duplicate, "duplicate", "share of packets that arrive twice, `V` or V,V")
	f.Var(&o.queue, "queue", "what may wait to be sent, `V` or V,V")
	f.StringArrayVar(&o.windows, "window", nil, "`AT+DURATION` of a window; closed outside of all (default: always open)")
	f.StringArrayVar(&o.cuts, "cut", nil, "`AT+DURATION` of a cut")
	f.BoolVar(&o.keepQueue, "keep-queue", false, "let what waits to be sent outlive a window, and take in more meanwhile")
	f.BoolVar(&o.keepFlight, "keep-flight", false, "let what is under way arrive after the end of a window")
	f.IntVar(&o.mtu, "mtu", 0, "largest packet of IP in `bytes` (default 1500)")
	f.Uint64Var(&o.seed, "seed", 0, "`seed` of everything random (default: random, shown)")
}

// backends are the values of --backend: those with namespaces.
func (*labLink) backends() []string {
	return slices.DeleteFunc(link.Names(), func(name string) bool { return name == "proxy" })
}

// settings turns the flags into what they ask for: a link, and when to open and close
// it.
func (o *labLink) settings() (link.Config, []change, error) {
	var none link.Config
	switch {
	case !slices.Contains(o.backends(), o.backend):
		return none, nil, fmt.Errorf("--backend is %q, want one of %s", o.backend, strings.Join(o.backends(), ", "))
	case o.in != "" && o.in != "left" && o.in != "right":
		return none, nil, fmt.Errorf("--in is %q, want left or right", o.in)
	}
	windows, err := parseSpans("--window", o.windows)
	if err != nil {
		return none, nil, err
	}
	cuts, err := parseSpans("--cut", o.cuts)
	if err != nil {
		return none, nil, err
	}
	open, changes := timeline(windows, cuts)
	c := link.Config{
		Shape: link.Shape{
			Out: link.Lane{
				Rate: contact.BitRate(o.rateOut), Delay: o.delay.out, Jitter: o.jitter.out, Reorder: o.reorder,
				Loss: link.Loss{Mean: o.loss.out, Burst: o.burst.out}, Duplicate: o.duplicate.out, Queue: o.queue.out,
			},
			Back: link.Lane{
				Rate: contact.BitRate(o.rateBack), Delay: o.delay.back, Jitter: o.jitter.back, Reorder: o.reorder,
				Loss: link.Loss{Mean: o.loss.back, Burst: o.burst.back}, Duplicate: o.duplicate.back, Queue: o.queue.back,
			},
		},
		Closed: !open, KeepQueue: o.keepQueue, KeepFlight: o.keepFlight, Seed: o.seed, MTU: o.mtu, Left: o.left, Right: o.right,
	}
	// What no backend can do is a mistake in the flags.
	if err := c.Check(); err != nil {
		return none, nil, err
	}
	return c, changes, nil
}

// rateValue is a flag such as 100kbit/s.
type rateValue lab.Rate

func (r *rateValue) String() string {
	if *r == 0 {
		return ""
	}
	return rateText(uint64(*r))
}
func (r *rateValue) Type() string       { return "rate" }
func (r *rateValue) Set(s string) error { return (*lab.Rate)(r).UnmarshalText([]byte(s)) }

// bothWays is a flag with a value for each direction of a link.
type bothWays[T comparable] struct {
	out, back T
	text      string
	parse     func(string) (T, error)
}

func (b *bothWays[T]) String() string { return b.text }
func (b *bothWays[T]) Type() string   { return "V" }

// Set implements pflag.Value.
func (b *bothWays[T]) Set(s string) (err error) {
	out, back, two := strings.Cut(s, ",")
	if !two {
		back = out
	}
	if b.out, err = b.parse(strings.TrimSpace(out)); err != nil {
		return err
	}
	b.text = s
	b.back, err = b.parse(strings.TrimSpace(back))
	return err
}

// parseShare reads 1% or 0.01.
func parseShare(s string) (float64, error) {
	digits, percent := strings.CutSuffix(s, "%")
	x, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no share; write it like 1%% or 0.01", s)
	}
	if percent {
		x /= 100
	}
	return x, nil
}

// parseQueue reads 64kB or 100packets.
func parseQueue(s string) (link.Queue, error) {
	if digits, ok := strings.CutSuffix(s, "packets"); ok {
		n, err := strconv.Atoi(strings.TrimSpace(digits))
		if err != nil || n < 1 {
			return link.Queue{}, fmt.Errorf("%q is no number of packets, such as 100packets", s)
		}
		return link.Queue{Packets: n}, nil
	}
	n, err := humanize.ParseBytes(s)
	if err != nil || n < 1 || n > 1<<40 {
		return link.Queue{}, fmt.Errorf("%q is no queue; write it like 64kB or 100packets", s)
	}
	return link.Queue{Bytes: int64(n)}, nil
}

// span is a while, counted from when the link is up.
type span struct{ from, to time.Duration }

// parseSpans reads spans such as 10s+3s.
func parseSpans(flag string, texts []string) ([]span, error) {
	var spans []span
	for _, text := range texts {
		at, length, ok := strings.Cut(text, "+")
		from, err := time.ParseDuration(at)
		d, e := time.ParseDuration(length)
		if err := errors.Join(err, e); !ok || err != nil || from < 0 || d <= 0 {
			return nil, fmt.Errorf("%s %q is no AT+DURATION, such as 10s+3s", flag, text)
		}
		spans = append(spans, span{from, from + d})
	}
	return spans, nil
}

// change is a moment at which a link is to be opened or closed.
type change struct {
	at   time.Duration
	open bool
}

// timeline turns windows and cuts into whether the link begins open, and what changes
// later. A link without windows is open but for its cuts.
func timeline(windows, cuts []span) (open bool, changes []change) {
	within := func(t time.Duration, spans []span) bool {
		return slices.ContainsFunc(spans, func(s span) bool { return s.from <= t && t < s.to })
	}
	isOpen := func(t time.Duration) bool { return (len(windows) == 0 || within(t, windows)) && !within(t, cuts) }
	var edges []time.Duration
	for _, s := range slices.Concat(windows, cuts) {
		edges = append(edges, s.from, s.to)
	}
	slices.Sort(edges)
	open = isOpen(0)
	now := open
	for _, at := range edges {
		if isOpen(at) != now {
			now = !now
			changes = append(changes, change{at, now})
		}
	}
	return open, changes
}
