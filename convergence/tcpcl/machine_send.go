package tcpcl

import (
	"errors"
	"fmt"
	"math"

	"perigee/convergence"
)

// errStopped says that the peer refused the running transfer: no segment of it
// may follow.
var errStopped = errors.New("peer refused the running transfer")

// sending is the part of a machine that carries our transfers.
type sending struct {
	open     ring[outgoingTransfer] // by ID; resolved ones wait for those before
	base     uint64                 // ID of the first open transfer
	running  bool                   // the last of open has segments to come
	unacked  uint64                 // bytes sent and neither acknowledged nor refused
	segments int                    // the same in segments
}

// unanswered says whether something was sent of which the peer has not said all.
func (tx *sending) unanswered() bool {
	n := tx.open.len()
	if n != 1 || !tx.running {
		return n > 0
	}
	t := tx.open.at(0)
	return t.sent > t.acked
}

type outgoingTransfer struct {
	length   uint64
	sent     uint64
	acked    uint64
	segments int // unacknowledged
	resolved bool
}

// CanBegin says why a transfer of length bytes cannot begin.
func (m *Machine) CanBegin(length uint64) error {
	switch {
	case m.state != stateEstablished:
		return m.failure()
	case m.Ending():
		return convergence.ErrClosed
	case m.tx.running:
		return errors.New("begin transfer: another one runs")
	case length > m.transferMTU:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, length, m.transferMTU)
	}
	return nil
}

// Begin opens a transfer of length bytes and returns its ID. Its first segment
// must follow before anything else is asked of the machine, the others before
// the next transfer begins.
func (m *Machine) Begin(length uint64) (uint64, error) {
	if err := m.CanBegin(length); err != nil {
		return 0, err
	}
	tx := &m.tx
	id := tx.base + uint64(tx.open.len())
	if id == math.MaxUint64 { // RFC 9174 section 5.2.1
		m.term(TermResourceExhaustion)
		return 0, convergence.ErrClosed
	}
	tx.open.push(outgoingTransfer{length: length})
	tx.running = true
	return id, nil
}

// SegmentSize is the length of the next segment when at most limit bytes are
// wanted: no more than the peer takes.
func (m *Machine) SegmentSize(limit int) int {
	return int(min(uint64(limit), m.segmentMTU))
}

// Segment appends the next segment of the running transfer to the output. It
// begins the transfer when it is the first and ends it when length is reached.
// It fails with errStopped once the peer has refused the transfer.
func (m *Machine) Segment(data []byte) error {
	tx := &m.tx
	if m.state != stateEstablished {
		return m.failure()
	}
	if !tx.running {
		return errStopped
	}
	t := tx.open.at(tx.open.len() - 1)
	n := uint64(len(data))
	if n > t.length-t.sent || n > m.segmentMTU || n == 0 && t.length > 0 {
		return fmt.Errorf("send segment: %d bytes do not fit its transfer or the peer", n)
	}
	msg := xferSegment{
		id:         tx.base + uint64(tx.open.len()) - 1,
		dataLength: n,
	}
	if t.sent == 0 {
		msg.flags |= flagStart
	}
	if t.sent += n; t.sent == t.length {
		msg.flags |= flagEnd
		tx.running = false
	}
	if msg.flags == flagStart { // several segments: the peer may want the length
		var list [4 + extensionItemFixed + 8]byte
		msg.extensions = appendTransferLength(list[:0], t.length)[4:]
	}
	m.out = append(msg.append(m.out), data...)
	m.times.segments = true
	t.segments++
	tx.segments++
	tx.unacked += n
	return nil
}

// Unacked is what waits for the peer: transfers, segments and bytes.
func (m *Machine) Unacked() (transfers, segments int, bytes uint64) {
	return m.tx.open.len(), m.tx.segments, m.tx.unacked
}

func (m *Machine) onAck(msg xferAck) (Event, error) {
	tx := &m.tx
	t, known := m.outgoing(msg.id)
	switch {
	case !known || t != nil && msg.total > t.sent:
		return Event{}, m.reject(rejectUnexpected, typeXferAck)
	case t == nil || msg.total < t.acked:
		return Event{}, nil
	}
	if msg.total > t.acked {
		m.times.waiting = m.times.heard
	}
	tx.unacked -= msg.total - t.acked
	t.acked = msg.total
	if t.segments > 0 {
		t.segments--
		tx.segments--
	}
	if t.acked < t.length || m.runs(msg.id) {
		return Event{}, nil
	}
	m.resolve(t)
	return Event{Kind: EventDelivered, Transfer: msg.id}, nil
}

func (m *Machine) onRefuse(msg xferRefuse) (Event, error) {
	t, known := m.outgoing(msg.id)
	if !known {
		return Event{}, m.reject(rejectUnexpected, typeXferRefuse)
	}
	if t == nil { // refused again for a segment that was on its way
		return Event{}, nil
	}
	m.times.waiting = m.times.heard
	if m.runs(msg.id) {
		m.tx.running = false
	}
	m.resolve(t)
	return Event{Kind: EventRefused, Transfer: msg.id, Reason: msg.reason}, nil
}

// runs says whether segments of the transfer are still to come.
func (m *Machine) runs(id uint64) bool {
	return m.tx.running && id == m.tx.base+uint64(m.tx.open.len())-1
}

// outgoing finds one of our transfers. It is nil when it is resolved, and not
// known when there never was one.
func (m *Machine) outgoing(id uint64) (t *outgoingTransfer, known bool) {
	tx := &m.tx
	if id < tx.base {
		return nil, true
	}
	if id-tx.base >= uint64(tx.open.len()) {
		return nil, false
	}
	if t = tx.open.at(int(id - tx.base)); t.resolved {
		return nil, true
	}
	return t, true
}

func (m *Machine) resolve(t *outgoingTransfer) {
	tx := &m.tx
	t.resolved = true
	tx.segments -= t.segments
	tx.unacked -= t.sent - t.acked
	for tx.open.len() > 0 && tx.open.at(0).resolved {
		tx.open.pop()
		tx.base++
	}
}
