package ltp

import (
	"time"

	"perigee/convergence"
)

// Limits on the blocks of a peer.
const (
	maxSpans  = 1 << 13         // parts of one block that are apart from each other
	maxParts  = 1 << 16         // of all blocks
	idleAfter = 5 * time.Minute // and idleTrips: the sender has given a block up
	idleTrips = 8
	greenWait = 2 * time.Second // for the rest of green data
	idleLook  = 2 * time.Second // between looks for blocks that are idle
)

// receiving is the part of a machine that takes the peer's blocks.
//
// The last reports, and cancellations, leave in the order in which the blocks were
// handed to the reader, so what a later block earns is held until every earlier
// one is decided.
type receiving struct {
	blocks   map[uint64]*inBlock
	order    queue[*inBlock] // by arrival
	ready    queue[*inBlock] // not yet handed to the reader
	told     queue[*inBlock] // handed to the reader, and not yet told to the peer
	current  *inBlock        // that the reader reads
	pool     pagePool
	parts    int             // that were received and are apart from each other
	readable uint64          // bytes that the reader could take
	waiting  queue[*inBlock] // checkpoints wait until the reader takes more
	looking  bool            // a timer to look for idle blocks runs
	closed   closedBlocks
}

func (rx *receiving) init() {
	rx.blocks = make(map[uint64]*inBlock)
	rx.closed.bySession = make(map[uint64]closedBlock)
}

// reset forgets all but the closed blocks.
func (rx *receiving) reset() {
	for _, b := range rx.blocks { // in any order: pages only go back to the pool
		b.data.drop()
	}
	clear(rx.blocks)
	rx.order, rx.ready = queue[*inBlock]{}, queue[*inBlock]{}
	rx.told, rx.waiting = queue[*inBlock]{}, queue[*inBlock]{}
	rx.current, rx.readable, rx.parts, rx.looking = nil, 0, 0, false
}

// queue appends a block to one of the queues. Those that are closed are taken out in
// time: a reader or a gap that is waited for must not keep them all.
func (rx *receiving) queue(q *queue[*inBlock], b *inBlock) {
	q.compact(len(rx.blocks), func(b *inBlock) bool { return b.state == inClosed })
	q.push(b)
}

// inState is how far a block of the peer is.
type inState uint8

const (
	inOpen       inState = iota // data come, are read, or wait for a decision
	inReported                  // the last report is on its way
	inCancelling                // so is our cancellation
	inBroken                    // the peer cancelled it; the reader has not let go of it
	inClosed
)

// An inBlock is a block of the peer: an import session.
type inBlock struct {
	session uint64
	service uint64
	state   inState
	heard   time.Duration // when data last came

	received spans
	data     pages
	redEnd   uint64 // where the red part ends, when known
	end      uint64 // where the block ends, when known
	ends     struct{ red, block bool }
	redTop   uint64 // highest offset of red data, plus 1
	greenLow uint64 // lowest offset of green data, plus 1
	complete bool
	isReady  bool // was put before the reader

	reporting
	reading

	reason  CancelReason // of our cancellation
	refused convergence.RefuseReason
	cancel  attempt
}

// onData takes a data segment.
func (m *Machine) onData(s dataSegment) {
	b := m.rx.blocks[s.session]
	if b == nil {
		if b = m.begin(s); b == nil {
			return
		}
	}
	m.hear()
	b.heard = m.now
	if s.isCheckpoint() {
		b.lastSeen = max(b.lastSeen, s.checkpoint)
	}
	if b.state != inOpen {
		if b.state == inReported && s.isCheckpoint() {
			m.reportAgain(b)
		}
		return
	}
	if b.isMiscolored(s) {
		m.abandon(b, CancelMiscolored, convergence.RefuseUnknown)
		return
	}
	if !b.fits(s) {
		m.dropped.Malformed++
		return
	}
	if b.refusedWhole {
		return
	}
	upper := s.scope().hi
	if !m.take(b, s) {
		// The block that must come to its end is reported as far as there is room:
		// its gaps are what is missing for more.
		if b != m.favoured() || len(b.received) == 0 {
			return
		}
		upper = min(upper, b.received[len(b.received)-1].hi)
	}
	m.offer(b)
	if s.isCheckpoint() {
		m.onCheckpoint(b, ask{serial: s.checkpoint, report: s.report, upper: upper})
	}
}

