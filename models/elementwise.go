package models

import (
	"math"

	"github.com/viterin/vek/vek32"
)

// chunkSize is how many values of a row-major map make a task.
const chunkSize = 1 << 14

// operand is one side of an operation: as many values as the other side, or one
// that stands for all.
type operand struct {
	values []float32
	one    bool
}

// combine writes k of a and b to dst, value by value.
func combine(k Kind, dst []float32, a, b operand) {
	switch {
	case !a.one && !b.one:
		combineValues(k, dst, a.values, b.values)
	case b.one:
		x := a.values
		if a.one {
			x = dst
			fill(dst, a.values[0])
		}
		combineNumber(k, dst, x, b.values[0])
	default:
		switch k {
		case Add, Mul:
			combineNumber(k, dst, b.values, a.values[0])
		default:
			n := a.values[0]
			for i, v := range b.values {
				dst[i] = apply(k, n, v)
			}
		}
	}
}

func fill(dst []float32, v float32) {
	for i := range dst {
		dst[i] = v
	}
}

func combineValues(k Kind, dst, a, b []float32) {
	switch k {
	case Add:
		vek32.Add_Into(dst, a, b)
	case Sub:
		vek32.Sub_Into(dst, a, b)
	case Mul:
		vek32.Mul_Into(dst, a, b)
	case Div:
		vek32.Div_Into(dst, a, b)
	default:
		for i, v := range a {
			dst[i] = apply(k, v, b[i])
		}
	}
}

func combineNumber(k Kind, dst, a []float32, n float32) {
	switch {
	case k == Add:
		vek32.AddNumber_Into(dst, a, n)
	case k == Sub:
		vek32.SubNumber_Into(dst, a, n)
	case k == Mul:
		vek32.MulNumber_Into(dst, a, n)
	case k == Div:
		vek32.DivNumber_Into(dst, a, n)
	case k == Pow && n == 2:
		vek32.Mul_Into(dst, a, a)
	default:
		for i, v := range a {
			dst[i] = apply(k, v, n)
		}
	}
}

func apply(k Kind, a, b float32) float32 {
	switch k {
	case Add:
		return a + b
	case Sub:
		return a - b
	case Mul:
		return a * b
	case Div:
		return a / b
	}
	return float32(math.Pow(float64(a), float64(b)))
}

// combineMaps is an operation on two maps whose channels lie side by side, row by
// row. Each side has the size of the result, or one row, place or channel that
// stands for all.
type combineMaps struct {
	kind Kind
	a, b *view
	out  *view
}

func (s *combineMaps) tasks() int { return s.out.h }

func (s *combineMaps) do(_, y int) {
	dst := s.out.line(y)
	a, b := s.side(s.a, y), s.side(s.b, y)
	if (len(a) == len(dst) || len(a) == 1) && (len(b) == len(dst) || len(b) == 1) {
		combine(s.kind, dst, operand{a, len(a) == 1}, operand{b, len(b) == 1})
		return
	}
	c := s.out.c
	for x := range s.out.w {
		combine(s.kind, dst[x*c:(x+1)*c], s.place(s.a, a, x), s.place(s.b, b, x))
	}
}

// side returns the row of v that meets row y of the result.
func (s *combineMaps) side(v *view, y int) []float32 {
	if v.h == 1 {
		y = 0
	}
	return v.line(y)
}

// place returns what of a row meets place x of the result.
func (s *combineMaps) place(v *view, line []float32, x int) operand {
	if v.w == 1 {
		x = 0
	}
	return operand{line[x*v.c : (x+1)*v.c], v.c == 1 && s.out.c > 1}
}

// combineFlat is an operation on two row-major maps, along the last dimension.
type combineFlat struct {
	kind       Kind
	a, b, out  flat
	rows       []int // dimensions of the result but the last
	strideA    []int // by dimension, in values; 0 repeats
	strideB    []int
	last       int
	oneA, oneB bool // of the last dimension
	chunk      int
}

