package ltp

import (
	"errors"
	"slices"
	"time"

	"perigee/convergence"
)

// maxDeadLinks is how many ended links of the peer are remembered, so that what was
// late does not open one anew.
const maxDeadLinks = 8

// A link is what the two ends know of each other while they serve each other.
//
// RFC 5326 has no such thing, but every engine answers a cancellation of a session
// that it does not know (section 6.17). So the state of a link travels in
// cancellations of sessions that carry no block, which are sent again until they
// are answered, and in the answers. From an engine that does not tell its own state
// the answer still shows that it is there.
type link struct {
	open bool
	ours linkState // what we say, or said last
	peer uint64    // number of the link at its other end, 0 while it is not known
	dead []uint64  // numbers of the peer's links that have ended

	known bool // the peer tells its state
	heard bool // the peer has said anything at all

	// The cancellation that tells our state.
	attempt attempt
	session uint64 // another one for each state
	told    bool   // it was answered

	since    time.Duration // when an answer was first waited for
	answered time.Duration // when an answer last came
	reached  time.Duration // when what was answered was sent, the latest
	silent   bool          // no answer came in time: nothing is sent but questions
	question timer         // a checkpoint to ask a peer that does not tell its state

	peerEnding, peerDrained bool
}

// Open opens the link from our side.
func (m *Machine) Open(now time.Duration) {
	m.advance(now)
	if !m.link.open {
		m.openLink()
	}
}

func (m *Machine) openLink() {
	l := &m.link
	m.link = link{
		open: true, dead: l.dead, answered: m.now, reached: m.now - 1,
		ours: linkState{link: l.ours.link + 1},
	}
	m.tellLink()
}

// asks says whether the peer is asked and told in cancellations.
func (m *Machine) asks() bool { return m.params.Probe >= 0 }

// tellLink sends our state, as often as it takes.
func (m *Machine) tellLink() {
	l := &m.link
	l.told, l.since = false, m.now
	l.attempt = attempt{queued: m.asks()}
	if m.asks() {
		l.session = m.tx.nextSession()
	} else {
		l.told = true
	}
}

// linkState is what we say now.
func (m *Machine) linkState() linkState {
	s := m.link.ours
	s.peer = m.link.peer
	return s
}

func (m *Machine) appendLink(b []byte) []byte {
	l := &m.link
	h := header{kind: typeCancelBySender, originator: m.params.Local, session: l.session}
	h.extensions.add(tagLink, m.linkState().append(nil))
	s := cancelSegment{header: h, reason: CancelByUser}
	l.attempt.queued = false
	l.attempt.sent = m.now
	l.attempt.tries++
	if l.open {
		m.startLinkTimer(m.now + m.askAfter())
	}
	return s.append(b)
}

// askAfter is when a question is asked again: soon while the peer is silent, so that
// little of a contact is lost once it is heard again.
func (m *Machine) askAfter() time.Duration {
	if m.link.silent {
		return m.roundTrip() + m.params.Margin/4
	}
	return m.wait(1)
}

func (m *Machine) startLinkTimer(at time.Duration) {
	m.link.attempt.deadline = at
	m.timers.push(timer{at: at, kind: timerLink})
}

// dueLink looks whether the peer is still there.
func (m *Machine) dueLink(t timer) {
	l := &m.link
	if !l.open || l.attempt.deadline != t.at {
		return
	}
	waiting := l.silent || !l.told
	if waiting && m.now-max(l.answered, l.since) >= m.params.DeadAfter+2*m.roundTrip() {
		m.failLink(ErrSilent)
		return
	}
	if m.progress(); !l.open {
		return
	}
	switch {
	case !m.asks() && !waiting: // an idle peer that is never asked
	case !waiting && m.now < l.answered+m.params.Probe:
		m.startLinkTimer(l.answered + m.params.Probe)
	case m.asks():
		if !waiting {
			l.since = m.now
		}
		l.told, l.attempt.queued = false, true
		m.chooseQuestion()
	default:
		m.chooseQuestion()
		m.startLinkTimer(m.now + m.wait(1))
	}
}

// chooseQuestion sends one of the things that wait, for a silent peer that may not
// answer cancellations.
func (m *Machine) chooseQuestion() {
	l := &m.link
	if !l.silent || l.known || l.question.session != 0 {
		return
	}
	for len(m.parked) > 0 {
		t := m.parked[0]
		m.parked = m.parked[1:]
		switch a := m.attemptOf(t); {
		case a == nil || a.deadline != t.at || a.queued: // settled
			continue
		case t.kind == timerCheckpoint:
			l.question = t
		default:
			m.repeat(t, a)
		}
		return
	}
}

// park keeps what is due until the peer is heard: its answer did not come, and no
// answer to anything that was sent later.
func (m *Machine) park(t timer) {
	m.parked = append(m.parked, t)
	if l := &m.link; !l.silent {
		if l.told {
			l.since = m.now
		}
		l.silent, l.attempt.deadline = true, m.now
		m.dueLink(timer{at: m.now, kind: timerLink})
	}
}

