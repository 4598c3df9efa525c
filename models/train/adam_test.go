package train

import (
	"math"
	"math/rand/v2"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// valueGrad is a variable that gorgonia's solvers can step.
type valueGrad struct{ value, grad *tensor.Dense }

func (v valueGrad) Value() gorgonia.Value         { return v.value }
func (v valueGrad) Grad() (gorgonia.Value, error) { return v.grad, nil }

func TestAdamAgreesWithGorgonia(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const size = 50
	start := make([]float32, size)
	for i := range start {
		start[i] = rng.Float32()
	}
	ours := newVariable("ours", start, size)
	ours.grad = make([]float32, size)
	solver := newAdam([]*variable{&ours})
	theirs := newVariable("theirs", start, size)
	reference := gorgonia.NewAdamSolver()
	for step := range 40 {
		rate := 0.01 / float64(step+1)
		for i := range ours.grad {
			ours.grad[i] = float32(rng.NormFloat64())
		}
		solver.step([]*variable{&ours}, rate)
		grad := tensor.New(tensor.WithShape(size), tensor.WithBacking(append([]float32(nil), ours.grad...)))
		gorgonia.WithLearnRate(rate)(reference)
		if err := reference.Step([]gorgonia.ValueGrad{valueGrad{theirs.value, grad}}); err != nil {
			t.Fatal(err)
		}
		for i, v := range ours.data() {
			if w := theirs.data()[i]; math.Abs(float64(v-w)) > 1e-6 {
				t.Fatalf("step %d, value %d: %v, gorgonia says %v", step, i, v, w)
			}
		}
	}
}