// elementwise compiles an operation on two maps.
func (c *compiler) elementwise(i int, l *Layer) {
	from := c.net.plan.inputs[i]
	out := c.values[i]
	if c.asViews(out, from) {
		a, b := c.viewOf(from[0]), c.viewOf(from[1])
		made := c.makeView(out)
		c.emitView(&combineMaps{kind: l.Kind, a: a, b: b, out: made}, made, a.mem, b.mem)
		return
	}
	a, b := c.flatOf(from[0]), c.flatOf(from[1])
	s := &combineFlat{kind: l.Kind, a: a, b: b, out: c.makeFlat(out)}
	da, db := c.value(from[0]).dims, c.value(from[1]).dims
	if sameDims(da, out.dims) && (sameDims(db, out.dims) || b.n == 1) || a.n == 1 && sameDims(db, out.dims) {
		s.flatten(out.dims)
	} else {
		s.rows, s.last = out.dims[:len(out.dims)-1], out.dims[len(out.dims)-1]
		s.strideA, s.oneA = strides(da, out.dims)
		s.strideB, s.oneB = strides(db, out.dims)
	}
	c.emit(s, a.mem, b.mem)
}

// asViews reports whether maps of pictures are worked on, and one of them lies with
// its channels side by side anyway.
func (c *compiler) asViews(out *value, from []int) bool {
	if len(out.dims) != 4 || out.dims[0] != 1 {
		return false
	}
	views := false
	for _, f := range from {
		v := c.value(f)
		if len(v.dims) != 4 {
			return false
		}
		views = views || v.view != nil && v.isView
	}
	return views
}

func sameDims(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// flatten treats maps of one size as runs of chunks.
func (s *combineFlat) flatten(dims []int) {
	n := sizeOf(dims)
	s.chunk = min(n, chunkSize)
	s.oneA, s.oneB = s.a.n == 1 && n > 1, s.b.n == 1 && n > 1
}

// strides returns how far apart the values of a map lie along the dimensions of the
// result but the last, 0 where it is repeated, and whether it is along the last.
func strides(dims, out []int) ([]int, bool) {
	all := make([]int, len(out))
	step := 1
	for i := len(dims) - 1; i >= 0; i-- {
		if dims[i] != 1 {
			all[len(out)-len(dims)+i] = step
		}
		step *= dims[i]
	}
	return all[:len(out)-1], all[len(out)-1] == 0 && out[len(out)-1] > 1
}

func (s *combineFlat) tasks() int {
	if s.chunk > 0 {
		return (s.out.n + s.chunk - 1) / s.chunk
	}
	return sizeOf(s.rows)
}

func (s *combineFlat) do(_, task int) {
	a, b, out := s.a.values(), s.b.values(), s.out.values()
	if s.chunk > 0 {
		from, to := task*s.chunk, min((task+1)*s.chunk, s.out.n)
		combine(s.kind, out[from:to], part(a, s.oneA, from, to), part(b, s.oneB, from, to))
		return
	}
	atA, atB, rest := 0, 0, task
	for i := len(s.rows) - 1; i >= 0; i-- {
		at := rest % s.rows[i]
		rest /= s.rows[i]
		atA, atB = atA+at*s.strideA[i], atB+at*s.strideB[i]
	}
	dst := out[task*s.last : (task+1)*s.last]
	combine(s.kind, dst, part(a[atA:], s.oneA, 0, s.last), part(b[atB:], s.oneB, 0, s.last))
}

func part(values []float32, one bool, from, to int) operand {
	if one {
		return operand{values[:1], true}
	}
	return operand{values[from:to], false}
}

// activateView and activateFlat are activations alone.
type activateView struct {
	layer   *Layer
	in, out *view
}

func (s *activateView) tasks() int { return s.out.h }

func (s *activateView) do(_, y int) {
	line := s.out.line(y)
	copy(line, s.in.line(y))
	s.layer.activate(line)
}

type activateFlat struct {
	layer   *Layer
	in, out flat
}

func (s *activateFlat) tasks() int { return (s.out.n + chunkSize - 1) / chunkSize }

func (s *activateFlat) do(_, task int) {
	from, to := task*chunkSize, min((task+1)*chunkSize, s.out.n)
	part := s.out.values()[from:to]
	copy(part, s.in.values()[from:to])
	s.layer.activate(part)
}

// activation compiles an activation alone.
func (c *compiler) activation(i int, l *Layer) {
	from := c.net.plan.inputs[i]
	if c.asViews(c.values[i], from) {
		in := c.viewOf(from[0])
		out := c.makeView(c.values[i])
		c.emitView(&activateView{l, in, out}, out, in.mem)
		return
	}
	in := c.flatOf(from[0])
	c.emit(&activateFlat{l, in, c.makeFlat(c.values[i])}, in.mem)
}
