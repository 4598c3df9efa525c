package tcpcl

import (
	"errors"
	"fmt"
	"math"

	"perigee/convergence"
)

// errNotOpen is returned for a transfer that is decided already, or was never
// there.
var errNotOpen = errors.New("transfer is not open")

// receiving is the part of a machine that takes the peer's transfers.
//
// Acknowledgements and refusals leave in the order of the segments, so what a
// later transfer earns is held until every earlier one is decided.
type receiving struct {
	open ring[incomingTransfer] // in order of arrival
	base uint64                 // number of the first open transfer
	held ring[heldAck]          // acks of segments other than END, in order

	// The latest transfer.
	any          bool // there is one
	running      bool // its END has not come
	refused      bool // its data are dropped
	reason       convergence.RefuseReason
	id           uint64
	total        uint64 // bytes up to the current segment
	length       uint64
	lengthKnown  bool
	segmentFlags uint8
	inSegment    bool
	drop         bool   // the current segment was rejected
	left         uint64 // bytes of the current segment that have not come
	segmentTotal uint64 // total after the current segment
}

type incomingTransfer struct {
	id       uint64
	total    uint64 // when complete
	held     int    // number of acks held
	endFlags uint8
	complete bool
	accepted bool
	refused  bool
	reason   convergence.RefuseReason
}

type heldAck struct {
	flags uint8
	total uint64
}

// expects says whether the peer has begun a transfer that it must go on with, and
// waits for nothing from us meanwhile.
func (rx *receiving) expects() bool {
	return rx.inSegment || rx.running && !rx.refused && rx.open.len() == 1 && rx.held.len() == 0
}

// onSegment handles the front of a segment, n bytes long.
func (m *Machine) onSegment(msg xferSegment, n int) (int, Event, error) {
	rx := &m.rx
	start := msg.flags&flagStart != 0
	if rx.held.len() >= maxHeldAcks || start && rx.open.len() >= m.params.MaxIncoming {
		return 0, Event{Kind: EventBlocked}, nil
	}
	if err := m.sane(msg); err != nil {
		return n, Event{}, err
	}
	rx.inSegment, rx.left, rx.segmentFlags = true, msg.dataLength, msg.flags
	latest := rx.any && msg.id == rx.id
	if start && latest || !start && (!latest || !rx.running) {
		rx.drop = true
		return n, Event{}, m.reject(rejectUnexpected, typeXferSegment)
	}
	rx.drop = false
	wasRefused := !start && rx.refused
	var ev Event
	reason, ok := convergence.RefuseUnknown, true
	if start {
		ev, reason, ok = m.startIncoming(msg)
	}
	if ok && !wasRefused {
		reason, ok = m.checkSegment(msg)
	}
	switch {
	case wasRefused:
		m.refuseLate()
	case !ok:
		m.refuseIncoming(rx.base+uint64(rx.open.len())-1, reason)
		ev = Event{}
		if !start {
			ev = Event{Kind: EventBroken, Transfer: rx.base + uint64(rx.open.len()) - 1, Reason: reason}
		}
		m.settle()
	}
	return n, ev, nil
}

// sane fails when a segment leaves no way to go on: it begins a transfer inside
// another, or is longer than any bundle, so that its end would never come.
func (m *Machine) sane(msg xferSegment) error {
	switch rx := &m.rx; {
	case msg.flags&flagStart != 0 && rx.running && !rx.refused:
		m.appendReject(rejectUnexpected, typeXferSegment)
		m.term(TermUnknown)
		return fmt.Errorf("%w: transfer %d begins inside transfer %d", ErrProtocol, msg.id, rx.id)
	case msg.dataLength > max(m.params.SegmentMRU, m.params.TransferMRU):
		m.appendReject(rejectUnsupported, typeXferSegment)
		m.term(TermResourceExhaustion)
		return fmt.Errorf("%w: segment of %d bytes, which no bundle has", ErrProtocol, msg.dataLength)
	}
	return nil
}

// startIncoming opens a transfer; ok is false when it must be refused.
func (m *Machine) startIncoming(msg xferSegment) (ev Event, reason convergence.RefuseReason, ok bool) {
	rx := &m.rx
	rx.open.push(incomingTransfer{id: msg.id})
	rx.any, rx.running, rx.refused, rx.id, rx.total = true, true, false, msg.id, 0
	length, known, err := transferLength(msg.extensions)
	rx.length, rx.lengthKnown = length, known
	switch {
	case m.Ending():
		return Event{}, convergence.RefuseSessionTerminating, false
	case err != nil:
		return Event{}, convergence.RefuseExtensionFailure, false
	case known && (length > m.params.TransferMRU || length > math.MaxInt64):
		return Event{}, convergence.RefuseNoResources, false
	}
	ev = Event{Kind: EventStart, Transfer: rx.base + uint64(rx.open.len()) - 1, Length: -1}
	switch {
	case known:
		ev.Length = int64(length)
	case msg.flags&flagEnd != 0 && msg.dataLength <= math.MaxInt64:
		ev.Length = int64(msg.dataLength) // the only segment is the whole bundle
	}
	return ev, 0, true
}

