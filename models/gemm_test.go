package models

import (
	"math"
	"slices"
	"testing"
)

// TestKernelsAgree holds the vector kernel against the plain one and checks that
// neither writes outside its block.
func TestKernelsAgree(t *testing.T) {
	if !hasFourRows() {
		t.Skip("this machine has no vector kernel")
	}
	const lda, ldb, ldc = 300, 40, 23
	a, b := noise(4*lda, 1, 1), noise(256*ldb, 1, 2)
	for _, depth := range []int{1, 2, 7, 27, 255, 256} {
		for _, apart := range []int{0, lda} {
			for _, add := range []bool{false, true} {
				fast, plain := noise(4*ldc, 1, 3), noise(4*ldc, 1, 3)
				multiplyBlock(depth, a, apart, b, ldb, fast, ldc, add)
				multiplyBlockPlain(depth, a, apart, b, ldb, plain, ldc, add)
				for i := range fast {
					outside := i%ldc >= blockColumns
					if outside && fast[i] != plain[i] || math.Abs(float64(fast[i]-plain[i])) > 1e-4 {
						t.Fatalf("depth %d, rows %d apart, add %v: value %d is %g, want %g", depth, apart, add, i, fast[i], plain[i])
					}
				}
			}
		}
	}
}

// TestKernelRefusesShortSlices keeps the kernel from reading past its input.
func TestKernelRefusesShortSlices(t *testing.T) {
	const depth = 3
	lengths := []int{3*depth + depth, (depth-1)*16 + 16, 3*16 + 16}
	for short := range lengths {
		l := slices.Clone(lengths)
		l[short]--
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("argument %d one short: no panic", short)
				}
			}()
			multiplyBlock(depth, make([]float32, l[0]), depth, make([]float32, l[1]), 16, make([]float32, l[2]), 16, false)
		}()
	}
}
