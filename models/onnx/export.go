package onnx

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"perigee/models"
)

// What is written: the oldest operator set that has all that models can say.
const (
	exportIR    = 8
	exportOpset = 14
)

// Piece is a part of a network.
type Piece int

// The pieces.
const (
	Whole    Piece = iota // from the picture to the outputs
	Backbone              // from the picture to the taps
	Head                  // from the taps to the outputs
)

// Marshal returns a piece of a network as an ONNX file, for other programs and
// runtimes. Maps have names: PictureName is what a network reads, LayerName what a
// layer computes. It fails when the parameters are too many for one file.
func Marshal(n *models.Network, piece Piece) ([]byte, error) {
	e := &exporter{net: n, graph: n.Graph()}
	first, end := 0, len(e.graph.Layers)
	reads, outputs := []int{models.Picture}, n.Outputs()
	switch piece {
	case Backbone:
		end, outputs = e.graph.Head, n.Taps()
	case Head:
		first, reads = e.graph.Head, n.Taps()
	}
	for i := range e.graph.Layers {
		l := &e.graph.Layers[i]
		if l.Kind == models.Constant {
			e.initializer(LayerName(i), l.Dims, n.LayerParams(i))
			continue
		}
		if i < first || i >= end {
			continue
		}
		if err := e.layer(i, l); err != nil {
			return nil, fmt.Errorf("write %s as ONNX: %w", e.graph.Name(i), err)
		}
	}
	for _, i := range reads {
		e.put(11, e.valueInfo(i))
	}
	for _, i := range outputs {
		e.put(12, e.valueInfo(i))
	}
	e.text(2, "perigee")
	var file message
	file.number(1, exportIR)
	file.text(2, "perigee")
	file.put(7, e.message)
	var opset message
	opset.text(1, "")
	opset.number(2, exportOpset)
	file.put(8, opset)
	if len(file) > math.MaxInt32 {
		return nil, fmt.Errorf("write network as ONNX: %d bytes, limit of the format %d", len(file), math.MaxInt32)
	}
	return file, nil
}

// PictureName names what a network reads in what Marshal writes.
const PictureName = "picture"

// LayerName names the map of a layer in what Marshal writes.
func LayerName(i int) string {
	if i == models.Picture {
		return PictureName
	}
	return fmt.Sprintf("map%d", i)
}

// message is an encoded protocol buffer that grows.
type message []byte

func (m *message) number(field protowire.Number, v int64) {
	*m = protowire.AppendVarint(protowire.AppendTag(*m, field, protowire.VarintType), uint64(v))
}

func (m *message) float(field protowire.Number, v float32) {
	*m = protowire.AppendFixed32(protowire.AppendTag(*m, field, protowire.Fixed32Type), math.Float32bits(v))
}

func (m *message) text(field protowire.Number, v string) {
	*m = protowire.AppendString(protowire.AppendTag(*m, field, protowire.BytesType), v)
}

func (m *message) put(field protowire.Number, v message) {
	*m = protowire.AppendBytes(protowire.AppendTag(*m, field, protowire.BytesType), v)
}

// exporter writes a GraphProto.
type exporter struct {
	message
	net   *models.Network
	graph models.Graph
	extra int // names given to what has no layer
}

func (e *exporter) dims(i int) []int {
	if i == models.Picture {
		return []int{1, e.graph.Input.C, e.graph.Input.H, e.graph.Input.W}
	}
	return e.net.Dims(i)
}

func (e *exporter) valueInfo(i int) message {
	var shape, tensor, kind, info message
	for _, d := range e.dims(i) {
		var dim message
		dim.number(1, int64(d))
		shape.put(1, dim)
	}
	tensor.number(1, typeFloat)
	tensor.put(2, shape)
	kind.put(1, tensor)
	info.text(1, LayerName(i))
	info.put(2, kind)
	return info
}

// initializer writes a constant of floats.
func (e *exporter) initializer(name string, dims []int, values []float32) {
	var t message
	for _, d := range dims {
		t.number(1, int64(d))
	}
	t.number(2, typeFloat)
	t.text(8, name)
	t.put(9, models.AppendFloats(nil, values))
	e.put(5, t)
}

// floats and ints write a constant and return its name.
func (e *exporter) floats(dims []int, values ...float32) string {
	e.extra++
	name := fmt.Sprintf("constant%d", e.extra)
	e.initializer(name, dims, values)
	return name
}

func (e *exporter) ints(values ...int) string {
	e.extra++
	name := fmt.Sprintf("constant%d", e.extra)
	var t message
	t.number(1, int64(len(values)))
	t.number(2, typeInt64)
	for _, v := range values {
		t.number(7, int64(v))
	}
	t.text(8, name)
	e.put(5, t)
	return name
}

