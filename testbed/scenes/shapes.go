package scenes

import (
	"image/color"
	"math/rand/v2"
)

// mirror completes a half outline, given from nose to stern on the side of
// positive y, with its mirror image.
func mirror(half ...point) []point {
	shape := append([]point{}, half...)
	for i := len(half) - 1; i >= 0; i-- {
		if half[i].y != 0 {
			shape = append(shape, point{half[i].x, -half[i].y})
		}
	}
	return shape
}

func rectangle(x0, y0, x1, y1 float64) []point {
	return []point{{x0, y0}, {x1, y0}, {x1, y1}, {x0, y1}}
}

func between(rng *rand.Rand, low, high float64) float64 {
	return low + rng.Float64()*(high-low)
}

func pick(rng *rand.Rand, colours ...color.NRGBA) color.NRGBA {
	return colours[rng.IntN(len(colours))]
}

// shade makes a colour lighter (above 1) or darker (below 1).
func shade(c color.NRGBA, by float64) color.NRGBA {
	scale := func(v uint8) uint8 { return uint8(min(255, float64(v)*by)) }
	return color.NRGBA{scale(c.R), scale(c.G), scale(c.B), c.A}
}

// buildShip makes a ship: wake, shadow, hull, deck, and a cargo of one of
// three kinds.
func (o *object) buildShip(rng *rand.Rand) {
	beam := between(rng, 0.13, 0.19)
	hull := mirror(point{0.5, 0}, point{0.42, beam * 0.5}, point{0.28, beam * 0.9},
		point{0.1, beam}, point{-0.44, beam}, point{-0.5, beam * 0.75})
	deck := mirror(point{0.44, 0}, point{0.37, beam * 0.4}, point{0.25, beam * 0.68},
		point{0.1, beam * 0.74}, point{-0.45, beam * 0.72})
	o.outline = hull
	if rng.IntN(5) > 0 { // one ship in five lies at anchor
		o.addWake(beam, between(rng, 0.5, 1.3), rng)
	}
	o.shadow(hull, 1.4, 110)
	side := pick(rng, color.NRGBA{104, 38, 32, 255}, color.NRGBA{40, 44, 52, 255}, color.NRGBA{52, 64, 82, 255},
		color.NRGBA{112, 116, 118, 255}, color.NRGBA{24, 56, 56, 255})
	o.fill(side, hull...)
	top := pick(rng, color.NRGBA{128, 122, 112, 255}, color.NRGBA{118, 72, 58, 255}, color.NRGBA{140, 144, 148, 255},
		color.NRGBA{92, 104, 102, 255})
	o.fill(top, deck...)
	switch rng.IntN(3) {
	case 0:
		o.addContainers(beam, rng)
	case 1:
		o.addTank(beam, top)
	default:
		o.fill(shade(top, 0.72), rectangle(0.02, -beam*0.5, 0.26, beam*0.5)...)
		o.fill(shade(top, 0.82), rectangle(-0.22, -beam*0.5, -0.02, beam*0.5)...)
	}
	bridge := between(rng, -0.42, -0.36)
	o.fill(color.NRGBA{186, 192, 198, 255}, rectangle(bridge, -beam*0.72, bridge+0.13, beam*0.72)...)
	o.fill(color.NRGBA{70, 74, 84, 255}, rectangle(bridge+0.02, -beam*0.22, bridge+0.07, beam*0.22)...)
}

// addWake paints foam behind and beside the hull, fading with the distance.
func (o *object) addWake(beam, length float64, rng *rand.Rand) {
	const steps = 12
	strength := between(rng, 40, 95)
	spread := between(rng, 0.12, 0.2)
	for i := range steps {
		from := -0.46 - length*float64(i)/steps
		to := -0.46 - length*float64(i+1)/steps
		near := beam*0.8 + spread*length*float64(i)/steps
		far := beam*0.8 + spread*length*float64(i+1)/steps
		fade := 1 - float64(i)/steps
		foam := color.NRGBA{226, 238, 246, uint8(strength * fade * fade)}
		const arm = 0.35 // of the width: the arms are brighter than the middle
		o.fill(foam, point{from, near}, point{to, far}, point{to, far * (1 - arm)}, point{from, near * (1 - arm)})
		o.fill(foam, point{from, -near}, point{to, -far}, point{to, -far * (1 - arm)}, point{from, -near * (1 - arm)})
		foam.A /= 3
		o.fill(foam, point{from, near * 0.6}, point{to, far * 0.6}, point{to, -far * 0.6}, point{from, -near * 0.6})
	}
	bow := color.NRGBA{226, 238, 246, uint8(strength * 0.6)}
	o.fill(bow, point{0.52, 0}, point{0.2, beam * 1.35}, point{0.16, beam * 0.9})
	o.fill(bow, point{0.52, 0}, point{0.2, -beam * 1.35}, point{0.16, -beam * 0.9})
}

