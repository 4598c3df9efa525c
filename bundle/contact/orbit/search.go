package orbit

import (
	"context"
	"fmt"
	"math"
	"time"
)

// MaxSearch is the longest span that is searched at once.
const MaxSearch = 366 * 24 * time.Hour

// precision is how well the moments of a window are found, in seconds.
const precision = 1e-4

// margin is a quantity over time, in seconds since the beginning of a search, that is
// above zero in windows.
type margin func(seconds float64) (float64, error)

// window is a span in which a margin is above zero. It may begin before the search or
// end after it.
type window struct {
	start, end   float64
	before, past bool // that it does
}

// search finds the windows of f from 0 to end. It looks at f every step seconds, at
// the top of each rise that stays below zero and at the bottom of each dip that stays
// above, so that it misses only what comes and goes within a step and without a slope
// beside it.
func search(ctx context.Context, f margin, end, step float64) ([]window, error) {
	s := seeker{f: f}
	t0, t1 := 0., 0.
	y0, err := f(0)
	if err != nil {
		return nil, err
	}
	if y0 > 0 {
		s.open(0, true)
	}
	y1 := y0
	for i := 1; t1 < end; i++ {
		if i%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		t2 := min(float64(i)*step, end)
		y2, err := f(t2)
		if err != nil {
			return nil, err
		}
		if (y1 > 0) == (y0 > 0) && (y1 > 0) == (y2 > 0) && (y1-y0)*(y2-y1) <= 0 {
			s.extreme(t0, t2, y1 <= 0)
		}
		if (y1 > 0) != (y2 > 0) {
			s.cross(t1, t2, y2 > 0)
		}
		if s.err != nil {
			return nil, s.err
		}
		t0, y0, t1, y1 = t1, y1, t2, y2
	}
	if (y0 > 0) == (y1 > 0) {
		s.extreme(t0, end, y1 <= 0)
	}
	if s.isOpen {
		s.shut(end, true)
	}
	return s.found, s.err
}

// seeker gathers windows and keeps the first error of its margin.
type seeker struct {
	f       margin
	found   []window
	isOpen  bool
	current window
	looked  float64 // until when extremes were looked for, and found
	err     error
}

func (s *seeker) open(t float64, before bool) {
	s.isOpen, s.current = true, window{start: t, before: before}
}

func (s *seeker) shut(t float64, past bool) {
	s.current.end, s.current.past = t, past
	s.found = append(s.found, s.current)
	s.isOpen = false
}

// cross finds the moment between a and b at which the margin changes its sign, up or
// down.
func (s *seeker) cross(a, b float64, up bool) {
	t := s.bisect(a, b, up)
	if up {
		s.open(t, false)
	} else {
		s.shut(t, false)
	}
}

func (s *seeker) bisect(a, b float64, up bool) float64 {
	for b-a > precision && s.err == nil {
		middle := (a + b) / 2
		if (s.at(middle) > 0) == up {
			b = middle
		} else {
			a = middle
		}
	}
	return (a + b) / 2
}

// extreme looks at the top between a and c, or at the bottom, for a change of sign
// that the steps did not show.
func (s *seeker) extreme(a, c float64, top bool) {
	a = max(a, s.looked)
	at := s.turn(a, c, top)
	if (s.at(at) > 0) != top || s.err != nil {
		return
	}
	s.cross(a, at, top)
	s.cross(at, c, !top)
	s.looked = c
}

// at asks the margin, which is 0 after an error.
func (s *seeker) at(t float64) float64 {
	if s.err != nil {
		return 0
	}
	y, err := s.f(t)
	s.err = err
	return y
}

// turn finds the largest value between a and c, or the smallest, by golden section.
func (s *seeker) turn(a, c float64, top bool) float64 {
	golden := (math.Sqrt(5) - 1) / 2
	better := func(y, z float64) bool { return (y > z) == top }
	l, r := c-golden*(c-a), a+golden*(c-a)
	yl, yr := s.at(l), s.at(r)
	for c-a > precision && s.err == nil {
		if better(yl, yr) {
			c, r, yr = r, l, yl
			l = c - golden*(c-a)
			yl = s.at(l)
		} else {
			a, l, yl = l, r, yr
			r = a + golden*(c-a)
			yr = s.at(r)
		}
	}
	return (a + c) / 2
}

// checkSearch refuses spans that cannot be searched.
func checkSearch(from, to time.Time) error {
	switch span := to.Sub(from); {
	case span <= 0:
		return fmt.Errorf("searching from %s to %s: it does not end after its start", from.Format(time.RFC3339), to.Format(time.RFC3339))
	case span > MaxSearch:
		return fmt.Errorf("searching from %s to %s: that is more than %d days; search in parts",
			from.Format(time.RFC3339), to.Format(time.RFC3339), MaxSearch/(24*time.Hour))
	}
	return nil
}

// step is how far apart p may be looked at, in seconds: a fraction of a revolution at
// the speed of the perigee.
func (p *Propagator) step() float64 {
	const looks, longest = 270, 300
	speed := p.motion * (1 + p.eccentricity) * (1 + p.eccentricity) / math.Pow(1-p.eccentricity*p.eccentricity, 1.5)
	return max(1, min(twoPi/speed*60/looks, longest))
}

// track follows p from a moment on: it returns the state that many seconds later.
func (p *Propagator) track(from time.Time) func(seconds float64) (State, error) {
	begin := from.Sub(p.elements.Epoch).Minutes()
	return func(s float64) (State, error) { return p.After(begin + s/60) }
}

// after returns the moment that many seconds after from.
func after(from time.Time, seconds float64) time.Time {
	return from.Add(time.Duration(seconds * float64(time.Second)))
}
