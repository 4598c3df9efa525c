package orbit

import "math"

// resonance is the pull of the uneven Earth on an orbit that comes by the same places
// again and again: once a day, or twice and eccentric. The mean longitude is integrated
// from the epoch in steps of half a day.
type resonance struct {
	daily             bool
	motion            float64 // at epoch
	longitude         float64 // of the resonant angle, at epoch
	drift             float64 // of that angle beside the mean motion, in radians a minute
	sidereal          float64 // angle of Greenwich at epoch
	perigee, perigees float64 // at epoch, and its rate

	daily3 [3]float64 // strengths of the terms for one, two and three times the angle
	terms  []term     // of the twice-daily resonance
}

// term is one of the twice-daily resonance: its strength, and its angle as multiples
// of perigee and longitude less a phase.
type term struct{ strength, perigee, longitude, phase float64 }

// siderealRate is the rotation of the Earth in radians a minute.
const siderealRate = 4.37526908801129966e-3

// Phases of the once-daily terms.
const daily1, daily2, daily3 = 0.13130908, 2.8843198, 0.37448087

// newResonance returns the resonance of the orbit of p, nil when there is none.
func (p *Propagator) newResonance(bodies bodyRates) *resonance {
	n := p.motion
	daily := n > 0.0034906585 && n < 0.0052359877
	twice := n >= 8.26e-3 && n <= 9.24e-3 && p.eccentricity >= 0.5
	if !daily && !twice {
		return nil
	}
	r := &resonance{
		daily: daily, motion: n, sidereal: sidereal(p.elements.Epoch),
		perigee: p.perigee, perigees: p.rates.perigee,
	}
	if daily {
		r.daily3 = p.dailyTerms()
		r.longitude = math.Mod(p.anomaly+p.node+p.perigee-r.sidereal, twoPi)
		r.drift = p.rates.anomaly + p.rates.perigee + p.rates.node - siderealRate +
			bodies.anomaly + bodies.perigee + bodies.node - n
		return r
	}
	r.terms = p.twiceDailyTerms()
	r.longitude = math.Mod(p.anomaly+2*p.node-2*r.sidereal, twoPi)
	r.drift = p.rates.anomaly + bodies.anomaly + 2*(p.rates.node+bodies.node-siderealRate) - n
	return r
}

// dailyTerms are the strengths of the once-daily resonance.
func (p *Propagator) dailyTerms() [3]float64 {
	const q22, q31, q33 = 1.7891679e-6, 2.1460748e-6, 2.2123015e-7
	e2 := p.eccentricity * p.eccentricity
	inverse := math.Pow(p.motion/ke, 2./3) // of the axis
	up := 1 + p.cosI
	g200 := 1 + e2*(-2.5+0.8125*e2)
	g310 := 1 + 2*e2
	g300 := 1 + e2*(-6+6.60937*e2)
	f220 := 0.75 * up * up
	f311 := 0.9375*p.sinI*p.sinI*(1+3*p.cosI) - 0.75*up
	f330 := 1.875 * up * up * up
	k := 3 * p.motion * p.motion * inverse * inverse
	return [3]float64{k * f311 * g310 * q31 * inverse, 2 * k * f220 * g200 * q22, 3 * k * f330 * g300 * q33 * inverse}
}

// cubic returns c[0] + c[1]e + c[2]e^2 + c[3]e^3.
func cubic(e float64, c [4]float64) float64 { return c[0] + e*(c[1]+e*(c[2]+e*c[3])) }

// eccentricityFunctions are Hansen's, as fits of third order in the eccentricity:
// G201, G211, G310, G322, G410, G422, G520, G521, G532 and G533.
func eccentricityFunctions(e float64) (g struct{ g201, g211, g310, g322, g410, g422, g520, g521, g532, g533 float64 }) {
	g.g201 = -0.306 - (e-0.64)*0.440
	if e <= 0.65 {
		g.g211 = cubic(e, [4]float64{3.616, -13.2470, 16.2900})
		g.g310 = cubic(e, [4]float64{-19.302, 117.3900, -228.4190, 156.5910})
		g.g322 = cubic(e, [4]float64{-18.9068, 109.7927, -214.6334, 146.5816})
		g.g410 = cubic(e, [4]float64{-41.122, 242.6940, -471.0940, 313.9530})
		g.g422 = cubic(e, [4]float64{-146.407, 841.8800, -1629.014, 1083.4350})
		g.g520 = cubic(e, [4]float64{-532.114, 3017.977, -5740.032, 3708.2760})
	} else {
		g.g211 = cubic(e, [4]float64{-72.099, 331.819, -508.738, 266.724})
		g.g310 = cubic(e, [4]float64{-346.844, 1582.851, -2415.925, 1246.113})
		g.g322 = cubic(e, [4]float64{-342.585, 1554.908, -2366.899, 1215.972})
		g.g410 = cubic(e, [4]float64{-1052.797, 4758.686, -7193.992, 3651.957})
		g.g422 = cubic(e, [4]float64{-3581.690, 16178.110, -24462.770, 12422.520})
		g.g520 = cubic(e, [4]float64{1464.74, -4664.75, 3763.64})
		if e > 0.715 {
			g.g520 = cubic(e, [4]float64{-5149.66, 29936.92, -54087.36, 31324.56})
		}
	}
	if e < 0.7 {
		g.g533 = cubic(e, [4]float64{-919.22770, 4988.6100, -9064.7700, 5542.21})
		g.g521 = cubic(e, [4]float64{-822.71072, 4568.6173, -8491.4146, 5337.524})
		g.g532 = cubic(e, [4]float64{-853.66600, 4690.2500, -8624.7700, 5341.4})
	} else {
		g.g533 = cubic(e, [4]float64{-37995.780, 161616.52, -229838.20, 109377.94})
		g.g521 = cubic(e, [4]float64{-51752.104, 218913.95, -309468.16, 146349.42})
		g.g532 = cubic(e, [4]float64{-40023.880, 170470.89, -242699.48, 115605.82})
	}
	return g
}

