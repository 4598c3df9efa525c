package gate

import (
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/stat"
)

// interval returns the ends of the confidence interval of a measure: quantiles of
// its values on as many pictures drawn with replacement (Efron, "Bootstrap
// methods: another look at the jackknife", 1979). Both networks are measured on
// each drawing, so what makes a picture hard for both cancels out.
func interval(measure func(weights) float64, pictures int, r Rule) (low, high float64) {
	rng := rand.New(rand.NewPCG(r.Seed, 0x67617465))
	values := make([]float64, r.Resamples)
	w := make(weights, pictures)
	for i := range values {
		clear(w)
		for range pictures {
			w[rng.IntN(pictures)]++
		}
		values[i] = measure(w)
	}
	slices.Sort(values)
	tail := (1 - r.Confidence) / 2
	return stat.Quantile(tail, stat.Empirical, values, nil), stat.Quantile(1-tail, stat.Empirical, values, nil)
}
