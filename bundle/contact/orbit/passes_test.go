package orbit

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

// TestSearch looks for windows of functions whose windows are known, among them such
// as lie within one step.
func TestSearch(t *testing.T) {
	bump := func(middle, half float64) func(float64) float64 {
		return func(t float64) float64 { return half*half - (t-middle)*(t-middle) }
	}
	for name, c := range map[string]struct {
		f    func(float64) float64
		want []window
	}{
		"never":            {func(float64) float64 { return -1 }, nil},
		"always":           {func(float64) float64 { return 1 }, []window{{0, 100, true, true}}},
		"from the start":   {bump(0, 15), []window{{0, 15, true, false}}},
		"to the end":       {bump(100, 15), []window{{85, 100, false, true}}},
		"wide":             {bump(47, 23), []window{{24, 70, false, false}}},
		"within a step":    {bump(44, 0.5), []window{{43.5, 44.5, false, false}}},
		"at a step":        {bump(40, 0.5), []window{{39.5, 40.5, false, false}}},
		"in the first":     {bump(4, 1), []window{{3, 5, false, false}}},
		"in the last":      {bump(96, 1), []window{{95, 97, false, false}}},
		"short dip":        {func(t float64) float64 { return -bump(44, 0.5)(t) }, []window{{0, 43.5, true, false}, {44.5, 100, false, true}}},
		"touches":          {bump(44, 0), nil},
		"rises at the end": {func(t float64) float64 { return t - 200 }, nil},
		"two":              {func(t float64) float64 { return math.Max(bump(23, 0.5)(t), bump(55, 2)(t)) }, []window{{22.5, 23.5, false, false}, {53, 57, false, false}}},
	} {
		got, err := search(t.Context(), func(t float64) (float64, error) { return c.f(t), nil }, 100, 10)
		if err != nil || len(got) != len(c.want) {
			t.Errorf("%s: got %v, %v; want %v", name, got, err, c.want)
			continue
		}
		for i, w := range c.want {
			g := got[i]
			if math.Abs(g.start-w.start) > precision || math.Abs(g.end-w.end) > precision || g.before != w.before || g.past != w.past {
				t.Errorf("%s: got %+v, want %+v", name, g, w)
			}
		}
	}
}

