package unacked

import (
	"errors"
	"time"
)

// MaxHead is the longest head of any framing, in bytes.
const MaxHead = 16

// ErrShort is returned by ParseHead for the beginning of a head.
var ErrShort = errors.New("head ends early")

// A Framing is how a layer marks where bundles begin and end: each has a head in
// front that says how long it is. Length 0 is a keepalive in all of them.
type Framing interface {
	// Name is the name of the layer, for people.
	Name() string

	// Keepalive is the interval of keepalives that the layer's specification or
	// its implementations have.
	Keepalive() time.Duration

	// MaxLength is the largest length in bytes that a head can hold.
	MaxLength() uint64

	// AppendHead appends the head of a bundle of so many bytes.
	AppendHead(dst []byte, length uint64) []byte

	// ParseHead reads the head that b begins with and returns the length of the
	// bundle and the number of bytes used. It returns ErrShort when b, of less
	// than MaxHead bytes, ends within the head. Other errors are the peer's fault.
	ParseHead(b []byte) (length uint64, n int, err error)
}
