package orbit

import (
	"context"
	"fmt"
	"math"
	"time"
)

// Reach says when two satellites see each other.
type Reach struct {
	// Height in kilometres above the Earth's ellipsoid that the line between
	// them must stay at, for the air or for the pattern of an antenna.
	Height float64
	// Range is the greatest distance in kilometres; 0 for any.
	Range float64
}

// Sight is a span in which two satellites see each other.
type Sight struct {
	Start, End time.Time
	// Begun and Unended tell that the span that was asked for cuts the sight.
	Begun, Unended bool
	// Nearest and Farthest are the least and the greatest distance in
	// kilometres.
	Nearest, Farthest float64
}

// Clearance returns how high above the Earth's ellipsoid the line between two places
// stays, in kilometres; negative when the Earth is in between. The axis of the frame
// must be that of the Earth. It is exact where it is 0 and near enough elsewhere.
func Clearance(a, b Vector) float64 { return clearance(a, b, 0) }

// clearance is the distance of the line from the ellipsoid at some height.
func clearance(a, b Vector, height float64) float64 {
	// The ellipsoid becomes a sphere when the frame is stretched along the axis,
	// and a line stays a line.
	radius := siteRadius + height
	stretch := radius / (siteRadius*(1-siteFlattening) + height)
	a.Z, b.Z = a.Z*stretch, b.Z*stretch
	way := b.Sub(a)
	share := 0.
	if square := way.Dot(way); square > 0 {
		share = max(0, min(1, -a.Dot(way)/square))
	}
	return a.Add(way.Scale(share)).Norm() - radius
}

// Sights finds when a and b see each other from one time to another, as Passes does.
func Sights(ctx context.Context, a, b *Propagator, reach Reach, from, to time.Time) ([]Sight, error) {
	if err := checkSearch(from, to); err != nil {
		return nil, err
	}
	if !(reach.Height >= 0 && reach.Height <= 1000 && reach.Range >= 0) {
		return nil, fmt.Errorf("searching for sights: a height of %v km is not from 0 to 1000, or a range of %v km is negative", reach.Height, reach.Range)
	}
	trackA, trackB := a.track(from), b.track(from)
	ends := func(s float64) (pair [2]Vector, err error) {
		var states [2]State
		if states[0], err = trackA(s); err == nil {
			states[1], err = trackB(s)
		}
		return [2]Vector{states[0].Position, states[1].Position}, err
	}
	distance := func(v [2]Vector) float64 { return v[1].Sub(v[0]).Norm() }
	step := min(a.step(), b.step())
	windows, err := search(ctx, func(s float64) (float64, error) {
		v, err := ends(s)
		m := clearance(v[0], v[1], reach.Height)
		if reach.Range > 0 {
			m = math.Min(m, reach.Range-distance(v))
		}
		return m, err
	}, to.Sub(from).Seconds(), step)
	if err != nil {
		return nil, fmt.Errorf("searching for sights between %s and %s: %w", a.elements, b.elements, err)
	}
	sights := make([]Sight, 0, len(windows))
	for _, w := range windows {
		sight := Sight{Start: after(from, w.start), End: after(from, w.end), Begun: w.before, Unended: w.past}
		for _, e := range []struct {
			to   *float64
			sign float64
		}{{&sight.Nearest, -1}, {&sight.Farthest, 1}} {
			at, err := peak(ends, w, step, func(v [2]Vector) float64 { return e.sign * distance(v) })
			if err != nil {
				return nil, fmt.Errorf("describing a sight between %s and %s: %w", a.elements, b.elements, err)
			}
			v, err := ends(at)
			if err != nil {
				return nil, fmt.Errorf("describing a sight between %s and %s: %w", a.elements, b.elements, err)
			}
			*e.to = distance(v)
		}
		sights = append(sights, sight)
	}
	return sights, nil
}
