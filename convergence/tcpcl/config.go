package tcpcl

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"perigee/convergence/nodecert"
)

// Defaults of [Config].
const (
	DefaultPort                  = "4556" // RFC 9174 section 8.1
	DefaultKeepalive             = 60 * time.Second
	DefaultSegmentMRU            = 1 << 20
	DefaultTransferMRU           = 1 << 32
	DefaultMinSegmentMTU         = 64
	DefaultHeaderTimeout         = 10 * time.Second
	DefaultContactTimeout        = 30 * time.Second
	DefaultStallTimeout          = 10 * time.Minute
	DefaultMinProgress           = 1 << 10
	DefaultProgressTime          = 2 * time.Minute
	DefaultMaxPending            = 256
	DefaultMaxSessions           = 1024
	DefaultMaxSessionsPerAddress = 256
	DefaultMaxUnackedTransfers   = 1024
	DefaultMaxUnackedBytes       = 16 << 20
	DefaultMaxIncoming           = 1024
)

// A Config says how sessions are held. Zero fields other than NodeID and those of
// security take the defaults above.
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

	// MinSegmentMTU is the smallest Segment MRU in bytes of a peer that gets a
	// session: smaller segments are little but headers.
	MinSegmentMTU uint64

	// HeaderTimeout bounds the wait for the contact header, ContactTimeout the
	// time from the start of the TCP connection to the established session.
	HeaderTimeout  time.Duration
	ContactTimeout time.Duration

	// StallTimeout ends a session whose peer has taken all that was sent and
	// acknowledges nothing of it for so long. Without keepalives it also ends
	// one whose peer takes not one byte; with keepalives, twice their interval
	// without a byte in either direction does.
	StallTimeout time.Duration

	// MinProgress is how many bytes a peer must send in each ProgressTime once
	// it has begun a message or a transfer, unless it waits for this side.
	MinProgress  uint64
	ProgressTime time.Duration

	// MaxPending bounds the connections of a listener that are not established
	// or not yet accepted; beyond it the oldest is closed. One address gets a
	// quarter of them.
	MaxPending int

	// MaxSessions bounds the sessions of a listener, in total and with one
	// address (of IPv6, with one /64); further peers are told that it is busy.
	MaxSessions           int
	MaxSessionsPerAddress int

	// Refused, unless nil, is told why connections to a listener became no
	// sessions, by several goroutines. There may be very many.
	Refused func(error)

	// MaxUnackedTransfers and MaxUnackedBytes bound what is sent and not yet
	// acknowledged; Send blocks beyond. One segment may always be in flight.
	MaxUnackedTransfers int
	MaxUnackedBytes     int64

	// MaxIncoming bounds the transfers that have arrived, in part or in full,
	// and are neither accepted nor refused; beyond it nothing is read from the
	// peer.
	MaxIncoming int

	Security
}

// withDefaults returns the config with its defaults filled in, or says which
// field cannot hold.
func (c Config) withDefaults() (Config, error) {
	setDefault(&c.Keepalive, DefaultKeepalive)
	setDefault(&c.SegmentMRU, DefaultSegmentMRU)
	setDefault(&c.TransferMRU, DefaultTransferMRU)
	setDefault(&c.MinSegmentMTU, DefaultMinSegmentMTU)
	setDefault(&c.HeaderTimeout, DefaultHeaderTimeout)
	setDefault(&c.ContactTimeout, DefaultContactTimeout)
	setDefault(&c.StallTimeout, DefaultStallTimeout)
	setDefault(&c.MinProgress, DefaultMinProgress)
	setDefault(&c.ProgressTime, DefaultProgressTime)
	setDefault(&c.MaxPending, DefaultMaxPending)
	setDefault(&c.MaxSessions, DefaultMaxSessions)
	setDefault(&c.MaxSessionsPerAddress, DefaultMaxSessionsPerAddress)
	setDefault(&c.MaxUnackedTransfers, DefaultMaxUnackedTransfers)
	setDefault(&c.MaxUnackedBytes, DefaultMaxUnackedBytes)
	setDefault(&c.MaxIncoming, DefaultMaxIncoming)
	if c.CanonicalNode == nil {
		c.CanonicalNode = func(nodeID string) (string, error) { return nodeID, nil }
	}
	switch {
	case len(c.NodeID) > maxNodeIDLength || !utf8.ValidString(c.NodeID):
		return c, fmt.Errorf("tcpcl config: node ID must be UTF-8 of at most %d bytes", maxNodeIDLength)
	case c.Keepalive > 0 && (c.Keepalive%time.Second != 0 || c.Keepalive > math.MaxUint16*time.Second):
		return c, fmt.Errorf("tcpcl config: keepalive %s must be whole seconds up to 65535 s", c.Keepalive)
	case min(c.HeaderTimeout, c.ContactTimeout, c.StallTimeout, c.ProgressTime) < 0:
		return c, fmt.Errorf("tcpcl config: header timeout %s, contact timeout %s, stall timeout %s and progress time %s must be positive",
			c.HeaderTimeout, c.ContactTimeout, c.StallTimeout, c.ProgressTime)
	case min(c.MaxPending, c.MaxSessions, c.MaxSessionsPerAddress, c.MaxUnackedTransfers, c.MaxIncoming) < 0 || c.MaxUnackedBytes < 0:
		return c, errors.New("tcpcl config: limits must be positive")
	case c.TLS > TLSRequire:
		return c, fmt.Errorf("tcpcl config: there is no TLS policy %d", c.TLS)
	case c.TLS != TLSOff && c.Credentials == nil:
		return c, errors.New("tcpcl config: TLS needs credentials")
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
		Active:        active,
		NodeID:        c.NodeID,
		Keepalive:     uint16(max(c.Keepalive, 0) / time.Second),
		SegmentMRU:    c.SegmentMRU,
		TransferMRU:   c.TransferMRU,
		MaxIncoming:   c.MaxIncoming,
		MinSegmentMTU: c.MinSegmentMTU,
		TLS:           c.TLS,
		MinProgress:   c.MinProgress,
		ProgressTime:  c.ProgressTime,
		AckTimeout:    c.StallTimeout,
	}
}

// Security says how sessions are secured and who may hold them.
type Security struct {
	TLS TLSPolicy

	// Credentials returns what this node shows to peers and believes theirs by.
	// It is asked at each handshake, so that they can be replaced, and needed
	// unless TLS is off.
	Credentials func() *nodecert.Credentials

	// HostIdentity also takes certificates without a NODE-ID if they name the
	// host that was dialled or the address of the peer (RFC 9174 section
	// 4.4.4.2). The peer's node ID is then not proven. Certificates of other
	// nodes than the peer says it is are never taken.
	HostIdentity bool

	// CanonicalNode turns a node ID into the one form in which node IDs are
	// compared, and fails for a text that is none. Nil: they are compared as
	// they are written.
	CanonicalNode func(nodeID string) (string, error)

	// Admit, unless nil, has the last word on a peer: an error refuses it, with
	// the reason Contact Failure.
	Admit func(Peer) error

	// Time is the clock that certificates are judged by. Nil: the system's.
	Time func() time.Time
}

// A Peer is what is known of the other side when a session is about to be
// established.
type Peer struct {
	NodeID  string // empty when it announced none
	Proven  bool   // NodeID stands in its certificate
	Secured bool   // the session runs over TLS
}
