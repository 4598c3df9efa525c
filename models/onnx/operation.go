package onnx

import (
	"errors"
	"fmt"
	"math"

	"perigee/models"
)

// operation is an operator that is being turned into layers.
type operation struct {
	*importer
	node *node
	in   []*value
}

// Attributes by name, with what they are when they are left out.

func (o *operation) number(name string, fallback int) int {
	if a, ok := o.node.attributes[name]; ok {
		return limitInt(a.number)
	}
	return fallback
}

func (o *operation) float(name string, fallback float32) float32 {
	if a, ok := o.node.attributes[name]; ok {
		return a.float
	}
	return fallback
}

func (o *operation) text(name, fallback string) string {
	if a, ok := o.node.attributes[name]; ok {
		return a.text
	}
	return fallback
}

func (o *operation) ints(name string) []int {
	a, ok := o.node.attributes[name]
	if !ok {
		return nil
	}
	var list []int
	for _, v := range a.ints {
		list = append(list, limitInt(v))
	}
	return list
}

// operand returns input i, or nil when it is left out.
func (o *operation) operand(i int) *value {
	if i < len(o.in) {
		return o.in[i]
	}
	return nil
}

// need returns input i, which must be there.
func (o *operation) need(i int) (*value, error) {
	if v := o.operand(i); v != nil {
		return v, nil
	}
	return nil, fmt.Errorf("its input %d is missing", i)
}

// constant returns input i, which must be known.
func (o *operation) constant(i int) (*tensor, error) {
	v, err := o.need(i)
	if err != nil {
		return nil, err
	}
	if v.constant == nil {
		return nil, fmt.Errorf("its input %d depends on the picture", i)
	}
	return v.constant, nil
}

// list returns whole numbers that are an attribute in older operator sets and input
// i in newer ones, nil when they are left out.
func (o *operation) list(name string, i int) ([]int, error) {
	if v := o.operand(i); v != nil {
		c, err := o.constant(i)
		if err != nil {
			return nil, err
		}
		return c.asInts()
	}
	return o.ints(name), nil
}

// axis returns a dimension of a map of the given rank, counted from the end when it
// is negative.
func axis(a, rank int) (int, error) {
	if a < -rank || a >= rank {
		return 0, fmt.Errorf("dimension %d of %d is out of range", a, rank)
	}
	return (a + rank) % rank, nil
}

// layer adds a layer of this operator.
func (o *operation) layer(l models.Layer, params []float32, in ...*value) (*value, error) {
	return o.add(o.node, l, params, in...)
}

// one turns a single value into results.
func one(v *value, err error) ([]*value, error) {
	if err != nil {
		return nil, err
	}
	return []*value{v}, nil
}

// results returns what the operator computes.
func (o *operation) results() ([]*value, error) {
	if o.node.op == "Constant" {
		return one(o.literal())
	}
	if o.node.op == "Shape" {
		return one(o.shape())
	}
	known := len(o.in) > 0 || o.node.op == "ConstantOfShape"
	for _, v := range o.in {
		known = known && (v == nil || v.constant != nil)
	}
	if known {
		t, err := o.fold()
		if !errors.Is(err, errNoFold) {
			if err != nil {
				return nil, err
			}
			return []*value{{constant: t, dims: t.dims}}, nil
		}
	}
	if err := o.refuseTraining(); err != nil {
		return nil, err
	}
	switch o.node.op {
	case "Split":
		return o.split()
	case "Conv", "ConvTranspose":
		return one(o.convolution())
	case "BatchNormalization":
		return one(o.normalise())
	case "MaxPool", "AveragePool":
		return one(o.pool())
	case "Gemm", "MatMul":
		return one(o.product())
	case "Add", "Sub", "Mul", "Div", "Pow":
		return one(o.arithmetic())
	case "Resize", "Upsample":
		return one(o.resize())
	}
	if l, ok, err := o.activation(); ok || err != nil {
		if err != nil {
			return nil, err
		}
		x, err := o.need(0)
		if err != nil {
			return nil, err
		}
		return one(o.layer(l, nil, x))
	}
	return one(o.rearranged())
}

