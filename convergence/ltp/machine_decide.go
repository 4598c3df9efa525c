package ltp

import (
	"perigee/convergence"
)

// onCancelBySender: the peer gives a block up, or tells the state of its link (RFC
// 5326 section 6.17).
func (m *Machine) onCancelBySender(s cancelSegment) {
	_, hasState := s.extensions.find(tagLink)
	m.queueControl(control{kind: controlCancelAckSender, session: s.session, link: hasState})
	m.findLinkState(s.header)
	if b := m.rx.blocks[s.session]; b != nil {
		m.hear()
		m.breakIn(b)
	} else if !hasState && m.link.open {
		m.hear()
	}
}

// onCancelAckReceiver: the peer knows that we cancelled its block (section 6.18).
func (m *Machine) onCancelAckReceiver(s cancelAck) {
	m.findLinkState(s.header)
	if b := m.rx.blocks[s.session]; b != nil && b.state == inCancelling {
		m.answeredTo(b.cancel.sent)
		m.closeIn(b)
	}
}

// settle tells the peer of the blocks whose turn has come.
func (m *Machine) settle() {
	rx := &m.rx
	for rx.told.len() > 0 {
		b := *rx.told.at(0)
		if b.state == inOpen && !b.refusedWhole && (!b.isRead() || b.undecided > 0) {
			break
		}
		rx.told.pop() // first, as the link may end with what follows
		switch {
		case b.state != inOpen:
		case b.refusedWhole:
			m.cancelIn(b, b.reason, b.refused)
		default:
			m.reportWhole(b)
		}
	}
	m.progress()
}

// cancelIn gives a block of the peer up and tells it so.
func (m *Machine) cancelIn(b *inBlock, reason CancelReason, refused convergence.RefuseReason) {
	m.freeIn(b)
	b.state, b.reason, b.refused = inCancelling, reason, refused
	m.queueControl(control{kind: controlCancelIn, session: b.session})
}

// breakIn ends a block that the peer cancelled. It stays for as long as the reader
// has a bundle of it in hand.
func (m *Machine) breakIn(b *inBlock) {
	m.freeIn(b)
	if b.undecided > 0 && b.state == inOpen {
		b.state = inBroken
	} else if b.state != inBroken {
		m.closeIn(b)
	}
	m.settle()
}

// freeIn gives back what a block holds.
func (m *Machine) freeIn(b *inBlock) {
	m.rx.readable -= b.counted
	m.rx.parts -= len(b.received)
	b.counted, b.received = 0, nil
	b.data.drop()
	b.asks, b.reports = nil, nil
}

// closeIn forgets a block, but for what late segments need.
func (m *Machine) closeIn(b *inBlock) {
	record := closedBlock{
		checkpoint: b.lastSeen, cancelled: b.state != inReported, reason: b.reason, refused: b.refused,
	}
	if b.state == inReported {
		record.serial, record.answers, record.end, record.refusals = b.last.serial, b.last.checkpoint, b.last.scope.hi, b.last.refusals
	}
	m.freeIn(b)
	b.state = inClosed
	delete(m.rx.blocks, b.session)
	m.rx.closed.add(b.session, record, m.now)
	m.restTimer()
	m.progress()
}

// refuseBroken has a block refused that only stays for its reader.
func (m *Machine) refuseBroken(b *inBlock, reason CancelReason, refused convergence.RefuseReason) {
	b.reason, b.refused = reason, refused // for when the reader lets go of it
	m.rx.closed.add(b.session, closedBlock{checkpoint: b.lastSeen, cancelled: true, reason: reason, refused: refused}, m.now)
	m.queueControl(control{kind: controlRefuse, session: b.session})
}

// refuseUnread refuses what the reader has not begun to read, when the link ends.
func (m *Machine) refuseUnread() {
	rx := &m.rx
	for i := range rx.order.len() {
		if b := *rx.order.at(i); b.state == inOpen && b.unit == 0 && !b.complete {
			m.cancelIn(b, CancelBySystem, convergence.RefuseSessionTerminating)
		}
	}
	for rx.ready.len() > 0 {
		if b := rx.ready.pop(); b.state == inOpen {
			m.cancelIn(b, CancelBySystem, convergence.RefuseSessionTerminating)
		}
	}
}

// appendRefusal appends a cancellation by the receiver, with the reason as RFC 9174
// has it beside that of RFC 5326.
func appendRefusal(b []byte, h header, reason CancelReason, refused convergence.RefuseReason) []byte {
	h.kind = typeCancelByReceiver
	if refused != convergence.RefuseUnknown {
		h.extensions.addRefusals([]refusal{{reason: refused}})
	}
	s := cancelSegment{header: h, reason: reason}
	return s.append(b)
}
