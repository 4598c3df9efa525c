package delta

import (
	"encoding/binary"
	"fmt"
	"math"

	"perigee/models"
)

// The body of a delta holds, for each changed convolution in order of layers:
//
//	dense     biases as one row, then a row per filter
//	ranked    biases as one row, then r rows of Out numbers and r of Columns numbers
//	lossless  biases and weights XORed with the base's, split in four planes: the
//	          highest byte of every value, then the next, down to the lowest
//
// A row is a float16 scale and its numbers, or numbers in half precision.

// biasBits is the fewest bits of biases: there are few of them, and each moves a
// whole map.
const biasBits = 6

// biases is how the differences of biases are written.
func (e Encoding) biases() Encoding {
	if e.Bits == Half {
		return Encoding{Bits: Half}
	}
	return Encoding{Bits: max(e.Bits, biasBits)}
}

// rank returns the rank of the factors for c, which its size may limit.
func (e Encoding) rank(c *models.Conv) int { return min(e.Rank, c.Out.C, c.Columns) }

// layerSize returns the bytes of one convolution in the body.
func (e Encoding) layerSize(c *models.Conv) int {
	filters := c.Out.C
	switch {
	case e.Bits == Lossless:
		return 4 * filters * (1 + c.Columns)
	case e.Rank > 0:
		return e.biases().rowSize(filters) + e.rank(c)*(e.rowSize(filters)+e.rowSize(c.Columns))
	}
	return e.biases().rowSize(filters) + filters*e.rowSize(c.Columns)
}

// appendLayer appends the difference between two convolutions.
func (e Encoding) appendLayer(dst []byte, base, target *models.Conv) ([]byte, error) {
	if e.Bits == Lossless {
		return appendPlanes(dst, base, target), nil
	}
	dst = e.biases().appendRow(dst, difference(base.Bias, target.Bias))
	change := difference(base.Weights, target.Weights)
	if e.Rank == 0 {
		for n := base.Columns; len(change) > 0; change = change[n:] {
			dst = e.appendRow(dst, change[:n])
		}
		return dst, nil
	}
	left, right, err := factor(change, base.Out.C, base.Columns, e.rank(base))
	if err != nil {
		return nil, fmt.Errorf("layer %d: %w", base.Layer, err)
	}
	for _, rows := range [][][]float32{left, right} {
		for _, row := range rows {
			dst = e.appendRow(dst, row)
		}
	}
	return dst, nil
}

func difference(base, target []float32) []float32 {
	d := make([]float32, len(base))
	for i := range d {
		d[i] = target[i] - base[i]
	}
	return d
}

// applyLayer adds one convolution's difference to bias and weights, which hold
// the base's, and returns the rest of src, which must hold layerSize bytes.
func (e Encoding) applyLayer(c *models.Conv, bias, weights []float32, src []byte) ([]byte, error) {
	if e.Bits == Lossless {
		return applyPlanes(bias, weights, src), nil
	}
	change := make([]float32, len(bias))
	src, ok := e.biases().readRow(change, src)
	if !ok {
		return nil, fmt.Errorf("%w: layer %d: biases are out of range", ErrCorrupt, c.Layer)
	}
	add(bias, change)
	if e.Rank > 0 {
		return e.applyFactors(c, weights, src)
	}
	row := make([]float32, c.Columns)
	for f := range c.Out.C {
		if src, ok = e.readRow(row, src); !ok {
			return nil, fmt.Errorf("%w: layer %d: row %d is out of range", ErrCorrupt, c.Layer, f)
		}
		add(weights[f*c.Columns:(f+1)*c.Columns], row)
	}
	return src, nil
}

func (e Encoding) applyFactors(c *models.Conv, weights []float32, src []byte) ([]byte, error) {
	left, right := make([][]float32, e.rank(c)), make([][]float32, e.rank(c))
	for _, side := range []struct {
		rows [][]float32
		size int
	}{{left, c.Out.C}, {right, c.Columns}} {
		for k := range side.rows {
			side.rows[k] = make([]float32, side.size)
			var ok bool
			if src, ok = e.readRow(side.rows[k], src); !ok {
				return nil, fmt.Errorf("%w: layer %d: factor %d is out of range", ErrCorrupt, c.Layer, k)
			}
		}
	}
	row := make([]float32, c.Columns)
	for f := range c.Out.C {
		clear(row)
		for k := range left {
			addScaled(row, left[k][f], right[k])
		}
		add(weights[f*c.Columns:(f+1)*c.Columns], row)
	}
	return src, nil
}

// add and addScaled compute in float32 with every product rounded by an
// explicit conversion: the Go specification then forbids fusing it with the sum,
// so all machines get the same bits.
func add(to, change []float32) {
	for i, v := range change {
		to[i] = float32(to[i] + v)
	}
}

func addScaled(to []float32, by float32, values []float32) {
	for i, v := range values {
		to[i] = float32(to[i] + float32(by*v))
	}
}

func appendPlanes(dst []byte, base, target *models.Conv) []byte {
	var changed []uint32
	for _, pair := range [][2][]float32{{base.Bias, target.Bias}, {base.Weights, target.Weights}} {
		for i, v := range pair[0] {
			changed = append(changed, math.Float32bits(v)^math.Float32bits(pair[1][i]))
		}
	}
	for shift := 24; shift >= 0; shift -= 8 {
		for _, x := range changed {
			dst = append(dst, byte(x>>shift))
		}
	}
	return dst
}

func applyPlanes(bias, weights []float32, src []byte) []byte {
	n := len(bias) + len(weights)
	for i := range n {
		x := binary.BigEndian.Uint32([]byte{src[i], src[n+i], src[2*n+i], src[3*n+i]})
		v := &bias[min(i, len(bias)-1)]
		if i >= len(bias) {
			v = &weights[i-len(bias)]
		}
		*v = math.Float32frombits(math.Float32bits(*v) ^ x)
	}
	return src[4*n:]
}