func TestSearchEndsWithError(t *testing.T) {
	broken := errors.New("broken")
	for _, from := range []float64{0, 10, 43, 99} {
		f := func(t float64) (float64, error) {
			if t >= from {
				return 0, broken
			}
			return -math.Abs(t - 44), nil
		}
		if got, err := search(t.Context(), f, 100, 10); !errors.Is(err, broken) || got != nil {
			t.Errorf("broken from %v on: got %v, %v", from, got, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := search(ctx, func(float64) (float64, error) { return 1, nil }, 1e9, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

var (
	passStart = time.Date(2026, 6, 2, 0, 0, 0, 0, time.UTC)
	polar     = Site{Latitude: 78.23, Longitude: 15.39, Altitude: 0.45, Mask: []Horizon{{0, 5}}}
)

// TestPasses checks what holds for every pass, and how many there are of a satellite
// in a polar orbit over a polar station.
func TestPasses(t *testing.T) {
	p, g := mustPropagator(t, sample.elements), mustGround(t, polar)
	passes, err := Passes(t.Context(), p, g, passStart, passStart.AddDate(0, 0, 10))
	if err != nil {
		t.Fatal(err)
	}
	if perDay := float64(len(passes)) / 10; perDay < 12 || perDay > 14 {
		t.Errorf("%v passes a day, want about 13", perDay)
	}
	var last time.Time
	for _, pass := range passes {
		if pass.Begun || pass.Unended {
			continue
		}
		for _, m := range []Moment{pass.Rise, pass.Set} {
			if math.Abs(m.Elevation-5) > 1e-3 {
				t.Errorf("%v: elevation %v at its end, want 5", pass.Rise.At, m.Elevation)
			}
			before, after := lookAt(t, p, g, m.At.Add(-time.Millisecond)), lookAt(t, p, g, m.At.Add(time.Millisecond))
			if (before.Elevation > 5) == (after.Elevation > 5) {
				t.Errorf("%v: no change within a millisecond of %v", pass.Rise.At, m.At)
			}
		}
		top := pass.Culmination
		for _, d := range []time.Duration{-time.Second, time.Second} {
			if lookAt(t, p, g, top.At.Add(d)).Elevation > top.Elevation {
				t.Errorf("%v: higher %v from its culmination", pass.Rise.At, d)
			}
		}
		if !pass.Rise.At.After(last) || !top.At.After(pass.Rise.At) || !pass.Set.At.After(top.At) || pass.Duration() > 12*time.Minute {
			t.Errorf("%v to %v to %v after %v", pass.Rise.At, top.At, pass.Set.At, last)
		}
		if pass.Nearest > top.Range+1e-6 || pass.Nearest < 480 || pass.Farthest < pass.Rise.Range-1e-6 || pass.Farthest > 2500 {
			t.Errorf("%v: from %v to %v km", pass.Rise.At, pass.Nearest, pass.Farthest)
		}
		last = pass.Set.At
	}
}

func lookAt(t *testing.T, p *Propagator, g *Ground, at time.Time) Look {
	t.Helper()
	s, err := p.At(at)
	if err != nil {
		t.Fatal(err)
	}
	return g.Look(s.Position, at)
}

func TestPassesAreCutByTheSpan(t *testing.T) {
	p, g := mustPropagator(t, sample.elements), mustGround(t, polar)
	all, err := Passes(t.Context(), p, g, passStart, passStart.AddDate(0, 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	whole := all[3]
	cut, err := Passes(t.Context(), p, g, whole.Culmination.At, whole.Culmination.At.Add(time.Second))
	if err != nil || len(cut) != 1 || !cut[0].Begun || !cut[0].Unended || cut[0].Duration() != time.Second {
		t.Errorf("within a pass: got %+v, %v", cut, err)
	}
	// A stationary satellite never sets.
	e := sample.elements
	e.MeanMotion, e.Inclination, e.Eccentricity = 1.0027379, 0.01, 0
	still, err := NewPropagator(e)
	if err != nil {
		t.Fatal(err)
	}
	s, err := still.At(passStart)
	if err != nil {
		t.Fatal(err)
	}
	below := Site{Longitude: math.Remainder((math.Atan2(s.Position.Y, s.Position.X)-sidereal(passStart))/degree, 360)}
	cut, err = Passes(t.Context(), still, mustGround(t, below), passStart, passStart.AddDate(0, 0, 3))
	if err != nil || len(cut) != 1 || !cut[0].Begun || !cut[0].Unended || cut[0].Culmination.Elevation < 89 || math.Abs(cut[0].Nearest-35786) > 50 {
		t.Errorf("stationary: got %+v, %v", cut, err)
	}
}

func TestPassesRefuse(t *testing.T) {
	p, g := mustPropagator(t, sample.elements), mustGround(t, polar)
	for _, span := range []time.Duration{0, -1, MaxSearch + 1} {
		if _, err := Passes(t.Context(), p, g, passStart, passStart.Add(span)); err == nil {
			t.Errorf("span of %v: no error", span)
		}
	}
	e := sample.elements
	e.MeanMotion, e.Drag = 16.4, 0.01
	var failed *PropagationError
	_, err := Passes(t.Context(), mustPropagator(t, e), g, passStart, passStart.AddDate(0, 0, 30))
	if !errors.As(err, &failed) || !strings.Contains(err.Error(), "shorter span") {
		t.Errorf("falling satellite: got %v", err)
	}
}

func TestClearance(t *testing.T) {
	for name, c := range map[string]struct {
		a, b Vector
		want float64
	}{
		"through the middle":     {Vector{7000, 0, 0}, Vector{-7000, 0, 0}, -siteRadius},
		"over the equator":       {Vector{7000, -7000, 0}, Vector{7000, 7000, 0}, 7000 - siteRadius},
		"touching the pole":      {Vector{-9000, 0, siteRadius * (1 - siteFlattening)}, Vector{9000, 0, siteRadius * (1 - siteFlattening)}, 0},
		"nearest at an end":      {Vector{7000, 0, 0}, Vector{9000, 0, 0}, 7000 - siteRadius},
		"nearest at the other":   {Vector{9000, 0, 0}, Vector{7000, 0, 0}, 7000 - siteRadius},
		"both at the same place": {Vector{0, 7000, 0}, Vector{0, 7000, 0}, 7000 - siteRadius},
	} {
		if got := Clearance(c.a, c.b); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v km, want %v", name, got, c.want)
		}
	}
}

// TestSights holds the sights between two satellites against a look at every second.
func TestSights(t *testing.T) {
	other := sample.elements
	other.Inclination, other.Node, other.MeanMotion = 51.6, 40, 15.5
	a, b := mustPropagator(t, sample.elements), mustPropagator(t, other)
	end := passStart.Add(24 * time.Hour)
	for name, reach := range map[string]Reach{"in line": {}, "above the air": {Height: 100}, "near": {Range: 4000}} {
		sights, err := Sights(t.Context(), a, b, reach, passStart, end)
		if err != nil {
			t.Fatal(err)
		}
		if len(sights) < 3 {
			t.Errorf("%s: %d sights a day", name, len(sights))
		}
		for at := passStart; at.Before(end); at = at.Add(time.Second) {
			sa, err1 := a.At(at)
			sb, err2 := b.At(at)
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
			way := sa.Position.Sub(sb.Position).Norm()
			want := clearance(sa.Position, sb.Position, reach.Height) > 0 && (reach.Range == 0 || way < reach.Range)
			got := false
			for _, s := range sights {
				in := !at.Before(s.Start) && at.Before(s.End)
				got = got || in
				if in && (way < s.Nearest-1e-3 || way > s.Farthest+1e-3) {
					t.Fatalf("%s: %v km at %v, outside of %v to %v", name, way, at, s.Nearest, s.Farthest)
				}
			}
			if got != want {
				t.Fatalf("%s: in sight at %v: %v, want %v", name, at, got, want)
			}
		}
	}
	if _, err := Sights(t.Context(), a, b, Reach{Height: -1}, passStart, end); err == nil {
		t.Error("a height below 0 is taken")
	}
}

func BenchmarkPasses15Days(b *testing.B) {
	p, g := mustPropagator(b, sample.elements), mustGround(b, polar)
	for range b.N {
		if _, err := Passes(b.Context(), p, g, passStart, passStart.AddDate(0, 0, 15)); err != nil {
			b.Fatal(err)
		}
	}
}
