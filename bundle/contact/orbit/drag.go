package orbit

import "math"

// Heights in kilometres between which the model of the air changes.
const (
	airBottom = 78  // of the model, for a perigee from airFull on
	airTop    = 120 //
	airFull   = 156
	airLow    = 98  // perigee from which the bottom stays at airLeast
	airLeast  = 20  //
	calm      = 220 // perigee below which the drag has a simpler model
)

// drag are the terms of the air. Names follow Spacetrack Report #3, where the C, D
// and T are.
type drag struct {
	simple                 bool // a low perigee or deep space: the terms below simple's are zero
	c1, c4, c5             float64
	t2                     float64
	node                   float64 // of t^2 in the node
	perigee, anomaly       float64 // of the linear and the cubed term
	eta, cubed, sinAnomaly float64 // at epoch
	d2, d3, d4, t3, t4, t5 float64
}

// dragTerms prepares the terms of the air.
func (p *Propagator) dragTerms() drag {
	e, n, a, bstar := p.eccentricity, p.motion, p.axis, p.elements.Drag
	lowest := (a*(1-e) - 1) * earthRadius
	bottom := float64(airBottom)
	switch {
	case lowest < airLow:
		bottom = airLeast
	case lowest < airFull:
		bottom = lowest - airBottom
	}
	thickness := math.Pow((airTop-bottom)/earthRadius, 4)
	s := bottom/earthRadius + 1

	root := 1 - e*e
	xi := 1 / (a - s)
	eta := a * e * xi
	eta2, eeta := eta*eta, e*eta
	psi := math.Abs(1 - eta2)
	density := thickness * math.Pow(xi, 4)
	k := density / math.Pow(psi, 3.5)
	c2 := p.cosI * p.cosI
	con := 3*c2 - 1

	d := drag{eta: eta}
	d.c1 = bstar * k * n * (a*(1+1.5*eta2+eeta*(4+eta2)) + 0.375*j2*xi/psi*con*(8+3*eta2*(8+eta2)))
	d.c4 = 2 * n * k * a * root * (eta*(2+0.5*eta2) + e*(0.5+2*eta2) -
		j2*xi/(a*psi)*(-3*con*(1-2*eeta+eta2*(1.5-0.5*eeta))+
			0.75*(1-c2)*(2*eta2-eeta*(1+eta2))*math.Cos(2*p.perigee)))
	d.c5 = 2 * k * a * root * (1 + 2.75*(eta2+eeta) + eeta*eta2)
	d.t2 = 1.5 * d.c1
	d.node = 3.5 * root * (-1.5 * j2 / (a * a * root * root) * n * p.cosI) * d.c1
	if e > 1e-4 {
		c3 := -2 * density * xi * j3ByJ2 * n * p.sinI / e
		d.perigee = bstar * c3 * math.Cos(p.perigee)
		d.anomaly = -2. / 3 * density * bstar / eeta
	}
	d.cubed = math.Pow(1+eta*math.Cos(p.anomaly), 3)
	d.sinAnomaly = math.Sin(p.anomaly)
	d.simple = lowest < calm || twoPi/n >= deepPeriod
	if !d.simple {
		d.higher(a, xi, s)
	}
	return d
}

// higher sets the terms of higher order in time.
func (d *drag) higher(a, xi, s float64) {
	square := d.c1 * d.c1
	d.d2 = 4 * a * xi * square
	k := d.d2 * xi * d.c1 / 3
	d.d3 = (17*a + s) * k
	d.d4 = 0.5 * k * a * xi * (221*a + 31*s) * d.c1
	d.t3 = d.d2 + 2*square
	d.t4 = 0.25 * (3*d.d3 + d.c1*(12*d.d2+10*square))
	d.t5 = 0.2 * (3*d.d4 + 12*d.c1*d.d3 + 6*d.d2*d.d2 + 15*square*(2*d.d2+square))
}