// twiceDailyTerms are those of the twice-daily resonance.
func (p *Propagator) twiceDailyTerms() []term {
	const (
		root22, root32, root44, root52, root54 = 1.7891679e-6, 3.7393792e-7, 7.3636953e-9, 1.1428639e-7, 2.1765803e-9
		g22, g32, g44, g52, g54                = 5.7686396, 0.95240898, 1.8014998, 1.0508330, 4.4108898
	)
	g := eccentricityFunctions(p.eccentricity)
	s, c := p.sinI, p.cosI
	s2, c2 := s*s, c*c
	f220 := 0.75 * (1 + 2*c + c2)
	f221 := 1.5 * s2
	f321 := 1.875 * s * (1 - 2*c - 3*c2)
	f322 := -1.875 * s * (1 + 2*c - 3*c2)
	f441 := 35 * s2 * f220
	f442 := 39.3750 * s2 * s2
	f522 := 9.84375 * s * (s2*(1-2*c-5*c2) + 0.33333333*(-2+4*c+6*c2))
	f523 := s * (4.92187512*s2*(-2-4*c+10*c2) + 6.56250012*(1+2*c-3*c2))
	f542 := 29.53125 * s * (2 - 8*c + c2*(-12+8*c+10*c2))
	f543 := 29.53125 * s * (-2 - 8*c + c2*(12+8*c-10*c2))

	inverse := math.Pow(p.motion/ke, 2./3) // of the axis
	k2 := 3 * p.motion * p.motion * inverse * inverse
	k3 := k2 * inverse
	k4 := k3 * inverse
	k5 := k4 * inverse
	return []term{
		{k2 * root22 * f220 * g.g201, 2, 1, g22},
		{k2 * root22 * f221 * g.g211, 0, 1, g22},
		{k3 * root32 * f321 * g.g310, 1, 1, g32},
		{k3 * root32 * f322 * g.g322, -1, 1, g32},
		{2 * k4 * root44 * f441 * g.g410, 2, 2, g44},
		{2 * k4 * root44 * f442 * g.g422, 0, 2, g44},
		{k5 * root52 * f522 * g.g520, 1, 1, g52},
		{k5 * root52 * f523 * g.g532, -1, 1, g52},
		{2 * k5 * root54 * f542 * g.g521, 1, 2, g54},
		{2 * k5 * root54 * f543 * g.g533, -1, 2, g54},
	}
}

// pull returns how the mean motion changes, and how that change does, for the resonant
// angle at a time.
func (r *resonance) pull(longitude, motion, at float64) (first, second float64) {
	if r.daily {
		for i, phase := range [3]float64{daily1, daily2, daily3} {
			times := float64(i + 1)
			sin, cos := math.Sincos(times * (longitude - phase))
			first += r.daily3[i] * sin
			second += r.daily3[i] * times * cos
		}
	}
	perigee := r.perigee + r.perigees*at
	for _, t := range r.terms {
		sin, cos := math.Sincos(t.perigee*perigee + t.longitude*longitude - t.phase)
		first += t.strength * sin
		second += t.strength * t.longitude * cos
	}
	return first, second * (motion + r.drift)
}

// advance replaces mean motion and anomaly by what has become of them in t minutes.
func (r *resonance) advance(m *mean, t float64) {
	const step = 720 // minutes
	longitude, motion, at := r.longitude, r.motion, 0.
	first, second := r.pull(longitude, motion, at)
	for math.Abs(t-at) >= step {
		d := math.Copysign(step, t)
		longitude += (motion+r.drift)*d + first*step*step/2
		motion += first*d + second*step*step/2
		at += d
		first, second = r.pull(longitude, motion, at)
	}
	rest := t - at
	longitude += (motion+r.drift)*rest + first*rest*rest/2
	m.motion = motion + first*rest + second*rest*rest/2

	earth := math.Mod(r.sidereal+t*siderealRate, twoPi)
	if r.daily {
		m.anomaly = longitude - m.node - m.perigee + earth
	} else {
		m.anomaly = longitude - 2*m.node + 2*earth
	}
}
