package models

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/fxamacker/cbor/v2"
)

// ErrParams is wrapped by errors about parameters that do not fit their graph.
var ErrParams = errors.New("parameters do not fit the network")

// Network is a graph with its parameters. It never changes: a retrained head
// makes a new Network (WithHead) that shares the backbone's parameters. Slices
// it hands out are views and must not be written to, unless said otherwise.
//
// Parameters are one run of float32, in order of layers: for every convolution its
// biases [filters] and then its weights [filters][channels][rows][columns], as
// Darknet orders them; for every dense layer its biases [filters] and its weights
// [filters][channels]; for every constant its values. The head's parameters, which
// belong to convolutions and dense layers only, are the end of that run.
type Network struct {
	graph        Graph
	plan         *plan
	backbone     []float32
	head         []float32
	backboneHash Hash
	headHash     Hash
	hash         Hash
}

// Conv is a view of one layer with weights: a convolution, a deconvolution, or a
// dense layer, which is a convolution of size 1 over its rows (In is then Columns x
// rows x 1). Row f of Weights is Weights[f*Columns : (f+1)*Columns].
type Conv struct {
	Layer   int // number of the layer in the graph
	Spec    Layer
	In, Out Shape
	Columns int       // values of the input that a filter reads at one place: In.C / groups * size * size
	Bias    []float32 // [Out.C]
	Weights []float32 // [Out.C][Columns]
}

// NewNetwork joins a graph and its parameters and computes their hashes. It
// keeps params: the caller must not write to it afterwards. Errors wrap
// ErrGraph or ErrParams.
func NewNetwork(g Graph, params []float32) (*Network, error) {
	g = g.clone()
	p, err := g.check()
	if err != nil {
		return nil, err
	}
	if len(params) != p.params {
		return nil, fmt.Errorf("%w: %d given, want %d", ErrParams, len(params), p.params)
	}
	if err := finite(params); err != nil {
		return nil, err
	}
	cut := p.offsets[g.Head]
	n := &Network{graph: g, plan: p, backbone: params[:cut:cut], head: params[cut:]}
	if n.backboneHash, err = hashPart("perigee backbone 1", backbonePart(&g), n.backbone); err != nil {
		return nil, err
	}
	return n, n.name()
}

// WithHead returns a network with the same graph and backbone and the given
// head parameters, ordered as HeadParams returns them. It keeps head: the caller
// must not write to it afterwards. Errors wrap ErrParams.
func (n *Network) WithHead(head []float32) (*Network, error) {
	if len(head) != len(n.head) {
		return nil, fmt.Errorf("%w: head of %d given, want %d", ErrParams, len(head), len(n.head))
	}
	if err := finite(head); err != nil {
		return nil, err
	}
	next := &Network{graph: n.graph, plan: n.plan, backbone: n.backbone, head: head, backboneHash: n.backboneHash}
	return next, next.name()
}

// name computes the hashes of the head and of the whole.
func (n *Network) name() error {
	var err error
	if n.headHash, err = hashPart("perigee head 1", headPart(&n.graph), n.head); err != nil {
		return err
	}
	whole := sha256.New()
	whole.Write([]byte("perigee network 1"))
	whole.Write(n.backboneHash[:])
	whole.Write(n.headHash[:])
	whole.Sum(n.hash[:0])
	return nil
}

func finite(params []float32) error {
	for i, v := range params {
		if math.Float32bits(v)&0x7f800000 == 0x7f800000 {
			return fmt.Errorf("%w: parameter %d is %v, want a finite number", ErrParams, i, v)
		}
	}
	return nil
}

// backbonePart and headPart cut a graph where the network is cut. The head's
// part keeps the number of its first layer, which its routes count from.
func backbonePart(g *Graph) Graph {
	return Graph{Input: g.Input, Layers: g.Layers[:g.Head], Head: g.Head}
}

func headPart(g *Graph) Graph {
	return Graph{Input: g.Input, Layers: g.Layers[g.Head:], Head: g.Head, Outputs: g.Outputs}
}

