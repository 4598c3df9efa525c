// Package link emulates the links of a constellation between real daemons.
//
// A link joins a left and a right end, has a rate and a delay each way, and is
// open in windows: outside of them nothing passes and nobody is told. It owns
// whatever stands in for the space between the ends, and takes all of it down
// again. It refuses to know orbits, plans and bundles.
//
// Two backends make links: ProxyBackend relays TCP connections on loopback and
// needs no rights; NetnsBackend joins network namespaces, carries every protocol
// and needs root.
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

// Limits on shapes.
const (
	MaxRate  = 100 * contact.GigabitPerSecond
	MaxDelay = time.Hour
)

// A Backend makes links.
type Backend interface {
	// Name is how people choose the backend.
	Name() string
	// Probe tries whether the backend works here. Its error wraps
	// ErrUnavailable and says why.
	Probe(ctx context.Context) error
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

// Config describes a link.
type Config struct {
	Shape Shape
	// Closed makes the link begin outside a window.
	Closed bool

	// Listen is the address at which a proxy awaits connections from the left,
	// 127.0.0.1 and a free port if empty. Only ProxyBackend uses it.
	Listen string
	// Target is the address to the right that a proxy relays connections to.
	// Only ProxyBackend uses it.
	Target string
}

// Shape is how a link treats what passes.
type Shape struct {
	Out  Lane // from left to right
	Back Lane // from right to left
}

// Lane is one direction of a link.
type Lane struct {
	Rate  contact.BitRate // 0 for no limit
	Delay time.Duration   // one way
}

func (s Shape) check() error {
	for name, l := range map[string]Lane{"out": s.Out, "back": s.Back} {
		if l.Rate > MaxRate {
			return fmt.Errorf("link shape, %s: rate of %d bit/s is more than %d", name, l.Rate, MaxRate)
		}
		if l.Delay < 0 || l.Delay > MaxDelay {
			return fmt.Errorf("link shape, %s: delay %v is not between 0 and %v", name, l.Delay, MaxDelay)
		}
	}
	return nil
}

// Stats counts what a link has carried.
type Stats struct {
	Out, Back Flow
	Windows   int // begun so far
}

// Flow counts what passed in one direction.
type Flow struct {
	// Bytes is the payload of TCP for a proxy, and whole frames for network
	// namespaces.
	Bytes int64
	// Busy is how long the bytes took at the rate of the lane. It does not grow
	// where the rate has no limit.
	Busy time.Duration
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
