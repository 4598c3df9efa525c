package train

import (
	"fmt"

	"github.com/viterin/vek/vek32"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"perigee/models"
)

// laneWidth is what rows of matrices are padded to: the widest panel that is
// multiplied at a time.
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
	parameters
	products *products // of the lane
	inputs   []feature
	windows  []float32 // [Columns][padded pixels], gathered by the last run
	wide     []float32 // [filters][padded pixels]
}

// pixels returns the number of pixels of the output, padded.
func (c *convolution) pixels() int { return padded(c.Out.H * c.Out.W) }

// parameters are the nodes of a convolution's parameters: weights is a matrix of
// filters by columns, bias a vector of filters. When the weights change only by
// two factors, weights holds what they make already, and these are trained in its
// place.
type parameters struct {
	weights, bias  *gorgonia.Node
	left, right    *gorgonia.Node // nil when not used
	trained, dense bool           // the biases, and the weights as a whole
}

// apply adds the convolution to the graph.
func (c *convolution) apply(p parameters) (*gorgonia.Node, error) {
	c.windows = make([]float32, c.Columns*c.pixels())
	c.wide = make([]float32, c.Out.C*c.pixels())
	c.parameters = p
	k := &operator{name: fmt.Sprintf("convolution %d", c.Layer), run: c.forward, diff: c.gradients}
	var nodes []*gorgonia.Node
	for _, input := range c.inputs {
		nodes = append(nodes, input.node)
		k.wrt = append(k.wrt, input.learned)
	}
	nodes = append(nodes, p.weights, p.bias)
	k.wrt = append(k.wrt, p.dense, p.trained)
	for _, extra := range []*gorgonia.Node{p.left, p.right} {
		if extra != nil {
			nodes = append(nodes, extra)
			k.wrt = append(k.wrt, true)
		}
	}
	return k.apply(tensor.Shape{c.Out.C, c.Out.H * c.Out.W}, nodes...)
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
	c.products.multiply(c.wide, weights, c.windows, c.Out.C, c.Columns, c.pixels())
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

// gradients makes the nodes of the gradients of inputs and parameters, in the
// order of the operator's inputs.
func (c *convolution) gradients(in gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	turned := &operator{name: fmt.Sprintf("turned gradient %d", c.Layer), run: c.turn}
	gradT, err := turned.apply(tensor.Shape{c.pixels(), c.Out.C}, grad)
	if err != nil {
		return nil, err
	}
	nodes := make(gorgonia.Nodes, len(c.inputs), len(in))
	column := 0
	for i, input := range c.inputs {
		columns := input.shape.C * c.Spec.Size * c.Spec.Size
		if input.learned {
			if nodes[i], err = c.inputGradient(i, column, columns, gradT); err != nil {
				return nil, err
			}
		}
		column += columns
	}
	// What follows reads what the forward run left behind; it runs later, because
	// the gradient depends on the result.
	var ofWeights *gorgonia.Node
	if c.dense {
		if ofWeights, err = c.weightGradient(gradT); err != nil {
			return nil, err
		}
	}
	ofBias, err := c.biasGradient(grad)
	if err != nil {
		return nil, err
	}
	nodes = append(nodes, ofWeights, ofBias)
	if c.left == nil {
		return nodes, nil
	}
	ofLeft, ofRight, err := c.factorGradients(grad)
	return append(nodes, ofLeft, ofRight), err
}

func (c *convolution) biasGradient(grad *gorgonia.Node) (*gorgonia.Node, error) {
	k := &operator{name: fmt.Sprintf("gradient of bias %d", c.Layer), run: func(in [][]float32, out []float32) {
		area := c.Out.H * c.Out.W
		for f := range out {
			out[f] = vek32.Sum(in[0][f*area : (f+1)*area])
		}
	}}
	return k.apply(tensor.Shape{c.Out.C}, grad)
}

func (c *convolution) weightGradient(gradT *gorgonia.Node) (*gorgonia.Node, error) {
	scratch := make([]float32, c.Columns*c.Out.C)
	k := &operator{name: fmt.Sprintf("gradient of weights %d", c.Layer), run: func(in [][]float32, out []float32) {
		c.products.multiply(scratch, c.windows, in[0], c.Columns, c.pixels(), c.Out.C)
		transpose(out, scratch, c.Columns, c.Out.C, c.Columns)
	}}
	return k.apply(tensor.Shape{c.Out.C, c.Columns}, gradT)
}

// factorGradients makes the gradients of both factors. They go through the
// windows and never through a matrix of the size of the weights, which saves a
// third of the work of a step.
func (c *convolution) factorGradients(grad *gorgonia.Node) (ofLeft, ofRight *gorgonia.Node, err error) {
	area, stride := c.Out.H*c.Out.W, c.pixels()
	rank := c.left.Shape()[1]
	narrow := make([]float32, rank*stride)
	leftOp := &operator{name: fmt.Sprintf("gradient of left factor %d", c.Layer), run: func(in [][]float32, out []float32) {
		c.products.multiply(narrow, in[1], c.windows, rank, c.Columns, stride)
		for f := range c.Out.C {
			for k := range rank {
				out[f*rank+k] = vek32.Dot(in[0][f*area:(f+1)*area], narrow[k*stride:k*stride+area])
			}
		}
	}}
	if ofLeft, err = leftOp.apply(c.left.Shape().Clone(), grad, c.right); err != nil {
		return nil, nil, err
	}
	sums := make([]float32, rank*area)
	scaled := make([]float32, area)
	rightOp := &operator{name: fmt.Sprintf("gradient of right factor %d", c.Layer), run: func(in [][]float32, out []float32) {
		clear(sums)
		for f := range c.Out.C {
			for k := range rank {
				vek32.MulNumber_Into(scaled, in[0][f*area:(f+1)*area], in[1][f*rank+k])
				vek32.Add_Inplace(sums[k*area:(k+1)*area], scaled)
			}
		}
		for i := range out {
			k, column := i/c.Columns, i%c.Columns
			out[i] = vek32.Dot(sums[k*area:(k+1)*area], c.windows[column*stride:column*stride+area])
		}
	}}
	ofRight, err = rightOp.apply(c.right.Shape().Clone(), grad, c.left)
	return ofLeft, ofRight, err
}

// turn transposes a gradient to pixels by filters; padding stays zero.
func (c *convolution) turn(in [][]float32, out []float32) {
	area := c.Out.H * c.Out.W
	transpose(out, in[0], c.Out.C, area, c.Out.C)
}

// inputGradient makes the gradient of input i, whose windows are the given
// columns of the weights.
func (c *convolution) inputGradient(i, column, columns int, gradT *gorgonia.Node) (*gorgonia.Node, error) {
	part := make([]float32, c.Out.C*columns)
	windows := make([]float32, c.pixels()*columns)
	shape := c.inputs[i].shape
	k := &operator{name: fmt.Sprintf("gradient of input %d of %d", i, c.Layer), run: func(in [][]float32, out []float32) {
		for f := range c.Out.C {
			copy(part[f*columns:(f+1)*columns], in[1][f*c.Columns+column:])
		}
		c.products.multiply(windows, in[0], part, c.pixels(), c.Out.C, columns)
		clear(out)
		c.scatter(out, windows, shape, columns)
	}}
	return k.apply(tensor.Shape{shape.C, shape.H * shape.W}, gradT, c.weights)
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
