package orbit

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// ErrSite is wrapped by every error about a site.
var ErrSite = errors.New("invalid site")

// Constants of the World Geodetic System 1984, by which places on the ground are told.
const (
	siteRadius     = 6378.137          // km, equatorial
	siteFlattening = 1 / 298.257223563 //
)

// LightSpeed is that of light in kilometres a second.
const LightSpeed = 299792.458

// Horizon is how high a satellite must stand at an azimuth to be seen, in degrees.
type Horizon struct{ Azimuth, Elevation float64 }

// Site is a place on the ground by WGS-84 with what it sees of the sky.
type Site struct {
	// Latitude and Longitude are geodetic, in degrees, north and east positive.
	Latitude, Longitude float64
	// Altitude is the height above the ellipsoid in kilometres.
	Altitude float64
	// Mask is the horizon by azimuth, with straight lines between. One entry
	// holds all around; none means an elevation of 0.
	Mask []Horizon
}

// MaxMask is the most entries of a mask.
const MaxMask = 3600

// Ground is a site made ready for questions. It never changes.
type Ground struct {
	site            Site
	mask            []Horizon // by azimuth, the first and the last again on the other side
	place           Vector    // fixed to the Earth
	up, north, east Vector
}

// NewGround checks a site. Its error wraps ErrSite.
func NewGround(s Site) (*Ground, error) {
	switch {
	case !(s.Latitude >= -90 && s.Latitude <= 90):
		return nil, fmt.Errorf("%w: latitude of %v degrees is not from -90 to 90", ErrSite, s.Latitude)
	case !(s.Longitude >= -180 && s.Longitude <= 360):
		return nil, fmt.Errorf("%w: longitude of %v degrees is not from -180 to 360", ErrSite, s.Longitude)
	case !(s.Altitude >= -1 && s.Altitude <= 10):
		return nil, fmt.Errorf("%w: altitude of %v km is not from -1 to 10; it is in kilometres here", ErrSite, s.Altitude)
	case len(s.Mask) > MaxMask:
		return nil, fmt.Errorf("%w: its mask has %d entries, more than the limit of %d", ErrSite, len(s.Mask), MaxMask)
	}
	g := &Ground{site: s}
	var err error
	if g.mask, err = closeMask(s.Mask); err != nil {
		return nil, err
	}
	sinLat, cosLat := math.Sincos(s.Latitude * degree)
	sinLon, cosLon := math.Sincos(s.Longitude * degree)
	const e2 = siteFlattening * (2 - siteFlattening)
	n := siteRadius / math.Sqrt(1-e2*sinLat*sinLat)
	out := (n + s.Altitude) * cosLat
	g.place = Vector{out * cosLon, out * sinLon, (n*(1-e2) + s.Altitude) * sinLat}
	g.up = Vector{cosLat * cosLon, cosLat * sinLon, sinLat}
	g.north = Vector{-sinLat * cosLon, -sinLat * sinLon, cosLat}
	g.east = Vector{-sinLon, cosLon, 0}
	return g, nil
}

// closeMask checks a mask, sorts it by azimuth and closes the circle.
func closeMask(mask []Horizon) ([]Horizon, error) {
	if len(mask) == 0 {
		return []Horizon{{0, 0}}, nil
	}
	own := slices.Clone(mask)
	slices.SortFunc(own, func(a, b Horizon) int { return cmp.Compare(a.Azimuth, b.Azimuth) })
	for i, h := range own {
		switch {
		case !(h.Azimuth >= 0 && h.Azimuth < 360):
			return nil, fmt.Errorf("%w: azimuth of %v degrees in its mask is not from 0 to below 360", ErrSite, h.Azimuth)
		case !(h.Elevation >= -5 && h.Elevation < 90):
			return nil, fmt.Errorf("%w: elevation of %v degrees in its mask is not from -5 to below 90", ErrSite, h.Elevation)
		case i > 0 && own[i-1].Azimuth == h.Azimuth:
			return nil, fmt.Errorf("%w: azimuth %v is twice in its mask", ErrSite, h.Azimuth)
		}
	}
	if len(own) == 1 {
		return own, nil
	}
	first, last := own[0], own[len(own)-1]
	first.Azimuth += 360
	last.Azimuth -= 360
	return append(append([]Horizon{last}, own...), first), nil
}

// MaskAt returns the elevation in degrees from which a satellite at an azimuth, from 0
// to 360, is seen.
func (g *Ground) MaskAt(azimuth float64) float64 {
	if len(g.mask) == 1 {
		return g.mask[0].Elevation
	}
	i, _ := slices.BinarySearchFunc(g.mask, azimuth, func(h Horizon, a float64) int { return cmp.Compare(h.Azimuth, a) })
	i = max(1, min(i, len(g.mask)-1))
	a, b := g.mask[i-1], g.mask[i]
	return a.Elevation + (b.Elevation-a.Elevation)*(azimuth-a.Azimuth)/(b.Azimuth-a.Azimuth)
}

// Look is where something stands in the sky of a site: azimuth from north over east
// and elevation in degrees, range in kilometres. The air's refraction is left out.
type Look struct{ Azimuth, Elevation, Range float64 }

// Light returns the one-way light time.
func (l Look) Light() time.Duration { return lightTime(l.Range) }

// lightTime is how long light takes for a way in kilometres.
func lightTime(way float64) time.Duration {
	return time.Duration(way / LightSpeed * float64(time.Second))
}

// Look tells where a place in TEME at t is seen from g.
func (g *Ground) Look(place Vector, t time.Time) Look {
	return g.look(place, sidereal(t))
}

// look takes the angle of Greenwich in radians.
func (g *Ground) look(place Vector, greenwich float64) Look {
	sin, cos := math.Sincos(greenwich)
	fixed := Vector{cos*place.X + sin*place.Y, cos*place.Y - sin*place.X, place.Z}
	way := fixed.Sub(g.place)
	l := Look{Range: way.Norm()}
	l.Elevation = math.Asin(max(-1, min(1, way.Dot(g.up)/l.Range))) / degree
	if l.Azimuth = math.Atan2(way.Dot(g.east), way.Dot(g.north)) / degree; l.Azimuth < 0 {
		l.Azimuth += 360
	}
	return l
}
