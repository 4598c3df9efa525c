package models

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"math"
	"strings"
)

// hashPrefix begins the text form of every Hash.
const hashPrefix = "sha256:"

// Hash is a SHA-256 digest (FIPS 180-4) that names a network, a part of one, or
// a run of bytes. The zero Hash names nothing.
type Hash [sha256.Size]byte

// HashBytes returns the SHA-256 digest of data.
func HashBytes(data []byte) Hash { return sha256.Sum256(data) }

// ParseHash reads the text form "sha256:" and 64 hexadecimal digits.
func ParseHash(text string) (Hash, error) {
	digits, ok := strings.CutPrefix(text, hashPrefix)
	h, valid := ParseDigits(digits)
	if !ok || !valid {
		return Hash{}, fmt.Errorf("parse hash %.80q: want %q and %d hexadecimal digits", text, hashPrefix, hex.EncodedLen(len(h)))
	}
	return h, nil
}

// ParseDigits reads what Digits returned.
func ParseDigits(digits string) (h Hash, ok bool) {
	if len(digits) != hex.EncodedLen(len(h)) {
		return Hash{}, false
	}
	if _, err := hex.Decode(h[:], []byte(digits)); err != nil {
		return Hash{}, false
	}
	return h, true
}

// IsZero reports whether h names nothing.
func (h Hash) IsZero() bool { return h == Hash{} }

// String returns "sha256:" and 64 hexadecimal digits.
func (h Hash) String() string { return hashPrefix + h.Digits() }

// Digits returns the 64 hexadecimal digits, for names of files.
func (h Hash) Digits() string { return hex.EncodeToString(h[:]) }

// Short returns the first 12 hexadecimal digits, enough for people to tell
// networks apart.
func (h Hash) Short() string { return hex.EncodeToString(h[:6]) }

// MarshalText returns the form of String.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText accepts what ParseHash accepts.
func (h *Hash) UnmarshalText(text []byte) error {
	parsed, err := ParseHash(string(text))
	if err != nil {
		return err
	}
	*h = parsed
	return nil
}

// hashHead is the head of a CBOR byte string of 32 bytes (RFC 8949 section 3).
const hashHead = "\x58\x20"

// MarshalCBOR returns h as a CBOR byte string of 32 bytes.
func (h Hash) MarshalCBOR() ([]byte, error) { return append([]byte(hashHead), h[:]...), nil }

// UnmarshalCBOR accepts a CBOR byte string of exactly 32 bytes.
func (h *Hash) UnmarshalCBOR(data []byte) error {
	if len(data) != len(hashHead)+len(h) || string(data[:len(hashHead)]) != hashHead {
		return fmt.Errorf("decode hash: want a byte string of %d bytes", len(h))
	}
	copy(h[:], data[len(hashHead):])
	return nil
}

// floatChunk is how many parameters are turned into bytes at a time.
const floatChunk = 8192

// hashFloats feeds params to h as float32 in little-endian order.
func hashFloats(h hash.Hash, params []float32) {
	buf := make([]byte, 0, 4*floatChunk)
	for len(params) > 0 {
		n := min(len(params), floatChunk)
		h.Write(AppendFloats(buf[:0], params[:n]))
		params = params[n:]
	}
}

// AppendFloats appends values to dst as float32 in little-endian order, the
// order of Darknet's weight files and of model files.
func AppendFloats(dst []byte, values []float32) []byte {
	for _, v := range values {
		dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
	}
	return dst
}