// begin opens a block with its first segment, unless it cannot be.
func (m *Machine) begin(s dataSegment) *inBlock {
	rx := &m.rx
	rx.closed.prune(m.now - m.roundTrip() - closedMargin)
	if record, ok := rx.closed.find(s.session); ok && record.isSame(s) {
		m.onClosed(s, record)
		return nil
	}
	if s.endsRed() && s.scope().hi == 0 || s.endsBlock() && s.scope().hi == 0 {
		m.dropped.Foreign++ // an empty block: nothing could be reported
		return nil
	}
	if !m.link.open {
		m.openByPeer()
	}
	switch {
	case m.link.ours.flags&flagEnding != 0:
		m.refuseUnopened(s, CancelBySystem, convergence.RefuseSessionTerminating)
		return nil
	case s.service != serviceBundle && s.service != serviceAggregation:
		m.refuseUnopened(s, CancelUnreachable, convergence.RefuseUnknown)
		return nil
	case len(rx.blocks) >= 2*m.params.MaxBlocks: // those that are reported linger
		m.dropped.NoRoom++
		return nil
	}
	b := &inBlock{session: s.session, service: s.service, heard: m.now}
	b.data.pool = &rx.pool
	b.serial = firstSerial + m.params.Random.Uint64N(firstSerial)
	rx.blocks[s.session] = b
	rx.queue(&rx.order, b)
	if !rx.looking {
		rx.looking = true
		m.timers.push(timer{at: m.now + idleLook, kind: timerIdle})
	}
	return b
}

// isSame says whether a segment belongs to the closed block: another session that
// happens to have the number draws other serial numbers.
func (c closedBlock) isSame(s dataSegment) bool {
	return !s.isCheckpoint() || c.checkpoint == 0 ||
		max(s.checkpoint, c.checkpoint)-min(s.checkpoint, c.checkpoint) <= serialSpread
}

// onClosed answers a segment of a closed block. Only checkpoints want an answer.
func (m *Machine) onClosed(s dataSegment, record closedBlock) {
	switch {
	case !s.isCheckpoint():
	case record.cancelled:
		m.queueControl(control{kind: controlRefuse, session: s.session})
	case record.serial != 0:
		m.queueControl(control{kind: controlClosed, session: s.session})
	}
}

// refuseUnopened refuses a block of which nothing is to be held.
func (m *Machine) refuseUnopened(s dataSegment, reason CancelReason, refused convergence.RefuseReason) {
	record := closedBlock{checkpoint: s.checkpoint, cancelled: true, reason: reason, refused: refused}
	m.rx.closed.add(s.session, record, m.now)
	m.queueControl(control{kind: controlRefuse, session: s.session})
}

// isMiscolored says whether red data come behind green, or green before red (RFC
// 5326 section 6.21).
func (b *inBlock) isMiscolored(s dataSegment) bool {
	if s.isRed() {
		return b.greenLow > 0 && s.offset >= b.greenLow
	}
	return s.offset+1 < b.redTop
}

// fits says whether a segment agrees with what is known of its block, and notes
// what it adds to that.
func (b *inBlock) fits(s dataSegment) bool {
	upper := s.scope().hi
	switch {
	case s.service != b.service,
		b.ends.block && upper > b.end,
		s.isRed() && b.ends.red && upper > b.redEnd,
		s.endsRed() && (b.ends.red && upper != b.redEnd || upper < b.redTop),
		s.endsBlock() && (b.ends.block && upper != b.end || len(b.received) > 0 && upper < b.received[len(b.received)-1].hi):
		return false
	}
	if len(s.data) > 0 {
		if s.isRed() {
			b.redTop = max(b.redTop, s.offset+1)
		} else if b.greenLow == 0 || s.offset+1 < b.greenLow {
			b.greenLow = s.offset + 1
		}
	}
	if s.endsRed() {
		b.ends.red, b.redEnd = true, upper
	}
	if s.endsBlock() {
		b.ends.block, b.end = true, upper
	}
	return true
}

