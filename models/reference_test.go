package models

import (
	"math"
	"slices"
)

// plain computes every layer of n the slow and obvious way, in float64.
func plain(n *Network, in Tensor) []Tensor {
	maps := make([]Tensor, len(n.graph.Layers))
	for i := range n.graph.Layers {
		var from []reference
		for _, f := range n.plan.inputs[i] {
			data := in.Data
			if f != Picture {
				data = maps[f].Data
			}
			from = append(from, reference{n.plan.dimsOf(&n.graph, f), data})
		}
		out := NewTensor(n.Shape(i))
		l := &n.graph.Layers[i]
		for j := range out.Data {
			at := indices(j, n.plan.dims[i])
			v := plainValue(n, i, from, at)
			switch l.Kind {
			case Convolution, Deconvolution, Dense, Activate:
				v = plainActivation(l, v)
			}
			out.Data[j] = float32(v)
		}
		maps[i] = out
	}
	return maps
}

// reference is a row-major map.
type reference struct {
	dims []int
	data []float32
}

// at returns a value; outside the map it is the given one. Missing leading indices
// and dimensions of 1 are repeated.
func (r reference) at(index []int, outside float64) float64 {
	index = index[len(index)-len(r.dims):]
	place := 0
	for d, i := range index {
		if r.dims[d] == 1 && i > 0 {
			i = 0
		}
		if i < 0 || i >= r.dims[d] {
			return outside
		}
		place = place*r.dims[d] + i
	}
	return float64(r.data[place])
}

func indices(j int, dims []int) []int {
	index := make([]int, len(dims))
	for d := len(dims) - 1; d >= 0; d-- {
		index[d] = j % dims[d]
		j /= dims[d]
	}
	return index
}

func plainValue(n *Network, i int, from []reference, at []int) float64 {
	l := &n.graph.Layers[i]
	switch l.Kind {
	case Convolution, Deconvolution, Dense:
		return plainProduct(l, n.conv(i), from[0], at)
	case MaxPool, AveragePool:
		return plainPool(l, from[0], at)
	case Route:
		at = slices.Clone(at)
		for _, f := range from {
			if at[l.axis()] < f.dims[l.axis()] {
				return f.at(at, math.NaN())
			}
			at[l.axis()] -= f.dims[l.axis()]
		}
	case Upsample:
		return from[0].at([]int{0, at[1], at[2] / l.Stride, at[3] / l.Stride}, math.NaN())
	case Resize:
		return plainResize(l.Scaling, from[0], at)
	case YOLO, Activate:
		return from[0].at(at, math.NaN())
	case Add, Sub, Mul, Div, Pow:
		a, b := from[0].at(at, math.NaN()), from[1].at(at, math.NaN())
		return [...]float64{a + b, a - b, a * b, a / b, math.Pow(a, b)}[l.Kind-Add]
	case MatMul:
		sum := 0.0
		last := len(at) - 1
		for k := range from[0].dims[len(from[0].dims)-1] {
			a, b := slices.Clone(at), slices.Clone(at)
			a[last], b[last-1] = k, k
			sum += from[0].at(a, math.NaN()) * from[1].at(b, math.NaN())
		}
		return sum
	case Constant:
		place := 0
		for d, i := range at {
			place = place*l.Dims[d] + i
		}
		return float64(n.layerParams(i)[place])
	}
	return plainRearranged(l, n.plan.dims[i], from[0], at)
}

func plainRearranged(l *Layer, dims []int, in reference, at []int) float64 {
	index := make([]int, len(in.dims))
	switch l.Kind {
	case Reshape:
		place := 0
		for d, i := range at {
			place = place*dims[d] + i
		}
		return float64(in.data[place])
	case Transpose:
		for d, from := range l.Dims {
			index[from] = at[d]
		}
	case Slice:
		for d := range at {
			index[d] = l.Starts[d] + at[d]*l.Steps[d]
		}
	case Pad:
		for d := range at {
			index[d] = at[d] - l.Starts[d]
			if index[d] < 0 || index[d] >= in.dims[d] {
				return float64(l.Alpha)
			}
		}
	case Softmax:
		sum, mine := 0.0, math.Exp(in.at(at, math.NaN()))
		copy(index, at)
		for index[l.axis()] = range in.dims[l.axis()] {
			sum += math.Exp(in.at(index, math.NaN()))
		}
		return mine / sum
	default: // reductions
		sum, most, count := 0.0, math.Inf(-1), 0
		for j := range in.data {
			index := indices(j, in.dims)
			same := true
			for d := range index {
				same = same && (slices.Contains(l.Axes, d) || index[d] == at[d])
			}
			if same {
				sum, most, count = sum+float64(in.data[j]), max(most, float64(in.data[j])), count+1
			}
		}
		return map[Kind]float64{ReduceMean: sum / float64(count), ReduceSum: sum, ReduceMax: most}[l.Kind]
	}
	return in.at(index, math.NaN())
}

