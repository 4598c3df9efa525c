// Package stcp is the Simple TCP Convergence Layer that ION and HDTN have: each
// bundle follows its length, four octets with the highest first, on a TCP connection,
// and length 0 is a keepalive.
//
// Nothing is acknowledged and nobody names himself; package unacked says what that
// means. The layer is for laboratories and for neighbours that have no other.
package stcp

import (
	"context"
	"encoding/binary"
	"math"
	"net"
	"time"

	"perigee/convergence"
	"perigee/convergence/unacked"
)

// Config says how sessions are held.
type Config = unacked.Config

// keepalive is the interval of ION.
const keepalive = 15 * time.Second

// headLen is the length of a head in bytes.
const headLen = 4

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

type framing struct{}

func (framing) Name() string             { return "STCP" }
func (framing) Keepalive() time.Duration { return keepalive }
func (framing) MaxLength() uint64        { return math.MaxUint32 }

func (framing) AppendHead(dst []byte, length uint64) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(length))
}

func (framing) ParseHead(b []byte) (length uint64, n int, err error) {
	if len(b) < headLen {
		return 0, 0, unacked.ErrShort
	}
	return uint64(binary.BigEndian.Uint32(b)), headLen, nil
}
