package mining

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"

	"perigee/models"
)

// SketchSize is how many numbers a Sketch has.
const SketchSize = 64

// Sketch is what the backbone makes of a picture, in few numbers: pictures that
// show much the same have sketches close to each other. Sketches of one backbone
// can be compared.
type Sketch []float32

// NewSketch returns the sketch of a picture's features: the mean of every channel,
// projected onto random directions, which keeps distances nearly as they are
// (Johnson and Lindenstrauss; the signs are Achlioptas's). The directions are the
// same for ever.
func NewSketch(f models.Features) Sketch {
	var sums [SketchSize]float64
	number := uint64(0) // of the channel
	for _, tap := range f {
		for c := range tap.C {
			mean := 0.0
			for _, v := range tap.Channel(c) {
				mean += float64(v)
			}
			mean /= float64(max(1, tap.H*tap.W))
			signs := scatter(number)
			number++
			for i := range sums {
				if signs>>i&1 == 0 {
					sums[i] += mean
				} else {
					sums[i] -= mean
				}
			}
		}
	}
	s := make(Sketch, SketchSize)
	for i, v := range sums {
		s[i] = float32(v)
	}
	return s
}

// scatter gives the signs of one channel in all directions: the finaliser of
// SplitMix64 (Steele, Lea and Flood, 2014).
func scatter(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Distance is how far two sketches are apart, as a share of their length: 0 for
// the same, usually below 1. What cannot be compared is 1 apart.
func (s Sketch) Distance(t Sketch) float64 {
	if len(s) != len(t) {
		return 1
	}
	apart, length := 0.0, 0.0
	for i, v := range s {
		a, b := float64(v), float64(t[i])
		apart += (a - b) * (a - b)
		length += (a*a + b*b) / 2
	}
	if d := math.Sqrt(apart / length); length > 0 && !math.IsNaN(d) && !math.IsInf(d, 0) {
		return d
	}
	if apart == 0 {
		return 0
	}
	return 1
}

// MarshalText writes the numbers as float32, little endian, in base64.
func (s Sketch) MarshalText() ([]byte, error) {
	var raw []byte
	for _, v := range s {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return base64.StdEncoding.AppendEncode(nil, raw), nil
}

// UnmarshalText reads what MarshalText writes.
func (s *Sketch) UnmarshalText(text []byte) error {
	raw, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil || len(raw) != 4*SketchSize {
		return fmt.Errorf("sketch of %d characters, want %d numbers in base64", len(text), SketchSize)
	}
	*s = make(Sketch, SketchSize)
	for i := range *s {
		(*s)[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return nil
}
