package predict

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/contact/orbit"
	"perigee/bundle/dtntime"
)

const from = dtntime.Time(833673600000) // 2026-06-02T00:00:00Z

func node(n uint64) bundle.EID { return bundle.IPN(n, 0) }

// satellite returns one in an orbit with a period and a node, in degrees.
func satellite(t *testing.T, number uint64, motion, eccentricity, ascending float64) Satellite {
	t.Helper()
	p, err := orbit.NewPropagator(orbit.Elements{
		Catalog: uint32(number), Epoch: from.Time().Add(-12 * time.Hour), MeanMotion: motion, Eccentricity: eccentricity,
		Inclination: 97.4, Node: ascending, Perigee: 270, Anomaly: 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	return Satellite{
		Node: node(number), Orbit: p,
		Down: 100 * contact.MegabitPerSecond, Up: 256 * contact.KilobitPerSecond,
	}
}

func station(t *testing.T, number uint64, latitude float64) Station {
	t.Helper()
	g, err := orbit.NewGround(orbit.Site{Latitude: latitude, Longitude: 15, Mask: []orbit.Horizon{{Elevation: 5}}})
	if err != nil {
		t.Fatal(err)
	}
	return Station{node(number), g}
}

func day() Options { return Options{From: from, To: from.Add(dtntime.Day), Guard: 5 * dtntime.Second} }

func predict(t *testing.T, n Network, o Options) ([]Window, *contact.Plan) {
	t.Helper()
	windows, err := Predict(t.Context(), n, o)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := Plan(windows)
	if err != nil {
		t.Fatal(err)
	}
	return windows, plan
}

func TestPredict(t *testing.T) {
	n := Network{
		Satellites: []Satellite{satellite(t, 2, 15.22, 0.001, 220), satellite(t, 3, 15.22, 0.001, 40)},
		Stations:   []Station{station(t, 1, 78), station(t, 4, 50)},
	}
	n.Satellites[1].Up = 0
	o := day()
	o.Confidence, o.Layer = 0.9, "ltp"
	windows, plan := predict(t, n, o)
	if len(windows) < 20 || plan.Len() < 30 {
		t.Fatalf("%d windows, %d contacts in a day", len(windows), plan.Len())
	}
	if !slices.IsSortedFunc(windows, func(a, b Window) int { return int(int64(a.Start) - int64(b.Start)) }) {
		t.Error("windows are not by start")
	}
	for _, w := range windows {
		want := 2
		if w.Satellite == node(3) {
			want = 1 // nothing goes up
		}
		if w.End.Sub(w.Start) <= 10*dtntime.Second {
			want = 0 // the guard leaves nothing
		}
		if len(w.Contacts) != want || w.Pass == nil {
			t.Errorf("%+v: %d contacts, want %d", w, len(w.Contacts), want)
		}
		for _, c := range w.Contacts {
			if c.Start != w.Start+5000 || c.End != w.End-5000 || c.Confidence != 0.9 || c.Layer != "ltp" {
				t.Errorf("contact %+v of a window from %v to %v", c, w.Start, w.End)
			}
			if rate := map[bool]contact.BitRate{true: 100_000_000, false: 256_000}[c.From == w.Satellite]; c.Rate != rate || !c.Between(c.From, c.To) {
				t.Errorf("contact %+v has not the rate %d", c, rate)
			}
			if light := float64(c.Light); light < w.Farthest/299.792458 || light > w.Farthest/299.792458+1 {
				t.Errorf("light takes %v ms for at most %v km", light, w.Farthest)
			}
		}
	}
}

func TestPredictBetweenSatellites(t *testing.T) {
	n := Network{
		Satellites: []Satellite{satellite(t, 2, 15.22, 0.001, 220), satellite(t, 3, 15.0, 0.001, 40)},
		Reach:      orbit.Reach{Height: 100},
	}
	if windows, plan := predict(t, n, day()); len(windows) != 0 || plan.Len() != 0 {
		t.Errorf("%d windows without a cross rate", len(windows))
	}
	n.Satellites[1].Cross = 10 * contact.MegabitPerSecond
	windows, plan := predict(t, n, day())
	if len(windows) < 5 || plan.Len() != len(windows) {
		t.Errorf("%d windows, %d contacts one way", len(windows), plan.Len())
	}
	for _, w := range windows {
		if w.Pass != nil || len(w.Contacts) != 1 || w.Contacts[0].From != node(3) || w.Contacts[0].To != node(2) {
			t.Errorf("%+v is not from 3 to 2 alone", w)
		}
	}
}

// TestPredictCutsByLight cuts the passes of an eccentric satellite and compares each
// part with where the satellite is.
func TestPredictCutsByLight(t *testing.T) {
	s, g := satellite(t, 2, 2.006, 0.69, 220), station(t, 1, 78)
	n := Network{Satellites: []Satellite{s}, Stations: []Station{g}}
	whole, _ := predict(t, n, day())
	o := day()
	o.LightStep = 10
	cut, plan := predict(t, n, o)
	if len(cut) != len(whole) || plan.Len() < 4*len(cut) {
		t.Fatalf("%d windows in %d contacts, of %d windows", len(cut), plan.Len(), len(whole))
	}
	for i, w := range cut {
		var down []contact.Contact
		for _, c := range w.Contacts {
			if c.From == s.Node {
				down = append(down, c)
			}
		}
		first, last := down[0], down[len(down)-1]
		if before := whole[i].Contacts[0]; first.Start != before.Start || last.End != before.End {
			t.Errorf("the parts go from %v to %v, the whole from %v to %v", first.Start, last.End, before.Start, before.End)
		}
		for j, c := range down {
			if j > 0 && down[j-1].End != c.Start {
				t.Errorf("a gap between %+v and %+v", down[j-1], c)
			}
			track, err := orbit.Track(s.Orbit, g.Ground, c.Start.Time(), c.End.Time(), time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range track {
				if late := float64(c.Light) - m.Range/299.792458; late < -0.01 || late > 13 {
					t.Errorf("%v ms later than light at %v", late, m.At)
				}
			}
		}
	}
}

func TestPredictRefuses(t *testing.T) {
	s, g := satellite(t, 2, 15.22, 0.001, 220), station(t, 1, 78)
	twice, unset := g, g
	twice.Node, unset.Node = s.Node, bundle.EID{}
	for name, c := range map[string]struct {
		n    Network
		want string
	}{
		"no satellite": {Network{Stations: []Station{g}}, "no satellite"},
		"one node":     {Network{Satellites: []Satellite{s}, Stations: []Station{twice}}, "twice"},
		"no node":      {Network{Satellites: []Satellite{s}, Stations: []Station{unset}}, "no number"},
		"one twice":    {Network{Satellites: []Satellite{s, s}}, "twice"},
	} {
		if _, err := Predict(t.Context(), c.n, day()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	backwards := day()
	backwards.To = backwards.From
	n := Network{Satellites: []Satellite{s}, Stations: []Station{g}}
	if _, err := Predict(t.Context(), n, backwards); err == nil {
		t.Error("a span without length is taken")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Predict(ctx, n, day()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

func TestLightTimeRoundsUp(t *testing.T) {
	for way, want := range map[float64]dtntime.Duration{0: 0, 1: 1, 299.7: 1, 299.8: 2, 299792.458: 1000} {
		if got := lightTime(way); got != want {
			t.Errorf("%v km: %v, want %v", way, got, want)
		}
	}
}
