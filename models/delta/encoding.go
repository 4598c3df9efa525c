// Package delta makes and applies the smallest change of a network's head: per
// row of every changed convolution a scale and whole numbers of a few bits,
// either of the difference itself or of two thin factors of it, compressed with
// zstd (RFC 8878). Half precision and a lossless encoding carry more.
//
// A delta is bound to the hashes of the network that it applies to, of its
// backbone, and of the network that results, and may be signed (Ed25519, RFC
// 8032). The result is computed with the quantised difference by whoever builds
// the delta, in float32 operations that no machine may fuse or reorder, so every
// machine gets the same bits or an error.
//
// A change may go in steps, coarse to fine: a chain of deltas of which each
// starts from the result of the one before. Whoever has the first few of them has
// a whole network, and knows its hash.
//
// The package refuses to know links and how a delta was trained.
package delta

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Special numbers of bits.
const (
	Half     = 16 // half precision (IEEE 754 binary16)
	Lossless = 32 // carries every difference exactly
)

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
	// Bits of each number: MinBits to MaxBits, Half or Lossless.
	Bits int
	// Rank, if not 0, writes the difference of each convolution as the product
	// of two factors of this rank: exact for what was trained at that rank, the
	// nearest there is for anything else.
	Rank int
}

// Int returns the dense encoding of so many bits.
func Int(bits int) Encoding { return Encoding{Bits: bits} }

// ParseEncoding reads what String writes: "lossless", "float16", "int2" to
// "int8", or one of these but the first with a rank, such as "int4-rank2".
func ParseEncoding(text string) (Encoding, error) {
	name, rank, ranked := strings.Cut(text, "-rank")
	var e Encoding
	switch name {
	case "lossless":
		e.Bits = Lossless
	case "float16":
		e.Bits = Half
	default:
		digits, ok := strings.CutPrefix(name, "int")
		bits, err := strconv.Atoi(digits)
		if err != nil || !ok || bits > MaxBits {
			return Encoding{}, badName(text)
		}
		e.Bits = bits
	}
	if ranked {
		var err error
		if e.Rank, err = strconv.Atoi(rank); err != nil || e.Rank == 0 {
			return Encoding{}, badName(text)
		}
	}
	if err := e.check(); err != nil || e.String() != text {
		return Encoding{}, badName(text)
	}
	return e, nil
}

// ParseSteps reads the encodings of a chain. Errors wrap ErrEncoding.
func ParseSteps(names []string) ([]Encoding, error) {
	var steps []Encoding
	for _, name := range names {
		e, err := ParseEncoding(name)
		if err != nil {
			return nil, err
		}
		steps = append(steps, e)
	}
	return steps, nil
}

// AdvisedSteps returns a good chain for a change that was trained with so many
// factors, 0 for whole weights. The first step is at most a quarter of it. Of a change
// of whole weights it carries what has a structure, and the second step the rest: both
// are smaller than one of three bits, and nearer. What a step of one factor leaves of a
// change of several has one factor more: the change less what was sent.
func AdvisedSteps(rank int) []Encoding {
	if rank == 0 {
		return []Encoding{{Bits: 3, Rank: 16}, {Bits: 2}}
	}
	return []Encoding{{Bits: 2, Rank: 1}, {Bits: 4, Rank: min(rank+1, MaxRank)}}
}

func badName(text string) error {
	return fmt.Errorf("%w: %.40q; use lossless, float16, int%d to int%d, or one of the latter two with a rank of up to %d, such as int4-rank2",
		ErrEncoding, text, MinBits, MaxBits, MaxRank)
}

// String returns the name of e, which ParseEncoding reads.
func (e Encoding) String() string {
	name := fmt.Sprintf("int%d", e.Bits)
	switch e.Bits {
	case Lossless:
		name = "lossless"
	case Half:
		name = "float16"
	}
	if e.Rank > 0 {
		name += fmt.Sprintf("-rank%d", e.Rank)
	}
	return name
}

func (e Encoding) check() error {
	switch {
	case e.Bits == Lossless && e.Rank == 0:
		return nil
	case (e.Bits < MinBits || e.Bits > MaxBits) && e.Bits != Half:
		return fmt.Errorf("%w: %d bits, want %d to %d, %d, or %d by itself", ErrEncoding, e.Bits, MinBits, MaxBits, Half, Lossless)
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
