package train

import "math"

// Constants of Adam, as its authors advise.
const (
	beta1   = 0.9
	beta2   = 0.999
	epsilon = 1e-8
)

// adam is the solver of Kingma and Ba (2015, algorithm 1). Unlike gorgonia's,
// with which it agrees, it shows its state, so that a training can be taken up
// again where it was interrupted.
type adam struct {
	steps         int
	first, second [][]float32 // moments of the gradient, by variable
}

func newAdam(vars []*variable) *adam {
	a := &adam{}
	for _, v := range vars {
		a.first = append(a.first, make([]float32, len(v.grad)))
		a.second = append(a.second, make([]float32, len(v.grad)))
	}
	return a
}

// step moves every variable against its gradient.
func (a *adam) step(vars []*variable, rate float64) {
	a.steps++
	// Both corrections are of the step as a whole, so they stay out of the loop.
	scale := float32(rate / (1 - math.Pow(beta1, float64(a.steps))))
	correction := float32(1 / (1 - math.Pow(beta2, float64(a.steps))))
	for i, v := range vars {
		values, m, s := v.data(), a.first[i], a.second[i]
		for j, g := range v.grad {
			m[j] = beta1*m[j] + (1-beta1)*g
			s[j] = beta2*s[j] + (1-beta2)*g*g
			values[j] -= scale * m[j] / (float32(math.Sqrt(float64(s[j]*correction))) + epsilon)
		}
	}
}
