package train

import (
	"fmt"

	"github.com/viterin/vek/vek32"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"perigee/models"
)

// leaky adds the activation of a convolution.
func leaky(layer int, x *gorgonia.Node) (*gorgonia.Node, error) {
	k := &kernel{name: fmt.Sprintf("leaky %d", layer), wrt: []bool{true}}
	k.run = func(in [][]float32, out []float32) {
		for i, v := range in[0] {
			out[i] = max(v, v*models.LeakySlope)
		}
	}
	// The sign of the result is the sign of the input.
	k.diff = func(_ gorgonia.Nodes, out, grad *gorgonia.Node) (gorgonia.Nodes, error) {
		d := &kernel{name: fmt.Sprintf("gradient of leaky %d", layer), run: func(in [][]float32, out []float32) {
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
	k := &kernel{name: fmt.Sprintf("upsample %d", layer), wrt: []bool{true}}
	k.run = func(in [][]float32, out []float32) {
		for i := range out {
			line, column := i/large.W, i%large.W
			out[i] = in[0][line/factor*small.W+column/factor]
		}
	}
	k.diff = func(_ gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
		d := &kernel{name: fmt.Sprintf("gradient of upsample %d", layer), run: func(in [][]float32, out []float32) {
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
// ones: the weights of a convolution whose change has a low rank.
func factored(layer int, base, left, right *gorgonia.Node) (*gorgonia.Node, error) {
	rank := left.Shape()[1]
	k := &kernel{name: fmt.Sprintf("factored weights %d", layer), wrt: []bool{false, true, true}}
	k.run = func(in [][]float32, out []float32) {
		copy(out, in[0])
		addProduct(out, in[1], in[2], rank)
	}
	k.diff = func(in gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
		ofLeft := &kernel{name: fmt.Sprintf("gradient of left factor %d", layer), run: func(in [][]float32, out []float32) {
			eachProduct(in[0], in[1], rank, func(r, k int, grads, factors []float32) {
				out[r*rank+k] = vek32.Dot(grads, factors)
			})
		}}
		left, err := ofLeft.apply(in[1].Shape().Clone(), grad, in[2])
		if err != nil {
			return nil, err
		}
		columns := in[2].Shape()[1]
		ofRight := &kernel{name: fmt.Sprintf("gradient of right factor %d", layer), run: func(in [][]float32, out []float32) {
			clear(out)
			eachProduct(in[0], out, rank, func(r, k int, grads, sums []float32) {
				scale := in[1][r*rank+k]
				for i, g := range grads[:columns] {
					sums[i] += scale * g
				}
			})
		}}
		right, err := ofRight.apply(in[2].Shape().Clone(), grad, in[1])
		return gorgonia.Nodes{nil, left, right}, err
	}
	return k.apply(base.Shape().Clone(), base, left, right)
}

// eachProduct calls do for every row of a matrix and every row of a right
// factor of the given rank.
func eachProduct(matrix, right []float32, rank int, do func(r, k int, row, factor []float32)) {
	columns := len(right) / rank
	for r := range len(matrix) / columns {
		for k := range rank {
			do(r, k, matrix[r*columns:(r+1)*columns], right[k*columns:(k+1)*columns])
		}
	}
}
