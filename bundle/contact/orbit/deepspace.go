package orbit

import "math"

// deepSpace are the terms that count for long periods: Sun, Moon and, where the
// period is near that of the rotation of the Earth or half of it, resonance.
type deepSpace struct {
	bodies    [2]disturbance // of the Sun and the Moon
	rates     bodyRates      // of both together
	resonance *resonance     // nil for most
}

// disturbance is the periodic part of what a body does to an orbit. Each pair of
// numbers goes with the half and the whole of the squared position of the body in
// its orbit; third ones go with the position itself.
type disturbance struct {
	start, rate, eccentricity    float64 // the mean anomaly of the body
	eccentric, inclined, turning [2]float64
	ahead, swing                 [3]float64
}

// bodyRates are rates in radians a minute.
type bodyRates struct{ eccentricity, inclination, anomaly, perigee, node float64 }

// body is a disturbing body in its apparent orbit around the Earth.
type body struct {
	strength, rate, eccentricity, start float64
	sinI, cosI                          float64 // inclination to the equator
	sinG, cosG                          float64 // perigee from the node
	sinH, cosH                          float64 // node of the satellite from the node of the body
}

const (
	sunRate, sunEccentricity, sunStrength    = 1.19459e-5, 0.01675, 2.9864797e-6
	moonRate, moonEccentricity, moonStrength = 1.5835218e-4, 0.05490, 4.7968065e-7
)

func (p *Propagator) newDeepSpace() *deepSpace {
	day := daysSince1900(p.elements.Epoch)
	d := &deepSpace{}
	for i, b := range [2]body{sun(day, p.node), moon(day, p.node)} {
		var r bodyRates
		d.bodies[i], r = b.on(p)
		d.rates.eccentricity += r.eccentricity
		d.rates.inclination += r.inclination
		d.rates.anomaly += r.anomaly
		d.rates.perigee += r.perigee
		d.rates.node += r.node
	}
	d.resonance = p.newResonance(d.rates)
	return d
}

// sun returns the Sun on a day, for a satellite with its node there.
func sun(day, node float64) body {
	b := body{
		strength: sunStrength, rate: sunRate, eccentricity: sunEccentricity,
		start: math.Mod(6.2565837+0.017201977*day, twoPi),
		sinI:  0.39785416, cosI: 0.91744867, sinG: -0.98088458, cosG: 0.1945905,
	}
	b.sinH, b.cosH = math.Sincos(node)
	return b
}

// moon returns the Moon on a day, for a satellite with its node there.
func moon(day, node float64) body {
	const sinEcliptic, cosEcliptic = 0.39785416, 0.91744867
	lunar := math.Mod(4.5236020-9.2422029e-4*day, twoPi) // node on the ecliptic
	sinL, cosL := math.Sincos(lunar)
	b := body{strength: moonStrength, rate: moonRate, eccentricity: moonEccentricity}
	b.cosI = 0.91375164 - 0.03568096*cosL
	b.sinI = math.Sqrt(1 - b.cosI*b.cosI)
	sinNode := 0.089683511 * sinL / b.sinI
	cosNode := math.Sqrt(1 - sinNode*sinNode)
	longitude := 5.8351514 + 0.0019443680*day // of the perigee
	arc := math.Atan2(sinEcliptic*sinL/b.sinI, cosNode*cosL+cosEcliptic*sinNode*sinL)
	b.sinG, b.cosG = math.Sincos(longitude + arc - lunar)
	b.start = math.Mod(4.7199672+0.22997150*day-longitude, twoPi)
	sinN, cosN := math.Sincos(node)
	b.sinH, b.cosH = sinN*cosNode-cosN*sinNode, cosNode*cosN+sinNode*sinN
	return b
}

