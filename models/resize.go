package models

import (
	"errors"
	"fmt"
	"math"
)

// Scaling says how a Resize layer finds the places of its output in its input.
type Scaling struct {
	_        struct{} `cbor:",toarray"`
	H        int      // rows of the output
	W        int      // columns
	Linear   bool     // between the four nearest values, else the nearest
	Places   Places
	Rounding Rounding // of places, when not Linear
	ScaleH   float32  // rows of the output per row of the input
	ScaleW   float32
}

// Places says where the value at x of an output of n values lies in an input of m
// values, given the scale s.
type Places uint8

// The ways to find places, by ONNX's names.
const (
	Asymmetric   Places = 0 // x/s
	HalfPixel    Places = 1 // (x+0.5)/s - 0.5
	AlignCorners Places = 2 // x*(m-1)/(n-1)
	TorchPixel   Places = 3 // as HalfPixel; 0 when n is 1
)

// Rounding says which value is nearest to a place.
type Rounding uint8

// The ways to round, by ONNX's names.
const (
	RoundFloor       Rounding = 0
	RoundCeil        Rounding = 1
	RoundPreferFloor Rounding = 2 // to the nearest, halves down
	RoundPreferCeil  Rounding = 3 // to the nearest, halves up
)

func (l *Layer) resize(in []int) ([]int, error) {
	if len(in) != 4 {
		return nil, fmt.Errorf("reads a map of %v, want batch x channels x height x width", in)
	}
	if l.Kind == Upsample {
		if l.Stride < 1 || l.Stride > maxKernel {
			return nil, fmt.Errorf("factor %d is out of range", l.Stride)
		}
		return []int{in[0], in[1], in[2] * l.Stride, in[3] * l.Stride}, nil
	}
	s := l.Scaling
	if s == nil {
		return nil, errors.New("does not say how")
	}
	if s.H < 1 || s.H > MaxSide || s.W < 1 || s.W > MaxSide || s.Places > TorchPixel || s.Rounding > RoundPreferCeil ||
		!(s.ScaleH > 0 && s.ScaleW > 0) || math.IsInf(float64(s.ScaleH), 0) || math.IsInf(float64(s.ScaleW), 0) {
		return nil, fmt.Errorf("scaling %+v is out of range", *s)
	}
	return []int{in[0], in[1], s.H, s.W}, nil
}

// place returns where the value at x of n lies among m values.
func (s *Scaling) place(x, n, m int, scale float32) float32 {
	switch s.Places {
	case HalfPixel:
		return (float32(x)+0.5)/scale - 0.5
	case AlignCorners:
		if n == 1 {
			return 0
		}
		return float32(x) * float32(m-1) / float32(n-1)
	case TorchPixel:
		if n == 1 {
			return 0
		}
		return (float32(x)+0.5)/scale - 0.5
	}
	return float32(x) / scale
}

// nearest returns the value that is taken for x of n among m values.
func (s *Scaling) nearest(x, n, m int, scale float32) int {
	at := float64(s.place(x, n, m, scale))
	switch s.Rounding {
	case RoundFloor:
		at = math.Floor(at)
	case RoundCeil:
		at = math.Ceil(at)
	case RoundPreferFloor:
		at = math.Ceil(at - 0.5)
	case RoundPreferCeil:
		at = math.Floor(at + 0.5)
	}
	return int(min(max(at, 0), float64(m-1)))
}

// between returns the two values that x of n lies between among m values, and how
// near it is to the second.
func (s *Scaling) between(x, n, m int, scale float32) (low, high int, share float32) {
	at := min(max(s.place(x, n, m, scale), 0), float32(m-1))
	low = int(at)
	return low, min(low+1, m-1), at - float32(low)
}

// resizeView brings a map to another height and width, row by row.
type resizeView struct {
	scaling Scaling
	in, out *view
	low     []int     // by column of the output: the values that it lies between
	high    []int     //
	share   []float32 // and how near it is to the second
}

func (c *compiler) resize(i int, l *Layer) {
	in := c.viewOf(c.net.plan.inputs[i][0])
	out := c.makeView(c.values[i])
	s := &resizeView{in: in, out: out}
	if l.Kind == Upsample {
		factor := float32(l.Stride)
		s.scaling = Scaling{H: out.h, W: out.w, ScaleH: factor, ScaleW: factor}
	} else {
		s.scaling = *l.Scaling
	}
	for x := range out.w {
		if s.scaling.Linear {
			low, high, share := s.scaling.between(x, out.w, in.w, s.scaling.ScaleW)
			s.low, s.high, s.share = append(s.low, low), append(s.high, high), append(s.share, share)
		} else {
			s.low = append(s.low, s.scaling.nearest(x, out.w, in.w, s.scaling.ScaleW))
		}
	}
	c.emitView(s, out, in.mem)
}

func (s *resizeView) tasks() int { return s.out.h }

func (s *resizeView) do(_, y int) {
	dst, c := s.out.line(y), s.out.c
	if !s.scaling.Linear {
		line := s.in.line(s.scaling.nearest(y, s.out.h, s.in.h, s.scaling.ScaleH))
		for x, from := range s.low {
			copy(dst[x*c:(x+1)*c], line[from*c:])
		}
		return
	}
	y0, y1, down := s.scaling.between(y, s.out.h, s.in.h, s.scaling.ScaleH)
	upper, lower := s.in.line(y0), s.in.line(y1)
	for x, x0 := range s.low {
		x1, right := s.high[x], s.share[x]
		for i := range c {
			top := upper[x0*c+i]*(1-right) + upper[x1*c+i]*right
			bottom := lower[x0*c+i]*(1-right) + lower[x1*c+i]*right
			dst[x*c+i] = top*(1-down) + bottom*down
		}
	}
}
