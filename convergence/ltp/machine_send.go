package ltp

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"perigee/convergence"
)

// errStopped says that the rest of a block is not wanted: its fate is known.
var errStopped = errors.New("block is not open any more")

// Client services. A block of service 2 holds several units, each behind the number
// of its own service (CCSDS 734.1, service data aggregation).
const (
	serviceBundle      = 1
	serviceAggregation = 2
)

// Numbers are drawn so that they keep their length on the wire for long, and do not
// come up again after a restart.
const (
	firstSession = 1 << 40 // to twice that
	firstSerial  = 1 << 27 // to twice that
)

// leastPages is how many pages a block that was begun may hold, whatever the window.
const leastPages = leastWindow / pageSize

// maxOpenCheckpoints bounds the checkpoints of one block that wait for a report.
const maxOpenCheckpoints = 64

// A Unit names one bundle: the session number of its block, and its place there.
type Unit struct {
	Block uint64
	Index int
}

// sending is the part of a machine that carries our blocks.
type sending struct {
	blocks  map[uint64]*outBlock
	fresh   queue[*outBlock] // have data that were never sent
	again   queue[*outBlock] // have something to send again
	pool    pagePool
	session uint64 // the last number that was used
}

func (tx *sending) init(random *rand.Rand) {
	tx.blocks = make(map[uint64]*outBlock)
	tx.session = firstSession + random.Uint64N(firstSession)
}

// nextSession is a number that was never used. Numbers only grow, so that what is
// late never meets another session.
func (tx *sending) nextSession() uint64 {
	tx.session++
	return tx.session
}

// queue appends a block to one of the queues, without those that are closed.
func (tx *sending) queue(q *queue[*outBlock], b *outBlock) {
	q.compact(len(tx.blocks), func(b *outBlock) bool { return b.cancelled && tx.blocks[b.session] != b })
	q.push(b)
}

func (tx *sending) reset() {
	for _, b := range tx.blocks { // in any order: pages only go back to the pool
		b.data.drop()
	}
	clear(tx.blocks)
	tx.fresh, tx.again = queue[*outBlock]{}, queue[*outBlock]{}
}

// An outBlock is a block of ours: an export session.
type outBlock struct {
	session uint64
	service uint64
	green   bool
	length  uint64 // of the whole block, when sealed
	sealed  bool   // nothing is added any more
	units   int
	filled  uint64 // bytes that are there
	sent    uint64 // bytes that were sent at least once
	data    pages
	claimed spans

	serial      uint64 // of the next checkpoint
	mark        uint64 // where the last checkpoint for fresh data ended
	checkpoints []checkpoint
	batches     []*batch
	inAgain     bool

	lastReport uint64   // serial number of the latest report
	reports    []uint64 // serial numbers of the last few
	cycles     int      // reports with gaps and without news, one after the other

	cancelled bool
	reason    CancelReason
	cancel    attempt
}

// A checkpoint waits for a report.
type checkpoint struct {
	attempt
	serial uint64
	report uint64 // serial number of the report that it answers, or 0
	part   span   // its data
	kind   uint8
}

// checkpoint finds an open checkpoint; the pointer holds until one is added.
func (b *outBlock) checkpoint(serial uint64) *checkpoint {
	for i := range b.checkpoints {
		if b.checkpoints[i].serial == serial {
			return &b.checkpoints[i]
		}
	}
	return nil
}

// window is how many bytes may be unclaimed: what the link carries in a round trip
// and the time that an answer is given, which a lost checkpoint costs.
func (m *Machine) window() int64 {
	if m.params.Rate == 0 {
		return min(m.params.MaxUnclaimed, unpacedWindow)
	}
	seconds := (m.roundTrip() + 2*m.params.Margin).Seconds()
	return max(leastWindow, min(m.params.MaxUnclaimed, int64(float64(m.params.Rate)/8*seconds)))
}