// checkSegment holds a segment against the MRUs and the announced length, by its
// front alone: nothing of a segment that breaks them is passed on.
func (m *Machine) checkSegment(msg xferSegment) (convergence.RefuseReason, bool) {
	rx := &m.rx
	rx.segmentTotal = rx.total + msg.dataLength
	switch {
	case msg.dataLength > m.params.SegmentMRU:
		return convergence.RefuseNotAcceptable, false
	case rx.segmentTotal < rx.total || rx.segmentTotal > m.params.TransferMRU:
		return convergence.RefuseNoResources, false
	case rx.lengthKnown && rx.segmentTotal > rx.length,
		rx.lengthKnown && msg.flags&flagEnd != 0 && rx.segmentTotal != rx.length:
		return convergence.RefuseNotAcceptable, false
	}
	return 0, true
}

// stepData passes on what there is of the current segment's data.
func (m *Machine) stepData(b []byte) (int, Event, error) {
	rx := &m.rx
	if rx.left > 0 && len(b) == 0 {
		return 0, Event{}, errShort
	}
	n := int(min(uint64(len(b)), rx.left))
	rx.left -= uint64(n)
	complete := rx.left == 0
	rx.inSegment = !complete
	if rx.drop {
		return n, Event{}, nil
	}
	end := complete && rx.segmentFlags&flagEnd != 0
	number := rx.base + uint64(rx.open.len()) - 1
	if end {
		rx.running = false
	}
	if rx.refused {
		return n, Event{}, nil
	}
	if complete {
		m.segmentComplete(end)
	}
	if n == 0 && !end {
		return 0, Event{}, nil
	}
	return n, Event{Kind: EventData, Transfer: number, Data: b[:n:n], End: end}, nil
}

// segmentComplete notes what the current segment earns: an acknowledgement when
// its turn comes, for the last segment not before Accept.
func (m *Machine) segmentComplete(end bool) {
	rx := &m.rx
	t := rx.open.at(rx.open.len() - 1)
	rx.total = rx.segmentTotal
	if end {
		t.complete, t.endFlags, t.total = true, rx.segmentFlags, rx.total
		return
	}
	t.held++
	rx.held.push(heldAck{flags: rx.segmentFlags, total: rx.total})
	m.settle()
}

// settle appends the acknowledgements and refusals whose turn has come.
func (m *Machine) settle() {
	rx := &m.rx
	for rx.open.len() > 0 {
		t := rx.open.at(0)
		for ; t.held > 0; t.held-- {
			ack := rx.held.pop()
			if !t.refused {
				m.out = xferAck{flags: ack.flags, id: t.id, total: ack.total}.append(m.out)
			}
		}
		switch {
		case t.refused:
			m.out = xferRefuse{reason: t.reason, id: t.id}.append(m.out)
		case t.accepted:
			m.out = xferAck{flags: t.endFlags, id: t.id, total: t.total}.append(m.out)
		default:
			return
		}
		rx.open.pop()
		rx.base++
	}
}

// refuseLate answers a segment of a transfer whose refusal has left already.
func (m *Machine) refuseLate() {
	if m.rx.open.len() == 0 {
		m.out = xferRefuse{reason: m.rx.reason, id: m.rx.id}.append(m.out)
	}
}

// find returns an open transfer that is not decided.
func (m *Machine) find(number uint64) (*incomingTransfer, error) {
	if m.state != stateEstablished {
		return nil, m.failure()
	}
	if number < m.rx.base || number-m.rx.base >= uint64(m.rx.open.len()) {
		return nil, errNotOpen
	}
	t := m.rx.open.at(int(number - m.rx.base))
	if t.accepted || t.refused {
		return nil, errNotOpen
	}
	return t, nil
}

// failure is the error of a session that is not, or no longer, established.
func (m *Machine) failure() error {
	if m.err != nil {
		return m.err
	}
	return convergence.ErrClosed
}

// Accept acknowledges a transfer that is complete.
func (m *Machine) Accept(number uint64) error {
	t, err := m.find(number)
	if err != nil {
		return fmt.Errorf("accept transfer: %w", err)
	}
	if !t.complete {
		return errors.New("accept transfer: its data have not all come")
	}
	t.accepted = true
	m.settle()
	return nil
}

// Refuse refuses a transfer, complete or not. The rest of its data is dropped.
func (m *Machine) Refuse(number uint64, reason convergence.RefuseReason) error {
	if _, err := m.find(number); err != nil {
		return fmt.Errorf("refuse transfer: %w", err)
	}
	m.refuseIncoming(number, reason)
	m.settle()
	return nil
}

func (m *Machine) refuseIncoming(number uint64, reason convergence.RefuseReason) {
	rx := &m.rx
	t := rx.open.at(int(number - rx.base))
	t.refused, t.reason = true, reason
	if rx.running && number == rx.base+uint64(rx.open.len())-1 {
		rx.refused, rx.reason = true, reason
	}
}
