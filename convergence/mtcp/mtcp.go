// Package mtcp is the Minimal TCP Convergence Layer of draft-ietf-dtn-mtcpcl-01, as
// dtn7-go, dtn7-rs and ud3tn speak it: each bundle is a CBOR byte string on a TCP
// connection, and an empty one is a keepalive.
//
// Nothing is acknowledged and nobody names himself; package unacked says what that
// means. The layer is for laboratories and for neighbours that have no other.
package mtcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"perigee/convergence"
	"perigee/convergence/unacked"
)

// Config says how sessions are held.
type Config = unacked.Config

// keepalive is the interval of dtn7-go. The draft names none.
const keepalive = 5 * time.Second

// CBOR byte strings (RFC 8949 section 3.1).
const (
	majorBytes  = 2 << 5 // the first octet, less its lower five bits
	lowBits     = 0x1f
	maxInline   = 23 // lengths up to here stand in the first octet
	oneOctet    = 24 // the length follows in one octet, and so on
	eightOctets = 27
)

// NewDialer returns a dialer that opens sessions with the node cfg.Peer. Addresses
// are "host:port".
func NewDialer(cfg Config) convergence.Dialer { return unacked.NewDialer(framing{}, cfg) }

// Listen binds address ("host:port") and takes sessions from peers, whose names stay
// unknown. The context bounds the binding only.
func Listen(ctx context.Context, address string, cfg Config) (convergence.Listener, error) {
	return unacked.Listen(ctx, address, framing{}, cfg)
}

// Client opens a session over an open connection, which it then owns, as the node
// that sends.
func Client(conn net.Conn, cfg Config) (convergence.Session, error) {
	return unacked.Client(conn, framing{}, cfg)
}

// Server opens a session over an open connection, which it then owns, as the node
// that receives.
func Server(conn net.Conn, cfg Config) (convergence.Session, error) {
	return unacked.Server(conn, framing{}, cfg)
}

// framing is that of draft-ietf-dtn-mtcpcl-01 section 3.
type framing struct{}

func (framing) Name() string             { return "MTCP" }
func (framing) Keepalive() time.Duration { return keepalive }
func (framing) MaxLength() uint64        { return math.MaxUint64 }

// AppendHead appends the head of a byte string in its shortest form.
func (framing) AppendHead(dst []byte, n uint64) []byte {
	switch {
	case n <= maxInline:
		return append(dst, majorBytes|byte(n))
	case n <= math.MaxUint8:
		return append(dst, majorBytes|oneOctet, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, majorBytes|oneOctet+1), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, majorBytes|oneOctet+2), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, majorBytes|eightOctets), n)
}

// errIndefinite is a byte string that does not say how long it is.
var errIndefinite = errors.New("byte string without a length; MTCP wants one that is whole")

// ParseHead reads the head of a byte string, in whatever form.
func (framing) ParseHead(b []byte) (length uint64, n int, err error) {
	if len(b) == 0 {
		return 0, 0, unacked.ErrShort
	}
	low := b[0] & lowBits
	switch {
	case b[0]&^lowBits != majorBytes:
		return 0, 0, fmt.Errorf("octet 0x%02x where the head of a byte string is due", b[0])
	case low <= maxInline:
		return uint64(low), 1, nil
	case low == lowBits:
		return 0, 0, errIndefinite
	case low > eightOctets:
		return 0, 0, fmt.Errorf("octet 0x%02x, which is reserved, where the head of a byte string is due", b[0])
	}
	size := 1 << (low - oneOctet)
	if len(b) < 1+size {
		return 0, 0, unacked.ErrShort
	}
	for _, octet := range b[1 : 1+size] {
		length = length<<8 | uint64(octet)
	}
	return length, 1 + size, nil
}
