package train

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"perigee/models"
)

// builder makes a gorgonia graph of the part of a head that lies between given
// layers and what depends on them.
type builder struct {
	graph *gorgonia.ExprGraph
	net   *models.Network
	convs map[int]models.Conv
	vars  *variables
	built map[int][]feature // by layer; more than one is a joined map
	nodes map[*variable]*gorgonia.Node

	products *products
}

func newBuilder(net *models.Network, vars *variables) *builder {
	b := &builder{
		graph: gorgonia.NewGraph(), net: net, vars: vars,
		convs: make(map[int]models.Conv), built: make(map[int][]feature), nodes: make(map[*variable]*gorgonia.Node),
		products: newProducts(),
	}
	for _, conv := range net.HeadConvs() {
		b.convs[conv.Layer] = conv
	}
	return b
}

// input makes layer i an input of the graph: a map that is given for each run.
func (b *builder) input(i int) *gorgonia.Node {
	shape := b.net.Shape(i)
	node := b.matrix(fmt.Sprintf("map %d", i), shape.C, shape.H*shape.W)
	b.built[i] = []feature{{node: node, shape: shape}}
	return node
}

func (b *builder) matrix(name string, rows, columns int) *gorgonia.Node {
	return gorgonia.NewMatrix(b.graph, tensor.Float32, gorgonia.WithName(name), gorgonia.WithShape(rows, columns))
}

// layer returns the maps of layer i, adding what is needed to compute them.
func (b *builder) layer(i int) ([]feature, error) {
	if maps, ok := b.built[i]; ok {
		return maps, nil
	}
	if i < b.net.Graph().Head {
		return nil, fmt.Errorf("layer %d of the backbone is read, but it is no tap", i)
	}
	maps, err := b.add(i)
	if err != nil {
		return nil, err
	}
	b.built[i] = maps
	return maps, nil
}

func (b *builder) add(i int) ([]feature, error) {
	l := b.net.Graph().Layers[i]
	if l.Kind == models.Route {
		var joined []feature
		for _, from := range l.From {
			maps, err := b.layer(from)
			if err != nil {
				return nil, err
			}
			joined = append(joined, maps...)
		}
		return joined, nil
	}
	maps, err := b.layer(i - 1)
	if err != nil {
		return nil, err
	}
	switch l.Kind {
	case models.Convolution:
		if !l.Square() {
			return nil, fmt.Errorf("layer %d is a convolution with groups, an uneven window or another activation than leaky, which cannot be trained", i)
		}
		out, err := b.convolution(i, l.Activation, maps)
		return []feature{out}, err
	case models.Upsample:
		large := make([]feature, len(maps))
		for j, small := range maps {
			if large[j], err = upsample(i, l.Stride, small); err != nil {
				return nil, err
			}
		}
		return large, nil
	case models.YOLO:
		return maps, nil
	}
	return nil, fmt.Errorf("layer %d is a %s layer, which cannot be trained", i, l.Kind)
}

func (b *builder) convolution(i int, activation models.Activation, inputs []feature) (feature, error) {
	v := b.vars.byLayer[i]
	p, err := b.parameters(v)
	if err != nil {
		return feature{}, err
	}
	conv := &convolution{Conv: b.convs[i], products: b.products, inputs: inputs}
	node, err := conv.apply(p)
	if err == nil && activation == models.Leaky {
		node, err = leaky(i, node)
	}
	out := feature{node: node, shape: conv.Out, learned: v.trained}
	for _, input := range inputs {
		out.learned = out.learned || input.learned
	}
	return out, err
}

// parameters returns the nodes of a convolution's parameters.
func (b *builder) parameters(v *convVariables) (parameters, error) {
	p := parameters{weights: b.variable(&v.weights), bias: b.variable(&v.bias), trained: v.trained, dense: v.dense}
	if v.left.value == nil {
		return p, nil
	}
	p.left, p.right = b.variable(&v.left), b.variable(&v.right)
	var err error
	p.weights, err = factored(v.layer, p.weights, p.left, p.right)
	return p, err
}

// variable returns the node of a variable, made at the first call.
func (b *builder) variable(v *variable) *gorgonia.Node {
	if node, ok := b.nodes[v]; ok {
		return node
	}
	node := gorgonia.NewTensor(b.graph, tensor.Float32, v.value.Dims(),
		gorgonia.WithName(v.name), gorgonia.WithShape(v.value.Shape().Clone()...), gorgonia.WithValue(v.value))
	b.nodes[v] = node
	return node
}
