package tcpcl

import (
	"errors"
	"fmt"
	"time"

	"perigee/convergence"
)

// Errors that a session ends with, or a transfer cannot begin with.
var (
	// ErrIdleTimeout: nothing came from the peer for two keepalive intervals.
	ErrIdleTimeout = errors.New("nothing heard from the peer for two keepalive intervals")

	// ErrProtocol: the peer broke RFC 9174 in a way that cannot be mended.
	ErrProtocol = errors.New("peer broke the TCPCL protocol")

	// ErrTooLarge: the bundle is larger than the peer's Transfer MRU. The
	// session goes on; fragment the bundle or choose another link.
	ErrTooLarge = errors.New("bundle is larger than the peer takes")

	// ErrTooSlow: the peer began a message or a transfer and sends hardly
	// anything of it.
	ErrTooSlow = errors.New("peer sends less than it must of what it began")

	// ErrNotAcknowledged: the peer has all that was sent and is silent about it.
	ErrNotAcknowledged = errors.New("peer acknowledges nothing of what it has")
)

// Limits on what a machine holds for a peer that does not take it.
const (
	maxHeldAcks = 4096    // acknowledgements waiting for an earlier transfer
	maxOutput   = 1 << 20 // bytes waiting to be written before input stops
	maxRejects  = 256     // messages rejected before the session ends
)

// Params are the parameters of a machine.
type Params struct {
	Active      bool   // this side opened the TCP connection
	NodeID      string // empty announces none
	Keepalive   uint16 // seconds, 0 disables
	SegmentMRU  uint64 // bytes
	TransferMRU uint64 // bytes
	MaxIncoming int    // transfers arrived and neither accepted nor refused

	// MinSegmentMTU is the smallest Segment MRU of a peer that is served, in
	// bytes: smaller ones would turn bundles into little but headers.
	MinSegmentMTU uint64

	// Busy ends the session as soon as the peer has said who it is.
	Busy bool

	TLS TLSPolicy

	// Authenticate judges a peer by the node ID that it announced, empty when it
	// announced none: it says whether the ID is proven, or why there can be no
	// session. Nil takes every peer at its word.
	Authenticate func(nodeID string) (proven bool, err error)

	// A peer that has begun a message or a transfer must send MinProgress bytes
	// in each ProgressTime, and acknowledge something within AckTimeout once it
	// has all that was sent. Zero times are not watched.
	MinProgress  uint64
	ProgressTime time.Duration
	AckTimeout   time.Duration
}

type machineState uint8

const (
	stateContact     machineState = iota // no contact header has come
	stateSecure                          // the transport is being secured
	stateInit                            // no SESS_INIT has come
	stateEstablished                     // transfers run, or finish
	stateFailed                          // output may be flushed, input is ignored
)

// A Machine is one end of a TCPCL session without its transport. The caller
// feeds it the bytes that arrive and acts on the events, writes its output in
// order and without gaps, and tells it the time, as monotonic time since any
// fixed moment. It is not safe for concurrent use.
//
// Effects have an order: an [EventData] with End is made durable by the caller,
// then Accept is called, and only then does the output hold the acknowledgement.
type Machine struct {
	params Params
	state  machineState
	err    error
	out    []byte

	peerNode    string
	proven      bool // that the peer is peerNode
	segmentMTU  uint64
	transferMTU uint64
	keepalive   time.Duration

	termSent, termReceived bool
	termReason             TermReason // the peer's
	rejects                int        // messages that were rejected

	times times
	rx    receiving
	tx    sending
}

// NewMachine returns a machine at the start of a TCP connection.
func NewMachine(p Params, now time.Duration) *Machine {
	m := &Machine{params: p, times: times{heard: now, sent: now, listening: true}}
	if p.Active {
		m.appendContactHeader()
	}
	return m
}

// EventKind says what an [Event] means.
type EventKind uint8

// Kinds of events.
const (
	EventNone        EventKind = iota // all input is used, or more is needed
	EventBlocked                      // input waits until transfers are decided or output is written
	EventSecure                       // write the output, secure the transport, then call Secured
	EventEstablished                  // parameters are negotiated
	EventStart                        // the peer begins transfer Transfer of Length bytes (-1: not announced)
	EventData                         // Data continues the latest transfer; End says that it is complete
	EventBroken                       // the latest transfer was refused by the machine: Reason
	EventDelivered                    // the peer acknowledged all of our transfer Transfer
	EventRefused                      // the peer refused our transfer Transfer: Reason
	EventEnding                       // the peer ends the session; transfers finish, none begins
	EventFailed                       // the session is over: see Err
)

