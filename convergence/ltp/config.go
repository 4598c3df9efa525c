package ltp

import (
	"fmt"
	"net"
	"time"
)

// DefaultPort is the UDP port of LTP, RFC 5326 section 10.1.
const DefaultPort = "1113"

// Defaults of [Config].
const (
	DefaultMTU          = 1400
	DefaultMargin       = 500 * time.Millisecond
	DefaultMaxUnclaimed = 32 << 20
	DefaultMaxHeld      = 32 << 20
	DefaultMaxBlocks    = 2048
	DefaultStreamFrom   = 1 << 20
	DefaultProbe        = 30 * time.Second
	DefaultDeadAfter    = time.Minute
)

// Bounds of what may be configured.
const (
	minMTU       = 256
	maxMTU       = 65507            // of UDP over IPv4
	maxAggregate = pageSize - 4<<10 // an aggregate is one page
)

// A Config says how an engine serves its peers. Zero fields other than EngineID and
// Peers take the defaults above.
type Config struct {
	// EngineID is the number of this engine. By convention it is the node number
	// of the node ID: the engine of ipn:7.0 is 7.
	EngineID uint64

	// Peers are the engines that are served; segments from others are dropped.
	Peers []Peer

	// MTU is the size of the largest datagram that is sent, in bytes, without
	// the headers of UDP and IP. 256 to 65507.
	MTU int

	// Margin is added to twice the light time to get the time in which an answer
	// must come. It must cover what the peer needs to make a bundle durable.
	Margin time.Duration

	// MaxUnclaimed bounds the bytes that wait to be sent, or were sent and are
	// not claimed by a report, for each peer; Send blocks beyond. Less is held
	// when the rate and the light time ask for less, and at most 2 MiB when no
	// rate is set. A link needs rate x (2 x light time + 1 s) to be kept full.
	MaxUnclaimed int64

	// MaxHeld bounds the bytes that have come from a peer and were not read,
	// most of them behind gaps. Segments beyond it are dropped, and come again.
	// It should be no less than MaxUnclaimed of the peer.
	MaxHeld int64

	// MaxBlocks bounds the blocks that are open with a peer in each direction.
	MaxBlocks int

	// StreamFrom is how much of a block must have come, in bytes and without a
	// gap, before it is handed to the reader although it is not complete. Smaller
	// blocks never make the reader wait for what was lost. At most half of
	// MaxHeld.
	StreamFrom int64

	// Probe is the time after which an idle peer is asked whether it is there.
	// Negative: peers are not asked, and nobody is told of the end of a session.
	Probe time.Duration

	// DeadAfter ends a session whose peer answers nothing for so long, besides
	// four light times. Time while the session is suspended does not count.
	DeadAfter time.Duration
}

// A Peer is another engine.
type Peer struct {
	// EngineID is its number.
	EngineID uint64

	// Node is its node ID, as a URI. Empty: ipn:N.0, where N is its number. That
	// it is the peer's is known by this configuration alone.
	Node string

	// Address is where it is reached, "host:port", or "host" alone for port 1113.
	// Segments from other hosts are dropped. Empty: it must speak first, and is
	// answered where it spoke from.
	Address string

	// Rate is how fast it is sent to, in bits per second with the headers of UDP
	// and IP. Zero: as fast as this machine can, with little in flight. LTP does
	// not notice congestion, so shared networks need a rate.
	Rate uint64

	// LightTime is how far away it is, one way.
	LightTime time.Duration

	// Aggregate has small bundles share blocks of up to so many bytes, at most
	// 60 KiB, when they have to wait for the link. That takes a peer that knows
	// client service 2 of CCSDS 734.1, so it begins once an engine of this package
	// has shown itself at the other end. Zero: each bundle is a block of its own.
	Aggregate int
}

// withDefaults returns the config with its defaults filled in, or says which field
// cannot hold.
func (c Config) withDefaults() (Config, error) {
	setDefault(&c.MTU, DefaultMTU)
	setDefault(&c.Margin, DefaultMargin)
	setDefault(&c.MaxUnclaimed, DefaultMaxUnclaimed)
	setDefault(&c.MaxHeld, DefaultMaxHeld)
	setDefault(&c.MaxBlocks, DefaultMaxBlocks)
	setDefault(&c.StreamFrom, min(DefaultStreamFrom, c.MaxHeld/2))
	setDefault(&c.Probe, DefaultProbe)
	setDefault(&c.DeadAfter, DefaultDeadAfter)
	switch {
	case c.MTU < minMTU || c.MTU > maxMTU:
		return c, fmt.Errorf("ltp config: MTU of %d bytes must be %d to %d", c.MTU, minMTU, maxMTU)
	case c.Margin < time.Millisecond || c.DeadAfter < c.Margin:
		return c, fmt.Errorf("ltp config: margin %s must be 1 ms or more, and dead-after %s no less", c.Margin, c.DeadAfter)
	case c.MaxUnclaimed < leastWindow || c.MaxHeld < leastWindow || c.MaxBlocks < 1:
		return c, fmt.Errorf("ltp config: limits on bytes must be %d or more, and one block must be allowed", leastWindow)
	case c.StreamFrom < 1 || c.StreamFrom > c.MaxHeld/2:
		return c, fmt.Errorf("ltp config: stream-from of %d bytes must be positive and at most half of the %d that may be held", c.StreamFrom, c.MaxHeld)
	}
	c.Peers = append([]Peer(nil), c.Peers...)
	seen := map[uint64]bool{c.EngineID: true}
	for i := range c.Peers {
		p := &c.Peers[i]
		setDefault(&p.Node, fmt.Sprintf("ipn:%d.0", p.EngineID))
		switch {
		case seen[p.EngineID]:
			return c, fmt.Errorf("ltp config: engine ID %d is there twice", p.EngineID)
		case p.Aggregate < 0 || p.Aggregate > maxAggregate:
			return c, fmt.Errorf("ltp config: aggregate of %d bytes for engine %d must be at most %d", p.Aggregate, p.EngineID, maxAggregate)
		case p.LightTime < 0:
			return c, fmt.Errorf("ltp config: light time %s of engine %d is negative", p.LightTime, p.EngineID)
		}
		seen[p.EngineID] = true
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// params are the parameters of the machine for a peer.
func (c Config) params(p Peer) Params {
	return Params{
		Local: c.EngineID, Remote: p.EngineID, MTU: c.MTU, LightTime: p.LightTime, Margin: c.Margin, Rate: p.Rate,
		MaxUnclaimed: c.MaxUnclaimed, MaxHeld: c.MaxHeld, MaxBlocks: c.MaxBlocks, StreamFrom: c.StreamFrom,
		Aggregate: p.Aggregate, Probe: c.Probe, DeadAfter: c.DeadAfter,
	}
}

// withPort adds the LTP port to an address that has none.
func withPort(address string) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	return net.JoinHostPort(address, DefaultPort)
}
