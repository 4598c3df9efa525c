// Package udpcl carries bundles over UDP, one in each datagram, as version 2 of the
// UDP convergence layer does (draft-ietf-dtn-udpcl) for bundles that fit.
//
// Nothing is acknowledged and nobody names himself. A session that Dial opens has the
// name of the peer that the dialer was made for; a listener has one session for
// whoever sends to it, without a name, which only receives. The fate of a transfer is
// that of its datagram in this machine: Wait returns nil once it was handed to the
// network. Whether it arrives only custody tells. Since nothing slows the sender down,
// each session keeps to a rate.
//
// The first octet of a datagram says what it holds. Bundles of version 7 begin with
// the head of a CBOR array; all else is passed over: padding and keepalives (0x00),
// bundles of version 6 (0x06), DTLS (0x16) and extension maps, with which a bundle
// could be cut into several datagrams.
package udpcl

import (
	"errors"
	"fmt"
	"time"
)

// Sizes of datagrams, in bytes without the headers of UDP and IP.
const (
	// DefaultMaxDatagram fits into a frame of Ethernet over IPv4 and over IPv6.
	DefaultMaxDatagram = 1500 - 40 - 8
	// MaxDatagram is the most that UDP over IPv4 carries.
	MaxDatagram = 65535 - 20 - 8
	// MinMaxDatagram is the least that a limit may be: what every path of IPv6
	// carries in one piece.
	MinMaxDatagram = 1280 - 40 - 8
)

// Defaults of [Config].
const (
	DefaultRate        = 10_000_000
	DefaultMaxIncoming = 1024
)

// A Config says how sessions are held. Zero fields take the defaults above.
type Config struct {
	// Peer is the node ID of the node that is dialed, as a URI. It is the name of
	// the sessions that Dial opens, and rests on the address alone.
	Peer string

	// Rate is how many bits of datagrams a session sends in a second at most.
	Rate int64

	// MaxDatagram is the largest datagram sent, in bytes. Above what the path
	// carries in one piece, the loss of any piece loses the bundle.
	MaxDatagram int

	// MaxIncoming bounds the bundles that have arrived and are neither accepted
	// nor refused; beyond it nothing is read, and the system drops datagrams.
	MaxIncoming int
}

// withDefaults returns the config with its defaults filled in, or says which field
// cannot hold.
func (c Config) withDefaults() (Config, error) {
	setDefault(&c.Rate, DefaultRate)
	setDefault(&c.MaxDatagram, DefaultMaxDatagram)
	setDefault(&c.MaxIncoming, DefaultMaxIncoming)
	switch {
	case c.Rate < 0 || c.MaxIncoming < 0:
		return c, errors.New("udpcl config: rate and limits must be positive")
	case c.MaxDatagram < MinMaxDatagram || c.MaxDatagram > MaxDatagram:
		return c, fmt.Errorf("udpcl config: datagrams of at most %d bytes; the limit must be %d to %d", c.MaxDatagram, MinMaxDatagram, MaxDatagram)
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Heads of CBOR arrays (RFC 8949 section 3.1): what bundles of version 7 begin with.
const (
	firstArray = 0x80
	lastArray  = 0x9f
)

// isBundle tells whether a datagram holds a bundle of version 7.
func isBundle(datagram []byte) bool {
	return len(datagram) > 0 && datagram[0] >= firstArray && datagram[0] <= lastArray
}

// pace says when each datagram may go so that no more than a rate of them does.
type pace struct {
	rate int64     // bits per second
	free time.Time // when the last datagram has left the link, at that rate
}

// take books a datagram of so many bytes and returns how long it must wait.
func (p *pace) take(bytes int, now time.Time) time.Duration {
	if p.free.Before(now) {
		p.free = now
	}
	wait := p.free.Sub(now)
	p.free = p.free.Add(time.Duration(int64(bytes) * 8 * int64(time.Second) / p.rate))
	return wait
}
