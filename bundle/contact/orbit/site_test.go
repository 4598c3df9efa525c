package orbit

import (
	"errors"
	"math"
	"testing"
	"time"
)

func mustGround(t testing.TB, s Site) *Ground {
	t.Helper()
	g, err := NewGround(s)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestSidereal(t *testing.T) {
	// Vallado, Fundamentals of Astrodynamics and Applications, example 3-5.
	at := time.Date(1992, 8, 20, 12, 14, 0, 0, time.UTC)
	if got := sidereal(at) / degree; math.Abs(got-152.578787810) > 1e-7 {
		t.Errorf("angle of Greenwich is %.9f degrees, want 152.578787810", got)
	}
	if got := sidereal(time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC)); got < 0 || got >= twoPi {
		t.Errorf("angle of Greenwich in 1960 is %v", got)
	}
}

func TestGroundIsWhereItIs(t *testing.T) {
	// Vallado, example 7-1.
	g := mustGround(t, Site{Latitude: 39.007, Longitude: -104.883, Altitude: 2.187})
	if off := g.place.Sub(Vector{-1275.1219, -4797.9890, 3994.2975}).Norm(); off > 1e-3 {
		t.Errorf("place %+v is off by %v km", g.place, off)
	}
	for _, s := range []Site{{}, {Latitude: 90}, {Latitude: -90}, {Longitude: 180}, {Latitude: 45, Longitude: 300}} {
		g := mustGround(t, s)
		for name, dot := range map[string]float64{
			"up": g.up.Dot(g.up) - 1, "north": g.north.Dot(g.north) - 1, "east": g.east.Dot(g.east) - 1,
			"up and north": g.up.Dot(g.north), "up and east": g.up.Dot(g.east), "north and east": g.north.Dot(g.east),
		} {
			if math.Abs(dot) > 1e-12 {
				t.Errorf("at %+v, %s are no axes: %v", s, name, dot)
			}
		}
	}
}

func TestLook(t *testing.T) {
	g := mustGround(t, Site{Latitude: 45, Longitude: 10})
	for name, c := range map[string]struct {
		to                 Vector
		azimuth, elevation float64
	}{
		"up": {g.up, -1, 90}, "north": {g.north, 0, 0}, "east": {g.east, 90, 0}, "south": {g.north.Scale(-1), 180, 0},
		"west": {g.east.Scale(-1), 270, 0}, "north-east, half way up": {g.north.Add(g.east).Add(g.up.Scale(math.Sqrt2)), 45, 45},
		"below": {g.up.Scale(-1), -1, -90},
	} {
		place := g.place.Add(c.to.Scale(1000 / c.to.Norm()))
		got := g.look(place, 0)
		if math.Abs(got.Range-1000) > 1e-9 || math.Abs(got.Elevation-c.elevation) > 1e-6 ||
			c.azimuth >= 0 && math.Abs(math.Remainder(got.Azimuth-c.azimuth, 360)) > 1e-9 {
			t.Errorf("%s: got %+v, want azimuth %v, elevation %v at 1000 km", name, got, c.azimuth, c.elevation)
		}
		if l := got.Light().Seconds(); math.Abs(l-1000/299792.458) > 1e-9 {
			t.Errorf("light takes %v s for 1000 km", l)
		}
	}
	// The Earth turns: what stands still among the stars moves by 15 degrees an hour.
	at := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	sin, cos := math.Sincos(sidereal(at))
	place := Vector{cos*g.place.X - sin*g.place.Y, sin*g.place.X + cos*g.place.Y, g.place.Z}.Scale(2)
	if got := g.Look(place, at); math.Abs(got.Elevation-89.8) > 0.1 {
		t.Errorf("above the site at %v: got %+v", at, got)
	}
	if got := g.Look(place, at.Add(12*time.Hour)); got.Elevation > 0 {
		t.Errorf("half a day later: got %+v", got)
	}
}

func TestMask(t *testing.T) {
	if got := mustGround(t, Site{}).MaskAt(123); got != 0 {
		t.Errorf("no mask is %v", got)
	}
	if got := mustGround(t, Site{Mask: []Horizon{{77, 5}}}).MaskAt(200); got != 5 {
		t.Errorf("even mask is %v", got)
	}
	g := mustGround(t, Site{Mask: []Horizon{{270, 30}, {90, 10}, {180, 20}}})
	for azimuth, want := range map[float64]float64{90: 10, 135: 15, 180: 20, 270: 30, 0: 20, 360: 20, 45: 15, 315: 25, 359.999999: 20} {
		if got := g.MaskAt(azimuth); math.Abs(got-want) > 1e-6 {
			t.Errorf("mask at %v is %v, want %v", azimuth, got, want)
		}
	}
}

func TestNewGroundRefuses(t *testing.T) {
	for name, s := range map[string]Site{
		"latitude": {Latitude: 90.1}, "NaN": {Latitude: math.NaN()}, "longitude": {Longitude: -181},
		"metres": {Altitude: 450}, "long mask": {Mask: make([]Horizon, MaxMask+1)},
		"azimuth": {Mask: []Horizon{{360, 1}}}, "elevation": {Mask: []Horizon{{0, 90}}}, "twice": {Mask: []Horizon{{5, 1}, {5, 2}}},
		"NaN mask": {Mask: []Horizon{{0, math.NaN()}}},
	} {
		if _, err := NewGround(s); !errors.Is(err, ErrSite) {
			t.Errorf("%s: got %v, want ErrSite", name, err)
		}
	}
}
