package orbit

import "math"

// mean are mean elements at some time, in radians and radians a minute.
type mean struct {
	motion, eccentricity, inclination float64
	node, perigee, anomaly            float64
}

// After returns where the satellite is at a time in minutes after its epoch, before
// it when negative. Its error is a *PropagationError, or about a time that is no
// number or beyond MaxSpan.
func (p *Propagator) After(minutes float64) (State, error) {
	if !(math.Abs(minutes) <= MaxSpan.Minutes()) {
		return State{}, &PropagationError{Satellite: p.elements.String(), Minutes: minutes}
	}
	m, axis, code := p.advance(minutes)
	if code != 0 {
		return State{}, p.fail(minutes, code)
	}
	sinI, cosI, long := p.sinI, p.cosI, p.long
	if p.deep != nil {
		p.deep.disturb(&m, minutes)
		if m.inclination < 0 {
			m.inclination, m.node, m.perigee = -m.inclination, m.node+math.Pi, m.perigee-math.Pi
		}
		if m.eccentricity < 0 || m.eccentricity > 1 {
			return State{}, p.fail(minutes, 3)
		}
		sinI, cosI = math.Sincos(m.inclination)
		long = longPeriodTerms(sinI, cosI)
	}
	s, code := m.osculate(axis, sinI, cosI, long)
	if code != 0 {
		return State{}, p.fail(minutes, code)
	}
	return s, nil
}

// advance brings the mean elements to a time: secular changes, drag and resonance.
// The axis is in radii of the Earth. A code that is not zero is an error.
func (p *Propagator) advance(t float64) (m mean, axis float64, code int) {
	d := &p.drag
	m = mean{
		motion: p.motion, eccentricity: p.eccentricity, inclination: p.inclination,
		node:    p.node + p.rates.node*t + d.node*t*t,
		perigee: p.perigee + p.rates.perigee*t,
		anomaly: p.anomaly + p.rates.anomaly*t,
	}
	shrink := 1 - d.c1*t
	rounder := p.elements.Drag * d.c4 * t
	ahead := d.t2 * t * t
	if !d.simple {
		turn := d.perigee*t + d.anomaly*(math.Pow(1+d.eta*math.Cos(m.anomaly), 3)-d.cubed)
		m.anomaly += turn
		m.perigee -= turn
		shrink -= t * t * (d.d2 + t*(d.d3+t*d.d4))
		rounder += p.elements.Drag * d.c5 * (math.Sin(m.anomaly) - d.sinAnomaly)
		ahead += t * t * t * (d.t3 + t*(d.t4+t*d.t5))
	}
	if p.deep != nil {
		p.deep.advance(&m, t)
	}
	if m.motion <= 0 {
		return m, 0, 2
	}
	axis = math.Pow(ke/m.motion, 2./3) * shrink * shrink
	m.motion = ke / math.Pow(axis, 1.5)
	m.eccentricity -= rounder
	if m.eccentricity >= 1 || m.eccentricity < -0.001 {
		return m, 0, 1
	}
	m.eccentricity = max(m.eccentricity, 1e-6)
	m.anomaly += p.motion * ahead
	longitude := math.Mod(m.anomaly+m.perigee+m.node, twoPi)
	m.node = math.Mod(m.node, twoPi)
	m.perigee = math.Mod(m.perigee, twoPi)
	m.anomaly = math.Mod(longitude-m.perigee-m.node, twoPi)
	return m, axis, 0
}

// osculate adds the long-period and the short-period terms and turns elements into
// a place and a velocity. A code that is not zero is an error.
func (m mean) osculate(axis, sinI, cosI float64, long longPeriod) (State, int) {
	sinW, cosW := math.Sincos(m.perigee)
	inverse := 1 / (axis * (1 - m.eccentricity*m.eccentricity))
	ex := m.eccentricity * cosW
	ey := m.eccentricity*sinW + inverse*long.axial
	u := math.Mod(m.anomaly+m.perigee+inverse*long.longitude*ex, twoPi)
	sinE, cosE := kepler(u, ex, ey)

	e2 := ex*ex + ey*ey
	parameter := axis * (1 - e2)
	if parameter < 0 {
		return State{}, 4
	}
	eCos, eSin := ex*cosE+ey*sinE, ex*sinE-ey*cosE
	r := axis * (1 - eCos)
	beta := math.Sqrt(1 - e2)
	k := eSin / (1 + beta)
	sinU := axis / r * (sinE - ey - ex*k)
	cosU := axis / r * (cosE - ex + ey*k)
	sin2, cos2 := 2*cosU*sinU, 1-2*sinU*sinU

	c2 := cosI * cosI
	first := 0.5 * j2 / parameter
	second := first / parameter
	radius := r*(1-1.5*second*beta*(3*c2-1)) + 0.5*first*(1-c2)*cos2
	argument := math.Atan2(sinU, cosU) - 0.25*second*(7*c2-1)*sin2
	node := m.node + 1.5*second*cosI*sin2
	inclination := m.inclination + 1.5*second*cosI*sinI*cos2
	along := math.Sqrt(axis)*eSin/r - m.motion*first*(1-c2)*sin2/ke
	across := math.Sqrt(parameter)/r + m.motion*first*((1-c2)*cos2+1.5*(3*c2-1))/ke
	if radius < 1 {
		return State{}, 6
	}

	sinU, cosU = math.Sincos(argument)
	sinN, cosN := math.Sincos(node)
	sinI, cosI = math.Sincos(inclination)
	x, y := -sinN*cosI, cosN*cosI
	out := Vector{x*sinU + cosN*cosU, y*sinU + sinN*cosU, sinI * sinU}
	forward := Vector{x*cosU - cosN*sinU, y*cosU - sinN*sinU, sinI * cosU}
	const perSecond = earthRadius / 60
	return State{
		Position: out.Scale(radius * earthRadius),
		Velocity: out.Scale(along * ke * perSecond).Add(forward.Scale(across * ke * perSecond)),
	}, 0
}

// kepler solves Kepler's equation for the mean longitude u, with the eccentricity as
// a vector, and returns the sine and the cosine of the eccentric longitude.
func kepler(u, ex, ey float64) (sinE, cosE float64) {
	const steps, enough, widest = 10, 1e-12, 0.95
	e := u
	for range steps {
		sinE, cosE = math.Sincos(e)
		step := (u - ey*cosE + ex*sinE - e) / (1 - cosE*ex - sinE*ey)
		step = max(-widest, min(widest, step))
		e += step
		if math.Abs(step) < enough {
			break
		}
	}
	return sinE, cosE
}
