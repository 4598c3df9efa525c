package onnx

import (
	"errors"
	"fmt"
	"math"

	"perigee/models"
)

// window reads the attributes of a convolution or a pool over a map of dimensions in.
func (o *operation) window(kernel, in []int, opened bool) (models.Window, error) {
	strides, dilations, pads := o.ints("strides"), o.ints("dilations"), o.ints("pads")
	if strides == nil {
		strides = []int{1, 1}
	}
	if dilations == nil {
		dilations = []int{1, 1}
	}
	if pads == nil {
		pads = []int{0, 0, 0, 0}
	}
	if len(in) != 4 || len(kernel) != 2 || len(strides) != 2 || len(dilations) != 2 || len(pads) != 4 {
		return models.Window{}, fmt.Errorf("works on a map of dimensions %v with a window of %v, want height and width", in, kernel)
	}
	w := models.Window{
		H: kernel[0], W: kernel[1], StrideH: strides[0], StrideW: strides[1], DilationH: dilations[0], DilationW: dilations[1],
		Top: pads[0], Left: pads[1], Bottom: pads[2], Right: pads[3],
	}
	for _, v := range append(append([]int{}, kernel...), append(strides, dilations...)...) {
		if v < 1 || v > math.MaxInt16 {
			return w, fmt.Errorf("window, stride or dilation %d is out of range", v)
		}
	}
	mode := o.text("auto_pad", "NOTSET")
	switch mode {
	case "NOTSET", "":
	case "VALID":
		w.Top, w.Left, w.Bottom, w.Right = 0, 0, 0, 0
	case "SAME_UPPER", "SAME_LOWER":
		if opened {
			return w, fmt.Errorf("auto_pad %s is not supported: give pads", mode)
		}
		w.Top, w.Bottom = samePads(in[2], w.H, w.StrideH, w.DilationH, mode == "SAME_LOWER")
		w.Left, w.Right = samePads(in[3], w.W, w.StrideW, w.DilationW, mode == "SAME_LOWER")
	default:
		return w, fmt.Errorf("auto_pad %.40q is unknown", mode)
	}
	return w, nil
}

// samePads returns the padding that makes the output size / stride, rounded up.
func samePads(size, window, stride, dilation int, lower bool) (before, after int) {
	total := max(0, ((size+stride-1)/stride-1)*stride+(window-1)*dilation+1-size)
	before = total / 2
	if lower {
		before = total - total/2
	}
	return before, total - before
}

// setWindow describes the window of l in the shortest way.
func setWindow(l *models.Layer, w models.Window) {
	if size, stride, pad, ok := w.SquareWindow(l.Kind); ok {
		l.Size, l.Stride, l.Pad = size, stride, pad
		return
	}
	l.Window = &w
}

// convolution turns a Conv or a ConvTranspose into a layer.
func (o *operation) convolution() (*value, error) {
	x, err := o.need(0)
	if err != nil {
		return nil, err
	}
	weights, err := o.constant(1)
	if err != nil {
		return nil, err
	}
	if len(weights.dims) != 4 || weights.whole || len(x.dims) != 4 {
		return nil, fmt.Errorf("weights of %v over a map of %v, want four dimensions", weights.dims, x.dims)
	}
	opened := o.node.op == "ConvTranspose"
	w, err := o.window(weights.dims[2:], x.dims, opened)
	if err != nil {
		return nil, err
	}
	if k := o.ints("kernel_shape"); k != nil && (len(k) != 2 || k[0] != w.H || k[1] != w.W) {
		return nil, fmt.Errorf("kernel_shape %v does not fit weights of %v", k, weights.dims)
	}
	groups := o.number("group", 1)
	if groups < 1 || x.dims[1]%groups != 0 || weights.dims[0]%groups != 0 {
		return nil, fmt.Errorf("%d groups do not fit weights of %v over a map of %v", groups, weights.dims, x.dims)
	}
	l := models.Layer{Kind: models.Convolution, Filters: weights.dims[0]}
	if groups > 1 {
		l.Groups = groups
	}
	values := weights.floats
	if depth := weights.dims[1]; opened {
		l.Kind, l.Filters = models.Deconvolution, depth*groups
		if len(o.ints("output_shape")) > 0 {
			return nil, errors.New("its output_shape is not supported: give pads and output_padding")
		}
		if extra := o.ints("output_padding"); len(extra) == 2 {
			w.ExtraH, w.ExtraW = extra[0], extra[1]
		}
		if weights.dims[0] != x.dims[1] {
			return nil, fmt.Errorf("weights of %v over a map of %v", weights.dims, x.dims)
		}
		values = turned(values, groups, x.dims[1]/groups, depth, w.H*w.W)
	} else if depth*groups != x.dims[1] {
		return nil, fmt.Errorf("weights of %v in %d groups over a map of %v", weights.dims, groups, x.dims)
	}
	setWindow(&l, w)
	bias, err := o.bias(2, l.Filters)
	if err != nil {
		return nil, err
	}
	return o.layer(l, append(bias, values...), x)
}