// HasRoom says whether a page of n bytes may be sent now.
func (m *Machine) HasRoom(n int) bool {
	held := m.tx.pool.held
	return held == 0 || held+int64(pageClasses[pageClass(n)]) <= m.window()
}

// HasRoomForBlock says whether a new block may begin with a page of n bytes.
func (m *Machine) HasRoomForBlock(n int) bool {
	return len(m.tx.blocks) < m.params.MaxBlocks && m.HasRoom(n)
}

// HasRoomIn says whether the next page of n bytes of a block may be sent now. A block
// that was begun always goes on with a few pages: the peer may be reading it, and
// claim no other before it has come to its end.
func (m *Machine) HasRoomIn(block uint64, n int) bool {
	b := m.tx.blocks[block]
	return b == nil || b.cancelled || b.data.lent < leastPages || m.HasRoom(n)
}

// Page lends a buffer of n bytes, at most 64 KiB, for Begin and Continue, which take
// it back; otherwise Return does.
func (m *Machine) Page(n int) []byte {
	b := m.tx.pool.get(n)
	m.tx.pool.held -= int64(cap(b)) // counted when it becomes a part of a block
	return b
}

// Return takes back a page that was not used.
func (m *Machine) Return(page []byte) {
	m.tx.pool.held += int64(cap(page))
	m.tx.pool.put(page)
}

// CanBegin says why no bundle of that many bytes can be sent.
func (m *Machine) CanBegin(length uint64) error {
	switch {
	case !m.link.open || m.link.ours.flags != 0:
		return convergence.ErrClosed
	case m.suspended:
		return convergence.ErrSuspended
	case length > maxBlockLength-1:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, length, uint64(maxBlockLength-1))
	}
	return nil
}

// ErrTooLarge is returned when no block holds the bundle, or, when it is sent
// unreliably, the sender does not.
var ErrTooLarge = errors.New("bundle is too large")

// Begin sends a bundle of length bytes, of which page holds the first 64 KiB, or
// all. The rest follows by Continue, before another one begins. Green ones are sent
// once and may be lost; nothing is heard of them.
func (m *Machine) Begin(length uint64, page []byte, green bool) (Unit, error) {
	if err := m.CanBegin(length); err != nil {
		m.Return(page)
		return Unit{}, err
	}
	if !green && m.fitsAggregate(length, page) {
		return m.aggregate(page), nil
	}
	b := &outBlock{session: m.tx.nextSession(), service: serviceBundle, green: green, length: length, units: 1}
	b.data.pool = &m.tx.pool
	b.serial = firstSerial + m.params.Random.Uint64N(firstSerial)
	m.tx.blocks[b.session] = b
	if length == 0 { // RFC 5326 cannot report on nothing: the unit's front is something
		m.Return(page)
		page = append(m.Page(1)[:0], serviceBundle)
		b.service, b.length = serviceAggregation, 1
	}
	b.sealed = true
	m.tx.queue(&m.tx.fresh, b)
	return Unit{Block: b.session}, m.Continue(b.session, page)
}

// Continue adds the next page of a block: 64 KiB, or what is left of it. It fails
// when the block was cancelled meanwhile.
func (m *Machine) Continue(block uint64, page []byte) error {
	b := m.tx.blocks[block]
	if b == nil || b.cancelled {
		m.Return(page)
		return errStopped
	}
	if n := uint64(len(page)); n > b.length-b.filled || n != pageSize && n != b.length-b.filled {
		m.Return(page)
		return fmt.Errorf("send page: %d bytes do not fit their block", n)
	}
	m.tx.pool.held += int64(cap(page))
	b.data.push(page)
	b.filled += uint64(len(page))
	return nil
}

// fitsAggregate says whether a bundle may share a block: it must be small, and tell
// by itself where it ends.
func (m *Machine) fitsAggregate(length uint64, page []byte) bool {
	return m.link.known && length == uint64(len(page)) && length < uint64(m.params.Aggregate) && beginsBundle(page)
}

