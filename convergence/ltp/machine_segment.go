package ltp

import "slices"

// A batch is data that are sent again because a report missed them. They count as
// under way until a report answers the checkpoint at their end.
type batch struct {
	report     uint64 // serial number of that report
	parts      []span
	next       int    // index of the part that comes next
	copies     int    // times to go through all parts
	checkpoint uint64 // serial number, 0 while none was sent
}

// sendAgain queues a block that has something to send again.
func (m *Machine) sendAgain(b *outBlock) {
	if !b.inAgain {
		b.inAgain = true
		m.tx.queue(&m.tx.again, b)
	}
}

// appendAgain appends a datagram with something that was sent before.
func (m *Machine) appendAgain(b []byte) []byte {
	start := len(b)
	for m.tx.again.len() > 0 {
		out := *m.tx.again.at(0)
		if !out.cancelled {
			if b = m.appendBlockAgain(b, out); len(b) > start {
				return b
			}
		}
		out.inAgain = false
		m.tx.again.pop()
		if !out.cancelled {
			m.keepAsking(out) // what was left of a batch may have been claimed meanwhile
		}
	}
	return b
}

func (m *Machine) appendBlockAgain(b []byte, out *outBlock) []byte {
	for i := range out.checkpoints {
		if c := &out.checkpoints[i]; c.queued {
			return m.appendCheckpoint(b, out, c)
		}
	}
	for _, again := range out.batches {
		if part, last, ok := out.nextPart(again); ok {
			return m.appendPart(b, out, again, part, last)
		}
	}
	return b
}

// nextPart is what of a batch comes next and is still needed. Last says that
// nothing follows.
func (out *outBlock) nextPart(again *batch) (part span, last, ok bool) {
	for again.next < len(again.parts) {
		var room [4]span
		missing := out.claimed.missing(again.parts[again.next], room[:0])
		if len(missing) == 0 {
			again.next++
			continue
		}
		last = len(missing) == 1
		for i := again.next + 1; i < len(again.parts) && last; i++ {
			last = out.claimed.covers(again.parts[i])
		}
		return missing[0], last, true
	}
	return span{}, false, false
}

// appendPart appends a segment of a batch. The last one is a checkpoint; so is the
// end of the block, wherever it comes (RFC 5326 section 6.13).
func (m *Machine) appendPart(b []byte, out *outBlock, again *batch, part span, last bool) []byte {
	s := m.dataSegment(out, part.lo)
	n := min(part.length(), uint64(s.room(m.params.MTU)))
	closing := last && n == part.length()
	end := part.lo+n == out.length
	if closing && again.copies == 1 || end {
		s.kind, s.checkpoint, s.report = typeRedCheckpoint, out.serial, again.report
		switch room := uint64(s.room(m.params.MTU)); {
		case n > room: // its serial numbers leave no room for the end
			n, closing, s.kind = room, false, typeRed
		case end:
			s.kind = typeRedBlockEnd
		}
	}
	again.consume(part.lo + n)
	if closing {
		if again.copies--; again.copies > 0 {
			again.next = 0
		}
	}
	if s.isCheckpoint() {
		again.checkpoint = s.checkpoint
	}
	return m.appendSegment(b, out, s, span{part.lo, part.lo + n})
}

// consume moves a batch on to what lies behind an offset of the part that is next.
func (again *batch) consume(at uint64) {
	if p := again.parts[again.next]; at < p.hi {
		again.parts = slices.Insert(again.parts, again.next+1, span{at, p.hi})
		again.parts[again.next].hi = at
	}
	again.next++
}

// appendCheckpoint appends a checkpoint that was sent before, with the same serial
// number (RFC 5326 section 6.7).
func (m *Machine) appendCheckpoint(b []byte, out *outBlock, c *checkpoint) []byte {
	s := m.dataSegment(out, c.part.lo)
	s.kind, s.checkpoint, s.report = c.kind, c.serial, c.report
	b = s.appendFront(b, int(c.part.length()))
	b = out.data.append(b, c.part)
	m.launched(&c.attempt, timer{kind: timerCheckpoint, session: out.session, serial: c.serial})
	return b
}

// appendFresh appends a datagram with data that were never sent.
func (m *Machine) appendFresh(b []byte) []byte {
	start := len(b)
	for m.tx.fresh.len() > 0 {
		out := *m.tx.fresh.at(0)
		if !out.cancelled {
			if !out.sealed { // an aggregate, whose turn has come
				out.sealed, out.length = true, out.filled
			}
			if b = m.appendNext(b, out); len(b) == start {
				return b // it waits for its next page
			}
			if out.sent < out.length {
				return b
			}
		}
		m.tx.fresh.pop()
		if len(b) > start {
			if out.green {
				m.closeOut(out)
			}
			return b
		}
	}
	return b
}

// appendNext appends the next segment of a block, unless more data are needed to
// fill it.
func (m *Machine) appendNext(b []byte, out *outBlock) []byte {
	s := m.dataSegment(out, out.sent)
	there := out.filled - out.sent
	n := min(there, uint64(s.room(m.params.MTU)))
	end := out.sent+n == out.length
	if n == there && !end {
		return b
	}
	switch {
	case out.green && end:
		s.kind = typeGreenBlockEnd
	case out.green:
		s.kind = typeGreen
	case end || out.sent+n-out.mark >= m.interval() && len(out.checkpoints) < maxOpenCheckpoints/2:
		s.kind, s.checkpoint = typeRedCheckpoint, out.serial
		if room := uint64(s.room(m.params.MTU)); n > room {
			n, end = room, false
		}
		if end {
			s.kind = typeRedBlockEnd
		}
	}
	part := span{out.sent, out.sent + n}
	out.sent += n
	if s.isCheckpoint() {
		out.mark = out.sent
	}
	b = m.appendSegment(b, out, s, part)
	if out.green {
		out.data.release(part)
	}
	return b
}

// interval is how far checkpoints in the middle of a block are apart, in bytes.
func (m *Machine) interval() uint64 {
	return uint64(max(leastInterval, m.window()/8))
}

// dataSegment is a segment of a block but for its data.
func (m *Machine) dataSegment(out *outBlock, at uint64) dataSegment {
	return dataSegment{
		header:  header{originator: m.params.Local, session: out.session},
		service: out.service, offset: at,
	}
}

// appendSegment appends a segment with a part of the block, and opens its
// checkpoint.
func (m *Machine) appendSegment(b []byte, out *outBlock, s dataSegment, part span) []byte {
	b = s.appendFront(b, int(part.length()))
	b = out.data.append(b, part)
	if s.isCheckpoint() {
		out.serial++
		out.checkpoints = append(out.checkpoints, checkpoint{serial: s.checkpoint, report: s.report, part: part, kind: s.kind})
		c := &out.checkpoints[len(out.checkpoints)-1]
		m.launched(&c.attempt, timer{kind: timerCheckpoint, session: out.session, serial: c.serial})
	}
	return b
}