// turned brings the weights of a ConvTranspose, which are ordered by groups, input
// channels, filters and taps, into the order of filters, input channels and taps.
func turned(values []float32, groups, depth, filters, taps int) []float32 {
	out := make([]float32, 0, len(values))
	for g := range groups {
		for f := range filters {
			for c := range depth {
				at := ((g*depth+c)*filters + f) * taps
				out = append(out, values[at:at+taps]...)
			}
		}
	}
	return out
}

// bias returns input i as so many biases, zeros when it is left out. The result is
// the caller's.
func (o *operation) bias(i, filters int) ([]float32, error) {
	if filters < 0 || filters > models.MaxChannels {
		return nil, fmt.Errorf("%d filters are out of range", filters)
	}
	bias := make([]float32, filters)
	if o.operand(i) == nil {
		return bias, nil
	}
	c, err := o.constant(i)
	if err != nil {
		return nil, err
	}
	switch values := c.asFloats(); len(values) {
	case filters:
		copy(bias, values)
	case 1:
		for f := range bias {
			bias[f] = values[0]
		}
	default:
		return nil, fmt.Errorf("%d biases for %d filters", len(values), filters)
	}
	return bias, nil
}

// perChannel adds a convolution that scales and shifts every channel by itself.
func (o *operation) perChannel(x *value, scale, shift []float32) (*value, error) {
	channels := x.dims[1]
	l := models.Layer{Kind: models.Convolution, Filters: channels, Size: 1, Stride: 1}
	if channels > 1 {
		l.Groups = channels
	}
	return o.layer(l, append(append([]float32(nil), shift...), scale...), x)
}

// normalise turns a BatchNormalization into a scale and a shift.
func (o *operation) normalise() (*value, error) {
	x, err := o.need(0)
	if err != nil {
		return nil, err
	}
	if len(x.dims) != 4 {
		return nil, fmt.Errorf("reads a map of dimensions %v, want four", x.dims)
	}
	var parts [4][]float32 // scale, bias, mean, variance
	for i := range parts {
		c, err := o.constant(i + 1)
		if err != nil {
			return nil, err
		}
		if parts[i] = c.asFloats(); len(parts[i]) != x.dims[1] {
			return nil, fmt.Errorf("its input %d has %d values for %d channels", i+1, len(parts[i]), x.dims[1])
		}
	}
	epsilon := float64(o.float("epsilon", 1e-5))
	scale, shift := make([]float32, x.dims[1]), make([]float32, x.dims[1])
	for c := range scale {
		factor := float64(parts[0][c]) / math.Sqrt(float64(parts[3][c])+epsilon)
		scale[c] = float32(factor)
		shift[c] = float32(float64(parts[1][c]) - float64(float64(parts[2][c])*factor))
	}
	return o.perChannel(x, scale, shift)
}

// pool turns a MaxPool or an AveragePool into a layer.
func (o *operation) pool() (*value, error) {
	x, err := o.need(0)
	if err != nil {
		return nil, err
	}
	w, err := o.window(o.ints("kernel_shape"), x.dims, false)
	if err != nil {
		return nil, err
	}
	if w.DilationH*w.DilationW != 1 {
		return nil, errors.New("its dilations are not supported")
	}
	l := models.Layer{Kind: models.MaxPool}
	if o.node.op == "AveragePool" {
		l.Kind, l.Outside = models.AveragePool, o.number("count_include_pad", 0) != 0
	}
	if o.number("ceil_mode", 0) != 0 {
		bottom, right := w.Bottom, w.Right
		w.Bottom += ceilPad(x.dims[2]+w.Top+w.Bottom, w.H, w.StrideH, x.dims[2]+w.Top)
		w.Right += ceilPad(x.dims[3]+w.Left+w.Right, w.W, w.StrideW, x.dims[3]+w.Left)
		if l.Outside && (bottom != w.Bottom || right != w.Right) {
			return nil, errors.New("ceil_mode together with count_include_pad is not supported")
		}
	}
	if w.Top+w.Left+w.Bottom+w.Right == 0 {
		l.Outside = false // nothing lies outside
	}
	setWindow(&l, w)
	return o.layer(l, nil, x)
}

