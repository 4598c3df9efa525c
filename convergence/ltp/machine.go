package ltp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"perigee/convergence"
)

// Errors that a link ends with, or a block fails with.
var (
	// ErrSilent: the peer answered nothing for so long that it counts as gone.
	ErrSilent = errors.New("peer answers nothing")

	// ErrCut: the peer gave the link up.
	ErrCut = errors.New("peer cut the link")

	// ErrRestarted: the peer has begun a new link, so that it knows nothing of
	// this one any more.
	ErrRestarted = errors.New("peer has begun a new link")

	// ErrForgotten: the receiver of a block does not know any more what it
	// claimed to have received. It was restarted, probably.
	ErrForgotten = errors.New("peer forgot what it had received")

	// ErrCancelled: a block was cancelled, by its sender or for want of answers.
	ErrCancelled = errors.New("block was cancelled")
)

// Limits of a machine that nobody needs to set.
const (
	unpacedWindow  = 2 << 20   // bytes unclaimed while the rate is not known
	leastWindow    = 128 << 10 // bytes unclaimed at any rate
	leastInterval  = 64 << 10  // bytes between discretionary checkpoints
	maxControl     = 4096      // answers and the like that wait to be sent
	maxAttempts    = 40        // of one checkpoint, report or cancellation
	maxDoublings   = 4         // of the wait for an answer, while others come
	readableLimit  = 2 << 20   // bytes that the reader has not taken, before reports are held back
	serialSpread   = 1 << 16   // serial numbers further apart are not from one session
	farLight       = time.Second
	farCopy        = 500 * time.Millisecond // between two copies to a far peer
	closedMargin   = time.Minute            // for which a closed block is remembered, and the round trip
	maxClosed      = 1 << 15                // blocks
	trimAfter      = 10 * time.Second       // without a block, until memory is given back
	maxEndingTries = 5                      // to tell a peer that is never heard of the end
)

// Params are the parameters of a machine.
type Params struct {
	Local, Remote uint64 // engine IDs
	MTU           int    // bytes of a datagram
	LightTime     time.Duration
	Margin        time.Duration // for what an answer needs besides two light times
	Rate          uint64        // bits per second, 0 when it is not known

	MaxUnclaimed int64 // bytes sent, or waiting to be, and not claimed
	MaxHeld      int64 // bytes received and not read
	MaxBlocks    int   // open, for each direction
	StreamFrom   int64 // bytes of a block from which it is read before it is complete
	Aggregate    int   // bytes of a block that takes several small bundles, 0 for none

	Probe     time.Duration // between looks whether an idle peer is there; negative: it is never asked
	DeadAfter time.Duration // of silence, besides four light times

	Random *rand.Rand // must not be predictable for others
}

// A Machine is LTP between two engines without its transport: a link, and the
// blocks of both directions. The caller feeds it the datagrams that arrive and acts
// on the events, sends its output, one datagram after the other, and tells it the
// time, as monotonic time since any fixed moment. It is not safe for concurrent use.
//
// Effects have an order: a bundle that [Machine.Read] has given to its end is made
// durable by the caller, then Accept is called, and only then does the output hold
// the report that claims all of it.
type Machine struct {
	params Params

	now         time.Duration // without the time while suspended
	paused      time.Duration // that was not counted
	suspended   bool
	suspendedAt time.Duration

	link    link
	tx      sending
	rx      receiving
	answers latency // of the peer to our checkpoints
	acks    latency // to our reports
	control queue[control]
	events  queue[Event]
	timers  timers
	parked  []timer // due, and waiting until the peer is heard
	resting bool    // a timer to give memory back runs
	dropped Dropped

	claims []span // scratch of the parser
	gaps   []span // scratch
}

// Dropped counts segments that were received and not acted on.
type Dropped struct {
	Malformed uint64 // they break RFC 5326
	Foreign   uint64 // they are of other engines, or of sessions that are none
	NoRoom    uint64 // a limit was reached
}

// NewMachine returns a machine whose link is closed. It opens by [Machine.Open], or
// when the peer is heard.
func NewMachine(p Params, now time.Duration) *Machine {
	m := &Machine{params: p, now: now}
	m.link.ours = linkState{flags: flagFailed, link: 1 + p.Random.Uint64N(1<<40)}
	m.tx.init(p.Random)
	m.rx.init()
	return m
}

// EventKind says what an [Event] means.
type EventKind uint8

// Kinds of events.
const (
	EventOpened    EventKind = iota + 1 // the peer opened the link
	EventUp                             // the peer was heard for the first time
	EventDelivered                      // the peer has all of our block Block
	EventCancelled                      // our block Block failed: Err
	EventEnding                         // the peer ends the link; blocks finish, none begins
	EventEnded                          // the link has ended in an orderly way
	EventFailed                         // the link is over: Err
)

