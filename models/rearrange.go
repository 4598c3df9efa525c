package models

import "math"

// gather moves values of a row-major map: value i of the result is the input's value
// at start plus, for each dimension, its index times a step. It is what transposing
// and slicing come to.
type gather struct {
	in, out flat
	start   int
	dims    []int // of the result
	steps   []int // in values of the input
}

// rowsOf returns how many rows of the last dimension there are.
func rowsOf(dims []int) int { return sizeOf(dims[:len(dims)-1]) }

func (s *gather) tasks() int { return rowsOf(s.dims) }

func (s *gather) do(_, row int) {
	last := len(s.dims) - 1
	at, rest := s.start, row
	for i := last - 1; i >= 0; i-- {
		at += rest % s.dims[i] * s.steps[i]
		rest /= s.dims[i]
	}
	in, step := s.in.values(), s.steps[last]
	dst := s.out.values()[row*s.dims[last] : (row+1)*s.dims[last]]
	if step == 1 {
		copy(dst, in[at:])
		return
	}
	for i := range dst {
		dst[i] = in[at+i*step]
	}
}

// rowMajor returns how far apart values lie along each dimension.
func rowMajor(dims []int) []int {
	steps := make([]int, len(dims))
	step := 1
	for i := len(dims) - 1; i >= 0; i-- {
		steps[i] = step
		step *= dims[i]
	}
	return steps
}

// transpose and slice compile what their names say.
func (c *compiler) transpose(i int, l *Layer) {
	in := c.flatOf(c.net.plan.inputs[i][0])
	steps := rowMajor(c.value(c.net.plan.inputs[i][0]).dims)
	s := &gather{in: in, out: c.makeFlat(c.values[i]), dims: c.values[i].dims}
	for _, d := range l.Dims {
		s.steps = append(s.steps, steps[d])
	}
	c.emit(s, in.mem)
}

func (c *compiler) slice(i int, l *Layer) {
	in := c.flatOf(c.net.plan.inputs[i][0])
	steps := rowMajor(c.value(c.net.plan.inputs[i][0]).dims)
	s := &gather{in: in, out: c.makeFlat(c.values[i]), dims: l.Dims}
	for d, step := range steps {
		s.start += l.Starts[d] * step
		s.steps = append(s.steps, l.Steps[d]*step)
	}
	c.emit(s, in.mem)
}

// scatter copies a row-major map into a larger one, row by row.
type scatter struct {
	in, out flat
	dims    []int // of the input
	start   int
	steps   []int // in values of the result
	value   float32
}

func (c *compiler) pad(i int, l *Layer) {
	in := c.flatOf(c.net.plan.inputs[i][0])
	s := &scatter{
		in: in, out: c.makeFlat(c.values[i]), dims: c.value(c.net.plan.inputs[i][0]).dims,
		steps: rowMajor(l.Dims), value: l.Alpha,
	}
	for d, step := range s.steps {
		s.start += l.Starts[d] * step
	}
	c.emit(s, in.mem)
}

func (s *scatter) tasks() int { return 1 }

func (s *scatter) do(int, int) {
	out, in := s.out.values(), s.in.values()
	fill(out, s.value)
	last := len(s.dims) - 1
	n := s.dims[last]
	for row := range rowsOf(s.dims) {
		at, rest := s.start, row
		for i := last - 1; i >= 0; i-- {
			at += rest % s.dims[i] * s.steps[i]
			rest /= s.dims[i]
		}
		copy(out[at:at+n], in[row*n:])
	}
}

// joinViews joins the channels of maps, row by row.
type joinViews struct {
	in  []*view
	out *view
}

func (s *joinViews) tasks() int { return s.out.h }

func (s *joinViews) do(_, y int) {
	dst, at := s.out.line(y), 0
	for _, in := range s.in {
		line := in.line(y)
		for x := range in.w {
			copy(dst[x*s.out.c+at:], line[x*in.c:(x+1)*in.c])
		}
		at += in.c
	}
}

// joinFlat joins row-major maps along a dimension.
type joinFlat struct {
	in    []flat
	parts []int // values of each input that lie together
	out   flat
	outer int
}

func (s *joinFlat) tasks() int { return s.outer }

func (s *joinFlat) do(_, task int) {
	whole := s.out.n / s.outer
	dst := s.out.values()[task*whole : (task+1)*whole]
	for i, in := range s.in {
		n := s.parts[i]
		copy(dst[:n], in.values()[task*n:])
		dst = dst[n:]
	}
}

func (c *compiler) join(i int, l *Layer) {
	from := c.net.plan.inputs[i]
	if len(from) == 1 {
		c.values[i] = c.value(from[0]) // the same map
		return
	}
	if l.axis() == 1 && c.asViews(c.values[i], from) {
		s := &joinViews{}
		var mem []*storage
		for _, f := range from {
			v := c.viewOf(f)
			s.in, mem = append(s.in, v), append(mem, v.mem)
		}
		s.out = c.makeView(c.values[i])
		c.emitView(s, s.out, mem...)
		return
	}
	s := &joinFlat{outer: sizeOf(c.values[i].dims[:l.axis()])}
	var mem []*storage
	for _, f := range from {
		v := c.flatOf(f)
		s.in, mem = append(s.in, v), append(mem, v.mem)
		s.parts = append(s.parts, v.n/s.outer)
	}
	s.out = c.makeFlat(c.values[i])
	c.emit(s, mem...)
}

// softmax runs over groups of values that lie a step apart.
type softmax struct {
	in, out     flat
	count, step int
}

func (c *compiler) softmax(i int, l *Layer) {
	in := c.flatOf(c.net.plan.inputs[i][0])
	dims := c.values[i].dims
	c.emit(&softmax{in: in, out: c.makeFlat(c.values[i]), count: dims[l.axis()], step: sizeOf(dims[l.axis()+1:])}, in.mem)
}

func (s *softmax) tasks() int { return s.in.n / s.count }

func (s *softmax) do(_, task int) {
	first := task/s.step*s.step*s.count + task%s.step
	in, out := s.in.values(), s.out.values()
	most := float32(math.Inf(-1))
	for i := range s.count {
		most = max(most, in[first+i*s.step])
	}
	sum := 0.0
	for i := range s.count {
		e := math.Exp(float64(in[first+i*s.step] - most))
		out[first+i*s.step] = float32(e)
		sum += e
	}
	for i := range s.count {
		out[first+i*s.step] = float32(float64(out[first+i*s.step]) / sum)
	}
}
