package models

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Part is a layer with its parameters, in the order of Network.
type Part struct {
	Layer  Layer
	Params []float32
}

// Assemble makes a network of layers, each of which reads earlier ones. outputs are
// the layers whose maps it hands out; none means the YOLO layers. head says where
// the head begins: the names or the numbers of layers, separated by commas. They
// and everything that depends on them become the head and move to the end; all else
// is the backbone. An empty head is chosen: it begins behind the last layer with
// the most channels at the coarsest resolution, where a detector or a classifier
// ceases to look for features and starts to name things. Errors wrap ErrGraph or
// ErrParams.
func Assemble(input Shape, parts []Part, outputs []int, head string) (*Network, error) {
	g := Graph{Input: input, Outputs: outputs, Layers: make([]Layer, len(parts))}
	for i := range parts {
		g.Layers[i] = parts[i].Layer.clone()
	}
	reads, dims, err := g.survey()
	if err != nil {
		return nil, err
	}
	inHead, err := g.chooseHead(reads, dims, head)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGraph, err)
	}
	order := headLast(inHead)
	params := []float32{}
	g = g.reordered(reads, order)
	g.Head = len(order) - countTrue(inHead)
	for _, i := range order {
		params = append(params, parts[i].Params...)
	}
	return NewNetwork(g, params)
}

// Cut returns the same network with its head elsewhere; see Assemble.
func (n *Network) Cut(head string) (*Network, error) {
	parts := make([]Part, len(n.graph.Layers))
	for i := range parts {
		parts[i] = Part{Layer: n.graph.Layers[i], Params: n.layerParams(i)}
	}
	return Assemble(n.graph.Input, parts, n.graph.Outputs, head)
}

// survey returns what the layers read and the dimensions of their outputs.
func (g *Graph) survey() (reads, dims [][]int, err error) {
	if !g.Input.valid() || len(g.Layers) == 0 || len(g.Layers) > MaxLayers {
		return nil, nil, fmt.Errorf("%w: input %v or number of layers, %d, is out of range", ErrGraph, g.Input, len(g.Layers))
	}
	p := &plan{}
	for i := range g.Layers {
		from, err := g.Layers[i].reads(i)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %s (%v): %w", ErrGraph, g.Name(i), g.Layers[i].Kind, err)
		}
		in := make([][]int, len(from))
		for n, f := range from {
			in[n] = p.dimsOf(g, f)
		}
		out, _, err := g.Layers[i].infer(in)
		if err == nil && !validDims(out) {
			err = fmt.Errorf("output %v is out of range", out)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %s (%v): %w", ErrGraph, g.Name(i), g.Layers[i].Kind, err)
		}
		reads, p.dims = append(reads, from), append(p.dims, out)
	}
	return reads, p.dims, nil
}

// chooseHead returns which layers are in the head.
func (g *Graph) chooseHead(reads, dims [][]int, head string) ([]bool, error) {
	if head == "" {
		return g.automaticHead(reads, dims)
	}
	in := make([]bool, len(g.Layers))
	for name := range strings.SplitSeq(head, ",") {
		i, err := g.find(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		in[i] = true
	}
	return dependents(reads, in), nil
}

// find returns the layer with the given name or number.
func (g *Graph) find(name string) (int, error) {
	for i := range g.Layers {
		if g.Name(i) == name {
			return i, nil
		}
	}
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(g.Layers) {
		return i, nil
	}
	return 0, fmt.Errorf("no layer is named %.80q: perigee model inspect lists them", name)
}

// dependents extends in by all layers that depend on those in it.
func dependents(reads [][]int, in []bool) []bool {
	in = slices.Clone(in)
	for i, from := range reads {
		for _, f := range from {
			in[i] = in[i] || f != Picture && in[f]
		}
	}
	return in
}

// automaticHead tries the layers whose map has the most channels at the coarsest
// resolution, best first, and takes the first behind which there is a head: one that
// holds all outputs and something to train.
func (g *Graph) automaticHead(reads, dims [][]int) ([]bool, error) {
	var order []int
	for i, d := range dims {
		if len(d) == 4 && d[2]*d[3] > 1 && g.Layers[i].Kind != Constant {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(dims[a][2]*dims[a][3]-dims[b][2]*dims[b][3], dims[b][1]-dims[a][1], b-a)
	})
	for i := len(dims) - 1; i >= 0; i-- { // networks without maps, from the end
		order = append(order, i)
	}
	for _, i := range order {
		in := make([]bool, len(g.Layers))
		in[i] = true
		in = dependents(reads, in)
		in[i] = false
		if g.makesHead(reads, in) {
			return in, nil
		}
	}
	return nil, errors.New("no layer has a head behind it that holds all outputs and has weights: name one")
}

// makesHead reports whether the layers in the head hold all outputs and weights,
// and read the backbone but not the picture.
func (g *Graph) makesHead(reads [][]int, in []bool) bool {
	weights, tap := false, false
	for i := range g.Layers {
		if !in[i] {
			if g.Layers[i].Kind == YOLO || slices.Contains(g.Outputs, i) {
				return false
			}
			continue
		}
		weights = weights || g.Layers[i].Kind.trainable()
		for _, f := range reads[i] {
			if f == Picture {
				return false
			}
			tap = tap || !in[f] && g.Layers[f].Kind != Constant
		}
	}
	return weights && tap
}

// headLast returns the layers in an order in which those of the head come last.
func headLast(inHead []bool) []int {
	var order []int
	for _, head := range []bool{false, true} {
		for i, in := range inHead {
			if in == head {
				order = append(order, i)
			}
		}
	}
	return order
}

func countTrue(flags []bool) int {
	n := 0
	for _, f := range flags {
		if f {
			n++
		}
	}
	return n
}

// reordered returns the graph with its layers in the given order.
func (g *Graph) reordered(reads [][]int, order []int) Graph {
	number := make([]int, len(order))
	for to, from := range order {
		number[from] = to
	}
	next := Graph{Input: g.Input, Layers: make([]Layer, len(order))}
	for to, i := range order {
		l := g.Layers[i].clone()
		l.From = nil
		for _, f := range reads[i] {
			if f != Picture {
				f = number[f]
			}
			l.From = append(l.From, f)
		}
		if l.Kind != Route && len(l.From) == 1 && l.From[0] == to-1 {
			l.From = nil // the layer before goes without saying
		}
		next.Layers[to] = l
	}
	for _, out := range g.Outputs {
		next.Outputs = append(next.Outputs, number[out])
	}
	return next
}