// An Event is what a machine tells its caller.
type Event struct {
	Kind    EventKind
	Block   uint64
	Refused map[int]convergence.RefuseReason // bundles of a delivered block that were refused all the same
	Err     error
}

// Next takes the next event.
func (m *Machine) Next() (Event, bool) {
	if m.events.len() == 0 {
		return Event{}, false
	}
	return m.events.pop(), true
}

func (m *Machine) tell(ev Event) { m.events.push(ev) }

// advance notes what time it is.
func (m *Machine) advance(now time.Duration) {
	if m.suspended {
		now = m.suspendedAt
	}
	m.now = max(m.now, now-m.paused)
}

// Suspend stops output and all timers: the contact is over, or the peer does not
// send. What is received is still taken (RFC 5326 sections 6.4 and 6.5).
func (m *Machine) Suspend(now time.Duration) {
	m.advance(now)
	if !m.suspended {
		m.suspended, m.suspendedAt = true, now
	}
}

// Resume goes on where Suspend stopped: each timer has the time that it had left
// (RFC 5326 sections 6.1 and 6.6).
func (m *Machine) Resume(now time.Duration) {
	if !m.suspended {
		return
	}
	m.suspended = false
	m.paused += max(now-m.suspendedAt, 0)
	m.advance(now)
}

// SetLightTime says how far away the peer is, one way. It holds for what is sent
// from now on.
func (m *Machine) SetLightTime(d time.Duration) { m.params.LightTime = d }

// SetRate says how fast the caller sends, in bits per second, 0 for no limit: it
// bounds what is sent before it is claimed.
func (m *Machine) SetRate(bitsPerSecond uint64) { m.params.Rate = bitsPerSecond }

// roundTrip is how long an answer takes at least.
func (m *Machine) roundTrip() time.Duration { return 2 * m.params.LightTime }

// wait is how long an answer may take to the given number of attempts.
func (m *Machine) wait(tries int) time.Duration {
	return m.roundTrip() + m.params.Margin<<min(max(tries-1, 0), maxDoublings)
}

// copyAfter is when something is sent a second time that must be answered. To a far
// peer that is soon and in any case, since a loss costs a round trip. A near one gets
// the copy when the answer is late, long before the peer is taken for silent.
func (m *Machine) copyAfter(kind timerKind) time.Duration {
	if m.isFar() {
		return farCopy
	}
	l := m.acks
	if kind == timerCheckpoint {
		l = m.answers
	}
	most, known := l.most()
	if !known {
		most = m.roundTrip() + m.params.Margin/2
	}
	return max(min(most, m.roundTrip()+m.params.Margin), m.roundTrip()+leastSlack)
}

// isFar says whether an answer takes so long that what must arrive is sent twice.
func (m *Machine) isFar() bool { return m.params.LightTime >= farLight }

// Dropped is what was received and not acted on.
func (m *Machine) Dropped() Dropped { return m.dropped }

// Feed takes a datagram, which may hold several segments. What cannot be parsed
// ends it (RFC 5326 section 6).
func (m *Machine) Feed(datagram []byte, now time.Duration) {
	m.advance(now)
	for len(datagram) > 0 {
		n, err := m.feedSegment(datagram)
		if err != nil {
			m.dropped.Malformed++
			return
		}
		datagram = datagram[n:]
	}
}

