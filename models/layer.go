package models

import (
	"errors"
	"fmt"
	"slices"
)

// Kind says what a Layer does. The numbers are part of the model file format.
type Kind uint8

// The kinds of layers. Dimensions are counted from 0, the batch, which is 1 for
// pictures; 1 is the channels.
const (
	Convolution   Kind = 1  // weights, bias and activation
	MaxPool       Kind = 2  // largest value of a window; what lies outside never wins
	Route         Kind = 3  // joins maps along Axis
	Upsample      Kind = 4  // repeats every value Stride times both ways
	YOLO          Kind = 5  // reads its input as boxes; passes it on unchanged
	Deconvolution Kind = 6  // transposed convolution
	Dense         Kind = 7  // weights and bias over the last dimension, and activation
	AveragePool   Kind = 8  // mean of a window
	Activate      Kind = 9  // activation alone
	Add           Kind = 10 // of two maps, of which one may be repeated along dimensions of 1
	Sub           Kind = 11 // likewise
	Mul           Kind = 12 // likewise
	Div           Kind = 13 // likewise
	Pow           Kind = 14 // likewise
	MatMul        Kind = 15 // matrix product of the last two dimensions
	Resize        Kind = 16 // to another height and width, see Scaling
	Reshape       Kind = 17 // other Dims for the same values
	Transpose     Kind = 18 // dimension i is the input's dimension Dims[i]
	Slice         Kind = 19 // every Steps-th value from Starts on, Dims of them
	Pad           Kind = 20 // Starts values of Alpha before the map, Dims in all
	Softmax       Kind = 21 // along Axis
	ReduceMean    Kind = 22 // over Axes, which become 1
	ReduceMax     Kind = 23 // likewise
	ReduceSum     Kind = 24 // likewise
	Constant      Kind = 25 // parameters of dimensions Dims; reads nothing
)

