package tcpcl

import (
	"fmt"
	"math"
	"time"
	"unicode/utf8"
)

// Defaults of [Config].
const (
	DefaultPort                = "4556" // RFC 9174 section 8.1
	DefaultKeepalive           = 60 * time.Second
	DefaultSegmentMRU          = 1 << 20
	DefaultTransferMRU         = 1 << 32
	DefaultContactTimeout      = 30 * time.Second
	DefaultStallTimeout        = 10 * time.Minute
	DefaultMaxPending          = 64
	DefaultMaxUnackedTransfers = 1024
	DefaultMaxUnackedBytes     = 16 << 20
	DefaultMaxIncoming         = 1024
)

// A Config says how sessions are held. Zero fields other than NodeID take the
// defaults above.
type Config struct {
	// NodeID is the node ID announced to peers, as a URI. Empty announces none.
	NodeID string

	// Keepalive is the interval offered to the peer, in whole seconds up to
	// 65535 s; the smaller of both offers holds. A negative value offers none,
	// which disables keepalives and idle timeouts for the session. RFC 9174
	// section 5.1.1 recommends 30 s to 600 s on shared networks.
	Keepalive time.Duration

	// SegmentMRU and TransferMRU are the largest segment and the largest bundle
	// taken from a peer, in bytes. Larger transfers are refused as they arrive.
	SegmentMRU  uint64
	TransferMRU uint64

	// ContactTimeout bounds the time from the start of the TCP connection to
	// the established session.
	ContactTimeout time.Duration

	// StallTimeout ends a session without keepalives when it has something to
	// write and the peer takes not one byte for that long. With keepalives,
	// twice their interval without a byte in either direction ends it.
	StallTimeout time.Duration

	// MaxPending bounds the connections of a listener that are not established
	// or not yet accepted; more are closed at once.
	MaxPending int

	// MaxUnackedTransfers and MaxUnackedBytes bound what is sent and not yet
	// acknowledged; Send blocks beyond. One segment may always be in flight.
	MaxUnackedTransfers int
	MaxUnackedBytes     int64

	// MaxIncoming bounds the transfers that have arrived, in part or in full,
	// and are neither accepted nor refused; beyond it nothing is read from the
	// peer.
	MaxIncoming int
}

// withDefaults returns the config with its defaults filled in, or says which
// field cannot hold.
func (c Config) withDefaults() (Config, error) {
	setDefault(&c.Keepalive, DefaultKeepalive)
	setDefault(&c.SegmentMRU, DefaultSegmentMRU)
	setDefault(&c.TransferMRU, DefaultTransferMRU)
	setDefault(&c.ContactTimeout, DefaultContactTimeout)
	setDefault(&c.StallTimeout, DefaultStallTimeout)
	setDefault(&c.MaxPending, DefaultMaxPending)
	setDefault(&c.MaxUnackedTransfers, DefaultMaxUnackedTransfers)
	setDefault(&c.MaxUnackedBytes, DefaultMaxUnackedBytes)
	setDefault(&c.MaxIncoming, DefaultMaxIncoming)
	switch {
	case len(c.NodeID) > maxNodeIDLength || !utf8.ValidString(c.NodeID):
		return c, fmt.Errorf("tcpcl config: node ID must be UTF-8 of at most %d bytes", maxNodeIDLength)
	case c.Keepalive > 0 && (c.Keepalive%time.Second != 0 || c.Keepalive > math.MaxUint16*time.Second):
		return c, fmt.Errorf("tcpcl config: keepalive %s must be whole seconds up to 65535 s", c.Keepalive)
	case c.ContactTimeout < 0 || c.StallTimeout < 0:
		return c, fmt.Errorf("tcpcl config: contact timeout %s and stall timeout %s must be positive",
			c.ContactTimeout, c.StallTimeout)
	case c.MaxPending < 0 || c.MaxUnackedTransfers < 0 || c.MaxUnackedBytes < 0 || c.MaxIncoming < 0:
		return c, fmt.Errorf("tcpcl config: limits must be positive")
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// params are the parameters of the machine of one session.
func (c Config) params(active bool) Params {
	return Params{
		Active:      active,
		NodeID:      c.NodeID,
		Keepalive:   uint16(max(c.Keepalive, 0) / time.Second),
		SegmentMRU:  c.SegmentMRU,
		TransferMRU: c.TransferMRU,
		MaxIncoming: c.MaxIncoming,
	}
}
