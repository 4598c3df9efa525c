package train

import (
	"fmt"

	"github.com/viterin/vek/vek32"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"perigee/models"
)

// laneWidth is what rows of matrices are padded to: vek32 multiplies that many
// columns at a time and does the rest one by one.
const laneWidth = 32

func padded(n int) int { return (n + laneWidth - 1) / laneWidth * laneWidth }

// feature is a map in the training graph.
type feature struct {
	node    *gorgonia.Node // matrix of channels by pixels
	shape   models.Shape
	learned bool // depends on a parameter that is trained: needs a gradient
}

// convolution is one convolution of the head over the joined channels of its
// inputs, without its activation. Its parts share the gathered windows.
type convolution struct {
	models.Conv
	inputs  []feature
	windows []float32 // [Columns][padded pixels], gathered by the last run
	wide    []float32 // [filters][padded pixels]
}

// pixels returns the number of pixels of the output, padded.
func (c *convolution) pixels() int { return padded(c.Out.H * c.Out.W) }

// apply adds the convolution to the graph. weights is a matrix of filters by
// columns, bias a vector of filters.
func (c *convolution) apply(weights, bias *gorgonia.Node, trained bool) (*gorgonia.Node, error) {
	c.windows = make([]float32, c.Columns*c.pixels())
	c.wide = make([]float32, c.Out.C*c.pixels())
	k := &kernel{name: fmt.Sprintf("convolution %d", c.Layer), run: c.forward, diff: c.gradients}
	var nodes []*gorgonia.Node
	for _, input := range c.inputs {
		nodes = append(nodes, input.node)
		k.wrt = append(k.wrt, input.learned)
	}
	k.wrt = append(k.wrt, trained, trained)
	return k.apply(tensor.Shape{c.Out.C, c.Out.H * c.Out.W}, append(nodes, weights, bias)...)
}

// forward gathers the windows and multiplies them with the weights.
func (c *convolution) forward(in [][]float32, out []float32) {
	maps, weights, bias := in[:len(c.inputs)], in[len(c.inputs)], in[len(c.inputs)+1]
	row := 0
	for i, input := range c.inputs {
		for channel := range input.shape.C {
			area := input.shape.H * input.shape.W
			plane := maps[i][channel*area : (channel+1)*area]
			row = c.gather(plane, row)
		}
	}
	vek32.MatMul_Into(c.wide, weights, c.windows, c.Columns)
	area, stride := c.Out.H*c.Out.W, c.pixels()
	for f := range c.Out.C {
		copy(out[f*area:(f+1)*area], c.wide[f*stride:])
		vek32.AddNumber_Inplace(out[f*area:(f+1)*area], bias[f])
	}
}

// gather writes the rows of one channel, from the given row on, and returns the
// next row. Padding of the picture and of the rows stays zero from the start.
func (c *convolution) gather(plane []float32, row int) int {
	for ky := range c.Spec.Size {
		for kx := range c.Spec.Size {
			line := c.windows[row*c.pixels() : (row+1)*c.pixels()]
			c.eachSpan(ky, kx, func(at, from, n int) {
				if c.Spec.Stride == 1 {
					copy(line[at:at+n], plane[from:from+n])
					return
				}
				for i := range n {
					line[at+i] = plane[from+i*c.Spec.Stride]
				}
			})
			row++
		}
	}
	return row
}

// eachSpan calls do for every row of the output whose tap (ky, kx) of the kernel
// falls into the input: n outputs from index at on read the input from index
// from on, Stride apart.
func (c *convolution) eachSpan(ky, kx int, do func(at, from, n int)) {
	stride, pad := c.Spec.Stride, c.Spec.Pad
	first := max(0, (pad-kx+stride-1)/stride)
	last := min(c.Out.W-1, (c.In.W-1+pad-kx)/stride)
	for y := range c.Out.H {
		iy := y*stride + ky - pad
		if iy < 0 || iy >= c.In.H || last < first {
			continue
		}
		do(y*c.Out.W+first, iy*c.In.W+first*stride+kx-pad, last-first+1)
	}
}