// take stores the data of a segment, as far as they are new. It returns false when
// there is no room for all of them: then the segment was not received.
func (m *Machine) take(b *inBlock, s dataSegment) bool {
	part := s.scope()
	isFull := len(b.received) >= maxSpans || m.rx.parts >= maxParts && b != m.favoured()
	if part.hi > b.readAt+uint64(m.params.MaxHeld) || isFull && !b.received.covers(part) {
		m.dropped.NoRoom++
		return false
	}
	var room [4]span
	for _, p := range b.received.missing(part, room[:0]) {
		if !b.data.ensure(p, func(index uint64, size int) bool { return m.allows(b, index, size) }) {
			m.dropped.NoRoom++
			return false
		}
		b.data.write(p.lo, s.data[p.lo-part.lo:p.hi-part.lo])
	}
	m.rx.parts -= len(b.received)
	b.received.add(part)
	m.rx.parts += len(b.received)
	return true
}

// allows bounds what is held. When all of it is taken, one block must still come to
// its end: the one that the reader waits for, or else the oldest. It gets the page
// with the first byte that it misses, and the next, as a segment may lie on both, if
// the reader has taken what lies before.
func (m *Machine) allows(b *inBlock, index uint64, size int) bool {
	if m.rx.pool.held+int64(size) <= m.params.MaxHeld {
		return true
	}
	prefix := b.received.prefix()
	return b == m.favoured() && index-prefix/pageSize <= 1 && prefix-b.readAt < pageSize
}

// favoured is the block that must come to its end before others can.
func (m *Machine) favoured() *inBlock {
	if b := m.rx.current; b != nil && b.state == inOpen && !b.complete && !b.refusedWhole {
		return b
	}
	return m.oldest()
}

// oldest is the block that has been incomplete for longest.
func (m *Machine) oldest() *inBlock {
	rx := &m.rx
	for rx.order.len() > 0 {
		b := *rx.order.at(0)
		if b.state == inOpen && !b.complete && !b.refusedWhole {
			return b
		}
		rx.order.pop()
	}
	return nil
}

// offer puts a block before the reader: when it is complete, or so large that it
// must be read while it comes, or when there is no room for more. A green part may
// never come, so it is waited for.
func (m *Machine) offer(b *inBlock) {
	prefix := b.received.prefix()
	if b.ends.block && prefix == b.end {
		b.complete = true
	}
	isStream := b.service == serviceBundle && b.greenLow == 0 && (prefix >= uint64(m.params.StreamFrom) ||
		prefix > 0 && m.rx.pool.held+pageSize > m.params.MaxHeld && b == m.oldest())
	if !b.isReady && (b.complete || isStream) {
		b.isReady = true
		m.rx.queue(&m.rx.ready, b)
	}
	m.countReadable(b)
}

// countReadable keeps account of what the reader could take.
func (m *Machine) countReadable(b *inBlock) {
	m.rx.readable -= b.counted
	b.counted = 0
	if b.isReady && b.state == inOpen && !b.refusedWhole {
		b.counted = b.received.prefix() - b.readAt
	}
	m.rx.readable += b.counted
}

// patience is how long a block waits for more data.
func (b *inBlock) patience(m *Machine) time.Duration {
	if b.greenLow > 0 && (!b.ends.red || b.received.covers(span{0, b.redEnd})) {
		return greenWait
	}
	return idleAfter + idleTrips*m.roundTrip()
}

// dueIdle gives up the blocks of which nothing came for long.
func (m *Machine) dueIdle() {
	rx := &m.rx
	for n := rx.order.len(); n > 0 && rx.order.len() > 0; n-- { // the link may end meanwhile
		b := rx.order.pop()
		switch {
		case b.state != inOpen || b.complete:
		case m.now-b.heard >= b.patience(m):
			m.abandon(b, CancelBySystem, convergence.RefuseRetransmit)
		default:
			rx.queue(&rx.order, b)
		}
	}
	if rx.looking = rx.order.len() > 0; rx.looking {
		m.timers.push(timer{at: m.now + idleLook, kind: timerIdle})
	}
}

// abandon ends a block that goes no further. What was only green had no sender who
// waits.
func (m *Machine) abandon(b *inBlock, reason CancelReason, refused convergence.RefuseReason) {
	if b.redTop == 0 && !b.isReady {
		m.closeIn(b)
		return
	}
	if b.isReady && b.undecided > 0 {
		m.breakIn(b)
		m.refuseBroken(b, reason, refused)
		return
	}
	m.cancelIn(b, reason, refused)
}
