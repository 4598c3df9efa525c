package models

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
)

// PictureID names a picture file: the first bytes of its SHA-256.
type PictureID [8]byte

// PictureIDOf returns the name of a picture file.
func PictureIDOf(file []byte) PictureID {
	sum := sha256.Sum256(file)
	return PictureID(sum[:len(PictureID{})])
}

// String returns the hexadecimal digits of id.
func (id PictureID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText returns the form of String.
func (id PictureID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the form of String.
func (id *PictureID) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(id) {
		return fmt.Errorf("parse name of a picture %.40q: want %d hexadecimal digits", text, hex.EncodedLen(len(id)))
	}
	if _, err := hex.Decode(id[:], text); err != nil {
		return fmt.Errorf("parse name of a picture %.40q: %w", text, err)
	}
	return nil
}

// Expected is what a network computes for one picture, in short: enough to notice
// on another machine that something else comes out, and not more.
type Expected struct {
	Picture PictureID
	Summary []float32 // see Summarise
}

// SummaryLen is how many numbers Summarise makes of one output.
const SummaryLen = 1 + projections

// projections is how often an output is added up under other signs. A change that
// one happens to cancel, the other shows.
const projections = 2

// Tolerance is how far two summaries of one picture may lie apart, as a share of
// the root mean square of the output. Engines differ by a tenth of it at most; one
// filter of hundreds that is wrong moves a summary by more.
const Tolerance = 2e-3

// ErrUnexpected is wrapped by errors about outputs that are not those expected.
var ErrUnexpected = errors.New("network computes something else than expected")

// Summarise shortens the outputs of a network, as Engine.Head returns them: of each
// the root mean square, and sums of all values under pseudo-random signs over the
// square root of their number. Every value counts in every sum, and noise of
// some size on all of them moves a sum by about that size. Sums are taken in
// float64 and in order, so that only the outputs themselves differ on machines.
func Summarise(outputs []Tensor) []float32 {
	summary := make([]float32, 0, SummaryLen*len(outputs))
	for i, o := range outputs {
		root := math.Sqrt(float64(max(len(o.Data), 1)))
		var squares float64
		for _, v := range o.Data {
			squares += float64(v) * float64(v)
		}
		summary = append(summary, float32(math.Sqrt(squares)/root))
		for p := range projections {
			summary = append(summary, float32(signedSum(o.Data, uint64(i*projections+p))/root))
		}
	}
	return summary
}

// signedSum adds the values up under the signs of a stream of bits.
func signedSum(values []float32, stream uint64) float64 {
	var sum float64
	var bits uint64
	for i, v := range values {
		if i%64 == 0 {
			bits = scramble(stream<<32 + uint64(i/64))
		}
		if bits&1 == 0 {
			sum += float64(v)
		} else {
			sum -= float64(v)
		}
		bits >>= 1
	}
	return sum
}

// scramble is the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable
// pseudorandom number generators", 2014).
func scramble(x uint64) uint64 {
	x = (x + 1) * 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Check holds the outputs of a network on the picture against what is expected.
// Errors wrap ErrUnexpected.
func (e *Expected) Check(outputs []Tensor) error {
	got := Summarise(outputs)
	if len(got) != len(e.Summary) {
		return fmt.Errorf("%w: %d outputs, want %d", ErrUnexpected, len(outputs), len(e.Summary)/SummaryLen)
	}
	for i, want := range e.Summary {
		scale := e.Summary[i-i%SummaryLen]
		// Written so that what is no number fails.
		if off := math.Abs(float64(got[i]) - float64(want)); !(off <= Tolerance*float64(scale)+1e-6) {
			return fmt.Errorf("%w: output %d summarises to %.5g, want %.5g within %.2g", ErrUnexpected, i/SummaryLen, got[i], want, Tolerance*scale)
		}
	}
	return nil
}

// MarshalBinary returns e in a compact form: the name of the picture and the
// summary as float32 in little-endian order.
func (e Expected) MarshalBinary() ([]byte, error) {
	return AppendFloats(append([]byte(nil), e.Picture[:]...), e.Summary), nil
}

// UnmarshalBinary reads the form of MarshalBinary.
func (e *Expected) UnmarshalBinary(data []byte) error {
	values := len(data) - len(e.Picture)
	if values <= 0 || values%(4*SummaryLen) != 0 {
		return fmt.Errorf("decode what is expected of a picture: %d bytes are not a name and some summaries", len(data))
	}
	copy(e.Picture[:], data)
	e.Summary = make([]float32, values/4)
	for i := range e.Summary {
		v := math.Float32frombits(binary.LittleEndian.Uint32(data[len(e.Picture)+4*i:]))
		if v-v != 0 {
			return errors.New("decode what is expected of a picture: a summary is not finite")
		}
		e.Summary[i] = v
	}
	return nil
}
