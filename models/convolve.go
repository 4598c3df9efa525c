package models

import (
	"perigee/models/internal/kernel"
)

// convolve is a convolution, a deconvolution or a dense layer.
type convolve struct {
	layer    *Layer
	set      *kernel.Set
	in, out  *storage
	taps     int // weights of a filter for one channel
	products []product
	workers  []worker
	list     []convolveTask
}

// convolveTask is some panels at some places of a product.
type convolveTask struct {
	product, panel, panels int
	from, to               int
}

func (s *convolve) tasks() int { return len(s.list) }

func (s *convolve) do(worker, task int) {
	t := &s.list[task]
	p := &s.products[t.product]
	p.run(s.set, &s.workers[worker], s.layer, s.in.data, s.out.data, p.panels[t.panel:t.panel+t.panels], t.from, t.to)
}

func (s *convolve) load(c Conv) {
	for i := range s.products {
		s.products[i].load(&c, s.taps)
	}
}

// reach returns the zeros that a convolution of a map of shape in reads around it.
func (l *Layer) reach(in Shape) border {
	w := l.Geometry()
	if l.Kind == Convolution {
		return border{w.Top, w.Left, w.Bottom, w.Right}
	}
	var b border
	out := l.opened(in, &w)
	for py := range w.StrideH {
		for px := range w.StrideW {
			h, width := phasePlaces(out.H, py, w.StrideH), phasePlaces(out.W, px, w.StrideW)
			for _, t := range l.phaseTaps(&w, py, px) {
				b = b.union(border{-t.dy, -t.dx, t.dy + h - in.H, t.dx + width - in.W})
			}
		}
	}
	return b
}

// opened returns the shape of a deconvolution's output.
func (l *Layer) opened(in Shape, w *Window) Shape {
	return Shape{
		C: l.Filters,
		H: (in.H-1)*w.StrideH + w.spanH() + w.ExtraH - w.Top - w.Bottom,
		W: (in.W-1)*w.StrideW + w.spanW() + w.ExtraW - w.Left - w.Right,
	}
}

// phasePlaces returns how many of n places have the given phase.
func phasePlaces(n, phase, stride int) int { return max(0, (n-phase+stride-1)/stride) }

// phaseTaps returns what the places of a deconvolution's output read whose rows and
// columns have the given phases: weight k of the row y of the output meets the row
// (y + Top - k*Dilation) / Stride of the input, if that is whole.
func (l *Layer) phaseTaps(w *Window, py, px int) []tap {
	var taps []tap
	for ky := range w.H {
		y := py + w.Top - ky*w.DilationH
		if y%w.StrideH != 0 {
			continue
		}
		for kx := range w.W {
			if x := px + w.Left - kx*w.DilationW; x%w.StrideW == 0 {
				taps = append(taps, tap{y / w.StrideH, x / w.StrideW, ky*w.W + kx})
			}
		}
	}
	return taps
}

// windowTaps returns what a place of a convolution reads.
func windowTaps(w *Window) []tap {
	var taps []tap
	for ky := range w.H {
		for kx := range w.W {
			taps = append(taps, tap{ky * w.DilationH, kx * w.DilationW, ky*w.W + kx})
		}
	}
	return taps
}

