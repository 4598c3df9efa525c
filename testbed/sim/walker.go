package sim

import (
	"fmt"
	"math"
	"time"

	"perigee/bundle/contact/orbit"
)

// Walker is a Walker delta constellation: circular orbits of one height and
// inclination, in planes whose nodes are spread evenly around the equator, with as many
// satellites in each.
type Walker struct {
	// Satellites are all of them, a multiple of Planes.
	Satellites, Planes int
	// Phasing shifts satellites of the next plane by so many parts of the
	// Satellites of a revolution: the F of T/P/F.
	Phasing int
	// Height above the equator in kilometres, and Inclination in degrees.
	Height, Inclination float64
}

const (
	earthRadius = 6378.137   // km, of the equator, by WGS-84
	earthPull   = 398600.436 // km³/s²
)

func (c Walker) check() error {
	switch {
	case c.Satellites < 1 || c.Planes < 1 || c.Satellites%c.Planes != 0:
		return fmt.Errorf("%w: %d satellites in %d planes: want a multiple", ErrConfig, c.Satellites, c.Planes)
	case c.Height < 200 || c.Height > 50_000:
		return fmt.Errorf("%w: a height of %v km; want 200 to 50000", ErrConfig, c.Height)
	case c.Inclination < 0 || c.Inclination > 180:
		return fmt.Errorf("%w: an inclination of %v degrees; want 0 to 180", ErrConfig, c.Inclination)
	case c.Phasing < 0 || c.Phasing >= c.Planes:
		return fmt.Errorf("%w: a phasing of %d; want 0 to one less than the planes", ErrConfig, c.Phasing)
	}
	return nil
}

// Elements returns the orbits at an epoch, plane by plane.
func (c Walker) Elements(epoch time.Time) ([]orbit.Elements, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	axis := earthRadius + c.Height
	motion := 86400 / (2 * math.Pi) * math.Sqrt(earthPull/(axis*axis*axis))
	each := c.Satellites / c.Planes
	var list []orbit.Elements
	for p := range c.Planes {
		for s := range each {
			anomaly := 360*float64(s)/float64(each) + 360*float64(c.Phasing*p)/float64(c.Satellites)
			list = append(list, orbit.Elements{
				Name: fmt.Sprintf("%d/%d", p+1, s+1), Epoch: epoch, MeanMotion: motion, Eccentricity: 0.0001,
				Inclination: c.Inclination, Node: 360 * float64(p) / float64(c.Planes), Anomaly: math.Mod(anomaly, 360),
			})
		}
	}
	return list, nil
}

// Neighbours returns the pairs of satellites, as numbers of Elements, that a grid of
// links joins: each with the next one in its plane, and with the one of the same number
// in the next plane.
func (c Walker) Neighbours() [][2]int {
	each := c.Satellites / c.Planes
	seen := make(map[[2]int]bool)
	var list [][2]int
	join := func(a, b int) {
		p := [2]int{min(a, b), max(a, b)}
		if a != b && !seen[p] {
			seen[p] = true
			list = append(list, p)
		}
	}
	for p := range c.Planes {
		for s := range each {
			join(p*each+s, p*each+(s+1)%each)
			join(p*each+s, (p+1)%c.Planes*each+s)
		}
	}
	return list
}
