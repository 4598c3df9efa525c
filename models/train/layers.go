package train

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"perigee/models"
)

// leaky adds the activation of a convolution.
func leaky(layer int, x *gorgonia.Node) (*gorgonia.Node, error) {
	k := &operator{name: fmt.Sprintf("leaky %d", layer), wrt: []bool{true}}
	k.run = func(in [][]float32, out []float32) {
		for i, v := range in[0] {
			out[i] = max(v, v*models.LeakySlope)
		}
	}
	// The sign of the result is the sign of the input.
	k.diff = func(_ gorgonia.Nodes, out, grad *gorgonia.Node) (gorgonia.Nodes, error) {
		d := &operator{name: fmt.Sprintf("gradient of leaky %d", layer), run: func(in [][]float32, out []float32) {
			for i, v := range in[0] {
				slope := float32(1)
				if v < 0 {
					slope = models.LeakySlope
				}
				out[i] = in[1][i] * slope
			}
		}}
		node, err := d.apply(out.Shape().Clone(), out, grad)
		return gorgonia.Nodes{node}, err
	}
	return k.apply(x.Shape().Clone(), x)
}

// upsample adds a layer that repeats every value factor times both ways.
func upsample(layer, factor int, x feature) (feature, error) {
	small := x.shape
	large := models.Shape{C: small.C, H: small.H * factor, W: small.W * factor}
	k := &operator{name: fmt.Sprintf("upsample %d", layer), wrt: []bool{true}}
	k.run = func(in [][]float32, out []float32) {
		for i := range out {
			line, column := i/large.W, i%large.W
			out[i] = in[0][line/factor*small.W+column/factor]
		}
	}
	k.diff = func(_ gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
		d := &operator{name: fmt.Sprintf("gradient of upsample %d", layer), run: func(in [][]float32, out []float32) {
			clear(out)
			for i, g := range in[0] {
				line, column := i/large.W, i%large.W
				out[line/factor*small.W+column/factor] += g
			}
		}}
		node, err := d.apply(tensor.Shape{small.C, small.H * small.W}, grad)
		return gorgonia.Nodes{node}, err
	}
	node, err := k.apply(tensor.Shape{large.C, large.H * large.W}, x.node)
	return feature{node: node, shape: large, learned: x.learned}, err
}

// factored adds a matrix that is a fixed one plus the product of two narrow
// ones: the weights of a convolution whose change has a low rank. It has no
// gradient of its own: the convolution has those of the factors.
func factored(layer int, base, left, right *gorgonia.Node) (*gorgonia.Node, error) {
	rank := left.Shape()[1]
	k := &operator{name: fmt.Sprintf("factored weights %d", layer), run: func(in [][]float32, out []float32) {
		copy(out, in[0])
		addProduct(out, in[1], in[2], rank)
	}}
	return k.apply(base.Shape().Clone(), base, left, right)
}