func plainProduct(l *Layer, c Conv, in reference, at []int) float64 {
	if l.Kind == Dense {
		f := at[len(at)-1]
		sum := float64(c.Bias[f])
		index := slices.Clone(at)
		for k := range c.Columns {
			index[len(index)-1] = k
			sum += float64(c.Weights[f*c.Columns+k]) * in.at(index, math.NaN())
		}
		return sum
	}
	w := l.Geometry()
	f := at[1]
	first := f / (l.Filters / l.groups()) * (in.dims[1] / l.groups())
	sum := float64(c.Bias[f])
	for k := range c.Columns {
		channel, ky, kx := k/(w.H*w.W), k/w.W%w.H, k%w.W
		y, x := at[2]*w.StrideH-w.Top+ky*w.DilationH, at[3]*w.StrideW-w.Left+kx*w.DilationW
		if l.Kind == Deconvolution {
			y, x = at[2]+w.Top-ky*w.DilationH, at[3]+w.Left-kx*w.DilationW
			if y%w.StrideH != 0 || x%w.StrideW != 0 {
				continue
			}
			y, x = y/w.StrideH, x/w.StrideW
		}
		if y < 0 || x < 0 || y >= in.dims[2] || x >= in.dims[3] {
			continue
		}
		sum += float64(c.Weights[f*c.Columns+k]) * in.at([]int{0, first + channel, y, x}, 0)
	}
	return sum
}

func plainPool(l *Layer, in reference, at []int) float64 {
	w := l.Geometry()
	sum, most, count := 0.0, math.Inf(-1), 0
	for k := range w.H * w.W {
		y, x := at[2]*w.StrideH-w.Top+k/w.W, at[3]*w.StrideW-w.Left+k%w.W
		if y < 0 || y >= in.dims[2] || x < 0 || x >= in.dims[3] {
			continue
		}
		v := in.at([]int{0, at[1], y, x}, math.NaN())
		sum, most, count = sum+v, max(most, v), count+1
	}
	switch {
	case l.Kind == MaxPool:
		return most
	case l.Outside:
		count = w.H * w.W
	}
	return sum / float64(count)
}

func plainResize(s *Scaling, in reference, at []int) float64 {
	index := slices.Clone(at)
	if !s.Linear {
		index[2] = s.nearest(at[2], s.H, in.dims[2], s.ScaleH)
		index[3] = s.nearest(at[3], s.W, in.dims[3], s.ScaleW)
		return in.at(index, math.NaN())
	}
	y0, y1, down := s.between(at[2], s.H, in.dims[2], s.ScaleH)
	x0, x1, right := s.between(at[3], s.W, in.dims[3], s.ScaleW)
	sum := 0.0
	for _, corner := range []struct {
		y, x  int
		share float32
	}{{y0, x0, (1 - down) * (1 - right)}, {y0, x1, (1 - down) * right}, {y1, x0, down * (1 - right)}, {y1, x1, down * right}} {
		index[2], index[3] = corner.y, corner.x
		sum += float64(corner.share) * in.at(index, math.NaN())
	}
	return sum
}

func plainActivation(l *Layer, x float64) float64 {
	a, b := float64(l.Alpha), float64(l.Beta)
	hard := min(max(a*x+b, 0), 1)
	switch l.Activation {
	case Leaky:
		return max(x, 0) + float64(l.slope())*min(x, 0)
	case ReLU:
		return max(x, 0)
	case Clip:
		return min(max(x, a), b)
	case Sigmoid:
		return 1 / (1 + math.Exp(-x))
	case HardSigmoid:
		return hard
	case HardSwish:
		return x * hard
	case SiLU:
		return x / (1 + math.Exp(-x))
	case Tanh:
		return math.Tanh(x)
	case ELU:
		return max(x, 0) + a*(math.Exp(min(x, 0))-1)
	case Sqrt:
		return math.Sqrt(x)
	case Exp:
		return math.Exp(x)
	case Erf:
		return math.Erf(x)
	case Affine:
		return a*x + b
	}
	return x
}
