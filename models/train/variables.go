package train

import (
	"fmt"
	"math/rand/v2"

	"gorgonia.org/tensor"

	"perigee/models"
)

// variable is an array of parameters with room for its gradient. Graphs of all
// lanes read the same value; only the solver writes it, between runs.
type variable struct {
	name  string
	value *tensor.Dense
	grad  []float32
}

func newVariable(name string, data []float32, shape ...int) variable {
	return variable{
		name:  name,
		value: tensor.New(tensor.WithShape(shape...), tensor.WithBacking(append([]float32(nil), data...))),
	}
}

func (v *variable) data() []float32 { return v.value.Data().([]float32) }

// convVariables are the parameters of one convolution of the head.
type convVariables struct {
	layer         int
	trained       bool // its biases and more
	dense         bool // its weights as a whole
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

// newVariables copies the head's parameters. Of what is trained it makes what the
// options ask for: whole weights or two factors of a change.
func newVariables(net *models.Network, o Options, rng *rand.Rand) *variables {
	vars := &variables{byLayer: make(map[int]*convVariables)}
	last := make(map[int]bool)
	for _, out := range net.Outputs() {
		last[out-1] = true
	}
	for _, conv := range net.HeadConvs() {
		name := func(part string) string { return fmt.Sprintf("%s of layer %d", part, conv.Layer) }
		v := &convVariables{
			layer: conv.Layer, trained: o.Layers == All || last[conv.Layer],
			bias:    newVariable(name("bias"), conv.Bias, conv.Out.C),
			weights: newVariable(name("weights"), conv.Weights, conv.Out.C, conv.Columns),
		}
		v.dense = v.trained && o.Rank == 0
		if v.trained && o.Rank > 0 {
			narrow := make([]float32, o.Rank*conv.Columns)
			for i := range narrow {
				narrow[i] = float32(rng.NormFloat64() * factorSigma)
			}
			v.left = newVariable(name("left factor"), make([]float32, conv.Out.C*o.Rank), conv.Out.C, o.Rank)
			v.right = newVariable(name("right factor"), narrow, o.Rank, conv.Columns)
		}
		vars.convs = append(vars.convs, v)
		vars.byLayer[conv.Layer] = v
		vars.trained = append(vars.trained, v.trainable()...)
	}
	for _, v := range vars.trained {
		v.grad = make([]float32, v.value.Size())
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

// addProduct adds the product of two factors of the given rank to a matrix.
func addProduct(to, left, right []float32, rank int) {
	columns := len(right) / rank
	for r := range len(to) / columns {
		row := to[r*columns : (r+1)*columns]
		for k := range rank {
			scale := left[r*rank+k]
			for i, value := range right[k*columns : (k+1)*columns] {
				row[i] += scale * value
			}
		}
	}
}