// feedSegment is the only switch over segment types.
func (m *Machine) feedSegment(b []byte) (int, error) {
	kind, err := segmentType(b)
	if err != nil {
		return 0, err
	}
	var n int
	switch kind {
	case typeReport:
		var s reportSegment
		if s, n, err = parseReportSegment(b, m.claims); err == nil && m.ours(s.header) {
			m.claims = s.claims
			m.onReport(s)
		}
	case typeReportAck:
		var s reportAck
		if s, n, err = parseReportAck(b); err == nil && m.theirs(s.header) {
			m.onReportAck(s)
		}
	case typeCancelBySender:
		var s cancelSegment
		if s, n, err = parseCancel(b); err == nil && m.theirs(s.header) {
			m.onCancelBySender(s)
		}
	case typeCancelByReceiver:
		var s cancelSegment
		if s, n, err = parseCancel(b); err == nil && m.ours(s.header) {
			m.onCancelByReceiver(s)
		}
	case typeCancelAckSender:
		var s cancelAck
		if s, n, err = parseCancelAck(b); err == nil && m.ours(s.header) {
			m.onCancelAckSender(s)
		}
	case typeCancelAckReceiver:
		var s cancelAck
		if s, n, err = parseCancelAck(b); err == nil && m.theirs(s.header) {
			m.onCancelAckReceiver(s)
		}
	default:
		var s dataSegment
		if s, n, err = parseDataSegment(b); err == nil && m.theirs(s.header) {
			m.onData(s)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("parse segment of type %d: %w", kind, err)
	}
	return n, nil
}

// ours says whether a segment is about a block of ours, theirs whether it is about
// one of the peer.
func (m *Machine) ours(h header) bool   { return m.isOf(h, m.params.Local) }
func (m *Machine) theirs(h header) bool { return m.isOf(h, m.params.Remote) }

func (m *Machine) isOf(h header, originator uint64) bool {
	if h.originator != originator {
		m.dropped.Foreign++
	}
	return h.originator == originator
}

// Tick does what is due.
func (m *Machine) Tick(now time.Duration) {
	m.advance(now)
	for !m.suspended && len(m.timers) > 0 && m.timers[0].at <= m.now {
		m.due(m.timers.pop())
	}
}

// NextTick is when Tick next has something to do; ok is false when only input, or
// Resume, can change that.
func (m *Machine) NextTick() (at time.Duration, ok bool) {
	if m.suspended || len(m.timers) == 0 {
		return 0, false
	}
	return m.timers[0].at + m.paused, true
}

// due acts on a timer.
func (m *Machine) due(t timer) {
	switch t.kind {
	case timerCheckpoint, timerReport, timerCancelOut, timerCancelIn:
		a := m.attemptOf(t)
		if a == nil || a.deadline != t.at || a.queued {
			return
		}
		switch {
		case a.again:
			m.repeat(t, a)
		case m.link.reached < a.sent && m.link.open:
			m.park(t)
		case a.tries >= maxAttempts:
			m.exhausted(t)
		default:
			m.repeat(t, a)
		}
	case timerIdle:
		m.dueIdle()
	case timerLink:
		m.dueLink(t)
	case timerTrim:
		m.resting = false
		if len(m.tx.blocks) == 0 && len(m.rx.blocks) == 0 {
			m.tx.pool.trim()
			m.rx.pool.trim()
		}
	}
}

// attemptOf finds what a timer is about, or nil when it is settled.
func (m *Machine) attemptOf(t timer) *attempt {
	switch t.kind {
	case timerCheckpoint:
		if b := m.tx.blocks[t.session]; b != nil {
			if c := b.checkpoint(t.serial); c != nil {
				return &c.attempt
			}
		}
	case timerReport:
		if b := m.rx.blocks[t.session]; b != nil {
			if r := b.report(t.serial); r != nil {
				return &r.attempt
			}
		}
	case timerCancelOut:
		if b := m.tx.blocks[t.session]; b != nil && b.cancelled {
			return &b.cancel
		}
	case timerCancelIn:
		if b := m.rx.blocks[t.session]; b != nil && b.state == inCancelling {
			return &b.cancel
		}
	}
	return nil
}

// repeat sends what a timer is about again.
func (m *Machine) repeat(t timer, a *attempt) {
	a.queued = true
	switch t.kind {
	case timerCheckpoint:
		m.sendAgain(m.tx.blocks[t.session])
	case timerReport:
		m.queueControl(control{kind: controlReport, session: t.session, serial: t.serial})
	case timerCancelOut:
		m.queueControl(control{kind: controlCancelOut, session: t.session})
	case timerCancelIn:
		m.queueControl(control{kind: controlCancelIn, session: t.session})
	}
}

// exhausted gives up what was sent as often as it may be, although the peer answers
// other things (RFC 5326 sections 6.7, 6.8 and 6.16).
func (m *Machine) exhausted(t timer) {
	switch t.kind {
	case timerCheckpoint:
		m.cancelOut(m.tx.blocks[t.session], CancelRetransmitted, fmt.Errorf("%w: no report answers its checkpoint", ErrCancelled))
	case timerReport:
		b := m.rx.blocks[t.session]
		if b.state == inReported { // accepted, so nothing is left to cancel
			m.closeIn(b)
			return
		}
		m.cancelIn(b, CancelRetransmitted, convergence.RefuseRetransmit)
	case timerCancelOut:
		m.closeOut(m.tx.blocks[t.session])
	case timerCancelIn:
		m.closeIn(m.rx.blocks[t.session])
	}
}

// launched starts the timer of something that is being sent.
func (m *Machine) launched(a *attempt, t timer) {
	a.queued, a.sent = false, m.now
	if !a.again && a.tries == 0 || m.isFar() && !a.again {
		a.again = true
		a.deadline = m.now + m.copyAfter(t.kind)
	} else {
		a.again = false
		a.tries++
		a.deadline = m.now + m.wait(a.tries)
	}
	t.at = a.deadline
	m.timers.push(t)
}
