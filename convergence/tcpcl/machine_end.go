package tcpcl

import (
	"fmt"

	"perigee/convergence"
)

func (m *Machine) onTerm(msg sessTerm) (Event, error) {
	if m.termReceived {
		return Event{}, m.reject(rejectUnexpected, typeSessTerm)
	}
	m.termReceived = true
	var err error
	switch {
	case m.termSent:
	case msg.flags&flagReply != 0:
		// A reply to what was not said: the peer believes that both sides
		// agreed to end, and gets no second answer.
		err = m.reject(rejectUnexpected, typeSessTerm)
		m.termSent = true
	default:
		m.termSent, m.termReason = true, msg.reason
		m.out = sessTerm{flags: msg.flags | flagReply, reason: msg.reason}.append(m.out)
	}
	return Event{Kind: EventEnding}, err
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

// reject answers a message that makes no sense. The session goes on, unless the
// peer has sent very many of them.
func (m *Machine) reject(reason, header uint8) error {
	m.appendReject(reason, header)
	if m.rejects++; m.rejects < maxRejects {
		return nil
	}
	m.term(TermResourceExhaustion)
	return fmt.Errorf("%w: %d messages of it made no sense", ErrProtocol, m.rejects)
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

func (m *Machine) appendReject(reason, header uint8) {
	m.out = msgReject{reason: reason, header: header}.append(m.out)
}

// Farewell is the error of a session that has ended in an orderly way: ErrClosed,
// with what the peer said when it was the one to end it.
func (m *Machine) Farewell() error {
	if m.termReason == TermUnknown {
		return convergence.ErrClosed
	}
	return fmt.Errorf("peer ended the session: %s: %w", m.termReason, convergence.ErrClosed)
}

// onReject: a segment that the peer rejects will never be acknowledged, so the
// session cannot serve it, and an end that it rejects gets no answer; other
// rejections change nothing.
func (m *Machine) onReject(msg msgReject) (Event, error) {
	switch {
	case msg.header == typeXferSegment && m.tx.open.len() > 0:
		m.term(TermUnknown)
		return Event{}, fmt.Errorf("%w: it rejected a transfer segment with reason %d", ErrProtocol, msg.reason)
	case msg.header == typeSessTerm && m.termSent && !m.termReceived:
		m.termReceived = true
		return Event{Kind: EventEnding}, nil
	}
	return Event{}, nil
}
