package models

import (
	"errors"
	"fmt"
)

// Limits on graphs, so that a hostile file cannot ask for unbounded memory.
const (
	MaxLayers   = 256     // layers in a graph
	MaxChannels = 1 << 14 // channels of one feature map
	MaxSide     = 1 << 13 // height or width of one feature map
	MaxMap      = 1 << 26 // values in one feature map
	MaxParams   = 1 << 26 // parameters in a network (256 MiB)
	MaxClasses  = 1 << 12 // classes of a YOLO layer
	maxRoutes   = 16      // layers joined by one route
	maxAnchors  = 32      // anchors of one YOLO layer
	maxKernel   = 31      // size of a kernel or of a pooling window
)

// ErrGraph is wrapped by every error about a graph that makes no sense.
var ErrGraph = errors.New("malformed network graph")

// Kind says what a Layer does. The numbers are part of the model file format.
type Kind uint8

// The kinds of layers.
const (
	Convolution Kind = 1 // weights, bias and activation
	MaxPool     Kind = 2 // largest value of a window
	Route       Kind = 3 // joins the channels of earlier layers
	Upsample    Kind = 4 // repeats every value Stride times both ways
	YOLO        Kind = 5 // reads its input as boxes; passes it on unchanged
)

// String returns the name Darknet gives to k.
func (k Kind) String() string {
	switch k {
	case Convolution:
		return "convolutional"
	case MaxPool:
		return "maxpool"
	case Route:
		return "route"
	case Upsample:
		return "upsample"
	case YOLO:
		return "yolo"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Activation is what a convolution does to its sums. The numbers are part of
// the model file format.
type Activation uint8

// The activations.
const (
	Linear Activation = 0 // x
	Leaky  Activation = 1 // x if positive, else LeakySlope times x
)

// LeakySlope is the slope of Leaky below zero.
const LeakySlope = 0.1

// String returns the name Darknet gives to a.
func (a Activation) String() string {
	switch a {
	case Linear:
		return "linear"
	case Leaky:
		return "leaky"
	}
	return fmt.Sprintf("activation %d", uint8(a))
}

// Shape is the size of a feature map: channels, height and width.
type Shape struct {
	_ struct{} `cbor:",toarray"`
	C int
	H int
	W int
}

// Size returns the number of values in a map of shape s.
func (s Shape) Size() int { return s.C * s.H * s.W }

// String returns "CxHxW".
func (s Shape) String() string { return fmt.Sprintf("%dx%dx%d", s.C, s.H, s.W) }

// valid reports whether s is within the limits.
func (s Shape) valid() bool {
	return s.C > 0 && s.C <= MaxChannels && s.H > 0 && s.H <= MaxSide && s.W > 0 && s.W <= MaxSide && s.Size() <= MaxMap
}

// Anchor is the width and height in network input pixels that a YOLO layer
// scales its boxes from.
type Anchor struct {
	_ struct{} `cbor:",toarray"`
	W float32
	H float32
}

// Layer describes one layer. It reads the output of the layer before it, but
// for a Route, which reads the layers that From names.
type Layer struct {
	Kind       Kind       `cbor:"1,keyasint"`
	Filters    int        `cbor:"2,keyasint,omitempty"` // Convolution: output channels
	Size       int        `cbor:"3,keyasint,omitempty"` // Convolution, MaxPool: side of the window
	Stride     int        `cbor:"4,keyasint,omitempty"` // Convolution, MaxPool: step; Upsample: factor
	Pad        int        `cbor:"5,keyasint,omitempty"` // Convolution: zeros on each side; MaxPool: both sides together
	Activation Activation `cbor:"6,keyasint,omitempty"` // Convolution
	From       []int      `cbor:"7,keyasint,omitempty"` // Route: absolute layer numbers, in order
	Classes    int        `cbor:"8,keyasint,omitempty"` // YOLO
	Anchors    []Anchor   `cbor:"9,keyasint,omitempty"` // YOLO: of this layer only, in order of its channels
}

// Graph describes a network without its parameters.
type Graph struct {
	Input  Shape   `cbor:"1,keyasint"`
	Layers []Layer `cbor:"2,keyasint"`
	Head   int     `cbor:"3,keyasint"` // number of the first layer of the head
}

// plan is a graph that was found sound, with what follows from it.
type plan struct {
	shapes  []Shape // output of every layer
	offsets []int   // first parameter of every layer
	params  int     // parameters in all
	taps    []int   // backbone layers that the head reads, ascending
	yolos   []int   // YOLO layers, ascending
	classes int
}

// check walks the graph and returns its plan.
func (g *Graph) check() (*plan, error) {
	if !g.Input.valid() {
		return nil, fmt.Errorf("%w: input %v is out of range", ErrGraph, g.Input)
	}
	if len(g.Layers) == 0 || len(g.Layers) > MaxLayers {
		return nil, fmt.Errorf("%w: %d layers, want 1 to %d", ErrGraph, len(g.Layers), MaxLayers)
	}
	if g.Head < 1 || g.Head >= len(g.Layers) {
		return nil, fmt.Errorf("%w: head begins at layer %d of %d", ErrGraph, g.Head, len(g.Layers))
	}
	p := &plan{}
	for i := range g.Layers {
		p.offsets = append(p.offsets, p.params)
		out, params, err := g.layer(i, p)
		if err != nil {
			return nil, fmt.Errorf("%w: layer %d (%v): %w", ErrGraph, i, g.Layers[i].Kind, err)
		}
		if !out.valid() {
			return nil, fmt.Errorf("%w: layer %d (%v): output %v is out of range", ErrGraph, i, g.Layers[i].Kind, out)
		}
		if params > MaxParams-p.params {
			return nil, fmt.Errorf("%w: layer %d: more than %d parameters", ErrGraph, i, MaxParams)
		}
		p.params += params
		p.shapes = append(p.shapes, out)
	}
	if len(p.yolos) == 0 {
		return nil, fmt.Errorf("%w: no yolo layer", ErrGraph)
	}
	p.taps = g.taps()
	return p, nil
}

// layer returns the output shape of layer i and how many parameters it has.
func (g *Graph) layer(i int, p *plan) (Shape, int, error) {
	in := g.Input
	if i > 0 {
		in = p.shapes[i-1]
	}
	l := &g.Layers[i]
	switch l.Kind {
	case Convolution:
		return l.convolution(in)
	case MaxPool:
		return l.maxPool(in)
	case Route:
		return l.route(i, p)
	case Upsample:
		if l.Stride < 1 || l.Stride > maxKernel {
			return Shape{}, 0, fmt.Errorf("factor %d is out of range", l.Stride)
		}
		return Shape{C: in.C, H: in.H * l.Stride, W: in.W * l.Stride}, 0, nil
	case YOLO:
		return l.yolo(i, in, g.Head, p)
	}
	return Shape{}, 0, errors.New("unknown kind")
}

func (l *Layer) window() error {
	if l.Size < 1 || l.Size > maxKernel || l.Stride < 1 || l.Stride > maxKernel || l.Pad < 0 || l.Pad > maxKernel {
		return fmt.Errorf("size %d, stride %d or padding %d is out of range", l.Size, l.Stride, l.Pad)
	}
	return nil
}

func (l *Layer) convolution(in Shape) (Shape, int, error) {
	if err := l.window(); err != nil {
		return Shape{}, 0, err
	}
	if l.Filters < 1 || l.Filters > MaxChannels {
		return Shape{}, 0, fmt.Errorf("%d filters are out of range", l.Filters)
	}
	if l.Activation != Linear && l.Activation != Leaky {
		return Shape{}, 0, fmt.Errorf("unknown %v", l.Activation)
	}
	h, w := in.H+2*l.Pad-l.Size, in.W+2*l.Pad-l.Size
	if h < 0 || w < 0 {
		return Shape{}, 0, fmt.Errorf("window of %d does not fit the input %v", l.Size, in)
	}
	params := int64(l.Filters) * (1 + int64(in.C)*int64(l.Size)*int64(l.Size))
	return Shape{C: l.Filters, H: h/l.Stride + 1, W: w/l.Stride + 1}, int(min(params, MaxParams+1)), nil
}

func (l *Layer) maxPool(in Shape) (Shape, int, error) {
	if err := l.window(); err != nil {
		return Shape{}, 0, err
	}
	h, w := in.H+l.Pad-l.Size, in.W+l.Pad-l.Size
	if h < 0 || w < 0 || l.Pad >= l.Size {
		return Shape{}, 0, fmt.Errorf("window of %d with padding %d does not fit the input %v", l.Size, l.Pad, in)
	}
	return Shape{C: in.C, H: h/l.Stride + 1, W: w/l.Stride + 1}, 0, nil
}

func (l *Layer) route(i int, p *plan) (Shape, int, error) {
	if len(l.From) == 0 || len(l.From) > maxRoutes {
		return Shape{}, 0, fmt.Errorf("joins %d layers, want 1 to %d", len(l.From), maxRoutes)
	}
	var out Shape
	for n, from := range l.From {
		if from < 0 || from >= i {
			return Shape{}, 0, fmt.Errorf("reads layer %d, want an earlier one", from)
		}
		s := p.shapes[from]
		if n == 0 {
			out = s
			continue
		}
		if s.H != out.H || s.W != out.W {
			return Shape{}, 0, fmt.Errorf("joins maps of %v and %v", out, s)
		}
		out.C += s.C
	}
	return out, 0, nil
}

func (l *Layer) yolo(i int, in Shape, head int, p *plan) (Shape, int, error) {
	if i < head {
		return Shape{}, 0, errors.New("is in the backbone, want it in the head")
	}
	if l.Classes < 1 || l.Classes > MaxClasses {
		return Shape{}, 0, fmt.Errorf("%d classes are out of range", l.Classes)
	}
	if p.classes != 0 && p.classes != l.Classes {
		return Shape{}, 0, fmt.Errorf("has %d classes, an earlier one %d", l.Classes, p.classes)
	}
	if len(l.Anchors) == 0 || len(l.Anchors) > maxAnchors {
		return Shape{}, 0, fmt.Errorf("%d anchors, want 1 to %d", len(l.Anchors), maxAnchors)
	}
	for _, a := range l.Anchors {
		if !(a.W > 0 && a.H > 0 && a.W <= MaxSide && a.H <= MaxSide) {
			return Shape{}, 0, fmt.Errorf("anchor %gx%g is out of range", a.W, a.H)
		}
	}
	if want := len(l.Anchors) * (boxFields + l.Classes); in.C != want {
		return Shape{}, 0, fmt.Errorf("reads %d channels, want %d", in.C, want)
	}
	p.classes = l.Classes
	p.yolos = append(p.yolos, i)
	return in, 0, nil
}

// taps returns the backbone layers that the head reads, ascending.
func (g *Graph) taps() []int {
	read := make([]bool, g.Head)
	if g.Layers[g.Head].Kind != Route {
		read[g.Head-1] = true
	}
	for _, l := range g.Layers[g.Head:] {
		for _, from := range l.From {
			if from < g.Head {
				read[from] = true
			}
		}
	}
	var taps []int
	for i, r := range read {
		if r {
			taps = append(taps, i)
		}
	}
	return taps
}

// clone returns a copy that shares nothing with g.
func (g *Graph) clone() Graph {
	c := Graph{Input: g.Input, Head: g.Head, Layers: make([]Layer, len(g.Layers))}
	for i, l := range g.Layers {
		l.From = append([]int(nil), l.From...)
		l.Anchors = append([]Anchor(nil), l.Anchors...)
		c.Layers[i] = l
	}
	return c
}

// Convolutions checks the graph and returns its convolutions in order of
// layers, without parameters: what an importer must fill. Errors wrap ErrGraph.
func (g *Graph) Convolutions() ([]Conv, error) {
	p, err := g.check()
	if err != nil {
		return nil, err
	}
	var convs []Conv
	in := g.Input
	for i, l := range g.Layers {
		if l.Kind == Convolution {
			convs = append(convs, Conv{Layer: i, Spec: l, In: in, Out: p.shapes[i], Columns: in.C * l.Size * l.Size})
		}
		in = p.shapes[i]
	}
	return convs, nil
}