// An Event is what a machine tells its caller. For the peer's transfers,
// Transfer is their number in order of arrival, from 0; for ours it is the
// transfer ID.
type Event struct {
	Kind     EventKind
	Transfer uint64
	Length   int64
	Data     []byte // a part of the input
	End      bool
	Reason   convergence.RefuseReason
}

// Feed takes bytes from the peer and says how many it used, up to the first
// event. The caller feeds the rest again, even when it is empty, until EventNone
// or EventBlocked, and keeps unused bytes for the next call. What is kept after
// EventNone is shorter than 10 kB.
func (m *Machine) Feed(in []byte, now time.Duration) (int, Event) {
	if len(in) > 0 {
		m.times.heard = now
	}
	used := 0
	for {
		n, ev, err := m.step(in[used:])
		used += n
		switch {
		case errors.Is(err, errShort):
			m.times.partial = used < len(in)
			m.watch(used, now)
			return used, Event{}
		case err != nil:
			m.fail(err)
			return used, Event{Kind: EventFailed}
		case ev.Kind != EventNone:
			m.watch(used, now)
			return used, ev
		}
	}
}

// step handles at most one message, or the data of a segment that are there.
func (m *Machine) step(b []byte) (int, Event, error) {
	if m.state != stateFailed && len(m.out) >= maxOutput {
		return 0, Event{Kind: EventBlocked}, nil
	}
	switch m.state {
	case stateFailed:
		return len(b), Event{}, errShort
	case stateSecure:
		return 0, Event{}, errShort
	case stateContact:
		return m.stepContact(b)
	}
	if m.rx.inSegment {
		return m.stepData(b)
	}
	if len(b) == 0 {
		return 0, Event{}, errShort
	}
	if m.state == stateInit {
		return m.stepInit(b)
	}
	return m.stepMessage(b)
}

// stepMessage is the only switch over message types of an established session.
func (m *Machine) stepMessage(b []byte) (int, Event, error) {
	switch b[0] {
	case typeXferSegment:
		msg, n, err := parseXferSegment(b)
		if err != nil {
			return 0, Event{}, m.tooMuch(err)
		}
		return m.onSegment(msg, n)
	case typeXferAck:
		msg, n, err := parseXferAck(b)
		if err != nil {
			return 0, Event{}, err
		}
		ev, err := m.onAck(msg)
		return n, ev, err
	case typeXferRefuse:
		msg, n, err := parseXferRefuse(b)
		if err != nil {
			return 0, Event{}, err
		}
		ev, err := m.onRefuse(msg)
		return n, ev, err
	case typeKeepalive:
		_, n, err := parseKeepalive(b)
		if err == nil && m.keepalive == 0 { // not what was negotiated
			err = m.reject(rejectUnsupported, typeKeepalive)
		}
		return n, Event{}, err
	case typeSessTerm:
		msg, n, err := parseSessTerm(b)
		if err != nil {
			return 0, Event{}, err
		}
		ev, err := m.onTerm(msg)
		return n, ev, err
	case typeMsgReject:
		msg, n, err := parseMsgReject(b)
		if err != nil {
			return 0, Event{}, err
		}
		ev, err := m.onReject(msg)
		return n, ev, err
	case typeSessInit:
		_, n, err := parseSessInit(b)
		if err != nil {
			return 0, Event{}, m.tooMuch(err)
		}
		return n, Event{}, m.reject(rejectUnexpected, typeSessInit)
	}
	m.appendReject(rejectTypeUnknown, b[0])
	return 0, Event{}, fmt.Errorf("%w: message type %#02x is unknown", ErrProtocol, b[0])
}

// tooMuch ends the session for a field beyond its limit; errShort passes.
func (m *Machine) tooMuch(err error) error {
	if errors.Is(err, errShort) {
		return err
	}
	m.term(TermResourceExhaustion)
	return fmt.Errorf("parse message: %w", err)
}

// PeerNode is the node ID that the peer announced.
func (m *Machine) PeerNode() string { return m.peerNode }

// PeerProven says whether the peer has proven that it is PeerNode.
func (m *Machine) PeerProven() bool { return m.proven }

// MaxTransfer is the largest bundle that the peer takes, its Transfer MRU, once
// the session is established.
func (m *Machine) MaxTransfer() uint64 { return m.transferMTU }

// Output is the number of bytes that wait to be written.
func (m *Machine) Output() int { return len(m.out) }

// TakeOutput hands the waiting bytes to the caller, who must write all of them and
// say so by Sent. The machine goes on with buf, which it owns from then on.
func (m *Machine) TakeOutput(buf []byte) []byte {
	out := m.out
	m.out = buf[:0]
	m.times.writing = len(out) > 0
	return out
}
