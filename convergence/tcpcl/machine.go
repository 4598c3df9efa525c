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
)

// Limits on what a machine holds for a peer that does not take it.
const (
	maxHeldAcks = 4096    // acknowledgements waiting for an earlier transfer
	maxOutput   = 1 << 20 // bytes waiting to be written before input stops
)

// Params are the parameters of a machine.
type Params struct {
	Active      bool   // this side opened the TCP connection
	NodeID      string // empty announces none
	Keepalive   uint16 // seconds, 0 disables
	SegmentMRU  uint64 // bytes
	TransferMRU uint64 // bytes
	MaxIncoming int    // transfers arrived and neither accepted nor refused
}

type machineState uint8

const (
	stateContact     machineState = iota // no contact header has come
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
	segmentMTU  uint64
	transferMTU uint64
	keepalive   time.Duration

	termSent, termReceived bool

	listening bool
	heard     time.Duration // when bytes came, or listening began
	sent      time.Duration // when output last left

	rx receiving
	tx sending
}

// NewMachine returns a machine at the start of a TCP connection.
func NewMachine(p Params, now time.Duration) *Machine {
	m := &Machine{params: p, heard: now, sent: now, listening: true}
	if p.Active {
		m.out = contactHeader{version: protocolVersion}.append(m.out)
	}
	return m
}

// EventKind says what an [Event] means.
type EventKind uint8

// Kinds of events.
const (
	EventNone        EventKind = iota // all input is used, or more is needed
	EventBlocked                      // input waits until transfers are decided or output is written
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
		m.heard = now
	}
	used := 0
	for {
		n, ev, err := m.step(in[used:])
		used += n
		switch {
		case errors.Is(err, errShort):
			return used, Event{}
		case err != nil:
			m.fail(err)
			return used, Event{Kind: EventFailed}
		case ev.Kind != EventNone:
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
		return n, m.onAck(msg), nil
	case typeXferRefuse:
		msg, n, err := parseXferRefuse(b)
		if err != nil {
			return 0, Event{}, err
		}
		return n, m.onRefuse(msg), nil
	case typeKeepalive:
		_, n, err := parseKeepalive(b)
		return n, Event{}, err
	case typeSessTerm:
		msg, n, err := parseSessTerm(b)
		if err != nil {
			return 0, Event{}, err
		}
		return n, m.onTerm(msg), nil
	case typeMsgReject:
		msg, n, err := parseMsgReject(b)
		if err != nil {
			return 0, Event{}, err
		}
		return n, Event{}, m.onReject(msg)
	case typeSessInit:
		_, n, err := parseSessInit(b)
		if err != nil {
			return 0, Event{}, m.tooMuch(err)
		}
		m.reject(rejectUnexpected, typeSessInit)
		return n, Event{}, nil
	}
	m.reject(rejectTypeUnknown, b[0])
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

// onReject: a segment that the peer rejects will never be acknowledged, so the
// session cannot serve it; other rejections change nothing.
func (m *Machine) onReject(msg msgReject) error {
	if msg.header != typeXferSegment || m.tx.open.len() == 0 {
		return nil
	}
	m.term(TermUnknown)
	return fmt.Errorf("%w: it rejected a transfer segment with reason %d", ErrProtocol, msg.reason)
}

func (m *Machine) onTerm(msg sessTerm) Event {
	if m.termReceived {
		m.reject(rejectUnexpected, typeSessTerm)
		return Event{}
	}
	m.termReceived = true
	switch {
	case m.termSent:
	case msg.flags&flagReply != 0:
		// A reply to what was not said: the peer believes that both sides
		// agreed to end, and gets no second answer.
		m.reject(rejectUnexpected, typeSessTerm)
		m.termSent = true
	default:
		m.termSent = true
		m.out = sessTerm{flags: msg.flags | flagReply, reason: msg.reason}.append(m.out)
	}
	return Event{Kind: EventEnding}
}

// Terminate ends the session in an orderly way: running transfers finish, none
// begins. Before the session is established it does nothing.
func (m *Machine) Terminate(reason TermReason) {
	if m.state == stateEstablished {
		m.term(reason)
	}
}

func (m *Machine) term(reason TermReason) {
	if !m.termSent {
		m.termSent = true
		m.out = sessTerm{reason: reason}.append(m.out)
	}
}

func (m *Machine) reject(reason, header uint8) {
	m.out = msgReject{reason: reason, header: header}.append(m.out)
}

func (m *Machine) fail(err error) {
	if m.state != stateFailed {
		m.state, m.err = stateFailed, err
	}
}

// Err is the reason why the session failed, or nil.
func (m *Machine) Err() error { return m.err }

// Ending says that no transfer may begin any more.
func (m *Machine) Ending() bool { return m.termSent || m.termReceived }

// Finished says that the session has ended in an orderly way. What output there
// is must still be written, then the connection can be closed.
func (m *Machine) Finished() bool {
	return m.state == stateEstablished && m.termSent && m.termReceived &&
		m.tx.open.len() == 0 && m.rx.open.len() == 0
}

// PeerNode is the node ID that the peer announced.
func (m *Machine) PeerNode() string { return m.peerNode }

// MaxTransfer is the largest bundle that the peer takes, its Transfer MRU, once
// the session is established.
func (m *Machine) MaxTransfer() uint64 { return m.transferMTU }

// Output is the number of bytes that wait to be written.
func (m *Machine) Output() int { return len(m.out) }

// TakeOutput hands the waiting bytes to the caller, who must write all of them.
// The machine goes on with buf, which it owns from then on.
func (m *Machine) TakeOutput(buf []byte) []byte {
	out := m.out
	m.out = buf[:0]
	return out
}

// Sent says that bytes have just left.
func (m *Machine) Sent(now time.Duration) { m.sent = now }

// Listening says whether the caller waits for input. While it does not, silence
// of the peer proves nothing and no idle timeout runs.
func (m *Machine) Listening(on bool, now time.Duration) {
	if on && !m.listening {
		m.heard = now
	}
	m.listening = on
}

// Keepalive is the negotiated interval, 0 when there is none.
func (m *Machine) Keepalive() time.Duration { return m.keepalive }

// Heard is when input last came, or listening last began.
func (m *Machine) Heard() time.Duration { return m.heard }

// Tick does what is due: a keepalive when nothing was sent for an interval, the
// end of the session when nothing was heard for two.
func (m *Machine) Tick(now time.Duration) {
	if m.state != stateEstablished || m.keepalive == 0 {
		return
	}
	if m.listening && now-m.heard >= 2*m.keepalive {
		m.term(TermIdleTimeout)
		m.fail(ErrIdleTimeout)
		return
	}
	if now-m.sent >= m.keepalive && len(m.out) == 0 {
		m.out = keepalive{}.append(m.out)
	}
}

// NextTick is when Tick next has something to do; ok is false when only input
// can change that.
func (m *Machine) NextTick() (at time.Duration, ok bool) {
	if m.state != stateEstablished || m.keepalive == 0 {
		return 0, false
	}
	at = m.sent + m.keepalive
	if m.listening {
		at = min(at, m.heard+2*m.keepalive)
	}
	return at, true
}
