package delta

import (
	"encoding/binary"
	"math"

	"github.com/x448/float16"
)

// scaleUnit multiplies scales before they become float16, which has only from
// 6e-5 up its full precision: weights change by less. Scales of up to 64 remain.
const scaleUnit = 1024

// clipFactors are the shares of a row's largest value that are tried as the
// largest one written. Fewer bits gain from clipping the few large values.
func clipFactors() []float64 {
	return []float64{1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.42, 0.35, 0.28, 0.22, 0.16, 0.12}
}

// rowSize returns the bytes of a row of n numbers.
func (e Encoding) rowSize(n int) int {
	if e.Bits == Half {
		return 2 * n
	}
	return 2 + (n+e.perByte()-1)/e.perByte()
}

// appendRow quantises row with the clipping factor that gives the least squared
// error and appends scale and numbers.
func (e Encoding) appendRow(dst []byte, row []float32) []byte {
	if e.Bits == Half {
		return appendHalf(dst, row)
	}
	largest := 0.0
	for _, v := range row {
		largest = max(largest, math.Abs(float64(v)))
	}
	best, least := float16.Float16(0), math.Inf(1)
	for _, clip := range clipFactors() {
		scale := toScale(clip * largest / float64(e.top()))
		if wrong := e.squaredError(row, scale, least); wrong < least {
			best, least = scale, wrong
		}
	}
	dst = binary.LittleEndian.AppendUint16(dst, best.Bits())
	return e.appendNumbers(dst, row, best)
}

// squaredError returns the squared error of quantising row with scale, or
// something above limit once that is certain.
func (e Encoding) squaredError(row []float32, scale float16.Float16, limit float64) float64 {
	step := float64(fromScale(scale))
	sum := 0.0
	for i, v := range row {
		d := float64(v) - float64(e.number(v, step))*step
		sum += d * d
		if i%256 == 0 && sum > limit {
			return sum
		}
	}
	return sum
}

// number returns the whole number that stands for v.
func (e Encoding) number(v float32, step float64) int {
	if step == 0 {
		return 0
	}
	top := float64(e.top())
	return int(math.RoundToEven(min(max(float64(v)/step, -top), top)))
}

func (e Encoding) appendNumbers(dst []byte, row []float32, scale float16.Float16) []byte {
	step := float64(fromScale(scale))
	per := e.perByte()
	width := 8 / per
	for len(row) > 0 {
		var b byte
		for i := range min(per, len(row)) {
			b |= byte(e.number(row[i], step)) & (0xff >> (8 - width)) << (i * width)
		}
		dst = append(dst, b)
		row = row[min(per, len(row)):]
	}
	return dst
}

// readRow writes the values of a row to row and returns the rest of src, which
// must hold at least rowSize(len(row)) bytes. It reports false when the row is
// not as appendRow makes it.
func (e Encoding) readRow(row []float32, src []byte) ([]byte, bool) {
	if e.Bits == Half {
		return readHalf(row, src)
	}
	scale := float16.Frombits(binary.LittleEndian.Uint16(src))
	if scale.Signbit() || !scale.IsFinite() {
		return nil, false
	}
	step, top := fromScale(scale), e.top()
	per := e.perByte()
	width := 8 / per
	src = src[2:]
	for i := range row {
		// Shift the number to the top of the byte and back to extend its sign.
		q := int(int8(src[i/per]<<(8-width-i%per*width)) >> (8 - width))
		if q > top || q < -top {
			return nil, false
		}
		row[i] = float32(q) * step
	}
	return src[e.rowSize(len(row))-2:], true
}

func toScale(step float64) float16.Float16 {
	const largest = 65504
	return float16.Fromfloat32(float32(min(step*scaleUnit, largest)))
}

func fromScale(s float16.Float16) float32 { return s.Float32() / scaleUnit }

// appendHalf appends values in half precision: the upper bytes of all, then the
// lower ones, which compress apart.
func appendHalf(dst []byte, values []float32) []byte {
	const largest = 65504
	for shift := 8; shift >= 0; shift -= 8 {
		for _, v := range values {
			h := float16.Fromfloat32(min(max(v, -largest), largest))
			dst = append(dst, byte(h.Bits()>>shift))
		}
	}
	return dst
}

// readHalf is the way back; src must hold two bytes for each value. It reports
// false when a value is not finite.
func readHalf(values []float32, src []byte) ([]byte, bool) {
	n := len(values)
	for i := range values {
		h := float16.Frombits(uint16(src[i])<<8 | uint16(src[n+i]))
		if !h.IsFinite() {
			return nil, false
		}
		values[i] = h.Float32()
	}
	return src[2*n:], true
}
