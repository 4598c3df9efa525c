package models

import (
	"errors"
	"fmt"
	"slices"
)

// Limits on graphs, so that a hostile file cannot ask for unbounded memory.
const (
	MaxLayers   = 1024    // layers in a graph
	MaxChannels = 1 << 14 // channels of one feature map
	MaxSide     = 1 << 13 // height or width of one feature map
	MaxMap      = 1 << 26 // values in one feature map
	MaxParams   = 1 << 26 // parameters in a network (256 MiB)
	MaxClasses  = 1 << 12 // classes of a YOLO layer
	MaxRank     = 8       // dimensions of one feature map
	MaxName     = 200     // bytes in the name of a layer
	maxInputs   = 16      // layers joined by one route
	maxAnchors  = 32      // anchors of one YOLO layer
	maxKernel   = 31      // side, step and padding of a window
	maxOutputs  = 64      // maps that a network hands out
)

// ErrGraph is wrapped by every error about a graph that makes no sense.
var ErrGraph = errors.New("malformed network graph")

// Picture stands in Layer.From for what the network reads.
const Picture = -1

// Graph describes a network without its parameters. It begins with a picture of
// dimensions 1, C, H, W; its layers read the picture or earlier layers.
type Graph struct {
	Input  Shape   `cbor:"1,keyasint"`
	Layers []Layer `cbor:"2,keyasint"`
	Head   int     `cbor:"3,keyasint"` // number of the first layer of the head
	// Outputs are the layers whose maps the network hands out, all in the head.
	// None means the YOLO layers.
	Outputs []int `cbor:"4,keyasint,omitempty"`
}

// Name returns the name of layer i; those without one are called by their number.
func (g *Graph) Name(i int) string {
	if name := g.Layers[i].Name; name != "" {
		return name
	}
	return fmt.Sprintf("layer%d", i)
}

// plan is a graph that was found sound, with what follows from it.
type plan struct {
	inputs  [][]int // what every layer reads; Picture is the picture
	dims    [][]int // output of every layer, with the leading 1 of the batch
	offsets []int   // first parameter of every layer
	params  int     // parameters in all
	taps    []int   // backbone layers that the head reads, ascending
	outputs []int   // layers whose maps are handed out, in order
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
		if err := g.checkLayer(i, p); err != nil {
			return nil, fmt.Errorf("%w: layer %d (%v): %w", ErrGraph, i, g.Layers[i].Kind, err)
		}
	}
	if err := g.checkOutputs(p); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGraph, err)
	}
	return p, g.findTaps(p)
}

// checkLayer adds layer i to the plan.
func (g *Graph) checkLayer(i int, p *plan) error {
	l := &g.Layers[i]
	inputs, err := l.reads(i)
	if err != nil {
		return err
	}
	in := make([][]int, len(inputs))
	for n, from := range inputs {
		if in[n] = p.dimsOf(g, from); from != Picture && i >= g.Head && from < g.Head && g.Layers[from].Kind == YOLO {
			return fmt.Errorf("reads YOLO layer %d of the backbone", from)
		}
	}
	out, params, err := l.infer(in)
	if err != nil {
		return err
	}
	if !validDims(out) {
		return fmt.Errorf("output %v is out of range", out)
	}
	switch l.Kind {
	case YOLO:
		err = g.checkYOLO(i, p)
	case Constant:
		if i >= g.Head {
			err = errors.New("is in the head, want it in the backbone")
		}
	}
	if err != nil {
		return err
	}
	if params > MaxParams-p.params {
		return fmt.Errorf("more than %d parameters", MaxParams)
	}
	p.inputs = append(p.inputs, inputs)
	p.dims = append(p.dims, out)
	p.offsets = append(p.offsets, p.params)
	p.params += params
	return nil
}

// dimsOf returns the dimensions of a layer or of the picture.
func (p *plan) dimsOf(g *Graph, layer int) []int {
	if layer == Picture {
		return []int{1, g.Input.C, g.Input.H, g.Input.W}
	}
	return p.dims[layer]
}

func (g *Graph) checkYOLO(i int, p *plan) error {
	l := &g.Layers[i]
	if i < g.Head {
		return errors.New("is in the backbone, want it in the head")
	}
	if p.classes != 0 && p.classes != l.Classes {
		return fmt.Errorf("has %d classes, an earlier one %d", l.Classes, p.classes)
	}
	p.classes = l.Classes
	p.yolos = append(p.yolos, i)
	return nil
}

func (g *Graph) checkOutputs(p *plan) error {
	p.outputs = slices.Clone(g.Outputs)
	if len(p.outputs) == 0 {
		p.outputs = slices.Clone(p.yolos)
	}
	if len(p.outputs) == 0 || len(p.outputs) > maxOutputs {
		return fmt.Errorf("%d outputs, want 1 to %d: name some, or add a YOLO layer", len(p.outputs), maxOutputs)
	}
	for _, out := range p.outputs {
		if out < g.Head || out >= len(g.Layers) {
			return fmt.Errorf("layer %d is an output, want only layers of the head, which are %d to %d", out, g.Head, len(g.Layers)-1)
		}
	}
	if len(p.yolos) > 0 && !slices.Equal(p.outputs, p.yolos) {
		return errors.New("has YOLO layers and other outputs")
	}
	return nil
}

// findTaps finds the backbone layers that the head reads. Constants are none:
// they do not depend on the picture.
func (g *Graph) findTaps(p *plan) error {
	read := make([]bool, g.Head)
	for i := g.Head; i < len(g.Layers); i++ {
		for _, from := range p.inputs[i] {
			switch {
			case from == Picture:
				return fmt.Errorf("%w: layer %d of the head reads the picture: cut the network further back", ErrGraph, i)
			case from < g.Head && g.Layers[from].Kind != Constant:
				read[from] = true
			}
		}
	}
	for i, r := range read {
		if r {
			p.taps = append(p.taps, i)
		}
	}
	if len(p.taps) == 0 {
		return fmt.Errorf("%w: the head reads nothing of the backbone", ErrGraph)
	}
	return nil
}

// clone returns a copy that shares nothing with g.
func (g *Graph) clone() Graph {
	c := Graph{Input: g.Input, Head: g.Head, Layers: make([]Layer, len(g.Layers)), Outputs: slices.Clone(g.Outputs)}
	for i := range g.Layers {
		c.Layers[i] = g.Layers[i].clone()
	}
	return c
}

// Convolutions checks the graph and returns its convolutions in order of layers,
// without parameters: what an importer must fill. Errors wrap ErrGraph.
func (g *Graph) Convolutions() ([]Conv, error) {
	p, err := g.check()
	if err != nil {
		return nil, err
	}
	var convs []Conv
	for i := range g.Layers {
		if g.Layers[i].Kind.trainable() {
			convs = append(convs, g.conv(p, i))
		}
	}
	return convs, nil
}

// conv describes layer i, which must be trainable, without its parameters.
func (g *Graph) conv(p *plan, i int) Conv {
	l := &g.Layers[i]
	in := p.dimsOf(g, p.inputs[i][0])
	c := Conv{Layer: i, Spec: l.clone(), In: shapeOf(in), Out: shapeOf(p.dims[i]), Columns: l.columns(in)}
	if l.Kind == Dense {
		rows := sizeOf(in) / c.Columns
		c.In, c.Out = Shape{C: c.Columns, H: rows, W: 1}, Shape{C: l.Filters, H: rows, W: 1}
	}
	return c
}
