package onnx

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"perigee/models"
)

// rearranged turns the remaining operators into layers.
func (o *operation) rearranged() (*value, error) {
	if o.node.op == "Concat" {
		return o.concat()
	}
	x, err := o.need(0)
	if err != nil {
		return nil, err
	}
	rank := len(x.dims)
	switch o.node.op {
	case "Identity", "Dropout":
		return x, nil
	case "Cast":
		if to := o.number("to", 0); to != typeFloat {
			return nil, fmt.Errorf("makes values of type %d of what depends on the picture, want float", to)
		}
		return x, nil
	case "GlobalAveragePool", "GlobalMaxPool":
		if rank != 4 {
			return nil, fmt.Errorf("reads a map of dimensions %v, want four", x.dims)
		}
		kind := map[string]models.Kind{"GlobalAveragePool": models.ReduceMean, "GlobalMaxPool": models.ReduceMax}[o.node.op]
		return o.layer(models.Layer{Kind: kind, Axes: []int{2, 3}}, nil, x)
	case "ReduceMean", "ReduceMax", "ReduceSum":
		return o.reduce(x)
	case "Reshape", "Flatten", "Squeeze", "Unsqueeze":
		dims, err := o.target(x.dims)
		if err != nil {
			return nil, err
		}
		return o.reshape(x, dims)
	case "Transpose":
		order := o.ints("perm")
		if order == nil {
			for d := rank - 1; d >= 0; d-- {
				order = append(order, d)
			}
		}
		return o.layer(models.Layer{Kind: models.Transpose, Dims: order}, nil, x)
	case "Slice":
		return o.slice(x)
	case "Gather":
		return o.gather(x)
	case "Pad":
		return o.pad(x)
	case "Softmax":
		return o.softmax(x)
	}
	return nil, errors.New("is not supported")
}

// reshape gives x other dimensions.
func (o *operation) reshape(x *value, dims []int) (*value, error) {
	if slices.Equal(dims, x.dims) {
		return x, nil
	}
	return o.layer(models.Layer{Kind: models.Reshape, Dims: dims}, nil, x)
}

// target returns the dimensions that an operator gives to a value of dimensions in.
func (o *operation) target(in []int) ([]int, error) {
	switch o.node.op {
	case "Flatten":
		a := o.number("axis", 1)
		if a < 0 {
			a += len(in)
		}
		if a < 0 || a > len(in) {
			return nil, fmt.Errorf("dimension %d of %v is out of range", a, in)
		}
		return []int{product(in[:a]), product(in[a:])}, nil
	case "Squeeze", "Unsqueeze":
		axes, err := o.list("axes", 1)
		if err != nil {
			return nil, err
		}
		if o.node.op == "Squeeze" {
			return squeezed(in, axes)
		}
		return unsqueezed(in, axes)
	}
	dims, err := o.list("shape", 1)
	if err != nil {
		return nil, err
	}
	open, size := -1, 1
	dims = slices.Clone(dims)
	for i, d := range dims {
		switch {
		case d == 0 && o.number("allowzero", 0) == 0 && i < len(in):
			dims[i] = in[i]
		case d == -1 && open < 0:
			open, dims[i] = i, 1
		case d < 1:
			return nil, fmt.Errorf("makes %v of %v", dims, in)
		}
		if size > math.MaxInt32/dims[i] {
			return nil, fmt.Errorf("makes %v of %v", dims, in)
		}
		size *= dims[i]
	}
	if open >= 0 {
		dims[open] = product(in) / size
	}
	if product(dims) != product(in) {
		return nil, fmt.Errorf("makes %v of %v", dims, in)
	}
	return dims, nil
}

func product(dims []int) int {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return n
}

// squeezed leaves out the given dimensions of 1, all of them when none is given.
func squeezed(in, axes []int) ([]int, error) {
	drop := make([]bool, len(in))
	for _, a := range axes {
		d, err := axis(a, len(in))
		if err != nil {
			return nil, err
		}
		if in[d] != 1 {
			return nil, fmt.Errorf("leaves out dimension %d of %v", d, in)
		}
		drop[d] = true
	}
	out := []int{}
	for d, n := range in {
		if !drop[d] && (len(axes) > 0 || n != 1) {
			out = append(out, n)
		}
	}
	return out, nil
}

