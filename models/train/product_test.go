package train

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/viterin/vek/vek32"

	"perigee/models/internal/kernel"
)

// TestProducts multiplies matrices of all sorts of shapes with every set of loops.
func TestProducts(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	random := func(n int) []float32 {
		values := make([]float32, n)
		for i := range values {
			values[i] = float32(rng.NormFloat64())
		}
		return values
	}
	for _, set := range kernel.Sets() {
		p := newProducts()
		p.set = set
		for _, rows := range []int{1, 2, 5, 6, 7, 13} {
			for _, depth := range []int{1, 9, 40} {
				for _, columns := range []int{1, 8, 15, 16, 17, 33, 70} {
					a, b := random(rows*depth), random(depth*columns)
					out := random(rows*columns + 1)
					guard := out[rows*columns]
					p.multiply(out, a, b, rows, depth, columns)
					for i := range rows * columns {
						want := 0.0
						for k := range depth {
							want += float64(a[i/columns*depth+k]) * float64(b[k*columns+i%columns])
						}
						if math.Abs(float64(out[i])-want) > 1e-4 {
							t.Fatalf("%s, %d x %d x %d, value %d: %v, want %v", set.Name, rows, depth, columns, i, out[i], want)
						}
					}
					if out[rows*columns] != guard {
						t.Fatalf("%s, %d x %d x %d: wrote behind the end", set.Name, rows, depth, columns)
					}
				}
			}
		}
	}
}

// BenchmarkProduct multiplies as layer 21 of yolov3-tiny does.
func BenchmarkProduct(b *testing.B) {
	const rows, depth, columns = 256, 3456, 704
	x, y, out := make([]float32, rows*depth), make([]float32, depth*columns), make([]float32, rows*columns)
	p := newProducts()
	b.Run("ours", func(b *testing.B) {
		for b.Loop() {
			p.multiply(out, x, y, rows, depth, columns)
		}
	})
	b.Run("vek32", func(b *testing.B) {
		for b.Loop() {
			vek32.MatMul_Into(out, x, y, depth)
		}
	})
}
