package models

import (
	"unsafe"

	"perigee/models/internal/kernel"
)

const valueSize = int(unsafe.Sizeof(float32(0)))

// tap is one weight of a window: where it reads, from the corner of the window, and
// its number in the filter.
type tap struct{ dy, dx, index int }

// product computes some filters of a convolution at a grid of places, as products
// of matrices whose rows are places and whose columns are filters.
type product struct {
	taps    []tap
	first   int // channel of the input from which on filters read
	depth   int // channels that they read
	filter  int // first filter
	filters int

	// The corner of the window at place (y, x) is the input's value at
	// inAt + y*inRow + x*inColumn; its result goes to outAt + y*outRow + x*outColumn.
	inAt, inRow, inColumn    int
	outAt, outRow, outColumn int
	h, w                     int

	offsets []int // of runs, in bytes
	length  int   // of a run
	panels  []panel
}

// panel is the weights of some filters, side by side.
type panel struct {
	filter  int // first of the layer
	valid   int // filters in it; the rest is zeros
	width   int
	weights []float32 // [runs][length][width]
	bias    []float32 // [width]
}

// plan finds the runs of values that each place reads, in an input whose rows and
// places are the given numbers of values apart, and makes room for the weights.
func (p *product) plan(set *kernel.Set, row, place int) {
	p.length = p.depth
	joined := len(p.taps) // taps of a run: those side by side, if nothing lies between
	for i := 1; i < len(p.taps) && joined == len(p.taps); i++ {
		if p.taps[i].dy != p.taps[0].dy {
			joined = i
		}
	}
	for i, t := range p.taps {
		start := p.taps[i/joined*joined]
		if place != p.depth || len(p.taps)%joined != 0 || t.dy != start.dy || t.dx != start.dx+i%joined {
			joined = 1
			break
		}
	}
	p.length *= joined
	for i := 0; i < len(p.taps); i += joined {
		p.offsets = append(p.offsets, (p.taps[i].dy*row+p.taps[i].dx*place)*valueSize)
	}
	at := 0
	for _, width := range set.Panels(p.filters) {
		p.panels = append(p.panels, panel{
			filter: p.filter + at, valid: min(width, p.filters-at), width: width,
			weights: make([]float32, len(p.taps)*p.depth*width), bias: make([]float32, width),
		})
		at += width
	}
}

// load packs the weights of a layer whose filters have taps weights for each of
// their channels.
func (p *product) load(c *Conv, taps int) {
	for i := range p.panels {
		panel := &p.panels[i]
		copy(panel.bias, c.Bias[panel.filter:panel.filter+panel.valid])
		for lane := range panel.valid {
			row := c.Weights[(panel.filter+lane)*c.Columns : (panel.filter+lane+1)*c.Columns]
			to := panel.weights[lane:]
			for t, tap := range p.taps {
				if tap.index < 0 {
					continue // stands for no weight
				}
				for channel := range p.depth {
					to[(t*p.depth+channel)*panel.width] = row[channel*taps+tap.index]
				}
			}
		}
	}
}

// worker is what one goroutine computes products with.
type worker struct {
	tile    kernel.Tile
	scratch []float32 // a tile of the widest panel
}

func newWorkers(set *kernel.Set, threads int) []worker {
	workers := make([]worker, threads)
	for i := range workers {
		workers[i].scratch = make([]float32, kernel.Rows*set.Widths[len(set.Widths)-1])
	}
	return workers
}

// run computes the places from up to to with the given panels.
func (p *product) run(k *kernel.Set, w *worker, l *Layer, in, out []float32, panels []panel, from, to int) {
	t := &w.tile
	t.Offsets, t.Runs, t.Length = unsafe.Pointer(&p.offsets[0]), len(p.offsets), p.length
	var plain bool
	t.Slope, t.Ceiling, plain = l.fused()
	input, output := unsafe.Pointer(&in[p.inAt]), unsafe.Pointer(&out[p.outAt])
	for i := range panels {
		panel := &panels[i]
		t.Weights, t.Bias = unsafe.Pointer(&panel.weights[0]), unsafe.Pointer(&panel.bias[0])
		whole := panel.valid == panel.width
		for place := from; place < to; place += kernel.Rows {
			y, x := place/p.w, place%p.w
			for r := range kernel.Rows {
				t.In[r] = unsafe.Add(input, (y*p.inRow+x*p.inColumn)*valueSize)
				if whole && place+r < to {
					t.Out[r] = unsafe.Add(output, (y*p.outRow+x*p.outColumn+panel.filter)*valueSize)
				} else {
					t.Out[r] = unsafe.Pointer(&w.scratch[r*panel.width])
				}
				if place+r+1 < to {
					if x++; x == p.w {
						y, x = y+1, 0
					}
				}
			}
			k.Tile(panel.width, t)
			if !whole || !plain {
				p.finish(w, l, out, panel, place, min(place+kernel.Rows, to), whole, plain)
			}
		}
	}
}

// finish brings the valid results of a tile to their places and applies an
// activation that the kernel does not know.
func (p *product) finish(w *worker, l *Layer, out []float32, panel *panel, from, to int, whole, plain bool) {
	for place := from; place < to; place++ {
		at := p.outAt + place/p.w*p.outRow + place%p.w*p.outColumn + panel.filter
		result := out[at : at+panel.valid]
		if !whole {
			copy(result, w.scratch[(place-from)*panel.width:])
		}
		if !plain {
			l.activate(result)
		}
	}
}
