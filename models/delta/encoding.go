// Package delta makes and applies the smallest change of a network's head: per
// row of every changed convolution a scale and whole numbers of a few bits,
// either of the difference itself or of two thin factors of it, compressed with
// zstd (RFC 8878). A lossless encoding carries any difference exactly.
//
// A delta is bound to the hashes of the network that it applies to, of its
// backbone, and of the network that results. The result is computed with the
// quantised difference by whoever builds the delta, in float32 operations that
// no machine may fuse or reorder, so every machine gets the same bits or an
// error. The package refuses to know links and how a delta was trained.
package delta

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Lossless is the number of bits that carries every difference exactly.
const Lossless = 32

// Limits on encodings.
const (
	MinBits = 2
	MaxBits = 8
	MaxRank = 64
)

// ErrEncoding is wrapped by errors about an Encoding.
var ErrEncoding = errors.New("unusable delta encoding")

// Encoding says how the difference is written.
type Encoding struct {
	// Bits of each number: MinBits to MaxBits, or Lossless.
	Bits int
	// Rank, if not 0, writes the difference of each convolution as the product
	// of two factors of this rank: exact for what was trained at that rank, the
	// nearest there is for anything else.
	Rank int
}

// Int returns the dense encoding of so many bits.
func Int(bits int) Encoding { return Encoding{Bits: bits} }

// ParseEncoding reads what String writes: "lossless", "int2" to "int8", or
// these with a rank, such as "int8-rank2".
func ParseEncoding(text string) (Encoding, error) {
	if text == "lossless" {
		return Encoding{Bits: Lossless}, nil
	}
	bits, rank, ranked := strings.Cut(text, "-rank")
	digits, ok := strings.CutPrefix(bits, "int")
	e := Encoding{}
	var err error
	if e.Bits, err = strconv.Atoi(digits); err != nil || !ok {
		return Encoding{}, badName(text)
	}
	if ranked {
		if e.Rank, err = strconv.Atoi(rank); err != nil || e.Rank == 0 {
			return Encoding{}, badName(text)
		}
	}
	if err := e.check(); err != nil || e.String() != text {
		return Encoding{}, badName(text)
	}
	return e, nil
}

func badName(text string) error {
	return fmt.Errorf("%w: %.40q; use lossless, int%d to int%d, or int8-rank2 and the like", ErrEncoding, text, MinBits, MaxBits)
}

// String returns the name of e, which ParseEncoding reads.
func (e Encoding) String() string {
	switch {
	case e.Bits == Lossless:
		return "lossless"
	case e.Rank > 0:
		return fmt.Sprintf("int%d-rank%d", e.Bits, e.Rank)
	}
	return fmt.Sprintf("int%d", e.Bits)
}

func (e Encoding) check() error {
	switch {
	case e.Bits == Lossless && e.Rank == 0:
		return nil
	case e.Bits < MinBits || e.Bits > MaxBits:
		return fmt.Errorf("%w: %d bits, want %d to %d, or %d without rank for lossless", ErrEncoding, e.Bits, MinBits, MaxBits, Lossless)
	case e.Rank < 0 || e.Rank > MaxRank:
		return fmt.Errorf("%w: rank %d, want 0 to %d", ErrEncoding, e.Rank, MaxRank)
	}
	return nil
}

// top is the largest whole number that the encoding writes; the smallest is its
// negative.
func (e Encoding) top() int { return 1<<(e.Bits-1) - 1 }

// perByte is how many numbers share a byte. Numbers that do not divide a byte
// get a wider place and leave it to zstd to make that narrow: compression works
// on bytes, and bytes of aligned numbers compress better.
func (e Encoding) perByte() int {
	switch {
	case e.Bits == 2:
		return 4
	case e.Bits <= 4:
		return 2
	}
	return 1
}
