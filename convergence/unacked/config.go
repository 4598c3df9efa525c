package unacked

import (
	"fmt"
	"time"
)

// Defaults of [Config].
const (
	DefaultDialTimeout = 10 * time.Second
	DefaultStall       = time.Minute
	DefaultIdle        = 10 * time.Minute
	DefaultMaxSessions = 256
	DefaultMaxIncoming = 1024
	DefaultMaxUnacked  = 1024
)

// A Config says how sessions are held. Zero fields take the defaults above.
type Config struct {
	// Peer is the node ID of the node that is dialed, as a URI. It is the name of
	// the sessions that Dial opens, and rests on the address alone.
	Peer string

	// Keepalive is the longest time that a dialed session sends nothing, default
	// that of the framing. Negative: no keepalives are sent.
	Keepalive time.Duration

	// Stall ends a session when no byte of a bundle under way moves for so long,
	// or when the peer's TCP does not acknowledge what was sent for so long.
	Stall time.Duration

	// Idle ends an accepted session over which not even a keepalive comes for so
	// long.
	Idle time.Duration

	// DialTimeout bounds the opening of a connection.
	DialTimeout time.Duration

	// MaxSessions bounds the sessions that a listener has accepted and that have
	// not ended; further connections are closed at once.
	MaxSessions int

	// MaxIncoming bounds the bundles of a session that have arrived and are
	// neither accepted nor refused; beyond it nothing is read from the peer.
	MaxIncoming int

	// MaxUnacked bounds the bundles of a session that were written and that the
	// peer's TCP has not acknowledged; beyond it Send blocks.
	MaxUnacked int
}

// withDefaults returns the config with its defaults filled in, or says which field
// cannot hold.
func (c Config) withDefaults(f Framing) (Config, error) {
	setDefault(&c.Keepalive, f.Keepalive())
	setDefault(&c.Stall, DefaultStall)
	setDefault(&c.Idle, DefaultIdle)
	setDefault(&c.DialTimeout, DefaultDialTimeout)
	setDefault(&c.MaxSessions, DefaultMaxSessions)
	setDefault(&c.MaxIncoming, DefaultMaxIncoming)
	setDefault(&c.MaxUnacked, DefaultMaxUnacked)
	switch {
	case c.Stall < 0 || c.Idle < 0 || c.DialTimeout < 0:
		return c, fmt.Errorf("%s config: timeouts must be positive", f.Name())
	case c.MaxSessions < 0 || c.MaxIncoming < 0 || c.MaxUnacked < 0:
		return c, fmt.Errorf("%s config: limits must be positive", f.Name())
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
