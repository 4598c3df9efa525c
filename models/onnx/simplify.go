package onnx

import (
	"slices"

	"perigee/models"
)

// simplify brings the layers into the form that models are fastest with: nothing
// that no output depends on, scales and shifts within the weights before them, and
// activations within their layers.
func (im *importer) simplify() {
	// Gates first: their sums would else end up in the weights.
	im.simplifyBy(func(l *layer, readers map[*layer]int) bool {
		if l.Kind == models.Mul {
			return im.joinGate(l)
		}
		before := l.onlyInput()
		return before != nil && readers[before] == 1 && l.is(models.Affine) && before.is(models.Clip) && im.joinHardSigmoid(l, before, readers)
	})
	im.simplifyBy(im.join)
}

// simplifyBy joins layers until join finds none, dropping what is not used any more.
func (im *importer) simplifyBy(join func(l *layer, readers map[*layer]int) bool) {
	for {
		im.dropUnused()
		readers := im.readers()
		changed := false
		for _, l := range im.layers {
			if changed = join(l, readers); changed {
				break // who reads whom has changed
			}
		}
		if !changed {
			return
		}
	}
}

// dropUnused drops what no output depends on.
func (im *importer) dropUnused() {
	used := make(map[*layer]bool)
	for _, out := range im.outputs {
		used[out] = true
	}
	for i := len(im.layers) - 1; i >= 0; i-- {
		if l := im.layers[i]; used[l] {
			for _, f := range l.from {
				used[f] = true
			}
		}
	}
	im.layers = slices.DeleteFunc(im.layers, func(l *layer) bool { return !used[l] })
}

// readers counts the layers and outputs that read each layer.
func (im *importer) readers() map[*layer]int {
	readers := make(map[*layer]int)
	for _, l := range im.layers {
		for _, f := range l.from {
			readers[f]++
		}
	}
	for _, out := range im.outputs {
		readers[out]++
	}
	return readers
}

// replace lets everybody who reads a layer read another.
func (im *importer) replace(old, by *layer) {
	for _, l := range im.layers {
		for i, f := range l.from {
			if f == old {
				l.from[i] = by
			}
		}
	}
	for i, out := range im.outputs {
		if out == old {
			im.outputs[i] = by
		}
	}
}

// join makes one of l and what it reads, if that gives the same.
func (im *importer) join(l *layer, readers map[*layer]int) bool {
	switch {
	case l.Kind == models.Mul:
		return im.joinGate(l) // an operation with 1 may have stood between
	case l.Kind == models.Add && len(l.from) == 2:
		return im.joinBias(l, readers)
	}
	if len(l.from) != 1 || l.from[0] == nil {
		return false
	}
	before := l.from[0]
	alone := readers[before] == 1
	switch {
	case l.is(models.Affine) && l.Alpha == 1 && l.Beta == 0:
		im.replace(l, before)
	case !alone:
		return false
	case l.is(models.Affine) && before.is(models.Affine):
		before.Alpha, before.Beta = l.Alpha*before.Alpha, l.Alpha*before.Beta+l.Beta
		im.replace(l, before)
	case before.weighted() && before.Activation == models.Linear && l.is(models.Affine):
		before.scale(func(int) (float64, float64) { return float64(l.Alpha), float64(l.Beta) })
		im.replace(l, before)
	case before.weighted() && before.Activation == models.Linear && l.perChannel():
		channels := l.Filters
		before.scale(func(f int) (float64, float64) { return float64(l.params[channels+f]), float64(l.params[f]) })
		before.Activation, before.Alpha, before.Beta = l.Activation, l.Alpha, l.Beta
		im.replace(l, before)
	case before.weighted() && before.Activation == models.Linear && l.Kind == models.Activate:
		before.Activation, before.Alpha, before.Beta = l.Activation, l.Alpha, l.Beta
		im.replace(l, before)
	default:
		return false
	}
	return true
}

// is reports whether l is the given activation alone.
func (l *layer) is(a models.Activation) bool { return l.Kind == models.Activate && l.Activation == a }

// weighted reports whether l has filters with weights.
func (l *layer) weighted() bool {
	return l.Kind == models.Convolution || l.Kind == models.Deconvolution || l.Kind == models.Dense
}

