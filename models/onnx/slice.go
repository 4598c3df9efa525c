package onnx

import (
	"errors"
	"fmt"
	"slices"

	"perigee/models"
)

// ranges reads what a Slice cuts: starts, ends, axes and steps, attributes at first
// and inputs later.
func (o *operation) ranges(dims []int) (starts, steps, sizes []int, err error) {
	var lists [4][]int
	for i, name := range []string{"starts", "ends", "axes", "steps"} {
		if lists[i], err = o.list(name, i+1); err != nil {
			return nil, nil, nil, err
		}
	}
	starts, steps, sizes = make([]int, len(dims)), make([]int, len(dims)), slices.Clone(dims)
	for d := range steps {
		steps[d] = 1
	}
	if len(lists[0]) != len(lists[1]) || lists[2] != nil && len(lists[2]) != len(lists[0]) || lists[3] != nil && len(lists[3]) != len(lists[0]) {
		return nil, nil, nil, errors.New("its starts, ends, axes and steps differ in number")
	}
	for i := range lists[0] {
		d := i
		if lists[2] != nil {
			d = lists[2][i]
		}
		if d, err = axis(d, len(dims)); err != nil {
			return nil, nil, nil, err
		}
		step := 1
		if lists[3] != nil {
			step = lists[3][i]
		}
		starts[d], sizes[d] = span(lists[0][i], lists[1][i], step, dims[d])
		steps[d] = step
		if sizes[d] == 1 {
			steps[d] = 1
		}
	}
	return starts, steps, sizes, nil
}

// span returns the first index and the number of values of a range of n values.
func span(start, end, step, n int) (first, count int) {
	if start < 0 {
		start += n
	}
	if end < 0 {
		end += n
	}
	if step > 0 {
		start, end = min(max(start, 0), n), min(max(end, 0), n)
		return start, max(0, (end-start+step-1)/step)
	}
	if step == 0 {
		return 0, 0
	}
	start, end = min(max(start, 0), n-1), min(max(end, -1), n-1)
	return start, max(0, (start-end-step-1)/-step)
}

func (o *operation) slice(x *value) (*value, error) {
	starts, steps, sizes, err := o.ranges(x.dims)
	if err != nil {
		return nil, err
	}
	return o.cut(x, starts, steps, sizes)
}

// cut adds a Slice, if it leaves anything out.
func (o *operation) cut(x *value, starts, steps, sizes []int) (*value, error) {
	if slices.Equal(sizes, x.dims) && !slices.ContainsFunc(steps, func(s int) bool { return s < 0 }) {
		return x, nil
	}
	return o.layer(models.Layer{Kind: models.Slice, Starts: starts, Steps: steps, Dims: sizes}, nil, x)
}

func (o *operation) split() ([]*value, error) {
	x, err := o.need(0)
	if err != nil {
		return nil, err
	}
	a, err := axis(o.number("axis", 0), len(x.dims))
	if err != nil {
		return nil, err
	}
	sizes, err := o.list("split", 1)
	if err != nil {
		return nil, err
	}
	count := len(o.node.outputs)
	if sizes == nil {
		each := (x.dims[a] + count - 1) / count
		for i := range count {
			sizes = append(sizes, min(each, x.dims[a]-i*each))
		}
	}
	if len(sizes) != count {
		return nil, fmt.Errorf("makes %d parts for %d outputs", len(sizes), count)
	}
	var results []*value
	at := 0
	for _, n := range sizes {
		starts, steps, dims := make([]int, len(x.dims)), make([]int, len(x.dims)), slices.Clone(x.dims)
		for d := range steps {
			steps[d] = 1
		}
		starts[a], dims[a] = at, n
		at += n
		v, err := o.cut(x, starts, steps, dims)
		if err != nil {
			return nil, err
		}
		results = append(results, v)
	}
	return results, nil
}

// gather turns a Gather by known indices that follow each other into a Slice.
func (o *operation) gather(x *value) (*value, error) {
	a, err := axis(o.number("axis", 0), len(x.dims))
	if err != nil {
		return nil, err
	}
	c, err := o.constant(1)
	if err != nil {
		return nil, err
	}
	indices, err := c.asInts()
	if err != nil || len(c.dims) > 1 || len(indices) == 0 {
		return nil, fmt.Errorf("its indices of %v are not supported", c.dims)
	}
	starts, steps, dims := make([]int, len(x.dims)), make([]int, len(x.dims)), slices.Clone(x.dims)
	for d := range steps {
		steps[d] = 1
	}
	for i := range indices {
		if indices[i] < 0 {
			indices[i] += x.dims[a]
		}
		if indices[i] != indices[0]+i {
			return nil, errors.New("its indices do not follow each other, which is not supported")
		}
	}
	starts[a], dims[a] = indices[0], len(indices)
	v, err := o.cut(x, starts, steps, dims)
	if err != nil || len(c.dims) == 1 {
		return v, err
	}
	if dims, err = squeezed(v.dims, []int{a}); err != nil {
		return nil, err
	}
	return o.reshape(v, dims)
}
