package models

import (
	"math"
	"unsafe"

	"perigee/models/internal/kernel"
)

// depthwise is a convolution with one filter for each channel, row by row.
type depthwise struct {
	layer   *Layer
	set     *kernel.Set
	w       Window
	in, out *view
	offsets []int
	weights []float32 // [taps][channels]
	bias    []float32
	lines   []kernel.Line // by worker
}

func (c *compiler) depthwise(i int, l *Layer, w *Window, in *view) {
	out := c.makeView(c.values[i])
	s := &depthwise{
		layer: l, set: &c.set, w: *w, in: in, out: out,
		weights: make([]float32, w.H*w.W*in.c), bias: make([]float32, in.c), lines: make([]kernel.Line, c.program.crew.threads()),
	}
	for _, t := range windowTaps(w) {
		s.offsets = append(s.offsets, (t.dy*in.row+t.dx*in.c)*valueSize)
	}
	c.program.weights[i] = s
	c.emitView(s, out, in.mem)
}

func (s *depthwise) load(c Conv) {
	copy(s.bias, c.Bias)
	for channel := range s.in.c {
		for tap := range c.Columns {
			s.weights[tap*s.in.c+channel] = c.Weights[channel*c.Columns+tap]
		}
	}
}

func (s *depthwise) tasks() int { return s.out.h }

func (s *depthwise) do(worker, y int) {
	l := &s.lines[worker]
	l.In = s.in.pointer(s.in.index(y*s.w.StrideH-s.w.Top, -s.w.Left))
	l.Out = s.out.pointer(s.out.index(y, 0))
	l.Offsets, l.Taps = unsafe.Pointer(&s.offsets[0]), len(s.offsets)
	l.Weights, l.Bias = unsafe.Pointer(&s.weights[0]), unsafe.Pointer(&s.bias[0])
	l.Channels, l.Places = s.in.c, s.out.w
	l.InStep, l.OutStep = s.w.StrideW*s.in.c*valueSize, s.out.c*valueSize
	var plain bool
	l.Slope, l.Ceiling, plain = s.layer.fused()
	s.set.Weighted(l)
	if !plain {
		s.layer.activate(s.out.line(y))
	}
}

// pool takes the largest value or the mean of windows, row by row. Windows that
// reach outside are cut to what lies inside.
type pool struct {
	set     *kernel.Set
	w       Window
	mean    bool
	outside bool // of a mean: what lies outside counts
	in, out *view
	zeros   []float32   // [channels]
	shares  [][]float32 // by number of values that count: [taps][channels] of their inverse
	workers []poolWorker
}

type poolWorker struct {
	line    kernel.Line
	offsets []int
}

func (c *compiler) pool(i int, l *Layer) {
	w := l.Geometry()
	in := c.viewOf(c.net.plan.inputs[i][0])
	out := c.makeView(c.values[i])
	s := &pool{set: &c.set, w: w, mean: l.Kind == AveragePool, outside: l.Outside, in: in, out: out}
	s.workers = make([]poolWorker, c.program.crew.threads())
	for j := range s.workers {
		s.workers[j].offsets = make([]int, w.H*w.W)
	}
	if s.mean {
		s.zeros = make([]float32, in.c)
		s.shares = make([][]float32, w.H*w.W+1)
		for y := range out.h {
			for x := range out.w {
				s.share(s.window(y, x))
			}
		}
	}
	c.emitView(s, out, in.mem)
}

// box is the part of a window that lies inside the map.
type box struct{ y0, y1, x0, x1 int }

func (s *pool) window(y, x int) box {
	y0, x0 := y*s.w.StrideH-s.w.Top, x*s.w.StrideW-s.w.Left
	return box{max(y0, 0), min(y0+s.w.H, s.in.h), max(x0, 0), min(x0+s.w.W, s.in.w)}
}

// share returns the weights of a mean over b, making them at the first call.
func (s *pool) share(b box) []float32 {
	taps := (b.y1 - b.y0) * (b.x1 - b.x0)
	count := taps
	if s.outside {
		count = s.w.H * s.w.W
	}
	if s.shares[taps] == nil {
		s.shares[taps] = make([]float32, taps*s.in.c)
		for i := range s.shares[taps] {
			s.shares[taps][i] = 1 / float32(count)
		}
	}
	return s.shares[taps]
}

func (s *pool) tasks() int { return s.out.h }

func (s *pool) do(worker, y int) {
	// Places whose windows lie inside from left to right are done together.
	first := min((s.w.Left+s.w.StrideW-1)/s.w.StrideW, s.out.w)
	last := max(first, min(s.out.w, (s.in.w-s.w.W+s.w.Left)/s.w.StrideW+1))
	if s.in.w+s.w.Left < s.w.W {
		last = first
	}
	for x := range first {
		s.places(worker, y, x, 1)
	}
	if last > first {
		s.places(worker, y, first, last-first)
	}
	for x := last; x < s.out.w; x++ {
		s.places(worker, y, x, 1)
	}
}

// places computes n places with windows of one shape.
func (s *pool) places(worker, y, x, n int) {
	w := &s.workers[worker]
	b := s.window(y, x)
	l := &w.line
	l.Taps = 0
	for dy := range b.y1 - b.y0 {
		for dx := range b.x1 - b.x0 {
			w.offsets[l.Taps] = (dy*s.in.row + dx*s.in.c) * valueSize
			l.Taps++
		}
	}
	l.In, l.Out = s.in.pointer(s.in.index(b.y0, b.x0)), s.out.pointer(s.out.index(y, x))
	l.Offsets, l.Channels, l.Places = unsafe.Pointer(&w.offsets[0]), s.in.c, n
	l.InStep, l.OutStep = s.w.StrideW*s.in.c*valueSize, s.out.c*valueSize
	if !s.mean {
		s.set.Largest(l)
		return
	}
	l.Weights, l.Bias = unsafe.Pointer(&s.share(b)[0]), unsafe.Pointer(&s.zeros[0])
	l.Slope, l.Ceiling = 1, math.MaxFloat32
	s.set.Weighted(l)
}
