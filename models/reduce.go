package models

import (
	"math"

	"github.com/viterin/vek/vek32"
)

// reduceView reduces the places of a map whose channels lie side by side.
type reduceView struct {
	kind Kind
	in   *view
	out  *view
}

func (s *reduceView) tasks() int { return 1 }

func (s *reduceView) do(int, int) {
	out := s.out.line(0)
	fill(out, start(s.kind))
	for y := range s.in.h {
		line := s.in.line(y)
		for x := 0; x < len(line); x += s.in.c {
			if s.kind == ReduceMax {
				vek32.Maximum_Inplace(out, line[x:x+s.in.c])
			} else {
				vek32.Add_Inplace(out, line[x:x+s.in.c])
			}
		}
	}
	if s.kind == ReduceMean {
		vek32.MulNumber_Inplace(out, 1/float32(s.in.h*s.in.w))
	}
}

func start(k Kind) float32 {
	if k == ReduceMax {
		return float32(math.Inf(-1))
	}
	return 0
}

// reduceFlat reduces a row-major map: each value of the result takes in count
// values, whose places are found from two lists of dimensions and steps.
type reduceFlat struct {
	kind              Kind
	in, out           flat
	kept, keptSteps   []int
	reduced, redSteps []int
	count             int
}

func (c *compiler) reduce(i int, l *Layer) {
	from := c.net.plan.inputs[i]
	v := c.value(from[0])
	if len(v.dims) == 4 && v.dims[0] == 1 && len(l.Axes) == 2 && l.Axes[0] == 2 && l.Axes[1] == 3 && v.isView && v.view != nil {
		in := c.viewOf(from[0])
		out := c.makeView(c.values[i])
		c.emitView(&reduceView{l.Kind, in, out}, out, in.mem)
		return
	}
	in := c.flatOf(from[0])
	s := &reduceFlat{kind: l.Kind, in: in, out: c.makeFlat(c.values[i]), count: 1}
	steps := rowMajor(v.dims)
	axes := l.Axes
	for d, n := range v.dims {
		if len(axes) > 0 && axes[0] == d {
			s.reduced, s.redSteps, axes = append(s.reduced, n), append(s.redSteps, steps[d]), axes[1:]
			s.count *= n
		} else {
			s.kept, s.keptSteps = append(s.kept, n), append(s.keptSteps, steps[d])
		}
	}
	c.emit(s, in.mem)
}

func (s *reduceFlat) tasks() int { return s.out.n }

func (s *reduceFlat) do(_, task int) {
	in := s.in.values()
	first := placeOf(task, s.kept, s.keptSteps)
	result := float64(start(s.kind))
	for i := range s.count {
		v := float64(in[first+placeOf(i, s.reduced, s.redSteps)])
		if s.kind == ReduceMax {
			result = max(result, v)
		} else {
			result += v
		}
	}
	if s.kind == ReduceMean {
		result /= float64(s.count)
	}
	s.out.values()[task] = float32(result)
}

// placeOf returns where value number i of the given dimensions lies.
func placeOf(i int, dims, steps []int) int {
	at := 0
	for d := len(dims) - 1; d >= 0; d-- {
		at += i % dims[d] * steps[d]
		i /= dims[d]
	}
	return at
}