// perChannel reports whether l scales and shifts each channel by itself.
func (l *layer) perChannel() bool {
	return l.Kind == models.Convolution && l.Window == nil && l.Size == 1 && l.Stride == 1 && l.Pad == 0 && len(l.params) == 2*l.Filters
}

// scale multiplies each filter and adds to its bias.
func (l *layer) scale(by func(filter int) (factor, shift float64)) {
	params := slices.Clone(l.params)
	columns := len(params)/l.Filters - 1
	for f := range l.Filters {
		factor, shift := by(f)
		params[f] = float32(float64(float64(params[f])*factor) + shift)
		row := params[l.Filters+f*columns : l.Filters+(f+1)*columns]
		for i, v := range row {
			row[i] = float32(float64(v) * factor)
		}
	}
	l.params = params
}

// joinGate makes HardSwish and SiLU of a map times its own HardSigmoid or Sigmoid.
func (im *importer) joinGate(l *layer) bool {
	for i, gate := range l.from {
		x := l.from[1-i]
		if gate == nil || len(gate.from) != 1 || gate.from[0] != x || gate.Kind != models.Activate {
			continue
		}
		made := models.Layer{Kind: models.Activate, Name: l.Name}
		switch gate.Activation {
		case models.HardSigmoid:
			made.Activation, made.Alpha, made.Beta = models.HardSwish, gate.Alpha, gate.Beta
		case models.Sigmoid:
			made.Activation = models.SiLU
		default:
			continue
		}
		l.Layer, l.from = made, []*layer{x}
		return true
	}
	// x times Clip(x + b, 0, h), which is h times HardSwish.
	for i, gate := range l.from {
		x := l.from[1-i]
		shift, height, ok := gate.ramp(x)
		if !ok {
			continue
		}
		swish := &layer{
			Layer: models.Layer{Kind: models.Activate, Activation: models.HardSwish, Alpha: 1 / height, Beta: shift / height},
			from:  []*layer{x}, dims: l.dims,
		}
		l.Layer = models.Layer{Kind: models.Activate, Name: l.Name, Activation: models.Affine, Alpha: height}
		l.from = []*layer{swish}
		im.layers = slices.Insert(im.layers, slices.Index(im.layers, l), swish)
		return true
	}
	return false
}

// ramp reports whether l is Clip(x + shift, 0, height).
func (l *layer) ramp(x *layer) (shift, height float32, ok bool) {
	if l == nil || !l.is(models.Clip) || l.Alpha != 0 || l.Beta <= 0 || l.from[0] == nil {
		return 0, 0, false
	}
	if sum := l.from[0]; sum.is(models.Affine) && sum.Alpha == 1 && sum.from[0] == x {
		return sum.Beta, l.Beta, true
	}
	return 0, 0, false
}

// joinHardSigmoid makes HardSigmoid of Clip(x + b, 0, h) / h.
func (im *importer) joinHardSigmoid(l, clip *layer, readers map[*layer]int) bool {
	sum := clip.from[0]
	if sum == nil || readers[sum] != 1 {
		return false
	}
	shift, height, ok := clip.ramp(sum.onlyInput())
	if !ok || l.Beta != 0 || !near(l.Alpha*height, 1) {
		return false
	}
	l.Layer = models.Layer{Kind: models.Activate, Name: l.Name, Activation: models.HardSigmoid, Alpha: 1 / height, Beta: shift / height}
	l.from = []*layer{sum.from[0]}
	return true
}

func (l *layer) onlyInput() *layer {
	if len(l.from) != 1 {
		return nil
	}
	return l.from[0]
}

func near(a, b float32) bool { return a-b < 1e-6 && b-a < 1e-6 }

// joinBias adds a constant with one value for each filter to a dense layer's biases.
func (im *importer) joinBias(l *layer, readers map[*layer]int) bool {
	for i, c := range l.from {
		x := l.from[1-i]
		if c == nil || x == nil || c.Kind != models.Constant || x.Kind != models.Dense || x.Activation != models.Linear || readers[x] != 1 {
			continue
		}
		if len(c.params) != x.Filters || c.dims[len(c.dims)-1] != x.Filters || len(c.dims) > len(x.dims) {
			continue
		}
		x.scale(func(f int) (float64, float64) { return 1, float64(c.params[f]) })
		im.replace(l, x)
		return true
	}
	return false
}