func hashPart(domain string, g Graph, params []float32) (Hash, error) {
	enc, err := graphEncoding()
	if err != nil {
		return Hash{}, err
	}
	text, err := enc.Marshal(g)
	if err != nil {
		return Hash{}, fmt.Errorf("encode network graph: %w", err)
	}
	h := sha256.New()
	h.Write([]byte(domain))
	h.Write(text)
	hashFloats(h, params)
	var sum Hash
	h.Sum(sum[:0])
	return sum, nil
}

// graphEncoding is deterministic CBOR (RFC 8949 section 4.2.1).
func graphEncoding() (cbor.EncMode, error) {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		return nil, fmt.Errorf("set up deterministic CBOR: %w", err)
	}
	return enc, nil
}

// Hash names the whole network: its graph and every parameter.
func (n *Network) Hash() Hash { return n.hash }

// BackboneHash names the graph and the parameters of the backbone.
func (n *Network) BackboneHash() Hash { return n.backboneHash }

// HeadHash names the graph and the parameters of the head.
func (n *Network) HeadHash() Hash { return n.headHash }

// Graph returns a copy of the graph.
func (n *Network) Graph() Graph { return n.graph.clone() }

// Input returns the shape of the picture that the network reads.
func (n *Network) Input() Shape { return n.graph.Input }

// Classes returns the number of classes that the network tells apart by its YOLO
// layers; 0 when it has none.
func (n *Network) Classes() int { return n.plan.classes }

// Shape returns the output shape of a layer: its channels, height and width. Maps
// of fewer or more than two directions keep their first dimension as channels and
// their last as width.
func (n *Network) Shape(layer int) Shape { return shapeOf(n.plan.dims[layer]) }

// Dims returns the dimensions of a layer's output, with the leading 1 of the batch.
func (n *Network) Dims(layer int) []int { return slices.Clone(n.plan.dims[layer]) }

// Reads returns the layers that a layer reads, in order; Picture is the picture.
func (n *Network) Reads(layer int) []int { return slices.Clone(n.plan.inputs[layer]) }

// LayerParams returns the parameters of a layer, in the order of Network.
func (n *Network) LayerParams(layer int) []float32 { return n.layerParams(layer) }

// ParamCount returns the number of parameters of the whole network.
func (n *Network) ParamCount() int { return n.plan.params }

// Taps returns the numbers of the backbone layers that the head reads, in
// ascending order: the order of Features. For yolov3-tiny they are 8 and 12.
func (n *Network) Taps() []int { return slices.Clone(n.plan.taps) }

// Outputs returns the numbers of the layers whose maps the network hands out, in
// the order in which Engine.Head returns them: the YOLO layers, ascending, where
// there are some. Shape gives the shape of each.
func (n *Network) Outputs() []int { return slices.Clone(n.plan.outputs) }

// HeadParams returns a copy of the head's parameters, for WithHead.
func (n *Network) HeadParams() []float32 { return append([]float32(nil), n.head...) }

// HeadParamCount returns the number of parameters of the head.
func (n *Network) HeadParamCount() int { return len(n.head) }

// HeadConvs returns the layers of the head that have weights, in order.
func (n *Network) HeadConvs() []Conv { return n.convs(n.graph.Head, len(n.graph.Layers)) }

// Convs returns every layer that has weights, in order.
func (n *Network) Convs() []Conv { return n.convs(0, len(n.graph.Layers)) }

func (n *Network) convs(from, to int) []Conv {
	var convs []Conv
	for i := from; i < to; i++ {
		if n.graph.Layers[i].Kind.trainable() {
			convs = append(convs, n.conv(i))
		}
	}
	return convs
}

// conv returns a view of layer i, which must have weights.
func (n *Network) conv(i int) Conv {
	c := n.graph.conv(n.plan, i)
	params := n.layerParams(i)
	c.Bias, c.Weights = params[:c.Out.C:c.Out.C], params[c.Out.C:]
	return c
}

func (n *Network) layerParams(i int) []float32 {
	at, end := n.plan.offsets[i], n.plan.params
	if i+1 < len(n.plan.offsets) {
		end = n.plan.offsets[i+1]
	}
	params := n.backbone
	if i >= n.graph.Head {
		params, at, end = n.head, at-len(n.backbone), end-len(n.backbone)
	}
	return params[at:end:end]
}
