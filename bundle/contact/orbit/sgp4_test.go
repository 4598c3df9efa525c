package orbit

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// published opens a file of the vectors that are published with AIAA 2006-6753, from
// where Debian's python3-sgp4 puts them, or skips the test.
func published(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Open(filepath.Join("/usr/lib/python3/dist-packages/sgp4", name))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("the published vectors are not here: %v; install Debian's python3-sgp4", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestPublishedVectors holds each satellite of the published vectors against them.
func TestPublishedVectors(t *testing.T) {
	verdicts, err := Verify(published(t, "SGP4-VER.TLE"), published(t, "tcppver.out"))
	if err != nil {
		t.Fatal(err)
	}
	if len(verdicts) != 33 {
		t.Errorf("%d satellites, want the 33 that are published", len(verdicts))
	}
	failures := map[string]int{"22312": 1, "28350": 1, "28872": 6, "29141": 6, "33333": 4, "33334": 3}
	states := 0
	for i, v := range verdicts {
		states += v.States
		if v.Position > 1e-6 || v.Velocity > 2e-9 {
			t.Errorf("satellite %s is off by %g km and %g km/s", v.Satellite, v.Position, v.Velocity)
		}
		want := failures[v.Satellite]
		if i == len(verdicts)-1 { // 20413 again, over a span at whose end it falls
			want = 6
		}
		if v.Failure != want {
			t.Errorf("satellite %s fails with code %d, want %d", v.Satellite, v.Failure, want)
		}
	}
	if states != 666 {
		t.Errorf("%d states were compared, want 666", states)
	}
}

func TestVerifyRefuses(t *testing.T) {
	tle := sample.line1 + "\n" + sample.line2 + " 0 1 1\n"
	for name, c := range map[string]struct{ cases, states, want string }{
		"no first line":      {sample.line2 + " 0 1 1\n", "", "no first line"},
		"no span":            {sample.line1 + "\n" + sample.line2 + " 0\n", "", "no start, end and step"},
		"step of 0":          {sample.line1 + "\n" + sample.line2 + " 0 1 0\n", "", "no start, end and step"},
		"no states":          {tle, "", "states of 0"},
		"too many":           {"", "5 xx\n", "more satellites than cases"},
		"neither":            {tle, "1 2 3\n", "neither a satellite nor a state"},
		"state with no case": {tle, "1 2 3 4 5 6 7\n", "neither a satellite nor a state"},
		"not a number":       {tle, "5 xx\n1 2 3 4 x 6 7\n", "reading a state"},
		"bad elements":       {strings.Replace(tle, " 97.4100 ", "197.4100 ", 1), "", "inclination"},
	} {
		_, err := Verify(strings.NewReader(c.cases), strings.NewReader(c.states))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error that says %q", name, err, c.want)
		}
	}
}

func TestPropagatorRefuses(t *testing.T) {
	for name, change := range map[string]func(*Elements){
		"no motion":       func(e *Elements) { e.MeanMotion = 0 },
		"NaN motion":      func(e *Elements) { e.MeanMotion = math.NaN() },
		"fast":            func(e *Elements) { e.MeanMotion = 20 },
		"hyperbola":       func(e *Elements) { e.Eccentricity = 1 },
		"below 0":         func(e *Elements) { e.Eccentricity = -1e-9 },
		"inclination":     func(e *Elements) { e.Inclination = 180.1 },
		"node":            func(e *Elements) { e.Node = 361 },
		"perigee":         func(e *Elements) { e.Perigee = math.Inf(1) },
		"anomaly":         func(e *Elements) { e.Anomaly = math.NaN() },
		"drag":            func(e *Elements) { e.Drag = 1e9 },
		"unset epoch":     func(e *Elements) { e.Epoch = time.Time{} },
		"epoch after all": func(e *Elements) { e.Epoch = time.Date(2057, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		e := sample.elements
		change(&e)
		if _, err := NewPropagator(e); !errors.Is(err, ErrElements) {
			t.Errorf("%s: got %v, want ErrElements", name, err)
		}
	}
}

func TestPropagationErrors(t *testing.T) {
	p := mustPropagator(t, sample.elements)
	for _, minutes := range []float64{math.NaN(), math.Inf(1), -60 * 24 * 365 * 101} {
		var failed *PropagationError
		if _, err := p.After(minutes); !errors.As(err, &failed) || failed.Code != 0 {
			t.Errorf("%v minutes: got %v", minutes, err)
		}
	}
	e := sample.elements
	e.MeanMotion, e.Drag = 16.4, 0.01 // low, and much air
	var failed *PropagationError
	_, err := mustPropagator(t, e).At(e.Epoch.AddDate(0, 0, 30))
	if !errors.As(err, &failed) || failed.Code == 0 || !strings.Contains(err.Error(), "newer elements") {
		t.Errorf("a falling satellite: got %v", err)
	}
}

// TestStateIsOfAnOrbit checks what must hold whatever the theory: the energy belongs
// to the axis, and the velocity is what the place changes by.
func TestStateIsOfAnOrbit(t *testing.T) {
	for name, change := range map[string]func(*Elements){
		"low":        func(*Elements) {},
		"equatorial": func(e *Elements) { e.Inclination = 0 },
		"backwards":  func(e *Elements) { e.Inclination = 180 },
		"circular":   func(e *Elements) { e.Eccentricity = 0 },
		"Molniya":    func(e *Elements) { e.MeanMotion, e.Eccentricity, e.Inclination = 2.006, 0.69, 63.4 },
		"stationary": func(e *Elements) { e.MeanMotion, e.Inclination = 1.0027, 0.05 },
		"navigation": func(e *Elements) { e.MeanMotion, e.Inclination = 2.0056, 55 },
		"far":        func(e *Elements) { e.MeanMotion, e.Eccentricity = 0.25, 0.8 },
	} {
		e := sample.elements
		change(&e)
		p := mustPropagator(t, e)
		for minutes := -3000.; minutes < 3000; minutes += 97 {
			const dt = 1. / 60 / 16
			s, before, after := mustAfter(t, p, minutes), mustAfter(t, p, minutes-dt), mustAfter(t, p, minutes+dt)
			moved := after.Position.Sub(before.Position).Scale(1 / (2 * dt * 60))
			if off := moved.Sub(s.Velocity).Norm(); off > 5e-3 {
				t.Fatalf("%s at %v: velocity is off by %v km/s", name, minutes, off)
			}
			r := s.Position.Norm()
			axis := 1 / (2/r - s.Velocity.Dot(s.Velocity)/gravity)
			want := p.axis * earthRadius
			if math.Abs(axis-want) > 0.01*want {
				t.Fatalf("%s at %v: axis %v, want about %v", name, minutes, axis, want)
			}
		}
	}
}

func mustPropagator(t testing.TB, e Elements) *Propagator {
	t.Helper()
	p, err := NewPropagator(e)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustAfter(t testing.TB, p *Propagator, minutes float64) State {
	t.Helper()
	s, err := p.After(minutes)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func BenchmarkPropagate(b *testing.B) {
	p := mustPropagator(b, sample.elements)
	for i := range b.N {
		if _, err := p.After(float64(i % 10000)); err != nil {
			b.Fatal(err)
		}
	}
}
