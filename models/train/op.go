package train

import (
	"fmt"
	"hash"
	"hash/fnv"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// operator is a gorgonia operator whose work is a plain Go function over float32
// slices. Maps are matrices of channels by pixels. It owns its result and
// overwrites it in the next run, so a graph with operators belongs to one lane,
// and what a run leaves must be read before the next.
type operator struct {
	name   string // unique in its graph
	in     []hm.Type
	shape  tensor.Shape // of the result; none for a scalar
	run    func(in [][]float32, out []float32)
	wrt    []bool // inputs with a gradient; nil when there is none at all
	diff   func(in gorgonia.Nodes, out, grad *gorgonia.Node) (gorgonia.Nodes, error)
	result *tensor.Dense // nil for a scalar
}

// The types that operators take and give.
func matrixType() hm.Type { return gorgonia.TensorType{Dims: 2, Of: gorgonia.Float32} }
func vectorType() hm.Type { return gorgonia.TensorType{Dims: 1, Of: gorgonia.Float32} }
func scalarType() hm.Type { return gorgonia.Float32 }

// apply makes the node of an operator with a result of the given shape.
func (k *operator) apply(shape tensor.Shape, inputs ...*gorgonia.Node) (*gorgonia.Node, error) {
	k.shape = shape
	for _, input := range inputs {
		switch input.Dims() {
		case 0:
			k.in = append(k.in, scalarType())
		case 1:
			k.in = append(k.in, vectorType())
		default:
			k.in = append(k.in, matrixType())
		}
	}
	if shape.Dims() > 0 {
		k.result = tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(shape...))
	}
	node, err := gorgonia.ApplyOp(k, inputs...)
	if err != nil {
		return nil, fmt.Errorf("add %s to the training graph: %w", k.name, err)
	}
	return node, nil
}

// Arity is part of gorgonia.Op, as are the following methods.
func (k *operator) Arity() int { return len(k.in) }

// Type returns the function type of the operator.
func (k *operator) Type() hm.Type {
	out := scalarType()
	switch k.shape.Dims() {
	case 1:
		out = vectorType()
	case 2:
		out = matrixType()
	}
	return hm.NewFnType(append(append([]hm.Type{}, k.in...), out)...)
}

// InferShape returns the shape of the result.
func (k *operator) InferShape(...gorgonia.DimSizer) (tensor.Shape, error) {
	return k.shape.Clone(), nil
}

// Do runs the operator.
func (k *operator) Do(inputs ...gorgonia.Value) (gorgonia.Value, error) {
	in := make([][]float32, len(inputs))
	for i, input := range inputs {
		data, err := floats(input)
		if err != nil {
			return nil, fmt.Errorf("run %s, input %d: %w", k.name, i, err)
		}
		in[i] = data
	}
	if k.result == nil {
		var sum [1]float32
		k.run(in, sum[:])
		return gorgonia.NewF32(sum[0]), nil
	}
	k.run(in, k.result.Data().([]float32))
	return k.result, nil
}

func floats(v gorgonia.Value) ([]float32, error) {
	switch v := v.(type) {
	case *gorgonia.F32:
		return []float32{float32(*v)}, nil
	case *tensor.Dense:
		if data, ok := v.Data().([]float32); ok {
			return data, nil
		}
		if scalar, ok := v.Data().(float32); ok {
			return []float32{scalar}, nil
		}
	}
	return nil, fmt.Errorf("a value of type %T, want float32", v)
}

// ReturnsPtr tells that the result may not be edited in place by others.
func (k *operator) ReturnsPtr() bool { return false }

// CallsExtern tells that no foreign code is called.
func (k *operator) CallsExtern() bool { return false }

// OverwritesInput tells that no input is written to.
func (k *operator) OverwritesInput() int { return -1 }

// WriteHash names the operator.
func (k *operator) WriteHash(h hash.Hash) { fmt.Fprint(h, "perigee ", k.name) }

// Hashcode names the operator.
func (k *operator) Hashcode() uint32 {
	h := fnv.New32a()
	k.WriteHash(h)
	return h.Sum32()
}

// String names the operator.
func (k *operator) String() string { return k.name }

// DiffWRT is part of gorgonia.SDOp: it tells which inputs have a gradient.
func (k *operator) DiffWRT(inputs int) []bool {
	if k.wrt == nil {
		return make([]bool, inputs)
	}
	return k.wrt
}

// SymDiff is part of gorgonia.SDOp: it returns the nodes of the gradients.
func (k *operator) SymDiff(in gorgonia.Nodes, out, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	if k.diff == nil {
		return nil, fmt.Errorf("differentiate %s: it has no gradient", k.name)
	}
	return k.diff(in, out, grad)
}