// String returns the name of k.
func (k Kind) String() string {
	names := [...]string{
		Convolution: "convolutional", MaxPool: "maxpool", Route: "route", Upsample: "upsample", YOLO: "yolo",
		Deconvolution: "deconvolutional", Dense: "dense", AveragePool: "avgpool", Activate: "activate",
		Add: "add", Sub: "sub", Mul: "mul", Div: "div", Pow: "pow", MatMul: "matmul", Resize: "resize",
		Reshape: "reshape", Transpose: "transpose", Slice: "slice", Pad: "pad", Softmax: "softmax",
		ReduceMean: "mean", ReduceMax: "max", ReduceSum: "sum", Constant: "constant",
	}
	if int(k) < len(names) && names[k] != "" {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// trainable reports whether a layer of kind k has biases and a row of weights per
// filter.
func (k Kind) trainable() bool { return k == Convolution || k == Deconvolution || k == Dense }

// Anchor is the width and height in network input pixels that a YOLO layer
// scales its boxes from.
type Anchor struct {
	_ struct{} `cbor:",toarray"`
	W float32
	H float32
}

// Layer describes one layer. Which fields count depends on its kind.
type Layer struct {
	Kind       Kind       `cbor:"1,keyasint"`
	Filters    int        `cbor:"2,keyasint,omitempty"` // Convolution, Deconvolution, Dense: output channels
	Size       int        `cbor:"3,keyasint,omitempty"` // convolutions, pools: side of the window
	Stride     int        `cbor:"4,keyasint,omitempty"` // convolutions, pools: step; Upsample: factor
	Pad        int        `cbor:"5,keyasint,omitempty"` // Convolution: zeros on each side; MaxPool: both sides together
	Activation Activation `cbor:"6,keyasint,omitempty"` // Convolution, Deconvolution, Dense, Activate
	// From are the numbers of the layers that are read, in order. None means the
	// layer before, or the picture for the first.
	From    []int    `cbor:"7,keyasint,omitempty"`
	Classes int      `cbor:"8,keyasint,omitempty"` // YOLO
	Anchors []Anchor `cbor:"9,keyasint,omitempty"` // YOLO: of this layer only, in order of its channels
	Name    string   `cbor:"10,keyasint,omitempty"`
	// Window replaces Size, Stride and Pad where those cannot say it.
	Window  *Window  `cbor:"11,keyasint,omitempty"`
	Groups  int      `cbor:"12,keyasint,omitempty"` // convolutions: parts that channels are cut in; 0 is one
	Alpha   float32  `cbor:"13,keyasint,omitempty"` // of the activation; Pad: the value
	Beta    float32  `cbor:"14,keyasint,omitempty"` // of the activation
	Dims    []int    `cbor:"15,keyasint,omitempty"` // Reshape, Transpose, Slice, Pad, Constant
	Axis    int      `cbor:"16,keyasint,omitempty"` // Route, Softmax; 0 is the channels, as 1 is
	Axes    []int    `cbor:"17,keyasint,omitempty"` // reductions, ascending
	Starts  []int    `cbor:"18,keyasint,omitempty"` // Slice, Pad
	Steps   []int    `cbor:"19,keyasint,omitempty"` // Slice
	Scaling *Scaling `cbor:"20,keyasint,omitempty"` // Resize
	Outside bool     `cbor:"21,keyasint,omitempty"` // AveragePool: what lies outside counts as zeros
}

func (l *Layer) clone() Layer {
	c := *l
	c.From, c.Anchors, c.Dims = slices.Clone(l.From), slices.Clone(l.Anchors), slices.Clone(l.Dims)
	c.Axes, c.Starts, c.Steps = slices.Clone(l.Axes), slices.Clone(l.Starts), slices.Clone(l.Steps)
	if l.Window != nil {
		w := *l.Window
		c.Window = &w
	}
	if l.Scaling != nil {
		s := *l.Scaling
		c.Scaling = &s
	}
	return c
}

// groups returns the number of parts that channels are cut in.
func (l *Layer) groups() int { return max(l.Groups, 1) }

// axis returns the dimension that the layer works along.
func (l *Layer) axis() int { return max(l.Axis, 1) }

// Square reports whether the layer is a plain convolution, as Size, Stride and
// Pad describe it, without groups, and linear or Leaky with LeakySlope: what
// the head of a Darknet network is made of.
func (l *Layer) Square() bool {
	return l.Kind == Convolution && l.Window == nil && l.groups() == 1 && (l.Activation == Linear || l.Activation == Leaky && l.Alpha == 0)
}

// inputs returns how many maps a layer of kind k reads.
func (k Kind) inputs() (least, most int) {
	switch k {
	case Constant:
		return 0, 0
	case Route:
		return 1, maxInputs
	case Add, Sub, Mul, Div, Pow, MatMul:
		return 2, 2
	}
	return 1, 1
}

func (k Kind) checkInputs(n int) error {
	if least, most := k.inputs(); n < least || n > most {
		return fmt.Errorf("joins %d layers, want %d to %d", n, least, most)
	}
	return nil
}

// reads returns what layer i reads.
func (l *Layer) reads(i int) ([]int, error) {
	from := l.From
	if _, most := l.Kind.inputs(); len(from) == 0 && most == 1 {
		from = []int{i - 1}
	}
	if err := l.Kind.checkInputs(len(from)); err != nil {
		return nil, err
	}
	for _, f := range from {
		if f < Picture || f >= i {
			return nil, fmt.Errorf("reads layer %d, want an earlier one", f)
		}
	}
	return from, nil
}

// Output returns the dimensions of the layer's output, with the leading 1 of the
// batch, for those of what it reads, and how many parameters it has.
func (l *Layer) Output(in [][]int) (dims []int, params int, err error) {
	if err := l.Kind.checkInputs(len(in)); err != nil {
		return nil, 0, err
	}
	dims, params, err = l.infer(in)
	if err == nil && !validDims(dims) {
		err = fmt.Errorf("output %v is out of range", dims)
	}
	return dims, params, err
}

// infer returns the dimensions of the layer's output for those of its inputs, and
// how many parameters it has.
func (l *Layer) infer(in [][]int) (out []int, params int, err error) {
	if len(l.Name) > MaxName {
		return nil, 0, fmt.Errorf("name of %d bytes, limit %d", len(l.Name), MaxName)
	}
	if err := l.checkActivation(); err != nil {
		return nil, 0, err
	}
	switch l.Kind {
	case Convolution, Deconvolution:
		return l.convolution(in[0])
	case Dense:
		return l.dense(in[0])
	case MaxPool, AveragePool:
		out, err = l.pool(in[0])
	case Route:
		out, err = l.route(in)
	case Upsample, Resize:
		out, err = l.resize(in[0])
	case YOLO:
		out, err = in[0], l.yolo(in[0])
	case Activate:
		out = in[0]
	case Add, Sub, Mul, Div, Pow:
		out, err = broadcast(in[0], in[1])
	case MatMul:
		out, err = matMul(in[0], in[1])
	case Constant:
		if !validDims(l.Dims) {
			return nil, 0, fmt.Errorf("dimensions %v are out of range", l.Dims)
		}
		return slices.Clone(l.Dims), sizeOf(l.Dims), nil
	default:
		out, err = l.rearrange(in[0])
	}
	return out, 0, err
}

// rearrange infers the layers that work along dimensions.
func (l *Layer) rearrange(in []int) ([]int, error) {
	switch l.Kind {
	case Reshape:
		if !validDims(l.Dims) || sizeOf(l.Dims) != sizeOf(in) {
			return nil, fmt.Errorf("makes %v of %v, which have another number of values", l.Dims, in)
		}
		return slices.Clone(l.Dims), nil
	case Transpose:
		return l.transpose(in)
	case Slice:
		return l.slice(in)
	case Pad:
		return l.pad(in)
	case Softmax:
		if l.axis() >= len(in) {
			return nil, fmt.Errorf("works along dimension %d of %v", l.axis(), in)
		}
		return in, nil
	case ReduceMean, ReduceMax, ReduceSum:
		return l.reduce(in)
	}
	return nil, errors.New("unknown kind")
}

func (l *Layer) transpose(in []int) ([]int, error) {
	out := make([]int, len(in))
	seen := make([]bool, len(in))
	if len(l.Dims) != len(in) {
		return nil, fmt.Errorf("orders %d dimensions of %v", len(l.Dims), in)
	}
	for i, d := range l.Dims {
		if d < 0 || d >= len(in) || seen[d] {
			return nil, fmt.Errorf("%v is no order of %d dimensions", l.Dims, len(in))
		}
		seen[d] = true
		out[i] = in[d]
	}
	return out, nil
}

func (l *Layer) slice(in []int) ([]int, error) {
	if len(l.Starts) != len(in) || len(l.Steps) != len(in) || len(l.Dims) != len(in) || !validDims(l.Dims) {
		return nil, fmt.Errorf("cuts %v from %v in steps of %v out of %v", l.Dims, l.Starts, l.Steps, in)
	}
	for i, n := range l.Dims {
		step, start := l.Steps[i], l.Starts[i]
		if start < 0 || start >= in[i] || step == 0 || step > in[i] || step < -in[i] {
			return nil, fmt.Errorf("begins at %d in steps of %d in dimension %d of %v", start, step, i, in)
		}
		if last := start + (n-1)*step; last < 0 || last >= in[i] {
			return nil, fmt.Errorf("ends at %d in dimension %d of %v", last, i, in)
		}
	}
	return slices.Clone(l.Dims), nil
}

func (l *Layer) pad(in []int) ([]int, error) {
	if len(l.Starts) != len(in) || len(l.Dims) != len(in) || !validDims(l.Dims) {
		return nil, fmt.Errorf("pads %v to %v from %v on", in, l.Dims, l.Starts)
	}
	for i, n := range l.Dims {
		if l.Starts[i] < 0 || l.Starts[i] > n || n-l.Starts[i] < in[i] {
			return nil, fmt.Errorf("pads %v to %v from %v on", in, l.Dims, l.Starts)
		}
	}
	return slices.Clone(l.Dims), nil
}

func (l *Layer) reduce(in []int) ([]int, error) {
	if len(l.Axes) == 0 {
		return nil, errors.New("reduces no dimension")
	}
	out, last := slices.Clone(in), -1
	for _, a := range l.Axes {
		if a <= last || a >= len(in) {
			return nil, fmt.Errorf("reduces dimensions %v of %v, want them ascending", l.Axes, in)
		}
		out[a], last = 1, a
	}
	return out, nil
}

func (l *Layer) route(in [][]int) ([]int, error) {
	out, axis := slices.Clone(in[0]), l.axis()
	if axis >= len(out) {
		return nil, fmt.Errorf("joins along dimension %d of %v", axis, out)
	}
	for _, dims := range in[1:] {
		if len(dims) != len(out) {
			return nil, fmt.Errorf("joins maps of %v and %v", out, dims)
		}
		for i := range dims {
			if i != axis && dims[i] != out[i] {
				return nil, fmt.Errorf("joins maps of %v and %v", out, dims)
			}
		}
		out[axis] += dims[axis]
	}
	return out, nil
}

func (l *Layer) yolo(in []int) error {
	if l.Classes < 1 || l.Classes > MaxClasses {
		return fmt.Errorf("%d classes are out of range", l.Classes)
	}
	if len(l.Anchors) == 0 || len(l.Anchors) > maxAnchors {
		return fmt.Errorf("%d anchors, want 1 to %d", len(l.Anchors), maxAnchors)
	}
	for _, a := range l.Anchors {
		if !(a.W > 0 && a.H > 0 && a.W <= MaxSide && a.H <= MaxSide) {
			return fmt.Errorf("anchor %gx%g is out of range", a.W, a.H)
		}
	}
	if want := len(l.Anchors) * (boxFields + l.Classes); len(in) != 4 || in[1] != want {
		return fmt.Errorf("reads a map of %v, want %d channels", in, want)
	}
	return nil
}

// broadcast returns the dimensions of two maps that are repeated along their
// dimensions of 1, and along those that one lacks at its front, to fit each other.
func broadcast(a, b []int) ([]int, error) {
	if len(a) < len(b) {
		a, b = b, a
	}
	out := slices.Clone(a)
	for i := range b {
		o := &out[len(a)-len(b)+i]
		switch {
		case *o == 1:
			*o = b[i]
		case b[i] != 1 && b[i] != *o:
			return nil, fmt.Errorf("joins maps of %v and %v", a, b)
		}
	}
	return out, nil
}

func matMul(a, b []int) ([]int, error) {
	if len(a) < 2 || len(b) < 2 || a[len(a)-1] != b[len(b)-2] {
		return nil, fmt.Errorf("multiplies maps of %v and %v", a, b)
	}
	out, err := broadcast(a[:len(a)-2], b[:len(b)-2])
	if err != nil {
		return nil, fmt.Errorf("multiplies maps of %v and %v", a, b)
	}
	return append(out, a[len(a)-2], b[len(b)-1]), nil
}