// attr is an attribute of a node: a number, a float, a text or whole numbers.
type attr struct {
	name  string
	value any
}

func (a attr) encode() message {
	var m message
	m.text(1, a.name)
	switch v := a.value.(type) {
	case int:
		m.number(3, int64(v))
		m.number(20, 2)
	case float32:
		m.float(2, v)
		m.number(20, 1)
	case string:
		m.text(4, v)
		m.number(20, 3)
	case []int:
		for _, n := range v {
			m.number(8, int64(n))
		}
		m.number(20, 7)
	}
	return m
}

// node writes an operator and returns the name of its output: the given one, or a
// new one when that is empty.
func (e *exporter) node(op, out string, in []string, attrs ...attr) string {
	if out == "" {
		e.extra++
		out = fmt.Sprintf("between%d", e.extra)
	}
	var n message
	for _, name := range in {
		n.text(1, name)
	}
	n.text(2, out)
	n.text(4, op)
	for _, a := range attrs {
		n.put(5, a.encode())
	}
	e.put(1, n)
	return out
}

// layer writes the operators of layer i.
func (e *exporter) layer(i int, l *models.Layer) error {
	var in []string
	for _, from := range e.net.Reads(i) {
		in = append(in, LayerName(from))
	}
	out := LayerName(i)
	switch l.Kind {
	case models.Convolution, models.Deconvolution, models.Dense:
		e.product(i, l, in[0], out)
	case models.Activate:
		e.activation(l, in[0], out)
	case models.MaxPool, models.AveragePool:
		e.pool(l, in[0], out)
	case models.Route:
		e.node("Concat", out, in, attr{"axis", max(l.Axis, 1)})
	case models.YOLO:
		e.node("Identity", out, in)
	case models.Pad:
		e.pad(i, l, in[0], out)
	case models.Upsample, models.Resize:
		e.resize(i, l, in[0], out)
	case models.Add, models.Sub, models.Mul, models.Div, models.Pow, models.MatMul:
		op := map[models.Kind]string{models.Add: "Add", models.Sub: "Sub", models.Mul: "Mul", models.Div: "Div", models.Pow: "Pow", models.MatMul: "MatMul"}[l.Kind]
		e.node(op, out, in)
	default:
		return e.rearranged(l, in[0], out)
	}
	return nil
}

func (e *exporter) rearranged(l *models.Layer, in, out string) error {
	switch l.Kind {
	case models.Reshape:
		e.node("Reshape", out, []string{in, e.ints(l.Dims...)})
	case models.Transpose:
		e.node("Transpose", out, []string{in}, attr{"perm", l.Dims})
	case models.Slice:
		var ends, axes []int
		for d, n := range l.Dims {
			end := l.Starts[d] + n*l.Steps[d]
			if end < 0 {
				end = math.MinInt32
			}
			ends, axes = append(ends, end), append(axes, d)
		}
		e.node("Slice", out, []string{in, e.ints(l.Starts...), e.ints(ends...), e.ints(axes...), e.ints(l.Steps...)})
	case models.Softmax:
		e.node("Softmax", out, []string{in}, attr{"axis", max(l.Axis, 1)})
	case models.ReduceMean:
		e.node("ReduceMean", out, []string{in}, attr{"axes", l.Axes})
	case models.ReduceMax:
		e.node("ReduceMax", out, []string{in}, attr{"axes", l.Axes})
	case models.ReduceSum:
		e.node("ReduceSum", out, []string{in, e.ints(l.Axes...)})
	default:
		return fmt.Errorf("%v cannot be written", l.Kind)
	}
	return nil
}

// pad needs the dimensions of what is padded.
func (e *exporter) pad(i int, l *models.Layer, in, out string) {
	pads := append([]int(nil), l.Starts...)
	for d, n := range e.dims(e.net.Reads(i)[0]) {
		pads = append(pads, l.Dims[d]-l.Starts[d]-n)
	}
	e.node("Pad", out, []string{in, e.ints(pads...), e.floats(nil, l.Alpha)}, attr{"mode", "constant"})
}

// window returns the attributes of a convolution's or a pool's window.
func window(w models.Window) []attr {
	return []attr{
		{"kernel_shape", []int{w.H, w.W}},
		{"strides", []int{w.StrideH, w.StrideW}},
		{"pads", []int{w.Top, w.Left, w.Bottom, w.Right}},
	}
}

