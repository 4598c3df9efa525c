package ltp

import "time"

// A controlKind is a kind of segment without data.
type controlKind uint8

const (
	controlReportAck         controlKind = iota // of report serial
	controlReport                               // serial, of a block of the peer
	controlCancelOut                            // of a block of ours
	controlCancelIn                             // of a block of the peer
	controlRefuse                               // a block of the peer of which nothing is held: see closedBlock
	controlCancelAckSender                      // answers a cancellation by the peer as sender
	controlCancelAckReceiver                    // as receiver
	controlClosed                               // the report of a closed block
)

// A control is a segment that waits to be sent. What it says is looked up when its
// turn comes, and it is dropped when there is nothing to say any more.
type control struct {
	kind    controlKind
	session uint64
	serial  uint64
	link    bool // with the state of the link
}

// queueControl appends to the segments that go before all data (the queue of
// internal operations traffic of RFC 5326).
func (m *Machine) queueControl(c control) bool {
	if m.control.len() >= maxControl {
		m.dropped.NoRoom++
		return false
	}
	m.control.push(c)
	return true
}

// Output appends the next datagram to b, at most MTU bytes, or nothing. It counts
// as sent from then on.
func (m *Machine) Output(b []byte, now time.Duration) []byte {
	m.advance(now)
	if m.suspended {
		return b
	}
	start := len(b)
	if b = m.appendControl(b); len(b) > start {
		return b
	}
	if m.link.silent { // nothing but questions, until one is answered
		return m.appendQuestion(b)
	}
	if b = m.appendAgain(b); len(b) > start {
		return b
	}
	return m.appendFresh(b)
}

// appendControl appends as many segments without data as a datagram holds; a peer
// that may not expect several in one gets one.
func (m *Machine) appendControl(b []byte) []byte {
	start := len(b)
	if m.link.attempt.queued {
		b = m.appendLink(b)
	}
	for m.control.len() > 0 && (len(b) == start || m.link.known) {
		before := len(b)
		c := *m.control.at(0)
		b = m.appendOne(b, c)
		if len(b)-start > m.params.MTU && before > start {
			return b[:before]
		}
		m.control.pop()
		if len(b) > before {
			m.controlSent(c)
		}
	}
	return b
}

// appendOne appends a segment without data, if it still has something to say.
func (m *Machine) appendOne(b []byte, c control) []byte {
	h := header{originator: m.params.Remote, session: c.session}
	switch c.kind {
	case controlReportAck:
		h.kind, h.originator = typeReportAck, m.params.Local
		s := reportAck{header: h, serial: c.serial}
		return s.append(b)
	case controlReport:
		if in := m.rx.blocks[c.session]; in != nil {
			if r := in.report(c.serial); r != nil {
				return r.append(b, m.params.Remote, c.session)
			}
		}
	case controlClosed:
		if record, ok := m.rx.closed.find(c.session); ok {
			return record.report().append(b, m.params.Remote, c.session)
		}
	case controlCancelOut:
		if out := m.tx.blocks[c.session]; out != nil && out.cancelled {
			h.kind, h.originator = typeCancelBySender, m.params.Local
			s := cancelSegment{header: h, reason: out.reason}
			return s.append(b)
		}
	case controlCancelIn:
		if in := m.rx.blocks[c.session]; in != nil && in.state == inCancelling {
			return appendRefusal(b, h, in.reason, in.refused)
		}
	case controlRefuse:
		if record, ok := m.rx.closed.find(c.session); ok {
			return appendRefusal(b, h, record.reason, record.refused)
		}
	case controlCancelAckSender:
		h.kind = typeCancelAckSender
		if c.link {
			h.extensions.add(tagLink, m.linkState().append(nil))
		}
		s := cancelAck{h}
		return s.append(b)
	case controlCancelAckReceiver:
		h.kind, h.originator = typeCancelAckReceiver, m.params.Local
		if m.link.known {
			h.extensions.add(tagLink, m.linkState().append(nil))
		}
		s := cancelAck{h}
		return s.append(b)
	}
	return b
}

// controlSent starts the timer of a segment that wants an answer.
func (m *Machine) controlSent(c control) {
	t := timer{session: c.session, serial: c.serial}
	switch c.kind {
	case controlReport:
		t.kind = timerReport
	case controlCancelOut:
		t.kind = timerCancelOut
	case controlCancelIn:
		t.kind = timerCancelIn
	default:
		return
	}
	if a := m.attemptOf(t); a != nil {
		m.launched(a, t)
	}
}

// HasOutput says whether Output may have something.
func (m *Machine) HasOutput() bool {
	return !m.suspended && (m.control.len() > 0 || m.link.attempt.queued || m.tx.again.len() > 0 || m.tx.fresh.len() > 0)
}
