package main

import (
	"context"
	"fmt"
	"math"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"perigee/models"
)

// gorgoniaNet is a network of Darknet's layers as a graph of gorgonia, with gorgonia's
// own operators and its default BLAS.
type gorgoniaNet struct {
	machine gorgonia.VM
	picture *gorgonia.Node
	outputs []gorgonia.Value // of the last run
}

func newGorgonia(n *models.Network) (*gorgoniaNet, error) {
	in := n.Input()
	graph := gorgonia.NewGraph()
	g := &gorgoniaNet{picture: gorgonia.NewTensor(graph, tensor.Float32, 4, gorgonia.WithName("picture"), gorgonia.WithShape(1, in.C, in.H, in.W))}
	convs := make(map[int]models.Conv)
	for _, c := range n.Convs() {
		convs[c.Layer] = c
	}
	layers := n.Graph().Layers
	nodes := make(gorgonia.Nodes, len(layers))
	for i, l := range layers {
		var from gorgonia.Nodes
		for _, k := range n.Reads(i) {
			if k == models.Picture {
				from = append(from, g.picture)
			} else {
				from = append(from, nodes[k])
			}
		}
		var err error
		if nodes[i], err = gorgoniaLayer(graph, &l, convs[i], n.Shape(i), from); err != nil {
			return nil, fmt.Errorf("layer %d in gorgonia: %w", i, err)
		}
	}
	g.outputs = make([]gorgonia.Value, len(n.Outputs()))
	for k, i := range n.Outputs() {
		gorgonia.Read(nodes[i], &g.outputs[k])
	}
	g.machine = gorgonia.NewTapeMachine(graph)
	return g, nil
}

// gorgoniaLayer adds a layer to a graph.
func gorgoniaLayer(graph *gorgonia.ExprGraph, l *models.Layer, c models.Conv, out models.Shape, from gorgonia.Nodes) (*gorgonia.Node, error) {
	switch l.Kind {
	case models.Convolution:
		return gorgoniaConv(graph, l, c, from[0])
	case models.MaxPool:
		return gorgoniaPool(graph, l, out, from[0])
	case models.Upsample:
		return gorgonia.Upsample2D(from[0], l.Stride)
	case models.Route:
		if len(from) == 1 {
			return from[0], nil
		}
		return gorgonia.Concat(1, from...)
	case models.YOLO:
		return from[0], nil
	}
	return nil, fmt.Errorf("there is no %v", l.Kind)
}

func gorgoniaConv(graph *gorgonia.ExprGraph, l *models.Layer, c models.Conv, from *gorgonia.Node) (*gorgonia.Node, error) {
	constant := func(name string, values []float32, shape ...int) *gorgonia.Node {
		t := tensor.New(tensor.WithShape(shape...), tensor.WithBacking(values))
		return gorgonia.NewTensor(graph, tensor.Float32, 4, gorgonia.WithName(fmt.Sprintf("%s %d", name, c.Layer)), gorgonia.WithValue(t))
	}
	window := tensor.Shape{l.Size, l.Size}
	out, err := gorgonia.Conv2d(from, constant("weights", c.Weights, c.Out.C, c.In.C, l.Size, l.Size), window,
		[]int{l.Pad, l.Pad}, []int{l.Stride, l.Stride}, []int{1, 1})
	if err != nil {
		return nil, err
	}
	if out, err = gorgonia.BroadcastAdd(out, constant("bias", c.Bias, 1, c.Out.C, 1, 1), nil, []byte{0, 2, 3}); err != nil {
		return nil, err
	}
	if l.Activation != models.Leaky {
		return out, nil
	}
	return gorgonia.LeakyRelu(out, 0.1)
}

// gorgoniaPool pools windows, of which the last may reach over the edge: what lies there
// is less than anything.
func gorgoniaPool(graph *gorgonia.ExprGraph, l *models.Layer, out models.Shape, from *gorgonia.Node) (*gorgonia.Node, error) {
	for i, size := range []int{out.H, out.W} {
		axis := 2 + i
		shape := from.Shape().Clone()
		beyond := (size-1)*l.Stride + l.Size - shape[axis]
		if beyond <= 0 {
			continue
		}
		shape[axis] = beyond
		nothing := make([]float32, shape.TotalSize())
		for k := range nothing {
			nothing[k] = -math.MaxFloat32
		}
		edge := gorgonia.NewTensor(graph, tensor.Float32, 4, gorgonia.WithName(fmt.Sprintf("edge %d of %v", axis, from.Name())),
			gorgonia.WithValue(tensor.New(tensor.WithShape(shape...), tensor.WithBacking(nothing))))
		var err error
		if from, err = gorgonia.Concat(axis, from, edge); err != nil {
			return nil, err
		}
	}
	return gorgonia.MaxPool2D(from, tensor.Shape{l.Size, l.Size}, []int{0, 0}, []int{l.Stride, l.Stride})
}

// run computes the outputs for a picture.
func (g *gorgoniaNet) run(picture models.Tensor) error {
	defer g.machine.Reset()
	t := tensor.New(tensor.WithShape(g.picture.Shape()...), tensor.WithBacking(picture.Data))
	if err := gorgonia.Let(g.picture, t); err != nil {
		return err
	}
	return g.machine.RunAll()
}

// checkOutputs holds the outputs of the last run against those of e.
func (g *gorgoniaNet) checkOutputs(ctx context.Context, e models.Engine, picture models.Tensor) error {
	features, err := e.Backbone(ctx, picture)
	if err != nil {
		return err
	}
	want, err := e.Head(ctx, features)
	if err != nil {
		return err
	}
	for i, value := range g.outputs {
		got, ok := value.Data().([]float32)
		if !ok || len(got) != len(want[i].Data) {
			return fmt.Errorf("output %d of gorgonia has another size", i)
		}
		for j, v := range got {
			if d := math.Abs(float64(v - want[i].Data[j])); !(d < 1e-3) {
				return fmt.Errorf("value %d of output %d is %g in gorgonia, %g here", j, i, v, want[i].Data[j])
			}
		}
	}
	return nil
}

// compareGorgonia measures gorgonia beside the engine, on two threads. Both must
// compute the same.
func (b *bench) compareGorgonia(ctx context.Context, n *models.Network, picture models.Tensor) (f figure, err error) {
	ours, err := models.NewEngine(n, 2)
	if err != nil {
		return f, err
	}
	defer func() { err = closing(err, ours.Close) }()
	theirs, err := newGorgonia(n)
	if err != nil {
		return f, err
	}
	defer func() { err = closing(err, theirs.machine.Close) }()
	if err := theirs.run(picture); err != nil {
		return f, fmt.Errorf("running gorgonia: %w", err)
	}
	if err := theirs.checkOutputs(ctx, ours, picture); err != nil {
		return f, err
	}
	ref, value, err := b.inTurns(ctx,
		func() error {
			_, err := ours.Detect(ctx, picture, models.DefaultDetectOptions())
			return err
		},
		func() error { return theirs.run(picture) })
	return figure{name: "engine.forward_gorgonia", value: value * 1e3, unit: "ms", reference: ref * 1e3}, err
}
