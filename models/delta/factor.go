package delta

import (
	"errors"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

const (
	extraRank  = 8 // directions followed beyond the rank, for precision
	iterations = 4 // of power iteration
)

// factor returns the rank rows of left^T (out values each) and of right (columns
// values each) whose product is nearest to change, an out x columns matrix:
// randomised subspace iteration (Halko, Martinsson, Tropp 2011, algorithm 4.4)
// and a small singular value decomposition. Each pair of rows shares its
// singular value evenly, so that both quantise alike.
func factor(change []float32, out, columns, rank int) (left, right [][]float32, err error) {
	data := make([]float64, len(change))
	for i, v := range change {
		data[i] = float64(v)
	}
	d := mat.NewDense(out, columns, data)
	basis := columnSpace(d, min(rank+extraRank, out, columns))
	var small mat.Dense
	small.Mul(basis.T(), d)
	var svd mat.SVD
	if !svd.Factorize(&small, mat.SVDThin) {
		return nil, nil, errors.New("factor difference: singular value decomposition does not converge")
	}
	var u, v, full mat.Dense
	svd.UTo(&u)
	svd.VTo(&v)
	full.Mul(basis, &u)
	values := svd.Values(nil)
	for k := range rank {
		share := math.Sqrt(values[k])
		left = append(left, scaledColumn(&full, k, share))
		right = append(right, scaledColumn(&v, k, share))
	}
	return left, right, nil
}

// columnSpace returns size orthonormal columns that span where d is largest.
func columnSpace(d *mat.Dense, size int) *mat.Dense {
	out, columns := d.Dims()
	source := rand.New(rand.NewPCG(0x7065726967, 0x656565)) // any fixed directions will do
	start := mat.NewDense(columns, size, nil)
	for i := range columns {
		for j := range size {
			start.Set(i, j, source.NormFloat64())
		}
	}
	basis := mat.NewDense(out, size, nil)
	for i := range iterations {
		if i > 0 {
			start.Mul(d.T(), basis)
			orthonormalise(start)
		}
		basis.Mul(d, start)
		orthonormalise(basis)
	}
	return basis
}

// orthonormalise makes the columns of m orthonormal: Gram and Schmidt's process,
// twice for precision. Columns that the others span become zero.
func orthonormalise(m *mat.Dense) {
	rows, size := m.Dims()
	columns := make([][]float64, size)
	for j := range columns {
		columns[j] = mat.Col(nil, j, m)
		length := floats.Norm(columns[j], 2)
		for range 2 {
			for _, c := range columns[:j] {
				floats.AddScaled(columns[j], -floats.Dot(columns[j], c), c)
			}
		}
		by := 0.0
		if rest := floats.Norm(columns[j], 2); rest > 1e-12*length {
			by = 1 / rest
		}
		floats.Scale(by, columns[j])
		for i := range rows {
			m.Set(i, j, columns[j][i])
		}
	}
}

func scaledColumn(m *mat.Dense, k int, by float64) []float32 {
	rows, _ := m.Dims()
	column := make([]float32, rows)
	for i := range column {
		column[i] = float32(m.At(i, k) * by)
	}
	return column
}
