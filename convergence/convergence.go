// Package convergence holds the contract between the node and its links: what a
// convergence-layer session promises, whatever protocol runs beneath it.
//
// A session carries bundles as opaque bytes. It never parses one, never looks at
// a contact plan and never calls back: the node pulls what has come in, and waits
// for the fate of what it handed over.
package convergence

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrOpen is returned by Dial where there is one session with a peer at a time, and
// one is open, whoever opened it.
var ErrOpen = errors.New("a session with the peer is open already")

// ErrSuspended is returned by Send while a session waits for its next contact. The
// session goes on.
var ErrSuspended = errors.New("session waits for its next contact")

// ErrClosed is returned by calls on a session or listener that has ended in an
// orderly way.
var ErrClosed = errors.New("convergence-layer session is closed")

// A Session is one open link with one peer. Its methods may be called
// concurrently. Whoever opened it must call Close.
type Session interface {
	// PeerNode is the node ID the peer announced, as a URI. It is empty when
	// the peer announced none, and it is a claim: only TLS proves it.
	PeerNode() string

	// RemoteAddr is the address of the peer, for people.
	RemoteAddr() string

	// MaxTransfer is the largest bundle in bytes that the peer takes, and
	// 2^64-1 when it set no limit. Send fails for larger ones.
	MaxTransfer() uint64

	// Send transfers one bundle of exactly length bytes read from body. It
	// returns once body has been read to its end and handed to the transport,
	// so that the caller may prepare the next bundle while this one is still
	// to be acknowledged; it blocks while too much is unacknowledged. Transfers
	// go out in the order of the calls. When body fails or ends early, the
	// session cannot continue and closes.
	Send(ctx context.Context, length int64, body io.Reader) (Transfer, error)

	// Receive waits for the next bundle that the peer begins to send. Its bytes
	// must be read to io.EOF, or the bundle refused, before Receive is called
	// again. Receive returns ErrClosed after an orderly end.
	Receive(ctx context.Context) (Incoming, error)

	// Close ends the session in an orderly way: running transfers finish, none
	// starts, the peer is told. Receive may still return bundles that have
	// arrived whole, which are waited for. When ctx ends first, the transport
	// is cut. Close waits until every goroutine of the session has returned.
	Close(ctx context.Context) error

	// Done is closed when the session can carry nothing more; Err then says
	// why, ErrClosed after an orderly end.
	Done() <-chan struct{}
	Err() error

	// Counters is a snapshot of what the session has carried.
	Counters() Counters
}

// A Follower is a [Session] that stays from one contact to the next, so that what is
// half done in one is finished in another. A session that is no Follower ends with
// its contact.
type Follower interface {
	// Follow tells what the link is like from now on, beginning with a contact
	// that is open. It never blocks.
	Follow(c Contact)
}

// A Contact is what a plan says of a link at a time.
type Contact struct {
	// Open tells whether the two ends reach each other. While they do not, nothing
	// is sent, no timer runs and nothing is given up.
	Open bool
	// Rate is how fast may be sent, in bits per second with the headers of all
	// that is carried on the link. Zero: as the session's configuration has it.
	Rate uint64
	// LightTime is how far away the peer is, one way.
	LightTime time.Duration
}

// A Prover is a [Session] that can tell a proven node ID from a claimed one. A
// session that is no Prover proves nothing.
type Prover interface {
	// PeerProven says whether the peer has proven that it is PeerNode, as by a
	// certificate of an authority that this node trusts.
	PeerProven() bool
}

// A Transfer is a bundle that was handed to the transport.
type Transfer interface {
	// Wait returns nil once the peer has acknowledged the whole bundle, a
	// *RefusedError when the peer refused it, and another error when the
	// session ended before either.
	Wait(ctx context.Context) error
}

// An Incoming is a bundle that is arriving. Read gives its bytes as they come,
// and io.EOF after the last. Exactly one of Accept and Refuse must then be
// called, from any goroutine and in any order among bundles; the session tells
// the peer in the order the bundles came. Nothing is acknowledged in full before
// Accept.
type Incoming interface {
	io.Reader

	// Length is the announced length in bytes, or -1 when none was announced.
	// It is the peer's claim: allocate nothing by it.
	Length() int64

	// Accept acknowledges the whole bundle. The caller has made it durable.
	Accept() error

	// Refuse tells the peer that the bundle is not taken. It may be called
	// before the bundle has been read to its end; the rest is then discarded.
	Refuse(reason RefuseReason) error
}

// RefuseReason says why a transfer was refused. The numbers are those of
// RFC 9174 section 5.2.4; other protocols map them to what they have.
type RefuseReason uint8

// Reasons for refusing a transfer.
const (
	RefuseUnknown            RefuseReason = 0
	RefuseCompleted          RefuseReason = 1 // the receiver already has the bundle
	RefuseNoResources        RefuseReason = 2
	RefuseRetransmit         RefuseReason = 3
	RefuseNotAcceptable      RefuseReason = 4 // do not send it again as it is
	RefuseExtensionFailure   RefuseReason = 5
	RefuseSessionTerminating RefuseReason = 6
)

// String names the reason.
func (r RefuseReason) String() string {
	switch r {
	case RefuseCompleted:
		return "completed"
	case RefuseNoResources:
		return "no resources"
	case RefuseRetransmit:
		return "retransmit"
	case RefuseNotAcceptable:
		return "not acceptable"
	case RefuseExtensionFailure:
		return "extension failure"
	case RefuseSessionTerminating:
		return "session terminating"
	}
	return "unknown"
}

// A RefusedError is the fate of a transfer that the peer refused.
type RefusedError struct {
	Reason RefuseReason
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("peer refused the bundle: %s", e.Reason)
}

// A Dialer opens sessions with peers.
type Dialer interface {
	// Dial opens a session with the node at address. It returns when the
	// session is established and the peer's node ID is known.
	Dial(ctx context.Context, address string) (Session, error)
}

// A Listener accepts sessions from peers.
type Listener interface {
	// Accept waits for the next established session. Peers that fail to
	// establish one do not hold up others and are not reported.
	Accept(ctx context.Context) (Session, error)

	// Addr is the address that the listener is bound to.
	Addr() string

	// Close stops listening, ends sessions that were not yet accepted, and
	// waits for the listener's goroutines. Accepted sessions live on.
	Close() error
}

// Counters counts what a session has carried since it was established.
type Counters struct {
	BundlesSent     uint64 // acknowledged in full by the peer
	BundlesReceived uint64 // accepted by this node
	BundlesRefused  uint64 // refused, in either direction
	BytesSent       uint64 // on the wire, everything included
	BytesReceived   uint64 // on the wire, everything included
}
