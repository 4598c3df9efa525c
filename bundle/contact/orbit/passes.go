package orbit

import (
	"context"
	"fmt"
	"time"
)

// Moment is where a satellite is seen from a site at a time.
type Moment struct {
	At time.Time
	Look
}

// Pass is a span in which a satellite stands above the horizon of a site.
type Pass struct {
	Rise, Culmination, Set Moment
	// Begun and Unended tell that the pass is cut by the span that was asked
	// for: its Rise or Set is the beginning or the end of the span.
	Begun, Unended bool
	// Nearest and Farthest are the least and the greatest range in kilometres.
	Nearest, Farthest float64
}

// Duration returns how long the pass is.
func (p Pass) Duration() time.Duration { return p.Set.At.Sub(p.Rise.At) }

// Passes finds the passes of p over g from one time to another, at most MaxSearch
// later, to a tenth of a millisecond. It is cancelled with ctx. It fails where p cannot
// be propagated, for example because the satellite decays.
func Passes(ctx context.Context, p *Propagator, g *Ground, from, to time.Time) ([]Pass, error) {
	if err := checkSearch(from, to); err != nil {
		return nil, err
	}
	sky := skyOf(p, g, from)
	step := p.step()
	if len(g.mask) > 1 {
		step /= 4 // a mask by azimuth has corners
	}
	windows, err := search(ctx, func(s float64) (float64, error) {
		l, err := sky(s)
		if err != nil {
			return 0, err
		}
		return l.Elevation - g.MaskAt(l.Azimuth), nil
	}, to.Sub(from).Seconds(), step)
	if err != nil {
		return nil, fmt.Errorf("searching for passes of %s: %w", p.elements, err)
	}
	passes := make([]Pass, 0, len(windows))
	for _, w := range windows {
		pass, err := passOf(sky, w, from, step)
		if err != nil {
			return nil, fmt.Errorf("describing a pass of %s: %w", p.elements, err)
		}
		passes = append(passes, pass)
	}
	return passes, nil
}

// skyOf returns where p stands in the sky of g, by the seconds since from.
func skyOf(p *Propagator, g *Ground, from time.Time) func(seconds float64) (Look, error) {
	track, begin := p.track(from), seconds(from, unix2000)
	return func(s float64) (Look, error) {
		state, err := track(s)
		if err != nil {
			return Look{}, err
		}
		return g.look(state.Position, siderealAt(begin+s)), nil
	}
}

// passOf describes a window.
func passOf(sky func(float64) (Look, error), w window, from time.Time, step float64) (Pass, error) {
	p := Pass{Begun: w.before, Unended: w.past}
	elevation := func(l Look) float64 { return l.Elevation }
	nearness := func(l Look) float64 { return -l.Range }
	distance := func(l Look) float64 { return l.Range }
	top, err := peak(sky, w, step, elevation)
	if err != nil {
		return p, err
	}
	near, err := peak(sky, w, step, nearness)
	if err != nil {
		return p, err
	}
	far, err := peak(sky, w, step, distance)
	if err != nil {
		return p, err
	}
	for _, m := range []struct {
		to *Moment
		at float64
	}{{&p.Rise, w.start}, {&p.Culmination, top}, {&p.Set, w.end}} {
		m.to.At = after(from, m.at)
		if m.to.Look, err = sky(m.at); err != nil {
			return p, err
		}
	}
	nearest, err := sky(near)
	if err != nil {
		return p, err
	}
	farthest, err := sky(far)
	p.Nearest, p.Farthest = nearest.Range, farthest.Range
	return p, err
}

// peak finds when in a window what is measured is largest.
func peak[T any](of func(float64) (T, error), w window, step float64, measure func(T) float64) (float64, error) {
	s := seeker{f: func(t float64) (float64, error) {
		x, err := of(t)
		return measure(x), err
	}}
	best, top := w.start, s.at(w.start)
	for t := w.start + step; t < w.end+step; t += step {
		if y := s.at(min(t, w.end)); y > top {
			best, top = min(t, w.end), y
		}
	}
	at := s.turn(max(w.start, best-step), min(w.end, best+step), true)
	if s.at(at) < top {
		at = best // at an end of the window
	}
	return at, s.err
}

// Track follows p in the sky of g from one time to another: both ends and, between
// them, equal parts that are no longer than every.
func Track(p *Propagator, g *Ground, from, to time.Time, every time.Duration) ([]Moment, error) {
	if err := checkSearch(from, to); err != nil {
		return nil, err
	}
	const most = 1_000_000
	parts := int64(1)
	if every > 0 {
		parts = int64((to.Sub(from) + every - 1) / every)
	}
	if parts > most {
		return nil, fmt.Errorf("following %s: %d places, more than the limit of %d; take longer steps", p.elements, parts, most)
	}
	moments := make([]Moment, 0, parts+1)
	for i := range parts + 1 {
		at := from.Add(time.Duration(float64(to.Sub(from)) * float64(i) / float64(parts)))
		state, err := p.At(at)
		if err != nil {
			return nil, fmt.Errorf("following %s: %w", p.elements, err)
		}
		moments = append(moments, Moment{at, g.Look(state.Position, at)})
	}
	return moments, nil
}