// aggregate adds a unit to the block that waits to be sent, or to a new one. A block
// takes units for as long as other data are before it: an idle link sends at once.
func (m *Machine) aggregate(page []byte) Unit {
	defer m.Return(page)
	need := 1 + uint64(len(page))
	var b *outBlock
	if n := m.tx.fresh.len(); n > 0 {
		b = *m.tx.fresh.at(n - 1)
	}
	if b == nil || b.sealed || b.filled+need > uint64(m.params.Aggregate) {
		b = &outBlock{session: m.tx.nextSession(), service: serviceAggregation}
		b.data.pool = &m.tx.pool
		b.serial = firstSerial + m.params.Random.Uint64N(firstSerial)
		m.tx.blocks[b.session] = b
		m.tx.queue(&m.tx.fresh, b)
	}
	b.data.ensure(span{b.filled, b.filled + need}, func(uint64, int) bool { return true })
	b.data.write(b.filled, []byte{serviceBundle})
	b.data.write(b.filled+1, page)
	b.filled += need
	b.units++
	return Unit{Block: b.session, Index: b.units - 1}
}

// Cancel gives a block of ours up; no event tells of it.
func (m *Machine) Cancel(block uint64) {
	if b := m.tx.blocks[block]; b != nil && !b.cancelled {
		m.giveUp(b, CancelByUser)
	}
}

// cancelOut gives a block up and tells the caller.
func (m *Machine) cancelOut(b *outBlock, reason CancelReason, err error) {
	m.tell(Event{Kind: EventCancelled, Block: b.session, Err: err})
	m.giveUp(b, reason)
}

// giveUp frees what a block holds and tells the peer, unless nothing of it was sent
// (RFC 5326 section 4.2).
func (m *Machine) giveUp(b *outBlock, reason CancelReason) {
	b.data.drop()
	b.checkpoints, b.batches, b.claimed = nil, nil, nil
	b.cancelled, b.reason = true, reason
	if b.sent == 0 || b.green {
		m.closeOut(b)
		return
	}
	m.queueControl(control{kind: controlCancelOut, session: b.session})
}

// closeOut forgets a block.
func (m *Machine) closeOut(b *outBlock) {
	b.data.drop()
	b.cancelled = true // wherever it is still queued
	delete(m.tx.blocks, b.session)
	m.restTimer()
	m.progress()
}

// restTimer lets memory be given back when nothing is open for a while.
func (m *Machine) restTimer() {
	if len(m.tx.blocks) == 0 && len(m.rx.blocks) == 0 && !m.resting {
		m.resting = true
		m.timers.push(timer{at: m.now + trimAfter, kind: timerTrim})
	}
}

// onCancelByReceiver: the peer does not want a block (RFC 5326 section 6.17).
func (m *Machine) onCancelByReceiver(s cancelSegment) {
	m.queueControl(control{kind: controlCancelAckReceiver, session: s.session})
	b := m.tx.blocks[s.session]
	if b == nil {
		return
	}
	m.hear()
	if !b.cancelled {
		reason := refuseReason(s.reason)
		switch all := s.extensions.refusals(); {
		case b.units > 1: // it says nothing about any one of them
			reason = convergence.RefuseRetransmit
		case len(all) > 0:
			reason = all[0].reason
		}
		m.tell(Event{Kind: EventCancelled, Block: b.session, Err: &convergence.RefusedError{Reason: reason}})
	}
	m.closeOut(b)
}

// onCancelAckSender: the peer knows that a block, or the state of the link, is
// cancelled (RFC 5326 section 6.18).
func (m *Machine) onCancelAckSender(s cancelAck) {
	m.findLinkState(s.header)
	l := &m.link
	if b := m.tx.blocks[s.session]; b != nil && b.cancelled {
		m.answeredTo(b.cancel.sent)
		m.closeOut(b)
		return
	}
	if l.open && s.session == l.session {
		if !l.told {
			l.told = true
			m.startLinkTimer(m.now + max(m.params.Probe, 0))
		}
		m.answeredTo(l.attempt.sent)
		m.progress()
	}
}
