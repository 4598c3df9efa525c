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

// resize turns a Resize or an Upsample into a layer.
func (o *operation) resize() (*value, error) {
	x, err := o.need(0)
	if err != nil {
		return nil, err
	}
	s := models.Scaling{Places: models.Asymmetric, Rounding: models.RoundFloor}
	if o.node.op == "Resize" && o.opset >= 11 {
		s.Places, s.Rounding = models.HalfPixel, models.RoundPreferFloor
	}
	if err := o.resizeModes(&s); err != nil {
		return nil, err
	}
	if len(x.dims) != 4 {
		return nil, fmt.Errorf("reads a map of dimensions %v, want four", x.dims)
	}
	if err := o.resizeScales(&s, x.dims); err != nil {
		return nil, err
	}
	l := models.Layer{Kind: models.Resize, Scaling: &s}
	factor := s.H / x.dims[2]
	if !s.Linear && s.Places == models.Asymmetric && s.Rounding == models.RoundFloor && factor >= 1 &&
		s.H == factor*x.dims[2] && s.W == factor*x.dims[3] && s.ScaleH == float32(factor) && s.ScaleW == float32(factor) {
		l = models.Layer{Kind: models.Upsample, Stride: factor}
	}
	return o.layer(l, nil, x)
}

func (o *operation) resizeModes(s *models.Scaling) error {
	switch mode := o.text("mode", "nearest"); mode {
	case "nearest":
	case "linear", "bilinear":
		s.Linear, s.Rounding = true, 0
	default:
		return fmt.Errorf("mode %.40q is not supported, want nearest or linear", mode)
	}
	if mode := o.text("coordinate_transformation_mode", ""); mode != "" {
		places, ok := map[string]models.Places{
			"asymmetric": models.Asymmetric, "half_pixel": models.HalfPixel,
			"align_corners": models.AlignCorners, "pytorch_half_pixel": models.TorchPixel,
		}[mode]
		if !ok {
			return fmt.Errorf("coordinate_transformation_mode %.40q is not supported", mode)
		}
		s.Places = places
	}
	if mode := o.text("nearest_mode", ""); mode != "" && !s.Linear {
		rounding, ok := map[string]models.Rounding{
			"floor": models.RoundFloor, "ceil": models.RoundCeil,
			"round_prefer_floor": models.RoundPreferFloor, "round_prefer_ceil": models.RoundPreferCeil,
		}[mode]
		if !ok {
			return fmt.Errorf("nearest_mode %.40q is unknown", mode)
		}
		s.Rounding = rounding
	}
	if o.number("antialias", 0) != 0 || o.ints("axes") != nil || o.text("keep_aspect_ratio_policy", "stretch") != "stretch" {
		return errors.New("antialias, axes and keep_aspect_ratio_policy are not supported")
	}
	return nil
}

// resizeScales finds the size of the result, from factors or from sizes.
func (o *operation) resizeScales(s *models.Scaling, dims []int) error {
	at := 2 // of the factors
	if o.node.op == "Upsample" || o.opset < 11 {
		at = 1
	}
	if a := o.node.attributes["scales"]; a != nil && len(a.floats) == 4 {
		return setScales(s, a.floats, dims)
	}
	if v := o.operand(at); v != nil {
		c, err := o.constant(at)
		if err != nil {
			return err
		}
		if c.size() > 0 {
			return setScales(s, c.asFloats(), dims)
		}
	}
	c, err := o.constant(3)
	if err != nil {
		return err
	}
	sizes, err := c.asInts()
	if err != nil {
		return err
	}
	if len(sizes) != 4 || sizes[0] != dims[0] || sizes[1] != dims[1] {
		return fmt.Errorf("makes %v of %v, which changes more than height and width", sizes, dims)
	}
	s.H, s.W = sizes[2], sizes[3]
	s.ScaleH, s.ScaleW = float32(s.H)/float32(dims[2]), float32(s.W)/float32(dims[3])
	return nil
}

func setScales(s *models.Scaling, scales []float32, dims []int) error {
	if len(scales) != 4 || scales[0] != 1 || scales[1] != 1 || !(scales[2] > 0 && scales[3] > 0 && scales[2] < models.MaxSide && scales[3] < models.MaxSide) {
		return fmt.Errorf("scales %v by %v, which changes more than height and width", dims, scales)
	}
	s.ScaleH, s.ScaleW = scales[2], scales[3]
	s.H, s.W = int(float32(dims[2])*scales[2]), int(float32(dims[3])*scales[3])
	return nil
}
