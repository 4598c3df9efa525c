package onnx

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"perigee/models"
)

// errNoFold says that an operator is not computed at import.
var errNoFold = errors.New("operator is not computed at import")

// fold computes an operator whose inputs are all known: what becomes of shapes, and
// of weights before they are used.
func (o *operation) fold() (*tensor, error) {
	if o.node.op == "ConstantOfShape" {
		return o.filled()
	}
	x, err := o.constant(0)
	if err != nil {
		return nil, err
	}
	switch o.node.op {
	case "Identity", "Dropout":
		return x, nil
	case "Cast":
		return o.cast(x)
	case "Reshape", "Flatten", "Squeeze", "Unsqueeze":
		dims, err := o.target(x.dims)
		if err != nil {
			return nil, err
		}
		return &tensor{dims: dims, floats: x.floats, ints: x.ints, whole: x.whole}, nil
	case "Concat":
		return o.foldConcat()
	case "Gather":
		return o.foldGather(x)
	case "Slice":
		starts, steps, sizes, err := o.ranges(x.dims)
		if err != nil {
			return nil, err
		}
		return o.pick(x, sizes, func(at []int) []int {
			for d := range at {
				at[d] = starts[d] + at[d]*steps[d]
			}
			return at
		})
	case "Transpose":
		return o.foldTranspose(x)
	case "Add", "Sub", "Mul", "Div", "Pow", "Min", "Max":
		return o.foldArithmetic(x)
	case "Sqrt", "Neg", "Floor", "Ceil", "Reciprocal", "Exp":
		return o.foldFunction(x)
	}
	return nil, errNoFold
}

// filled computes a ConstantOfShape.
func (o *operation) filled() (*tensor, error) {
	c, err := o.constant(0)
	if err != nil {
		return nil, err
	}
	dims, err := c.asInts()
	if err != nil {
		return nil, err
	}
	t := &tensor{dims: dims, floats: []float32{0}}
	if a := o.node.attributes["value"]; a != nil && a.tensor != nil {
		if a.tensor.size() != 1 {
			return nil, fmt.Errorf("its value has dimensions %v", a.tensor.dims)
		}
		t.floats, t.ints, t.whole = a.tensor.floats, a.tensor.ints, a.tensor.whole
	}
	one := tensor{dims: make([]int, len(dims)), floats: t.floats, ints: t.ints, whole: t.whole}
	for d := range one.dims {
		one.dims[d] = 1
	}
	return o.pick(&one, dims, func(at []int) []int { clear(at); return at })
}

func (o *operation) cast(x *tensor) (*tensor, error) {
	if err := o.spend(x.size()); err != nil {
		return nil, err
	}
	t := &tensor{dims: x.dims}
	switch to := o.number("to", 0); to {
	case typeFloat, typeFloat16, typeDouble:
		t.floats = x.asFloats()
	case typeInt64, typeInt32, typeBool:
		t.whole = true
		for _, v := range x.numbers() {
			if !(v >= -math.MaxInt32 && v <= math.MaxInt32) {
				v = math.MaxInt32
			}
			if to == typeBool && v != 0 {
				v = 1
			}
			t.ints = append(t.ints, int64(v))
		}
	default:
		return nil, fmt.Errorf("makes values of type %d, want float, int64, int32 or bool", to)
	}
	return t, nil
}

// pick makes a tensor of the given dimensions whose value at an index is that of x
// at another one.
func (o *operation) pick(x *tensor, dims []int, from func(at []int) []int) (*tensor, error) {
	n := 1
	for _, d := range dims {
		if d < 0 || d > 0 && n > models.MaxParams/d {
			return nil, fmt.Errorf("makes dimensions %v", dims)
		}
		n *= d
	}
	if err := o.spend(n); err != nil {
		return nil, err
	}
	t := &tensor{dims: slices.Clone(dims), whole: x.whole}
	at := make([]int, len(dims))
	for i := range n {
		rest := i
		for d := len(dims) - 1; d >= 0; d-- {
			at[d] = rest % dims[d]
			rest /= dims[d]
		}
		place := 0
		for d, index := range from(slices.Clone(at)) {
			if index < 0 || index >= x.dims[d] {
				return nil, fmt.Errorf("reads index %d of dimension %d of %v", index, d, x.dims)
			}
			place = place*x.dims[d] + index
		}
		if x.whole {
			t.ints = append(t.ints, x.ints[place])
		} else {
			t.floats = append(t.floats, x.floats[place])
		}
	}
	return t, nil
}

func (o *operation) foldTranspose(x *tensor) (*tensor, error) {
	order := o.ints("perm")
	if order == nil {
		for d := len(x.dims) - 1; d >= 0; d-- {
			order = append(order, d)
		}
	}
	dims, seen := make([]int, len(order)), make([]bool, len(order))
	if len(order) != len(x.dims) {
		return nil, fmt.Errorf("orders %d dimensions of %v", len(order), x.dims)
	}
	for i, d := range order {
		if d < 0 || d >= len(order) || seen[d] {
			return nil, fmt.Errorf("%v is no order of dimensions", order)
		}
		seen[d], dims[i] = true, x.dims[d]
	}
	return o.pick(x, dims, func(at []int) []int {
		from := make([]int, len(at))
		for i, d := range order {
			from[d] = at[i]
		}
		return from
	})
}

