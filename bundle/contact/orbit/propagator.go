package orbit

import (
	"fmt"
	"math"
	"time"
)

// Constants of the World Geodetic System 1972, by which element sets are made: other
// ones would spoil them.
const (
	earthRadius = 6378.135 // km, equatorial
	gravity     = 398600.8 // km^3/s^2
	// Zonal harmonics.
	j2     = 0.001082616
	j3     = -0.00000253881
	j4     = -0.00000165597
	j3ByJ2 = j3 / j2
)

const (
	twoPi         = 2 * math.Pi
	degree        = math.Pi / 180
	minutesPerDay = 1440
	// deepPeriod is the period in minutes from which Sun, Moon and resonances
	// count (SDP4).
	deepPeriod = 225
)

// ke is the root of the gravity in units of the radius of the Earth and minutes.
var ke = 60 / math.Sqrt(earthRadius*earthRadius*earthRadius/gravity)

// MaxSpan is how far from its epoch an element set may be taken. That says nothing
// of how good it still is.
const MaxSpan = 100 * 365 * 24 * time.Hour

// Propagator computes where a satellite is from its elements, by SGP4 for periods
// below 225 minutes and by SDP4 for others, in the form of Vallado, Crawford, Hujsak
// and Kelso, Revisiting Spacetrack Report #3 (AIAA 2006-6753). It never changes and
// may be used concurrently.
type Propagator struct {
	elements Elements

	// The mean elements at epoch in radians, radians a minute and radii of the
	// Earth, with the mean motion by Brouwer's definition.
	motion, axis, eccentricity          float64
	inclination, node, perigee, anomaly float64
	sinI, cosI                          float64

	rates secular
	drag  drag
	long  longPeriod
	deep  *deepSpace // nil for near-earth orbits
}

// secular are the rates at which angles change, in radians a minute.
type secular struct{ anomaly, perigee, node float64 }

// longPeriod are the factors of the long-period terms, which follow from J3.
type longPeriod struct{ longitude, axial float64 }

// NewPropagator prepares to propagate e. Its error wraps ErrElements.
func NewPropagator(e Elements) (*Propagator, error) {
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrElements, e, err)
	}
	p := &Propagator{
		elements:     e,
		eccentricity: e.Eccentricity,
		inclination:  e.Inclination * degree, node: e.Node * degree,
		perigee: e.Perigee * degree, anomaly: e.Anomaly * degree,
	}
	p.sinI, p.cosI = math.Sincos(p.inclination)
	p.brouwer(e.MeanMotion * twoPi / minutesPerDay)
	p.rates = p.secularRates()
	p.drag = p.dragTerms()
	p.long = longPeriodTerms(p.sinI, p.cosI)
	if twoPi/p.motion >= deepPeriod {
		p.deep = p.newDeepSpace()
	}
	return p, nil
}

// Elements returns what p propagates.
func (p *Propagator) Elements() Elements { return p.elements }

// Period returns the time of one revolution.
func (p *Propagator) Period() time.Duration {
	return time.Duration(twoPi / p.motion * float64(time.Minute))
}

// brouwer sets the mean motion and the axis from the mean motion by Kozai's
// definition.
func (p *Propagator) brouwer(kozai float64) {
	root := 1 - p.eccentricity*p.eccentricity
	d := 0.75 * j2 * (3*p.cosI*p.cosI - 1) / (math.Sqrt(root) * root)
	axis := math.Pow(ke/kozai, 2./3)
	del := d / (axis * axis)
	axis *= 1 - del*del - del*(1./3+134*del*del/81)
	p.motion = kozai / (1 + d/(axis*axis))
	p.axis = math.Pow(ke/p.motion, 2./3)
}

// secularRates follow from the shape of the Earth.
func (p *Propagator) secularRates() secular {
	root := 1 - p.eccentricity*p.eccentricity
	beta := math.Sqrt(root)
	parameter := 1 / (p.axis * p.axis * root * root)
	c2 := p.cosI * p.cosI
	c4 := c2 * c2
	first := 1.5 * j2 * parameter * p.motion
	second := 0.5 * first * j2 * parameter
	fourth := -0.46875 * j4 * parameter * parameter * p.motion
	return secular{
		anomaly: p.motion + 0.5*first*beta*(3*c2-1) + 0.0625*second*beta*(13-78*c2+137*c4),
		perigee: -0.5*first*(1-5*c2) + 0.0625*second*(7-114*c2+395*c4) + fourth*(3-36*c2+49*c4),
		node:    (-first + 0.5*second*(4-19*c2) + 2*fourth*(3-7*c2)) * p.cosI,
	}
}

func longPeriodTerms(sinI, cosI float64) longPeriod {
	const least = 1.5e-12 // keeps an inclination of 180 degrees from a division by zero
	divisor := 1 + cosI
	if math.Abs(divisor) <= least {
		divisor = least
	}
	return longPeriod{
		longitude: -0.25 * j3ByJ2 * sinI * (3 + 5*cosI) / divisor,
		axial:     -0.5 * j3ByJ2 * sinI,
	}
}

// PropagationError says that the theory has no place for a satellite at a time.
type PropagationError struct {
	Satellite string
	Minutes   float64 // since the epoch
	// Code is that of the published implementations: 1 mean eccentricity out of
	// range, 2 mean motion below zero, 3 osculating eccentricity out of range, 4
	// semilatus rectum below zero, 6 decayed. 0: the time is beyond MaxSpan.
	Code int
}

func (e *PropagationError) Error() string {
	reasons := map[int]string{
		0: "that is more than 100 years",
		1: "its mean eccentricity leaves the range from 0 to 1", 2: "its mean motion falls below zero",
		3: "its eccentricity leaves the range from 0 to 1", 4: "its semilatus rectum falls below zero",
		6: "it has decayed",
	}
	return fmt.Sprintf("propagating %s to %.3f minutes from its epoch: %s; take newer elements or a shorter span",
		e.Satellite, e.Minutes, reasons[e.Code])
}

func (p *Propagator) fail(minutes float64, code int) error {
	return &PropagationError{Satellite: p.elements.String(), Minutes: minutes, Code: code}
}

// At returns where the satellite is at t.
func (p *Propagator) At(t time.Time) (State, error) {
	return p.After(t.Sub(p.elements.Epoch).Minutes())
}
