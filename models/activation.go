package models

import (
	"fmt"
	"math"
)

// Activation is a function of single values. The numbers are part of the model
// file format.
type Activation uint8

// The activations; a is Alpha, b is Beta.
const (
	Linear      Activation = 0  // x
	Leaky       Activation = 1  // x if positive, else a x; a is LeakySlope when it is 0
	ReLU        Activation = 2  // x if positive, else 0
	Clip        Activation = 3  // x, but at least a and at most b
	Sigmoid     Activation = 4  // 1 / (1 + exp -x)
	HardSigmoid Activation = 5  // a x + b, but at least 0 and at most 1
	HardSwish   Activation = 6  // x times HardSigmoid
	SiLU        Activation = 7  // x times Sigmoid
	Tanh        Activation = 8  // hyperbolic tangent
	ELU         Activation = 9  // x if positive, else a (exp x - 1)
	Sqrt        Activation = 10 // square root
	Exp         Activation = 11 // exponential
	Erf         Activation = 12 // error function
	Affine      Activation = 13 // a x + b
)

// LeakySlope is the slope of Leaky below zero in Darknet.
const LeakySlope = 0.1

// String returns the name of a.
func (a Activation) String() string {
	names := [...]string{
		Linear: "linear", Leaky: "leaky", ReLU: "relu", Clip: "clip", Sigmoid: "sigmoid", HardSigmoid: "hardsigmoid",
		HardSwish: "hardswish", SiLU: "silu", Tanh: "tanh", ELU: "elu", Sqrt: "sqrt", Exp: "exp", Erf: "erf", Affine: "affine",
	}
	if int(a) < len(names) {
		return names[a]
	}
	return fmt.Sprintf("activation %d", uint8(a))
}

// slope returns the slope of Leaky below zero.
func (l *Layer) slope() float32 {
	if l.Alpha == 0 {
		return LeakySlope
	}
	return l.Alpha
}

func (l *Layer) checkActivation() error {
	switch l.Kind {
	case Convolution, Deconvolution, Dense, Activate:
	case Pad:
		return finiteNumbers(l.Alpha)
	default:
		if l.Activation != Linear || l.Alpha != 0 || l.Beta != 0 {
			return fmt.Errorf("has activation %v", l.Activation)
		}
		return nil
	}
	if l.Activation > Affine {
		return fmt.Errorf("unknown %v", l.Activation)
	}
	if l.Activation == Clip && !(l.Alpha <= l.Beta) {
		return fmt.Errorf("clips to %g at least and %g at most", l.Alpha, l.Beta)
	}
	return finiteNumbers(l.Alpha, l.Beta)
}

func finiteNumbers(values ...float32) error {
	for _, v := range values {
		if v != v || v > math.MaxFloat32 || v < -math.MaxFloat32 {
			return fmt.Errorf("parameter %g is no finite number", v)
		}
	}
	return nil
}

// fused returns slope and ceiling such that the activation is
// min(max(x, slope*x), ceiling), if it is of that form.
func (l *Layer) fused() (slope, ceiling float32, ok bool) {
	most := float32(math.Inf(1))
	switch {
	case l.Activation == Linear:
		return 1, most, true
	case l.Activation == Leaky && l.slope() >= 0 && l.slope() <= 1:
		return l.slope(), most, true
	case l.Activation == ReLU:
		return 0, most, true
	case l.Activation == Clip && l.Alpha == 0:
		return 0, l.Beta, true
	}
	return 1, most, false
}

// activate applies the layer's activation to values.
func (l *Layer) activate(values []float32) {
	a, b := l.Alpha, l.Beta
	switch l.Activation {
	case Leaky:
		slope := l.slope()
		for i, v := range values {
			if v < 0 {
				values[i] = v * slope
			}
		}
	case ReLU:
		for i, v := range values {
			values[i] = max(v, 0)
		}
	case Clip:
		for i, v := range values {
			values[i] = min(max(v, a), b)
		}
	case HardSigmoid:
		for i, v := range values {
			values[i] = min(max(a*v+b, 0), 1)
		}
	case HardSwish:
		for i, v := range values {
			values[i] = v * min(max(a*v+b, 0), 1)
		}
	case Affine:
		for i, v := range values {
			values[i] = a*v + b
		}
	case Linear:
	default:
		for i, v := range values {
			values[i] = float32(l.function(float64(v)))
		}
	}
}

// function is the activations that need the mathematical functions.
func (l *Layer) function(x float64) float64 {
	switch l.Activation {
	case Sigmoid:
		return 1 / (1 + math.Exp(-x))
	case SiLU:
		return x / (1 + math.Exp(-x))
	case Tanh:
		return math.Tanh(x)
	case ELU:
		if x < 0 {
			return float64(l.Alpha) * math.Expm1(x)
		}
	case Sqrt:
		return math.Sqrt(x)
	case Exp:
		return math.Exp(x)
	case Erf:
		return math.Erf(x)
	}
	return x
}
