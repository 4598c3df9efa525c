package onnx

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"perigee/models"
)

// Options say what a file leaves open.
type Options struct {
	// Input is the size of the picture where the file does not fix it; a size that
	// the file does fix must be the same or 0.
	Input models.Shape
	// Head says where the head begins; see models.Assemble.
	Head string
}

// ErrOpenSize is wrapped by errors about a file that does not fix the size of its
// picture, when Options do not either.
var ErrOpenSize = errors.New("the file leaves the size of its picture open: name one")

// ReadFile reads a network from an ONNX file. Errors about its content wrap
// ErrFile, ErrUnsupported, models.ErrGraph or models.ErrParams.
func ReadFile(path string, o Options) (*models.Network, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read ONNX model: %w", err)
	}
	defer f.Close()
	n, err := Read(f, o)
	if err != nil {
		return nil, fmt.Errorf("read ONNX model %s: %w", path, err)
	}
	return n, nil
}

// Read is ReadFile from a stream, which is read to its end.
func Read(r io.Reader, o Options) (*models.Network, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxFile {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrFile, MaxFile)
	}
	m, err := parse(data)
	if err != nil {
		return nil, err
	}
	if m.opset < 7 || m.opset > 21 {
		return nil, fmt.Errorf("%w: operator set %d, want 7 to 21: convert the model", ErrUnsupported, m.opset)
	}
	im := newImporter(m.opset, 4*len(data)+foldAllowance)
	if err := im.inputs(&m.graph, o.Input); err != nil {
		return nil, err
	}
	if err := im.run(&m.graph); err != nil {
		return nil, err
	}
	im.simplify()
	return im.assemble(o.Head)
}

// layer is a layer of the network in the making.
type layer struct {
	models.Layer
	from   []*layer // nil is the picture
	dims   []int
	params []float32
	number int // in the network
}

// value is what a name of the file stands for: a constant, or what a layer
// computes.
type value struct {
	constant *tensor
	layer    *layer
	picture  bool
	dims     []int
}

// importer turns operators into layers.
type importer struct {
	opset   int
	input   models.Shape
	values  map[string]*value
	names   map[string]bool // of layers
	layers  []*layer        // in an order in which each reads earlier ones
	outputs []*layer
	budget  int // values that may still be computed
}

func newImporter(opset, budget int) *importer {
	return &importer{opset: opset, values: make(map[string]*value), names: make(map[string]bool), budget: budget}
}

// run turns all operators into layers and finds the outputs among them.
func (im *importer) run(g *graph) error {
	for i := range g.nodes {
		n := &g.nodes[i]
		if err := im.node(n); err != nil {
			return fmt.Errorf("%w: operator %s: %w", ErrUnsupported, n, err)
		}
	}
	for _, out := range g.outputs {
		v, ok := im.values[out.name]
		if !ok {
			return fmt.Errorf("%w: nothing computes the output %.80q", ErrFile, out.name)
		}
		if v.layer == nil {
			return fmt.Errorf("%w: the output %.80q is not computed from the picture", ErrUnsupported, out.name)
		}
		im.outputs = append(im.outputs, v.layer)
	}
	return nil
}

// inputs takes the constants and finds the picture among the inputs.
func (im *importer) inputs(g *graph, size models.Shape) error {
	for _, t := range g.initializers {
		im.values[t.name] = &value{constant: t, dims: t.dims}
	}
	found := ""
	for _, in := range g.inputs {
		if _, ok := im.values[in.name]; ok {
			continue // old files name their constants here too
		}
		if found != "" {
			return fmt.Errorf("%w: it has the inputs %.80q and %.80q, want one picture", ErrUnsupported, found, in.name)
		}
		found = in.name
		if err := im.picture(&in, size); err != nil {
			return fmt.Errorf("%w: input %.80q: %w", ErrUnsupported, in.name, err)
		}
	}
	if found == "" {
		return fmt.Errorf("%w: it has no input", ErrUnsupported)
	}
	return nil
}

// picture finds the dimensions of the picture.
func (im *importer) picture(in *valueInfo, size models.Shape) error {
	if in.kind != typeFloat {
		return fmt.Errorf("element type %d, want float", in.kind)
	}
	if len(in.dims) != 4 || in.dims[0] > 1 {
		return fmt.Errorf("dimensions %v, want one picture: 1, channels, height, width", in.dims)
	}
	for i, to := range []*int{&im.input.C, &im.input.H, &im.input.W} {
		fixed, asked := in.dims[i+1], []int{size.C, size.H, size.W}[i]
		switch {
		case fixed < 0 && asked <= 0:
			return fmt.Errorf("%w, %v", ErrOpenSize, in.dims)
		case fixed > 0 && asked > 0 && fixed != asked:
			return fmt.Errorf("the file fixes its size to %v, %v was asked for", in.dims, size)
		}
		*to = max(fixed, asked)
	}
	im.values[in.name] = &value{picture: true, dims: []int{1, im.input.C, im.input.H, im.input.W}}
	return nil
}