// answeredTo notes that the peer answered something that was sent at the given time.
func (m *Machine) answeredTo(sent time.Duration) {
	l := &m.link
	if !l.open {
		return
	}
	m.hear()
	l.answered, l.reached = m.now, max(l.reached, sent)
	if !l.silent {
		return
	}
	// What was sent before the silence may have arrived or not: ask at once.
	pending := m.parked
	if l.question.session != 0 {
		pending = append(pending, l.question)
	}
	l.silent, l.question = false, timer{}
	for len(m.timers) > 0 {
		pending = append(pending, m.timers.pop())
	}
	m.parked = nil
	for _, t := range pending {
		if t.kind > timerCancelIn {
			m.timers.push(t)
		} else if a := m.attemptOf(t); a != nil && a.deadline == t.at && !a.queued {
			m.repeat(t, a)
		}
	}
}

// hear notes that the peer said anything.
func (m *Machine) hear() {
	if l := &m.link; l.open && !l.heard {
		l.heard = true
		m.tell(Event{Kind: EventUp})
	}
}

// findLinkState takes what a segment says of the peer's end, if it does.
func (m *Machine) findLinkState(h header) {
	value, ok := h.extensions.find(tagLink)
	if !ok {
		return
	}
	if state, _, err := parseLinkState(value); err == nil {
		m.onLinkState(state)
	}
}

// onLinkState takes what the peer says of its end.
func (m *Machine) onLinkState(s linkState) {
	l := &m.link
	switch {
	case slices.Contains(l.dead, s.link):
		return
	case !l.open:
		if s.flags != 0 || s.peer == l.ours.link {
			return // about a link that has ended
		}
		m.openByPeer()
	case s.peer != 0 && s.peer != l.ours.link:
		return // the peer has not seen this link yet
	case s.flags&flagFailed != 0:
		if s.peer != 0 {
			m.failLink(ErrCut)
		}
		return
	case l.peer != 0 && l.peer != s.link:
		m.failLink(ErrRestarted)
		if s.flags != 0 {
			return
		}
		m.openByPeer()
		if s.peer != 0 {
			// It has begun anew because of ours, which stays the one that it names:
			// with yet another one both would begin anew for ever.
			l.ours.link = s.peer
		}
	}
	l.peer, l.known = s.link, true
	m.hear()
	if s.flags&flagEnding != 0 && !l.peerEnding {
		l.peerEnding = true
		m.tell(Event{Kind: EventEnding})
		m.startEnding()
	}
	l.peerDrained = l.peerDrained || s.flags&flagDrained != 0
	m.progress()
}

// openByPeer opens the link because the peer was heard.
func (m *Machine) openByPeer() {
	m.openLink()
	m.tell(Event{Kind: EventOpened})
}

// Close ends the link in an orderly way: blocks that are under way finish, none
// begins. Blocks of the peer of which nothing was read are refused.
func (m *Machine) Close(now time.Duration) {
	m.advance(now)
	if m.link.open {
		m.startEnding()
		m.refuseUnread()
		m.progress()
	}
}

func (m *Machine) startEnding() {
	if l := &m.link; l.ours.flags&flagEnding == 0 {
		l.ours.flags |= flagEnding
		m.tellLink()
	}
}

// isDrained says whether nothing is open any more, and nothing will be.
func (m *Machine) isDrained() bool {
	return m.link.ours.flags&flagEnding != 0 && len(m.tx.blocks) == 0 && len(m.rx.blocks) == 0
}

// progress ends the link when both ends are done.
func (m *Machine) progress() {
	l := &m.link
	if !l.open || !m.isDrained() {
		return
	}
	if l.ours.flags&flagDrained == 0 {
		l.ours.flags |= flagDrained
		m.tellLink()
	}
	// The peer may have gone with its last answer; then it waits for nothing.
	if (l.told || l.attempt.tries >= maxEndingTries) && (l.peerDrained || !l.known) {
		m.endLink()
	}
}

// endLink ends the link in an orderly way.
func (m *Machine) endLink() {
	m.shut()
	m.tell(Event{Kind: EventEnded, Err: convergence.ErrClosed})
}

// Fail gives the link up. The peer is told once, which may be lost.
func (m *Machine) Fail(err error, now time.Duration) {
	m.advance(now)
	if m.link.open {
		m.failLink(err)
	}
}

func (m *Machine) failLink(err error) {
	l := &m.link
	m.shut()
	l.ours.flags |= flagFailed
	if !errors.Is(err, ErrRestarted) && !errors.Is(err, ErrCut) {
		m.tellLink()
	}
	m.tell(Event{Kind: EventFailed, Err: err})
}

// shut forgets all that was open. Answers that wait still go out.
func (m *Machine) shut() {
	l := &m.link
	l.open, l.silent = false, false
	if l.peer != 0 {
		l.dead = append(l.dead, l.peer)
		l.dead = l.dead[max(0, len(l.dead)-maxDeadLinks):]
	}
	m.tx.reset()
	m.rx.reset()
	m.timers, m.parked, m.resting = m.timers[:0], nil, false
	m.restTimer()
}

// appendQuestion appends a checkpoint for a peer that does not answer otherwise.
func (m *Machine) appendQuestion(b []byte) []byte {
	t := m.link.question
	m.link.question = timer{}
	if out := m.tx.blocks[t.session]; out != nil && t.kind == timerCheckpoint {
		if c := out.checkpoint(t.serial); c != nil {
			return m.appendCheckpoint(b, out, c)
		}
	}
	return b
}