// refuseTraining refuses what operators do in training alone.
func (o *operation) refuseTraining() error {
	training := o.number("training_mode", 0) != 0
	if o.node.op == "Dropout" && o.operand(2) != nil {
		c, err := o.constant(2)
		training = err != nil || c.size() != 1 || c.numbers()[0] != 0
	}
	if training {
		return errors.New("is in training mode: export the model for inference")
	}
	if one := o.node.op != "Split"; one && len(o.node.outputs) > 1 && o.node.outputs[1] != "" {
		return errors.New("its second output is not supported")
	}
	return nil
}

// literal returns the value of a Constant.
func (o *operation) literal() (*value, error) {
	a := o.node.attributes
	var t *tensor
	switch {
	case a["value"] != nil && a["value"].tensor != nil:
		t = a["value"].tensor
	case a["value_float"] != nil:
		t = &tensor{floats: []float32{a["value_float"].float}}
	case a["value_int"] != nil:
		t = &tensor{ints: []int64{a["value_int"].number}, whole: true}
	case a["value_floats"] != nil:
		t = &tensor{dims: []int{len(a["value_floats"].floats)}, floats: a["value_floats"].floats}
	case a["value_ints"] != nil:
		t = wholeTensor(a["value_ints"].ints)
	default:
		return nil, errors.New("has no value that can be used")
	}
	return &value{constant: t, dims: t.dims}, nil
}

// shape returns the dimensions of a value, which are known.
func (o *operation) shape() (*value, error) {
	v, err := o.need(0)
	if err != nil {
		return nil, err
	}
	var dims []int64
	for _, d := range v.dims {
		dims = append(dims, int64(d))
	}
	start, end := o.number("start", 0), o.number("end", len(dims))
	if start < 0 {
		start += len(dims)
	}
	if end < 0 {
		end += len(dims)
	}
	start, end = min(max(start, 0), len(dims)), min(max(end, 0), len(dims))
	t := wholeTensor(dims[start:max(start, end)])
	return &value{constant: t, dims: t.dims}, nil
}

// activation returns the layer of an operator that works on single values.
func (o *operation) activation() (models.Layer, bool, error) {
	l := models.Layer{Kind: models.Activate}
	switch o.node.op {
	case "Relu":
		l.Activation = models.ReLU
	case "LeakyRelu":
		l.Activation, l.Alpha = models.Leaky, o.float("alpha", 0.01)
		switch l.Alpha {
		case 0:
			l.Activation = models.ReLU
		case models.LeakySlope:
			l.Alpha = 0 // which stands for it
		}
	case "Clip":
		return l, true, o.clip(&l)
	case "Sigmoid":
		l.Activation = models.Sigmoid
	case "HardSigmoid":
		l.Activation, l.Alpha, l.Beta = models.HardSigmoid, o.float("alpha", 0.2), o.float("beta", 0.5)
	case "HardSwish":
		l.Activation, l.Alpha, l.Beta = models.HardSwish, 1.0/6, 0.5
	case "Tanh":
		l.Activation = models.Tanh
	case "Elu":
		l.Activation, l.Alpha = models.ELU, o.float("alpha", 1)
	case "Sqrt":
		l.Activation = models.Sqrt
	case "Exp":
		l.Activation = models.Exp
	case "Erf":
		l.Activation = models.Erf
	case "Neg":
		l.Activation, l.Alpha = models.Affine, -1
	default:
		return l, false, nil
	}
	return l, true, nil
}

// clip reads the bounds of a Clip: attributes at first, inputs later.
func (o *operation) clip(l *models.Layer) error {
	bounds := [2]float32{o.float("min", -math.MaxFloat32), o.float("max", math.MaxFloat32)}
	for i := range bounds {
		if o.operand(i+1) == nil {
			continue
		}
		c, err := o.constant(i + 1)
		if err != nil {
			return err
		}
		if c.size() != 1 {
			return fmt.Errorf("a bound has %d values, want one", c.size())
		}
		bounds[i] = min(max(c.asFloats()[0], -math.MaxFloat32), math.MaxFloat32)
	}
	if bounds[0] == 0 && bounds[1] == math.MaxFloat32 {
		l.Activation = models.ReLU
		return nil
	}
	l.Activation, l.Alpha, l.Beta = models.Clip, bounds[0], bounds[1]
	return nil
}
