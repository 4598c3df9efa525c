// Package link emulates the links of a constellation between real daemons.
//
// A link joins a left and a right end, treats what passes as its shape says, and is
// open in windows: outside of them nothing passes and nobody is told. It owns
// whatever stands in for the space between the ends, and takes all of it down
// again. It refuses to know orbits, plans and bundles.
//
// Four backends make links. Three join network namespaces, carry every protocol over
// IPv4 and need root: NetemBackend leaves the work to the kernel's netem,
// TunBackend does it in this process, and NetnsBackend has a rate and nothing else.
// ProxyBackend relays TCP connections on loopback and needs no rights. Choose finds
// the best one that there is.
package link

import (
	"context"
	"errors"
	"fmt"
	"time"

	"perigee/bundle/contact"
)

// Errors that callers branch on.
var (
	// ErrUnavailable: the machine or the user's rights do not allow a backend.
	ErrUnavailable = errors.New("link backend is not available here")
	// ErrUnsupported: a backend cannot do what was asked of it.
	ErrUnsupported = errors.New("link backend cannot do this")
	// ErrDown: the link has been taken down.
	ErrDown = errors.New("link is down")
)

// A Backend makes links.
type Backend interface {
	// Name is how people choose the backend.
	Name() string
	// Probe tries whether the backend works here. Its error wraps
	// ErrUnavailable and says why.
	Probe(ctx context.Context) error
	// Check tells whether the backend can make such a link. Its error wraps
	// ErrUnsupported when another backend might.
	Check(c Config) error
	// Up makes a link. The caller takes it down.
	Up(ctx context.Context, c Config) (Link, error)
}

// A Link is one emulated link. Its methods may be called by several goroutines at
// once.
type Link interface {
	// Set gives the link another shape. What is on its way already keeps the
	// old one.
	Set(ctx context.Context, s Shape) error
	// SetOpen begins a window, or ends it. It changes nothing when the link is
	// in that state.
	SetOpen(ctx context.Context, open bool) error
	// Stats returns what the link has carried since it is up.
	Stats(ctx context.Context) (Stats, error)
	// Down takes the link down and returns when nothing of it is left. It may
	// be called again.
	Down(ctx context.Context) error
}

// A NamespaceLink is a Link whose ends are network namespaces. They came with it and go
// with it, unless they were there already (Config.Ends). Programs run at an end by its
// Command; they must have ended before the namespace goes.
type NamespaceLink interface {
	Link
	Left() Namespace
	Right() Namespace
}

// Stats counts what a link has carried.
type Stats struct {
	Out, Back Flow
	Windows   int // begun so far
}

// Flow counts what passed in one direction. A backend leaves what it cannot count at
// zero: a proxy knows bytes alone, and the kernel tells no cause of a loss.
type Flow struct {
	// Packets and Bytes are what has arrived: the payload of TCP for a proxy,
	// packets of IP for tun, and whole frames for netns and netem.
	Packets int64
	Bytes   int64
	// Busy is how long the lane was sending at its rate, also what was then lost.
	// It does not grow where the rate has no limit.
	Busy time.Duration

	Lost       int64 // packets lost at random
	Overflowed int64 // packets that found the queue full
	Cut        int64 // packets lost to the end of a window, or sent outside of one
	Duplicated int64 // packets that arrived twice
	Refused    int64 // packets that the receiving end would not take
	// Late is the most that a packet was late beyond its delay, because the
	// machine was busy.
	Late time.Duration
}

// Cut ends the window of l for d and then begins the next one, sooner if ctx ends.
func Cut(ctx context.Context, l Link, d time.Duration) error {
	if err := l.SetOpen(ctx, false); err != nil {
		return err
	}
	waited := sleepUntil(ctx, time.Now().Add(d))
	// The link is to be left as it was found even when the wait was given up.
	return errors.Join(waited, l.SetOpen(context.WithoutCancel(ctx), true))
}

// sleepUntil waits until t, or returns the reason why ctx ended before.
func sleepUntil(ctx context.Context, t time.Time) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	d := time.Until(t)
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// busy returns how long n bytes take at rate.
func busy(n int64, rate contact.BitRate) time.Duration {
	if rate == 0 {
		return 0
	}
	const perSecond = int64(time.Second)
	bits, r := n*8, int64(rate)
	// Apart for seconds and the rest, so that the product cannot overflow.
	return time.Duration(bits/r*perSecond) + time.Duration(float64(bits%r)/float64(r)*float64(perSecond))
}

// Names of backends, and Auto for the best that there is.
const (
	Auto  = "auto"
	netem = "netem"
	tun   = "tun"
	netns = "netns"
	proxy = "proxy"
)

// Names are the values that Choose takes.
func Names() []string { return []string{Auto, netem, tun, netns, proxy} }

// Choose returns the backend of that name. For Auto it is the first of netem, tun,
// netns and proxy that works here and can make the link c.
func Choose(ctx context.Context, name string, c Config) (Backend, error) {
	return choose(ctx, []Backend{NewNetem(nil), NewTun(nil), NewNetns(nil), ProxyBackend{}}, name, c)
}

func choose(ctx context.Context, backends []Backend, name string, c Config) (Backend, error) {
	var refusals []error
	for _, b := range backends {
		if name != Auto && name != b.Name() {
			continue
		}
		err := b.Check(c)
		if err == nil {
			err = b.Probe(ctx)
		}
		if err == nil {
			return b, nil
		}
		mayGoOn := errors.Is(err, ErrUnsupported) || errors.Is(err, ErrUnavailable)
		if name != Auto || !mayGoOn || ctx.Err() != nil {
			return nil, err
		}
		refusals = append(refusals, err)
	}
	if refusals == nil {
		return nil, fmt.Errorf("there is no link backend %q; there are %v", name, Names())
	}
	return nil, fmt.Errorf("no link backend can make this link here:\n%w", errors.Join(refusals...))
}
