package train

import (
	"fmt"
	"math/rand/v2"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"perigee/models"
)

// variable is an array of parameters with room for its gradient. Graphs of all
// lanes read the same value; only the solver writes it, between runs.
type variable struct {
	name        string
	value, grad *tensor.Dense
}

func newVariable(name string, data []float32, shape ...int) variable {
	return variable{
		name:  name,
		value: tensor.New(tensor.WithShape(shape...), tensor.WithBacking(append([]float32(nil), data...))),
	}
}

// Value and Grad make a variable something that a gorgonia solver can step.
func (v *variable) Value() gorgonia.Value { return v.value }

// Grad returns the gradient of the last step.
func (v *variable) Grad() (gorgonia.Value, error) { return v.grad, nil }

func (v *variable) data() []float32     { return v.value.Data().([]float32) }
func (v *variable) gradient() []float32 { return v.grad.Data().([]float32) }

// convVariables are the parameters of one convolution of the head.
type convVariables struct {
	layer         int
	trained       bool
	bias, weights variable
	left, right   variable // factors of a low-rank change; no value when not used
}

// trainable returns what the solver changes, in a fixed order.
func (c *convVariables) trainable() []*variable {
	switch {
	case !c.trained:
		return nil
	case c.left.value != nil:
		return []*variable{&c.bias, &c.left, &c.right}
	}
	return []*variable{&c.bias, &c.weights}
}

// variables are all parameters of a head.
type variables struct {
	convs   []*convVariables
	byLayer map[int]*convVariables
	trained []*variable
}

// factorSigma is the spread of the right factor at the start; the left one
// starts at zero, so that the change does too.
const factorSigma = 0.01

// newVariables copies the head's parameters. A rank above zero trains the
// biases and two factors instead of the weights.
func newVariables(net *models.Network, layers Layers, rank int, rng *rand.Rand) *variables {
	vars := &variables{byLayer: make(map[int]*convVariables)}
	last := make(map[int]bool)
	for _, out := range net.Outputs() {
		last[out-1] = true
	}
	for _, conv := range net.HeadConvs() {
		name := func(part string) string { return fmt.Sprintf("%s of layer %d", part, conv.Layer) }
		v := &convVariables{
			layer: conv.Layer, trained: layers == All || last[conv.Layer],
			bias:    newVariable(name("bias"), conv.Bias, conv.Out.C),
			weights: newVariable(name("weights"), conv.Weights, conv.Out.C, conv.Columns),
		}
		if rank > 0 && v.trained {
			narrow := make([]float32, rank*conv.Columns)
			for i := range narrow {
				narrow[i] = float32(rng.NormFloat64() * factorSigma)
			}
			v.left = newVariable(name("left factor"), make([]float32, conv.Out.C*rank), conv.Out.C, rank)
			v.right = newVariable(name("right factor"), narrow, rank, conv.Columns)
		}
		vars.convs = append(vars.convs, v)
		vars.byLayer[conv.Layer] = v
		vars.trained = append(vars.trained, v.trainable()...)
	}
	for _, v := range vars.trained {
		v.grad = tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(v.value.Shape().Clone()...))
	}
	return vars
}

// head returns the head's parameters in the order of models.Network.
func (v *variables) head() []float32 {
	var head []float32
	for _, conv := range v.convs {
		head = append(head, conv.bias.data()...)
		weights := append([]float32(nil), conv.weights.data()...)
		if conv.left.value != nil {
			addProduct(weights, conv.left.data(), conv.right.data(), conv.left.value.Shape()[1])
		}
		head = append(head, weights...)
	}
	return head
}

// addProduct adds the product of two factors of the given rank.
func addProduct(to, left, right []float32, rank int) {
	eachProduct(to, right, rank, func(r, k int, row, factor []float32) {
		scale := left[r*rank+k]
		for i, value := range factor {
			row[i] += scale * value
		}
	})
}