// product writes a layer with weights and its activation.
func (e *exporter) product(i int, l *models.Layer, in, out string) {
	params := e.net.LayerParams(i)
	bias, weights := params[:l.Filters], params[l.Filters:]
	columns := len(weights) / l.Filters
	to := out
	if l.Activation != models.Linear {
		to = ""
	}
	b := e.floats([]int{l.Filters}, bias...)
	w := l.Geometry()
	groups := max(l.Groups, 1)
	switch l.Kind {
	case models.Dense:
		turned := make([]float32, 0, len(weights))
		for k := range columns {
			for f := range l.Filters {
				turned = append(turned, weights[f*columns+k])
			}
		}
		between := e.node("MatMul", "", []string{in, e.floats([]int{columns, l.Filters}, turned...)})
		to = e.node("Add", to, []string{between, b})
	case models.Convolution:
		name := e.floats([]int{l.Filters, columns / (w.H * w.W), w.H, w.W}, weights...)
		attrs := append(window(w), attr{"group", groups}, attr{"dilations", []int{w.DilationH, w.DilationW}})
		to = e.node("Conv", to, []string{in, name, b}, attrs...)
	case models.Deconvolution:
		depth := columns / (w.H * w.W)
		// Filters and channels change places: what was turned once is turned back.
		name := e.floats([]int{depth * groups, l.Filters / groups, w.H, w.W}, turned(weights, groups, l.Filters/groups, depth, w.H*w.W)...)
		attrs := append(window(w), attr{"group", groups}, attr{"dilations", []int{w.DilationH, w.DilationW}}, attr{"output_padding", []int{w.ExtraH, w.ExtraW}})
		to = e.node("ConvTranspose", to, []string{in, name, b}, attrs...)
	}
	if l.Activation != models.Linear {
		e.activation(l, to, out)
	}
}

func (e *exporter) pool(l *models.Layer, in, out string) {
	if l.Kind == models.MaxPool {
		e.node("MaxPool", out, []string{in}, window(l.Geometry())...)
		return
	}
	outside := 0
	if l.Outside {
		outside = 1
	}
	e.node("AveragePool", out, []string{in}, append(window(l.Geometry()), attr{"count_include_pad", outside})...)
}

func (e *exporter) resize(i int, l *models.Layer, in, out string) {
	s := l.Scaling
	if l.Kind == models.Upsample {
		s = &models.Scaling{ScaleH: float32(l.Stride), ScaleW: float32(l.Stride)}
	}
	places := map[models.Places]string{
		models.Asymmetric: "asymmetric", models.HalfPixel: "half_pixel",
		models.AlignCorners: "align_corners", models.TorchPixel: "pytorch_half_pixel",
	}[s.Places]
	rounding := map[models.Rounding]string{
		models.RoundFloor: "floor", models.RoundCeil: "ceil",
		models.RoundPreferFloor: "round_prefer_floor", models.RoundPreferCeil: "round_prefer_ceil",
	}[s.Rounding]
	mode := "nearest"
	if s.Linear {
		mode = "linear"
	}
	attrs := []attr{{"mode", mode}, {"coordinate_transformation_mode", places}, {"nearest_mode", rounding}}
	from, to := e.dims(e.net.Reads(i)[0]), e.dims(i)
	if int(float32(from[2])*s.ScaleH) == to[2] && int(float32(from[3])*s.ScaleW) == to[3] {
		e.node("Resize", out, []string{in, "", e.floats([]int{4}, 1, 1, s.ScaleH, s.ScaleW)}, attrs...)
		return
	}
	e.node("Resize", out, []string{in, "", "", e.ints(to...)}, attrs...) // the factors are rounded
}

// activation writes an activation.
func (e *exporter) activation(l *models.Layer, in, out string) {
	one := []string{in}
	switch l.Activation {
	case models.Leaky:
		alpha := l.Alpha
		if alpha == 0 {
			alpha = models.LeakySlope
		}
		e.node("LeakyRelu", out, one, attr{"alpha", alpha})
	case models.Clip:
		e.node("Clip", out, []string{in, e.floats(nil, l.Alpha), e.floats(nil, l.Beta)})
	case models.HardSigmoid:
		e.node("HardSigmoid", out, one, attr{"alpha", l.Alpha}, attr{"beta", l.Beta})
	case models.HardSwish:
		gate := e.node("HardSigmoid", "", one, attr{"alpha", l.Alpha}, attr{"beta", l.Beta})
		e.node("Mul", out, []string{in, gate})
	case models.SiLU:
		e.node("Mul", out, []string{in, e.node("Sigmoid", "", one)})
	case models.ELU:
		e.node("Elu", out, one, attr{"alpha", l.Alpha})
	case models.Affine:
		product := e.node("Mul", "", []string{in, e.floats(nil, l.Alpha)})
		e.node("Add", out, []string{product, e.floats(nil, l.Beta)})
	default:
		op := map[models.Activation]string{
			models.Linear: "Identity", models.ReLU: "Relu", models.Sigmoid: "Sigmoid", models.Tanh: "Tanh",
			models.Sqrt: "Sqrt", models.Exp: "Exp", models.Erf: "Erf",
		}[l.Activation]
		e.node(op, out, one)
	}
}