func (o *object) addContainers(beam float64, rng *rand.Rand) {
	const bays = 5
	for i := range bays {
		x := -0.2 + 0.115*float64(i)
		for _, side := range []float64{-1, 1} {
			colour := pick(rng, color.NRGBA{138, 56, 42, 255}, color.NRGBA{36, 78, 124, 255},
				color.NRGBA{52, 100, 70, 255}, color.NRGBA{150, 118, 54, 255}, color.NRGBA{140, 144, 148, 255})
			o.fill(colour, rectangle(x, side*beam*0.05, x+0.095, side*beam*0.62)...)
		}
	}
}

func (o *object) addTank(beam float64, top color.NRGBA) {
	o.fill(shade(top, 0.6), rectangle(-0.2, -beam*0.12, 0.32, beam*0.12)...)
	for _, x := range []float64{-0.12, 0.06, 0.22} {
		o.fill(shade(top, 0.7), rectangle(x, -beam*0.6, x+0.03, beam*0.6)...)
	}
}

// buildAircraft makes an aircraft: a shadow at some distance, wings, tail,
// engines and fuselage.
func (o *object) buildAircraft(rng *rand.Rand) {
	body := between(rng, 0.05, 0.07)
	span := between(rng, 0.44, 0.52)
	sweep := between(rng, 0.14, 0.26)
	tail := between(rng, 0.16, 0.2)
	wings := mirror(point{0.14, 0}, point{0.13, body}, point{0.13 - sweep, span}, point{0.05 - sweep, span},
		point{-0.1, body}, point{-0.1, 0})
	rear := mirror(point{-0.32, 0}, point{-0.35, body * 0.6}, point{-0.43, tail}, point{-0.49, tail},
		point{-0.46, body * 0.4}, point{-0.48, 0})
	fuselage := mirror(point{0.5, 0}, point{0.48, body * 0.5}, point{0.42, body * 0.85}, point{0.34, body},
		point{-0.2, body}, point{-0.4, body * 0.5}, point{-0.5, 0})
	o.outline = append(append(append([]point{}, wings...), rear...), fuselage...)
	distance := between(rng, 2.5, 5)
	for _, shape := range [][]point{wings, rear, fuselage} {
		o.shadow(shape, distance, 105)
	}
	paint := pick(rng, color.NRGBA{178, 182, 188, 255}, color.NRGBA{160, 166, 174, 255},
		color.NRGBA{134, 142, 152, 255}, color.NRGBA{186, 182, 174, 255})
	accent := pick(rng, color.NRGBA{196, 40, 44, 255}, color.NRGBA{28, 74, 150, 255},
		color.NRGBA{226, 148, 30, 255}, color.NRGBA{30, 120, 96, 255})
	o.fill(shade(paint, 0.86), wings...)
	o.fill(shade(paint, 0.84), rear...)
	for _, side := range []float64{-1, 1} {
		y := side * span * 0.42
		x := 0.13 - sweep*0.42
		o.fill(color.NRGBA{88, 94, 104, 255}, rectangle(x, y-0.028, x+0.09, y+0.028)...)
	}
	o.fill(paint, fuselage...)
	o.fill(accent, mirror(point{-0.34, 0}, point{-0.36, body * 0.35}, point{-0.49, body * 0.2})...)
	o.fill(color.NRGBA{48, 56, 70, 255}, mirror(point{0.455, 0}, point{0.43, body * 0.5}, point{0.405, 0})...)
}
