package models

// multiplyBlock multiplies blockRows rows of a, lda values apart, with
// blockColumns columns of b, whose depth rows are ldb values apart, and writes
// the product to rows of c, ldc values apart, adding to what is there when add
// is true. depth is at least 1. Every value is summed in the order of depth.
func multiplyBlock(depth int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, add bool) {
	if !hasFourRows() {
		multiplyBlockPlain(depth, a, lda, b, ldb, c, ldc, add)
		return
	}
	// The kernel checks no bounds; these are the furthest that it reaches.
	_ = a[(blockRows-1)*lda+depth-1]
	_ = b[(depth-1)*ldb+blockColumns-1]
	_ = c[(blockRows-1)*ldc+blockColumns-1]
	fourRows(depth, &a[0], lda, &b[0], ldb, &c[0], ldc, add)
}

// multiplyBlockPlain is multiplyBlock for machines without the vector kernel.
func multiplyBlockPlain(depth int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, add bool) {
	for r := range blockRows {
		var sum [blockColumns]float32
		row := c[r*ldc : r*ldc+blockColumns]
		if add {
			copy(sum[:], row)
		}
		for k, w := range a[r*lda : r*lda+depth] {
			for j, v := range b[k*ldb : k*ldb+blockColumns] {
				sum[j] += w * v
			}
		}
		copy(row, sum[:])
	}
}
