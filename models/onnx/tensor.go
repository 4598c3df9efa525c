package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/x448/float16"
	"google.golang.org/protobuf/encoding/protowire"

	"perigee/models"
)

// Element types of TensorProto.
const (
	typeFloat   = 1
	typeUint8   = 2
	typeInt8    = 3
	typeInt32   = 6
	typeInt64   = 7
	typeBool    = 9
	typeFloat16 = 10
	typeDouble  = 11
)

// tensor is a constant: floats, or whole numbers.
type tensor struct {
	name   string
	dims   []int
	floats []float32
	ints   []int64
	whole  bool // ints hold the values
}

// size returns the number of values.
func (t *tensor) size() int {
	n := 1
	for _, d := range t.dims {
		n *= d
	}
	return n
}

// encoded is a TensorProto as it is read.
type encoded struct {
	tensor
	kind     int
	raw      []byte
	external bool
	segment  bool
	int32s   []int64
	doubles  []float32
}

func parseTensor(data []byte) (*tensor, error) {
	var e encoded
	err := fields(data, func(number protowire.Number, bytes []byte, value uint64) (err error) {
		switch number {
		case 1:
			var dims []int64
			if dims, err = appendInts(nil, bytes, value); err == nil {
				err = e.appendDims(dims)
			}
		case 2:
			e.kind = int(min(value, math.MaxInt32))
		case 3:
			e.segment = true
		case 4:
			e.floats, err = appendFloats(e.floats, bytes, value)
		case 5:
			e.int32s, err = appendInts(e.int32s, bytes, value)
		case 7:
			e.ints, err = appendInts(e.ints, bytes, value)
		case 8:
			e.name, err = text(bytes, maxName)
		case 9:
			e.raw = bytes
		case 10:
			e.doubles, err = appendDoubles(e.doubles, bytes, value)
		case 13:
			e.external = true
		case 14:
			e.external = e.external || value != 0
		}
		return err
	})
	if err == nil {
		err = e.decode()
	}
	if err != nil {
		return nil, fmt.Errorf("tensor %.80q: %w", e.name, err)
	}
	return &e.tensor, nil
}

func (e *encoded) appendDims(dims []int64) error {
	for _, d := range dims {
		if len(e.dims) == models.MaxRank || d < 0 || d > models.MaxParams {
			return fmt.Errorf("dimension %d, of at most %d, is out of range", d, models.MaxRank)
		}
		e.dims = append(e.dims, int(d))
	}
	n := int64(1)
	for _, d := range e.dims {
		if n *= int64(d); n > models.MaxParams {
			return fmt.Errorf("dimensions %v are out of range", e.dims)
		}
	}
	return nil
}

func appendDoubles(list []float32, bytes []byte, value uint64) ([]float32, error) {
	if bytes == nil {
		return append(list, float32(math.Float64frombits(value))), nil
	}
	for len(bytes) > 0 {
		v, n := protowire.ConsumeFixed64(bytes)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		list, bytes = append(list, float32(math.Float64frombits(v))), bytes[n:]
	}
	return list, nil
}

// decode brings the values into floats or ints.
func (e *encoded) decode() error {
	if e.external {
		return errors.New("its data lies outside the file: make one file of the model")
	}
	if e.segment {
		return errors.New("it comes in segments")
	}
	switch e.kind {
	case typeFloat, typeFloat16, typeDouble:
	case typeInt64, typeInt32, typeInt8, typeUint8, typeBool:
		e.whole = true
	default:
		return fmt.Errorf("element type %d is none of float, float16, double, int64, int32, int8, uint8 and bool", e.kind)
	}
	if len(e.int32s) > 0 {
		e.takeInt32s()
	}
	if len(e.doubles) > 0 {
		e.floats = e.doubles
	}
	if e.raw != nil {
		if err := e.decodeRaw(); err != nil {
			return err
		}
	}
	have := len(e.floats)
	if e.whole {
		have = len(e.ints)
	}
	if have != e.size() {
		return fmt.Errorf("holds %d values, its dimensions %v want %d", have, e.dims, e.size())
	}
	return nil
}

// takeInt32s uses the field that holds small whole numbers and halves.
func (e *encoded) takeInt32s() {
	if e.whole {
		e.ints = e.int32s
		return
	}
	for _, v := range e.int32s {
		e.floats = append(e.floats, float16.Frombits(uint16(v)).Float32())
	}
}

func (e *encoded) decodeRaw() error {
	size := map[int]int{typeFloat: 4, typeFloat16: 2, typeDouble: 8, typeInt64: 8, typeInt32: 4, typeInt8: 1, typeUint8: 1, typeBool: 1}[e.kind]
	if len(e.raw) != size*e.size() {
		return fmt.Errorf("holds %d bytes, its dimensions %v want %d", len(e.raw), e.dims, size*e.size())
	}
	e.floats, e.ints = nil, nil
	if e.whole {
		e.ints = make([]int64, e.size())
	} else {
		e.floats = make([]float32, e.size())
	}
	order := binary.LittleEndian
	for i := range e.size() {
		raw := e.raw[i*size:]
		switch e.kind {
		case typeFloat:
			e.floats[i] = math.Float32frombits(order.Uint32(raw))
		case typeFloat16:
			e.floats[i] = float16.Frombits(order.Uint16(raw)).Float32()
		case typeDouble:
			e.floats[i] = float32(math.Float64frombits(order.Uint64(raw)))
		case typeInt64:
			e.ints[i] = int64(order.Uint64(raw))
		case typeInt32:
			e.ints[i] = int64(int32(order.Uint32(raw)))
		case typeInt8:
			e.ints[i] = int64(int8(raw[0]))
		default:
			e.ints[i] = int64(raw[0])
		}
	}
	return nil
}

// wholeTensor returns a tensor of one dimension.
func wholeTensor(values []int64) *tensor {
	return &tensor{dims: []int{len(values)}, ints: values, whole: true}
}

// numbers returns the values of t as float64.
func (t *tensor) numbers() []float64 {
	list := make([]float64, 0, t.size())
	for _, v := range t.ints {
		list = append(list, float64(v))
	}
	for _, v := range t.floats {
		list = append(list, float64(v))
	}
	return list
}

// asFloats returns the values of t as float32.
func (t *tensor) asFloats() []float32 {
	if !t.whole {
		return t.floats
	}
	list := make([]float32, len(t.ints))
	for i, v := range t.ints {
		list[i] = float32(v)
	}
	return list
}

// asInts returns the values of t, which must be whole numbers, as int.
func (t *tensor) asInts() ([]int, error) {
	if !t.whole {
		return nil, errors.New("holds floats, want whole numbers")
	}
	if len(t.ints) > maxEdges {
		return nil, fmt.Errorf("holds %d numbers, limit %d", len(t.ints), maxEdges)
	}
	list := make([]int, len(t.ints))
	for i, v := range t.ints {
		list[i] = int(min(max(v, math.MinInt32), math.MaxInt32))
	}
	return list, nil
}