// ceilPad returns what must be added to a side of the given padded size so that the
// number of places is rounded up, but for a place that would begin past inner.
func ceilPad(size, window, stride, inner int) int {
	if size < window || (size-window)%stride == 0 {
		return 0
	}
	places := (size-window+stride-1)/stride + 1
	if (places-1)*stride >= inner {
		return 0
	}
	return (places-1)*stride + window - size
}

// product turns a Gemm or a MatMul into a layer.
func (o *operation) product() (*value, error) {
	x, err := o.need(0)
	if err != nil {
		return nil, err
	}
	y, err := o.need(1)
	if err != nil {
		return nil, err
	}
	if o.node.op == "MatMul" && (y.constant == nil || len(y.dims) != 2 || x.constant != nil || len(x.dims) < 2) {
		return o.layer(models.Layer{Kind: models.MatMul}, nil, x, y)
	}
	weights, err := o.constant(1)
	if err != nil {
		return nil, err
	}
	alpha, beta := o.float("alpha", 1), o.float("beta", 1)
	if o.node.op == "MatMul" {
		alpha, beta = 1, 1
	}
	if o.number("transA", 0) != 0 || len(weights.dims) != 2 || len(x.dims) < 2 || o.node.op == "Gemm" && len(x.dims) != 2 {
		return nil, fmt.Errorf("multiplies maps of %v and %v, or the first transposed, which is not supported", x.dims, weights.dims)
	}
	values := weights.asFloats()
	depth, filters := weights.dims[0], weights.dims[1]
	if o.number("transB", 0) != 0 {
		depth, filters = filters, depth
	}
	if depth != x.dims[len(x.dims)-1] {
		return nil, fmt.Errorf("multiplies maps of %v and %v", x.dims, weights.dims)
	}
	params, err := o.bias(2, filters)
	if err != nil {
		return nil, err
	}
	for f := range params {
		params[f] *= beta
	}
	for f := range filters {
		for k := range depth {
			at := k*filters + f
			if o.number("transB", 0) != 0 {
				at = f*depth + k
			}
			params = append(params, alpha*values[at])
		}
	}
	return o.layer(models.Layer{Kind: models.Dense, Filters: filters}, params, x)
}

// arithmetic turns an operation on two values into a layer: with one number an
// activation, with one number for each channel a scale or a shift.
func (o *operation) arithmetic() (*value, error) {
	x, err := o.need(0)
	if err != nil {
		return nil, err
	}
	y, err := o.need(1)
	if err != nil {
		return nil, err
	}
	kind := map[string]models.Kind{"Add": models.Add, "Sub": models.Sub, "Mul": models.Mul, "Div": models.Div, "Pow": models.Pow}[o.node.op]
	if y.constant != nil && y.constant.size() == 1 && kind != models.Pow && len(y.dims) <= len(x.dims) {
		l := models.Layer{Kind: models.Activate, Activation: models.Affine}
		l.Alpha, l.Beta = affine(kind, y.constant.asFloats()[0])
		return o.layer(l, nil, x)
	}
	if x.constant != nil && x.constant.size() == 1 && len(x.dims) <= len(y.dims) && (kind == models.Add || kind == models.Mul || kind == models.Sub) {
		c := x.constant.asFloats()[0]
		l := models.Layer{Kind: models.Activate, Activation: models.Affine}
		if l.Alpha, l.Beta = affine(kind, c); kind == models.Sub {
			l.Alpha, l.Beta = -1, c
		}
		return o.layer(l, nil, y)
	}
	if x.constant != nil && (kind == models.Add || kind == models.Mul) {
		x, y = y, x
	}
	if y.constant != nil && kind != models.Pow && channelwise(y.dims, x.dims) {
		scale, shift := make([]float32, x.dims[1]), make([]float32, x.dims[1])
		for c, v := range y.constant.asFloats() {
			scale[c], shift[c] = affine(kind, v)
		}
		return o.perChannel(x, scale, shift)
	}
	return o.layer(models.Layer{Kind: kind}, nil, x, y)
}

// affine returns the operation with a number as a factor and a summand.
func affine(kind models.Kind, c float32) (alpha, beta float32) {
	switch kind {
	case models.Add:
		return 1, c
	case models.Sub:
		return 1, -c
	case models.Mul:
		return c, 0
	}
	return 1 / c, 0
}

// channelwise reports whether a constant has one value for each channel of a map.
func channelwise(c, dims []int) bool {
	if len(dims) != 4 || len(c) > 4 || len(c) < 3 || c[len(c)-3] != dims[1] {
		return false
	}
	return c[len(c)-1] == 1 && c[len(c)-2] == 1 && (len(c) == 3 || c[0] == 1)
}