// convolution compiles convolutions and deconvolutions.
func (c *compiler) convolution(i int, l *Layer) {
	w := l.Geometry()
	in := c.viewOf(c.net.plan.inputs[i][0])
	if l.Kind == Convolution && l.groups() > 1 && l.groups() == in.c && l.Filters == in.c {
		c.depthwise(i, l, &w, in)
		return
	}
	out := c.makeView(c.values[i])
	s := &convolve{layer: l, set: &c.set, in: in.mem, out: out.mem, taps: w.H * w.W, workers: newWorkers(&c.set, c.program.crew.threads())}
	groups := l.groups()
	for g := range groups {
		p := product{first: g * in.c / groups, depth: in.c / groups, filter: g * l.Filters / groups, filters: l.Filters / groups}
		if l.Kind == Convolution {
			p.taps = windowTaps(&w)
			p.grid(in, out, in.index(-w.Top, -w.Left), w.StrideH, w.StrideW)
			s.products = append(s.products, p)
			continue
		}
		for py := range w.StrideH {
			for px := range w.StrideW {
				phase := p
				if phase.taps = l.phaseTaps(&w, py, px); len(phase.taps) == 0 {
					phase.taps = []tap{{0, 0, -1}} // the bias alone
				}
				phase.phase(in, out, py, px, &w)
				if phase.h > 0 && phase.w > 0 {
					s.products = append(s.products, phase)
				}
			}
		}
	}
	for j := range s.products {
		s.products[j].plan(&c.set, in.row, in.c)
	}
	s.split(c.program.crew.threads())
	c.program.weights[i] = s
	c.emitView(s, out, in.mem)
}

// grid lets p compute every place of out, strides apart in the input.
func (p *product) grid(in, out *view, corner, strideH, strideW int) {
	p.h, p.w = out.h, out.w
	p.inAt, p.inRow, p.inColumn = corner+p.first, strideH*in.row, strideW*in.c
	p.outAt, p.outRow, p.outColumn = out.index(0, 0), out.row, out.c
}

// phase lets p compute the places of out that have the given phases.
func (p *product) phase(in, out *view, py, px int, w *Window) {
	p.h, p.w = phasePlaces(out.h, py, w.StrideH), phasePlaces(out.w, px, w.StrideW)
	p.inAt, p.inRow, p.inColumn = in.index(0, 0)+p.first, in.row, in.c
	p.outAt, p.outRow, p.outColumn = out.index(py, px), w.StrideH*out.row, w.StrideW*out.c
}

// dense compiles a dense layer: a convolution of size 1 whose places are rows.
func (c *compiler) dense(i int, l *Layer) {
	in := c.flatOf(c.net.plan.inputs[i][0])
	out := c.makeFlat(c.values[i])
	dims := c.value(c.net.plan.inputs[i][0]).dims
	columns := dims[len(dims)-1]
	s := &convolve{layer: l, set: &c.set, in: in.mem, out: out.mem, taps: 1, workers: newWorkers(&c.set, c.program.crew.threads())}
	p := product{taps: []tap{{0, 0, 0}}, depth: columns, filters: l.Filters, h: 1, w: in.n / columns}
	p.inAt, p.inColumn, p.outAt, p.outColumn = in.at, columns, out.at, l.Filters
	p.plan(&c.set, 0, columns)
	s.products = []product{p}
	s.split(c.program.crew.threads())
	c.program.weights[i] = s
	c.emit(s, in.mem)
}

// Tasks of a product are several for each thread, so that none waits long for the
// last one, but not so small that starting them counts.
const (
	tasksPerThread = 4
	leastPlaces    = 8 * kernel.Rows
)

// split cuts the products into tasks. Whichever is larger, places or panels, is cut:
// what is read again and again should stay in the cache of one core.
func (s *convolve) split(threads int) {
	for i := range s.products {
		p := &s.products[i]
		places := p.h * p.w
		weights := len(p.taps) * p.depth * p.filters
		panels, chunk := len(p.panels), places
		if weights > places*p.depth && len(p.panels) > 1 {
			panels = max(1, len(p.panels)/(threads*tasksPerThread))
		} else {
			chunk = max(leastPlaces, roundUp((places+threads*tasksPerThread-1)/(threads*tasksPerThread), kernel.Rows))
			chunk = min(chunk, 64*kernel.Rows)
		}
		for panel := 0; panel < len(p.panels); panel += panels {
			for from := 0; from < places; from += chunk {
				s.list = append(s.list, convolveTask{
					product: i, panel: panel, panels: min(panels, len(p.panels)-panel), from: from, to: min(from+chunk, places),
				})
			}
		}
	}
}