// gradients makes the nodes of the gradients of inputs, weights and bias.
func (c *convolution) gradients(in gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	weights := in[len(c.inputs)]
	turned := &kernel{name: fmt.Sprintf("turned gradient %d", c.Layer), run: c.turn}
	gradT, err := turned.apply(tensor.Shape{c.pixels(), c.Out.C}, grad)
	if err != nil {
		return nil, err
	}
	nodes := make(gorgonia.Nodes, len(in))
	column := 0
	for i, input := range c.inputs {
		columns := input.shape.C * c.Spec.Size * c.Spec.Size
		if input.learned {
			if nodes[i], err = c.inputGradient(i, column, columns, gradT, weights); err != nil {
				return nil, err
			}
		}
		column += columns
	}
	scratch := make([]float32, c.Columns*c.Out.C)
	ofWeights := &kernel{name: fmt.Sprintf("gradient of weights %d", c.Layer), run: func(in [][]float32, out []float32) {
		vek32.MatMul_Into(scratch, c.windows, in[0], c.pixels())
		transpose(out, scratch, c.Columns, c.Out.C, c.Columns)
	}}
	// The gradient depends on the result, so the windows are gathered by now.
	if nodes[len(c.inputs)], err = ofWeights.apply(tensor.Shape{c.Out.C, c.Columns}, gradT); err != nil {
		return nil, err
	}
	ofBias := &kernel{name: fmt.Sprintf("gradient of bias %d", c.Layer), run: func(in [][]float32, out []float32) {
		area := c.Out.H * c.Out.W
		for f := range out {
			out[f] = vek32.Sum(in[0][f*area : (f+1)*area])
		}
	}}
	nodes[len(c.inputs)+1], err = ofBias.apply(tensor.Shape{c.Out.C}, grad)
	return nodes, err
}

// turn transposes a gradient to pixels by filters; padding stays zero.
func (c *convolution) turn(in [][]float32, out []float32) {
	area := c.Out.H * c.Out.W
	transpose(out, in[0], c.Out.C, area, c.Out.C)
}

// inputGradient makes the gradient of input i, whose windows are the given
// columns of the weights.
func (c *convolution) inputGradient(i, column, columns int, gradT, weights *gorgonia.Node) (*gorgonia.Node, error) {
	part := make([]float32, c.Out.C*columns)
	windows := make([]float32, c.pixels()*columns)
	shape := c.inputs[i].shape
	k := &kernel{name: fmt.Sprintf("gradient of input %d of %d", i, c.Layer), run: func(in [][]float32, out []float32) {
		for f := range c.Out.C {
			copy(part[f*columns:(f+1)*columns], in[1][f*c.Columns+column:])
		}
		vek32.MatMul_Into(windows, in[0], part, c.Out.C)
		clear(out)
		c.scatter(out, windows, shape, columns)
	}}
	return k.apply(tensor.Shape{shape.C, shape.H * shape.W}, gradT, weights)
}

// scatter adds the gradients of windows, pixels by columns, to the values of
// the map that the windows were gathered from.
func (c *convolution) scatter(out, windows []float32, shape models.Shape, columns int) {
	taps, area := c.Spec.Size*c.Spec.Size, shape.H*shape.W
	for channel := range shape.C {
		plane := out[channel*area : (channel+1)*area]
		for tap := range taps {
			column := channel*taps + tap
			c.eachSpan(tap/c.Spec.Size, tap%c.Spec.Size, func(at, from, n int) {
				for j := range n {
					plane[from+j*c.Spec.Stride] += windows[(at+j)*columns+column]
				}
			})
		}
	}
}

// transpose writes the transposed of a matrix of rows by columns, its rows
// stride values apart in the result. It goes by blocks, to stay in cache.
func transpose(out, in []float32, rows, columns, stride int) {
	const block = 32
	for r0 := 0; r0 < rows; r0 += block {
		for c0 := 0; c0 < columns; c0 += block {
			for r := r0; r < min(r0+block, rows); r++ {
				line := in[r*columns:]
				for c := c0; c < min(c0+block, columns); c++ {
					out[c*stride+r] = line[c]
				}
			}
		}
	}
}
