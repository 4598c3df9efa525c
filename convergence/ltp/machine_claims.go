package ltp

import (
	"fmt"
	"slices"

	"perigee/convergence"
)

// Limits on what reports do to a block of ours.
const (
	maxReportsKept = 64  // serial numbers of reports that are known to be repeated
	maxBatches     = 64  // batches of data that are under way again
	leastClaim     = 128 // bytes of a claim on average, as segments are no smaller
	maxCycles      = 64  // reports with gaps, one after the other, that claim nothing new
)

// onReport releases what a report claims and sends again what it misses (RFC 5326
// section 6.13).
func (m *Machine) onReport(s reportSegment) {
	out := m.tx.blocks[s.session]
	if out != nil && (out.green || s.upper > out.sent) {
		m.dropped.Foreign++ // it reports on what was never sent
		return
	}
	if !m.queueControl(control{kind: controlReportAck, session: s.session, serial: s.serial}) || out == nil {
		return
	}
	m.hear()
	if out.cancelled || slices.Contains(out.reports, s.serial) {
		return
	}
	if out.isForgotten(s, m) {
		m.cancelOut(out, CancelBySystem, fmt.Errorf("%w: report %d about %d bytes", ErrForgotten, s.serial, s.upper))
		return
	}
	out.noteReport(s.serial)
	answers := m.link.reached
	if c := out.checkpoint(s.checkpoint); c != nil {
		answers = c.sent
		if c.again { // no copy of it was sent
			m.answers.note(m.now - c.sent)
		}
	}
	news := out.claim(s.claims)
	if uint64(len(out.claimed)) > out.sent/leastClaim+maxReportsKept {
		m.cancelOut(out, CancelBySystem, fmt.Errorf("%w: its receiver claims %d parts of %d bytes", ErrCancelled, len(out.claimed), out.sent))
		return
	}
	out.settleCheckpoints(s)
	m.answeredTo(answers)
	if out.claimed.covers(span{0, out.length}) && out.sealed {
		m.tell(Event{Kind: EventDelivered, Block: out.session, Refused: refusedUnits(s.extensions.refusals())})
		m.closeOut(out)
		return
	}
	m.fillGaps(out, s, news)
}

func refusedUnits(all []refusal) map[int]convergence.RefuseReason {
	if len(all) == 0 {
		return nil
	}
	units := make(map[int]convergence.RefuseReason, len(all))
	for _, f := range all {
		units[int(min(f.unit, 1<<30))] = f.reason
	}
	return units
}

// isForgotten says whether a report cannot come from the receiver that reported
// before. Claims bind (RFC 5326 section 6.22), so what was claimed has been
// released here; a receiver that starts anew will never have it, and must not
// complete a block with what another one claimed. A new receiver draws another
// serial number, and a later report of the same one claims all that is in its scope.
func (b *outBlock) isForgotten(s reportSegment, m *Machine) bool {
	switch {
	case b.lastReport == 0:
		return false
	case s.serial < b.lastReport:
		return b.lastReport-s.serial > serialSpread
	case s.serial-b.lastReport > serialSpread:
		return true
	}
	m.gaps = b.claimed.overlap(s.scope(), m.gaps[:0])
	for _, had := range m.gaps {
		if !spans(s.claims).covers(had) {
			return true
		}
	}
	return false
}

func (b *outBlock) noteReport(serial uint64) {
	b.lastReport = max(b.lastReport, serial)
	if len(b.reports) == maxReportsKept {
		b.reports = slices.Delete(b.reports, 0, 1)
	}
	b.reports = append(b.reports, serial)
}

// claim releases what is claimed, and says whether any of it is news.
func (b *outBlock) claim(claims []span) (news bool) {
	var room [4]span
	for _, c := range claims {
		fresh := b.claimed.missing(c, room[:0])
		for _, f := range fresh {
			b.data.release(f)
			news = true
		}
		if len(fresh) > 0 {
			b.claimed.add(c)
		}
	}
	return news
}

// settleCheckpoints takes out the checkpoints that a report answers: the one that it
// names, those before it within its scope, and those that are claimed themselves.
// Batches go with their checkpoints.
func (b *outBlock) settleCheckpoints(s reportSegment) {
	var room [1]span
	b.checkpoints = slices.DeleteFunc(b.checkpoints, func(c checkpoint) bool {
		if c.serial != s.checkpoint && (c.serial >= s.checkpoint || !c.part.within(s.scope())) &&
			len(b.claimed.overlap(c.part, room[:0])) == 0 {
			return false
		}
		b.batches = slices.DeleteFunc(b.batches, func(again *batch) bool { return again.checkpoint == c.serial })
		return true
	})
}

// fillGaps sends again what a report misses and what is not under way already.
func (m *Machine) fillGaps(out *outBlock, s reportSegment, news bool) {
	var underWay spans
	for _, again := range out.batches {
		for _, p := range again.parts {
			underWay.add(p)
		}
	}
	m.gaps = out.claimed.missing(s.scope(), m.gaps[:0])
	var parts []span
	for _, gap := range m.gaps {
		parts = underWay.missing(gap, parts)
	}
	out.cycles++
	switch {
	case news || len(m.gaps) == 0:
		out.cycles = 0
	case out.cycles > maxCycles:
		m.cancelOut(out, CancelCycles, fmt.Errorf("%w: %d reports claim nothing new", ErrCancelled, out.cycles))
		return
	}
	if len(parts) > 0 && len(out.batches) < maxBatches {
		m.addBatch(out, s.serial, parts)
	}
	m.keepAsking(out)
}

func (m *Machine) addBatch(out *outBlock, report uint64, parts []span) {
	copies := 1
	if m.isFar() {
		copies = 2
	}
	out.batches = append(out.batches, &batch{report: report, parts: parts, copies: copies})
	m.sendAgain(out)
}

// keepAsking sees to it that a checkpoint of a block is open, or to come, for as long
// as not all of it is claimed.
func (m *Machine) keepAsking(out *outBlock) {
	out.batches = slices.DeleteFunc(out.batches, func(again *batch) bool {
		return again.next == len(again.parts) && out.checkpoint(again.checkpoint) == nil
	})
	if out.sent == out.length && len(out.checkpoints) == 0 && len(out.batches) == 0 {
		m.addBatch(out, out.lastReport, out.lastMissing(uint64(m.params.MTU)/2, nil))
	}
}

// lastMissing appends the last few bytes that are not claimed.
func (b *outBlock) lastMissing(n uint64, to []span) []span {
	missing := b.claimed.missing(span{0, b.length}, nil)
	last := missing[len(missing)-1]
	return append(to, span{max(last.lo, last.hi-min(n, last.hi)), last.hi})
}