// operands returns what an operator reads; optional ones that are left out are nil.
func (im *importer) operands(n *node) ([]*value, error) {
	var list []*value
	for _, name := range n.inputs {
		if name == "" {
			list = append(list, nil)
			continue
		}
		v, ok := im.values[name]
		if !ok {
			return nil, fmt.Errorf("nothing computes its input %.80q before it", name)
		}
		list = append(list, v)
	}
	return list, nil
}

// node turns an operator into layers, or computes it when all that it reads is
// known.
func (im *importer) node(n *node) error {
	if n.domain != "" && n.domain != "ai.onnx" {
		return fmt.Errorf("is of the domain %.80q, want ONNX's own", n.domain)
	}
	for name, a := range n.attributes {
		if a.graph {
			return fmt.Errorf("its attribute %.80q is a graph", name)
		}
	}
	in, err := im.operands(n)
	if err != nil {
		return err
	}
	if len(n.outputs) == 0 {
		return errors.New("computes nothing")
	}
	op := &operation{importer: im, node: n, in: in}
	results, err := op.results()
	if err != nil {
		return err
	}
	for i, v := range results {
		if i < len(n.outputs) && n.outputs[i] != "" {
			if _, twice := im.values[n.outputs[i]]; twice {
				return fmt.Errorf("its output %.80q is there already", n.outputs[i])
			}
			im.values[n.outputs[i]] = v
		}
	}
	return nil
}

// add adds a layer that reads the given values. A constant that is read becomes a
// layer too.
func (im *importer) add(n *node, l models.Layer, params []float32, in ...*value) (*value, error) {
	made := &layer{Layer: l, params: params}
	var dims [][]int
	for _, v := range in {
		if v.constant != nil && v.layer == nil {
			c := v.constant
			shape := c.dims
			if len(shape) == 0 {
				shape = []int{1}
			}
			v.layer = &layer{Layer: models.Layer{Kind: models.Constant, Dims: shape, Name: im.name(&node{name: c.name, outputs: []string{"constant"}})}, params: c.asFloats(), dims: shape}
			v.dims = shape
			im.layers = append(im.layers, v.layer)
		}
		made.from = append(made.from, v.layer)
		dims = append(dims, v.dims)
	}
	out, count, err := l.Output(dims)
	if err != nil {
		return nil, err
	}
	if count != len(params) {
		return nil, fmt.Errorf("has %d parameters, want %d", len(params), count)
	}
	if len(im.layers) >= maxNodes {
		return nil, fmt.Errorf("it takes more than %d layers", maxNodes)
	}
	made.dims, made.Name = out, im.name(n)
	im.layers = append(im.layers, made)
	return &value{layer: made, dims: out}, nil
}

// name returns a name for a layer of an operator that no other has: the operator's,
// or its output's.
func (im *importer) name(n *node) string {
	for _, name := range append([]string{n.name}, n.outputs...) {
		if name != "" && len(name) <= models.MaxName && !im.names[name] {
			im.names[name] = true
			return name
		}
	}
	return ""
}

// spend takes count values from the budget for constants that are computed.
func (im *importer) spend(count int) error {
	if count < 0 || count > im.budget {
		return errors.New("computes more constants than its file justifies")
	}
	im.budget -= count
	return nil
}

// foldAllowance is how many values of constants may be computed in any case.
const foldAllowance = 1 << 20

// assemble makes the network of the layers that the outputs depend on.
func (im *importer) assemble(head string) (*models.Network, error) {
	var parts []models.Part
	for _, l := range im.layers {
		l.number = len(parts)
		l.Layer.From = nil
		for _, f := range l.from {
			if f == nil {
				l.Layer.From = append(l.Layer.From, models.Picture)
			} else {
				l.Layer.From = append(l.Layer.From, f.number)
			}
		}
		parts = append(parts, models.Part{Layer: l.Layer, Params: l.params})
	}
	var outputs []int
	for _, l := range im.outputs {
		outputs = append(outputs, l.number)
	}
	return models.Assemble(im.input, parts, outputs, head)
}

// limitInt keeps a number of a file within what indices can be.
func limitInt(v int64) int { return int(min(max(v, math.MinInt32), math.MaxInt32)) }