// unsqueezed adds dimensions of 1 at the given places of the result.
func unsqueezed(in, axes []int) ([]int, error) {
	rank := len(in) + len(axes)
	if rank > models.MaxRank {
		return nil, fmt.Errorf("makes %d dimensions, limit %d", rank, models.MaxRank)
	}
	added := make([]bool, rank)
	for _, a := range axes {
		d, err := axis(a, rank)
		if err != nil {
			return nil, err
		}
		if added[d] {
			return nil, fmt.Errorf("adds dimension %d twice", d)
		}
		added[d] = true
	}
	out := make([]int, rank)
	for d := range out {
		if out[d] = 1; !added[d] {
			out[d], in = in[0], in[1:]
		}
	}
	return out, nil
}

func (o *operation) reduce(x *value) (*value, error) {
	axes, err := o.list("axes", 1)
	if err != nil {
		return nil, err
	}
	if len(axes) == 0 {
		if o.number("noop_with_empty_axes", 0) != 0 {
			return x, nil
		}
		for d := range x.dims {
			axes = append(axes, d)
		}
	}
	axes = slices.Clone(axes)
	for i := range axes {
		if axes[i], err = axis(axes[i], len(x.dims)); err != nil {
			return nil, err
		}
	}
	slices.Sort(axes)
	kind := map[string]models.Kind{"ReduceMean": models.ReduceMean, "ReduceMax": models.ReduceMax, "ReduceSum": models.ReduceSum}[o.node.op]
	reduced, err := o.layer(models.Layer{Kind: kind, Axes: axes}, nil, x)
	if err != nil || o.number("keepdims", 1) != 0 {
		return reduced, err
	}
	dims, err := squeezed(reduced.dims, axes)
	if err != nil {
		return nil, err
	}
	if len(dims) == 0 {
		dims = []int{1}
	}
	return o.reshape(reduced, dims)
}

// softmax is along one dimension since operator set 13; before, it is over all from
// that one on.
func (o *operation) softmax(x *value) (*value, error) {
	rank := len(x.dims)
	fallback := 1
	if o.opset >= 13 {
		fallback = -1
	}
	a, err := axis(o.number("axis", fallback), rank)
	if err != nil {
		return nil, err
	}
	if o.opset < 13 && a != rank-1 {
		flat, err := o.reshape(x, []int{product(x.dims[:a]), product(x.dims[a:])})
		if err != nil {
			return nil, err
		}
		if flat, err = o.layer(models.Layer{Kind: models.Softmax, Axis: 1}, nil, flat); err != nil {
			return nil, err
		}
		return o.reshape(flat, x.dims)
	}
	if a == 0 { // models count from the channels on
		flat, err := o.reshape(x, append([]int{1}, x.dims...))
		if err != nil {
			return nil, err
		}
		if flat, err = o.layer(models.Layer{Kind: models.Softmax, Axis: 1}, nil, flat); err != nil {
			return nil, err
		}
		return o.reshape(flat, x.dims)
	}
	return o.layer(models.Layer{Kind: models.Softmax, Axis: a}, nil, x)
}

func (o *operation) concat() (*value, error) {
	var in []*value
	for i := range o.in {
		v, err := o.need(i)
		if err != nil {
			return nil, err
		}
		in = append(in, v)
	}
	if len(in) == 0 {
		return nil, errors.New("joins nothing")
	}
	a, err := axis(o.number("axis", 1), len(in[0].dims))
	if err != nil {
		return nil, err
	}
	if a == 0 {
		return nil, errors.New("joins along the batch, which is not supported")
	}
	return o.layer(models.Layer{Kind: models.Route, Axis: a}, nil, in...)
}

func (o *operation) pad(x *value) (*value, error) {
	if mode := o.text("mode", "constant"); mode != "constant" {
		return nil, fmt.Errorf("mode %.40q is not supported, want constant", mode)
	}
	pads, err := o.list("pads", 1)
	if err != nil {
		return nil, err
	}
	fill := o.float("value", 0)
	if o.operand(2) != nil {
		c, err := o.constant(2)
		if err != nil || c.size() != 1 {
			return nil, errors.New("its value is no number that is known")
		}
		fill = c.asFloats()[0]
	}
	if o.operand(3) != nil {
		return nil, errors.New("its axes are not supported: pad every dimension")
	}
	if len(pads) != 2*len(x.dims) {
		return nil, fmt.Errorf("%d pads for %d dimensions", len(pads), len(x.dims))
	}
	dims := slices.Clone(x.dims)
	for d := range dims {
		dims[d] += pads[d] + pads[len(dims)+d]
		if pads[d] < 0 || pads[len(dims)+d] < 0 {
			return nil, fmt.Errorf("pads %v: to cut is not supported", pads)
		}
	}
	return o.layer(models.Layer{Kind: models.Pad, Dims: dims, Starts: pads[:len(dims)], Alpha: fill}, nil, x)
}