func (o *operation) foldGather(x *tensor) (*tensor, error) {
	c, err := o.constant(1)
	if err != nil {
		return nil, err
	}
	indices, err := c.asInts()
	if err != nil {
		return nil, err
	}
	a, err := axis(o.number("axis", 0), len(x.dims))
	if err != nil {
		return nil, err
	}
	dims := slices.Concat(x.dims[:a], c.dims, x.dims[a+1:])
	return o.pick(x, dims, func(at []int) []int {
		place := 0
		for d, n := range c.dims {
			place = place*n + at[a+d]
		}
		index := indices[place]
		if index < 0 {
			index += x.dims[a]
		}
		return slices.Concat(at[:a], []int{index}, at[a+len(c.dims):])
	})
}

func (o *operation) foldConcat() (*tensor, error) {
	t := &tensor{}
	outer := 1
	var parts []*tensor
	for i := range o.in {
		c, err := o.constant(i)
		if err != nil {
			return nil, err
		}
		a, err := axis(o.number("axis", 0), len(c.dims))
		if err != nil {
			return nil, err
		}
		if i == 0 {
			t.dims, t.whole, outer = slices.Clone(c.dims), c.whole, product(c.dims[:a])
		} else {
			for d := range c.dims {
				if len(c.dims) != len(t.dims) || d != a && c.dims[d] != t.dims[d] || c.whole != t.whole {
					return nil, fmt.Errorf("joins %v and %v", t.dims, c.dims)
				}
			}
			t.dims[a] += c.dims[a]
		}
		if err := o.spend(c.size()); err != nil {
			return nil, err
		}
		parts = append(parts, c)
	}
	for row := range outer {
		for _, c := range parts {
			n := c.size() / outer
			if t.whole {
				t.ints = append(t.ints, c.ints[row*n:(row+1)*n]...)
			} else {
				t.floats = append(t.floats, c.floats[row*n:(row+1)*n]...)
			}
		}
	}
	return t, nil
}

func (o *operation) foldArithmetic(x *tensor) (*tensor, error) {
	y, err := o.constant(1)
	if err != nil {
		return nil, err
	}
	dims, err := repeated(x.dims, y.dims)
	if err != nil {
		return nil, err
	}
	a, err := o.pick(x, dims, repeat(x.dims))
	if err != nil {
		return nil, err
	}
	b, err := o.pick(y, dims, repeat(y.dims))
	if err != nil {
		return nil, err
	}
	if x.whole != y.whole {
		return nil, errors.New("mixes floats and whole numbers")
	}
	t := &tensor{dims: dims, whole: x.whole}
	right := b.numbers()
	for i, left := range a.numbers() {
		v := compute(o.node.op, left, right[i])
		if !t.whole {
			t.floats = append(t.floats, float32(v))
			continue
		}
		if v = math.Trunc(v); !(math.Abs(v) <= 1<<53) {
			return nil, errors.New("computes a whole number that is out of range")
		}
		t.ints = append(t.ints, int64(v))
	}
	return t, nil
}

// repeated returns the dimensions of two tensors that are repeated to fit each
// other.
func repeated(a, b []int) ([]int, error) {
	if len(a) < len(b) {
		a, b = b, a
	}
	out := slices.Clone(a)
	for i, n := range b {
		at := len(a) - len(b) + i
		switch {
		case out[at] == 1:
			out[at] = n
		case n != 1 && n != out[at]:
			return nil, fmt.Errorf("joins %v and %v", a, b)
		}
	}
	return out, nil
}

// repeat returns where a value of a result lies in a tensor of dimensions dims.
func repeat(dims []int) func(at []int) []int {
	return func(at []int) []int {
		at = at[len(at)-len(dims):]
		for d, n := range dims {
			if n == 1 {
				at[d] = 0
			}
		}
		return at
	}
}

func compute(op string, a, b float64) float64 {
	switch op {
	case "Add":
		return a + b
	case "Sub":
		return a - b
	case "Mul":
		return a * b
	case "Div":
		return a / b
	case "Min":
		return min(a, b)
	case "Max":
		return max(a, b)
	}
	return math.Pow(a, b)
}

func (o *operation) foldFunction(x *tensor) (*tensor, error) {
	if err := o.spend(x.size()); err != nil {
		return nil, err
	}
	f := map[string]func(float64) float64{
		"Sqrt": math.Sqrt, "Floor": math.Floor, "Ceil": math.Ceil, "Exp": math.Exp,
		"Neg": func(v float64) float64 { return -v }, "Reciprocal": func(v float64) float64 { return 1 / v },
	}[o.node.op]
	t := &tensor{dims: x.dims, whole: x.whole}
	for _, v := range x.numbers() {
		if x.whole {
			t.ints = append(t.ints, int64(f(v)))
		} else {
			t.floats = append(t.floats, float32(f(v)))
		}
	}
	return t, nil
}