// on computes what b does to the orbit of p: its periodic part and its rates. Names
// follow Spacetrack Report #3: a and x are directions, z and s what comes of them.
func (b body) on(p *Propagator) (disturbance, bodyRates) {
	a1 := b.cosG*b.cosH + b.sinG*b.cosI*b.sinH
	a3 := -b.sinG*b.cosH + b.cosG*b.cosI*b.sinH
	a7 := -b.cosG*b.sinH + b.sinG*b.cosI*b.cosH
	a9 := b.sinG*b.sinH + b.cosG*b.cosI*b.cosH
	a8, a10 := b.sinG*b.sinI, b.cosG*b.sinI
	a2, a4 := p.cosI*a7+p.sinI*a8, p.cosI*a9+p.sinI*a10
	a5, a6 := -p.sinI*a7+p.cosI*a8, -p.sinI*a9+p.cosI*a10

	sinW, cosW := math.Sincos(p.perigee)
	x1, x2 := a1*cosW+a2*sinW, a3*cosW+a4*sinW
	x3, x4 := -a1*sinW+a2*cosW, -a3*sinW+a4*cosW
	x5, x6, x7, x8 := a5*sinW, a6*sinW, a5*cosW, a6*cosW

	e := p.eccentricity
	e2 := e * e
	z31, z32, z33 := 12*x1*x1-3*x3*x3, 24*x1*x2-6*x3*x4, 12*x2*x2-3*x4*x4
	z1 := 2*(3*(a1*a1+a2*a2)+z31*e2) + (1-e2)*z31
	z2 := 2*(6*(a1*a3+a2*a4)+z32*e2) + (1-e2)*z32
	z3 := 2*(3*(a3*a3+a4*a4)+z33*e2) + (1-e2)*z33
	z11 := -6*a1*a5 + e2*(-24*x1*x7-6*x3*x5)
	z12 := -6*(a1*a6+a3*a5) + e2*(-24*(x2*x7+x1*x8)-6*(x3*x6+x4*x5))
	z13 := -6*a3*a6 + e2*(-24*x2*x8-6*x4*x6)
	z21 := 6*a2*a5 + e2*(24*x1*x5-6*x3*x7)
	z22 := 6*(a4*a5+a2*a6) + e2*(24*(x2*x5+x1*x6)-6*(x4*x7+x3*x8))
	z23 := 6*a4*a6 + e2*(24*x2*x6-6*x4*x8)

	s3 := b.strength / p.motion
	s2 := -0.5 * s3 / math.Sqrt(1-e2)
	s4 := s3 * math.Sqrt(1-e2)
	s1 := -15 * e * s4
	s5, s6, s7 := x1*x3+x2*x4, x2*x3+x1*x4, x2*x4-x1*x3

	pull := 21 + 9*e2
	d := disturbance{
		start: b.start, rate: b.rate, eccentricity: b.eccentricity,
		eccentric: [2]float64{2 * s1 * s6, 2 * s1 * s7},
		inclined:  [2]float64{2 * s2 * z12, 2 * s2 * (z13 - z11)},
		turning:   [2]float64{-2 * s2 * z22, -2 * s2 * (z23 - z21)},
		ahead:     [3]float64{-2 * s3 * z2, -2 * s3 * (z3 - z1), 2 * s3 * pull * b.eccentricity},
		swing:     [3]float64{2 * s4 * z32, 2 * s4 * (z33 - z31), -18 * s4 * b.eccentricity},
	}
	r := bodyRates{
		eccentricity: b.rate * s1 * s5,
		inclination:  b.rate * s2 * (z11 + z13),
		anomaly:      -b.rate * s3 * (z1 + z3 - 14 - 6*e2),
		perigee:      b.rate * s4 * (z31 + z33 - 6),
	}
	const flat = 5.2359877e-2 // radians from the equator, where the node means little
	if p.inclination >= flat && p.inclination <= math.Pi-flat {
		r.node = -b.rate * s2 * (z21 + z23) / p.sinI
		r.perigee -= p.cosI * r.node
	}
	return d, r
}

// advance adds what Sun, Moon and resonance do to mean elements in t minutes.
func (d *deepSpace) advance(m *mean, t float64) {
	m.eccentricity += d.rates.eccentricity * t
	m.inclination += d.rates.inclination * t
	m.perigee += d.rates.perigee * t
	m.node += d.rates.node * t
	m.anomaly += d.rates.anomaly * t
	if d.resonance != nil {
		d.resonance.advance(m, t)
	}
}

// disturb adds the periodic parts.
func (d *deepSpace) disturb(m *mean, t float64) {
	var eccentric, inclined, turning, ahead, swing float64
	for i := range d.bodies {
		b := &d.bodies[i]
		at := b.start + b.rate*t
		at += 2 * b.eccentricity * math.Sin(at)
		sin, cos := math.Sincos(at)
		f := [3]float64{0.5*sin*sin - 0.25, -0.5 * sin * cos, sin}
		eccentric += b.eccentric[0]*f[0] + b.eccentric[1]*f[1]
		inclined += b.inclined[0]*f[0] + b.inclined[1]*f[1]
		turning += b.turning[0]*f[0] + b.turning[1]*f[1]
		ahead += b.ahead[0]*f[0] + b.ahead[1]*f[1] + b.ahead[2]*f[2]
		swing += b.swing[0]*f[0] + b.swing[1]*f[1] + b.swing[2]*f[2]
	}
	m.inclination += inclined
	m.eccentricity += eccentric
	sinI, cosI := math.Sincos(m.inclination)
	const lyddane = 0.2 // radians: below, node and perigee are not taken apart
	if m.inclination >= lyddane {
		m.perigee += swing - cosI*turning/sinI
		m.node += turning / sinI
		m.anomaly += ahead
		return
	}
	sinN, cosN := math.Sincos(m.node)
	x := sinI*sinN + turning*cosN + inclined*cosI*sinN
	y := sinI*cosN - turning*sinN + inclined*cosI*cosN
	old := math.Mod(m.node, twoPi)
	longitude := m.anomaly + m.perigee + ahead + swing + (cosI-inclined*sinI)*old
	m.node = math.Atan2(x, y)
	if math.Abs(old-m.node) > math.Pi {
		if m.node < old {
			m.node += twoPi
		} else {
			m.node -= twoPi
		}
	}
	m.anomaly += ahead
	m.perigee = longitude - m.anomaly - cosI*m.node
}
