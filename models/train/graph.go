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
}

func newBuilder(net *models.Network, vars *variables) *builder {
	b := &builder{
		graph: gorgonia.NewGraph(), net: net, vars: vars,
		convs: make(map[int]models.Conv), built: make(map[int][]feature), nodes: make(map[*variable]*gorgonia.Node),
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
	conv := &convolution{Conv: b.convs[i], inputs: inputs}
	v := b.vars.byLayer[i]
	weights, err := b.weights(v, conv)
	if err != nil {
		return feature{}, err
	}
	bias := b.variable(&v.bias)
	node, err := conv.apply(weights, bias, v.trained)
	if err == nil && activation == models.Leaky {
		node, err = leaky(i, node)
	}
	out := feature{node: node, shape: conv.Out, learned: v.trained}
	for _, input := range inputs {
		out.learned = out.learned || input.learned
	}
	return out, err
}

// weights returns the node of a convolution's weights: a variable, or a fixed
// matrix and the product of two narrow ones.
func (b *builder) weights(v *convVariables, conv *convolution) (*gorgonia.Node, error) {
	base := b.variable(&v.weights)
	if v.left.value == nil {
		return base, nil
	}
	return factored(conv.Layer, base, b.variable(&v.left), b.variable(&v.right))
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
