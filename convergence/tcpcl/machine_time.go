package tcpcl

import "time"

// times is what a machine knows about time.
type times struct {
	listening bool
	heard     time.Duration // when bytes came, or listening began
	sent      time.Duration // when output last left
	writing   bool          // output was taken, and not all of it has left

	partial bool          // a message has come in part
	owed    bool          // the peer was seen to have begun something that it must go on with
	since   time.Duration // when the present span of watching began
	bytes   uint64        // what was used in it

	segments bool          // segments have not left yet
	waiting  time.Duration // when the last segment left, or an answer came
}

// owes says whether the peer has begun something that it must go on with.
func (m *Machine) owes() bool { return m.times.partial || m.rx.expects() }

// watch begins a span of watching when the peer has come to owe something. Bytes
// that have just been used do not count for it.
func (m *Machine) watch(used int, now time.Duration) {
	t := &m.times
	t.bytes += uint64(used)
	owed := m.owes()
	if owed && !t.owed {
		t.since, t.bytes = now, 0
	}
	t.owed = owed
}

// Sent says that bytes have just left, and whether all did that were taken.
func (m *Machine) Sent(now time.Duration, all bool) {
	t := &m.times
	t.sent = now
	t.writing = !all
	if all && t.segments {
		t.segments, t.waiting = false, now
	}
}

// Listening says whether the caller waits for input. While it does not, silence
// of the peer proves nothing and no limit on its time runs.
func (m *Machine) Listening(on bool, now time.Duration) {
	t := &m.times
	if on && !t.listening {
		t.heard, t.waiting = now, now
		t.since, t.bytes = now, 0
	}
	t.listening = on
}

// Keepalive is the negotiated interval, 0 when there is none.
func (m *Machine) Keepalive() time.Duration { return m.keepalive }

// Heard is when input last came, or listening last began.
func (m *Machine) Heard() time.Duration { return m.times.heard }

// Tick does what is due: a keepalive when nothing was sent for an interval, and
// the end of the session when nothing was heard for two, when the peer goes on
// too slowly with what it began, or when it acknowledges nothing.
func (m *Machine) Tick(now time.Duration) {
	if m.state != stateEstablished {
		return
	}
	t := &m.times
	if at, ok := m.idleAt(); ok && now >= at {
		m.expire(TermIdleTimeout, ErrIdleTimeout)
		return
	}
	m.watch(0, now)
	if at, ok := m.progressAt(); ok && now >= at {
		if t.bytes < m.params.MinProgress {
			m.expire(TermResourceExhaustion, ErrTooSlow)
			return
		}
		t.since, t.bytes = now, 0
	}
	if at, ok := m.answerAt(); ok && now >= at {
		m.expire(TermResourceExhaustion, ErrNotAcknowledged)
		return
	}
	if m.keepalive > 0 && now-t.sent >= m.keepalive && len(m.out) == 0 {
		m.out = keepalive{}.append(m.out)
	}
}

func (m *Machine) expire(reason TermReason, err error) {
	m.term(reason)
	m.fail(err)
}

// idleAt is when the peer has been silent for too long.
func (m *Machine) idleAt() (time.Duration, bool) {
	return m.times.heard + 2*m.keepalive, m.times.listening && m.keepalive > 0
}

// progressAt is when the peer must have gone on with what it began.
func (m *Machine) progressAt() (time.Duration, bool) {
	t := &m.times
	return t.since + m.params.ProgressTime, t.listening && m.owes() && m.params.ProgressTime > 0
}

// answerAt is when the peer must have acknowledged something. It has time while
// there is something to write: then it is the transport that holds us up.
func (m *Machine) answerAt() (time.Duration, bool) {
	t := &m.times
	all := m.tx.unanswered() && len(m.out) == 0 && !t.writing
	return t.waiting + m.params.AckTimeout, t.listening && all && m.params.AckTimeout > 0
}

// NextTick is when Tick next has something to do; ok is false when only input or
// output can change that.
func (m *Machine) NextTick() (at time.Duration, ok bool) {
	if m.state != stateEstablished {
		return 0, false
	}
	earliest := func(t time.Duration, holds bool) {
		if holds && (!ok || t < at) {
			at, ok = t, true
		}
	}
	earliest(m.times.sent+m.keepalive, m.keepalive > 0)
	earliest(m.idleAt())
	earliest(m.progressAt())
	earliest(m.answerAt())
	return at, ok
}
