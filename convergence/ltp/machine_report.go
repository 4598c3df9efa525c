package ltp

import "slices"

// Limits on the reports about one block.
const (
	maxAsks     = 16 // checkpoints that wait for their report
	maxReports  = 64 // reports that wait for their acknowledgement
	maxReported = 64 // reports that are remembered
)

// reporting is what a block of the peer has to do with reports.
type reporting struct {
	serial   uint64   // of the next report
	primary  uint64   // upper bound of the last primary report
	asks     []ask    // checkpoints without a report so far
	waits    bool     // in the queue of those that wait for the reader
	reports  []report // that wait for their acknowledgement
	reported []reported
	lastSeen uint64 // highest serial number of a checkpoint
	last     report // the one that claims all
}

// An ask is a checkpoint that wants a report.
type ask struct {
	serial uint64
	report uint64 // serial number of the report that it answers, or 0
	upper  uint64
}

// A report is a report segment that waits for its acknowledgement.
type report struct {
	attempt
	serial     uint64
	checkpoint uint64
	scope      span
	claims     []span
	refusals   []refusal
}

// reported is what is kept of a report for later ones.
type reported struct{ serial, checkpoint, lower uint64 }

func (r *report) append(b []byte, originator, session uint64) []byte {
	h := header{kind: typeReport, originator: originator, session: session}
	h.extensions.addRefusals(r.refusals)
	s := reportSegment{
		header: h, serial: r.serial, checkpoint: r.checkpoint,
		upper: r.scope.hi, lower: r.scope.lo, claims: r.claims,
	}
	return s.append(b)
}

// report finds a report; the pointer holds until one is added.
func (b *inBlock) report(serial uint64) *report {
	if b.state == inReported {
		if b.last.serial == serial {
			return &b.last
		}
		return nil
	}
	for i := range b.reports {
		if b.reports[i].serial == serial {
			return &b.reports[i]
		}
	}
	return nil
}

// onCheckpoint answers a checkpoint: by the same reports when it had some, by new
// ones otherwise (RFC 5326 sections 6.8 and 6.11).
func (m *Machine) onCheckpoint(b *inBlock, a ask) {
	known := false
	for i := range b.reports {
		if r := &b.reports[i]; r.checkpoint == a.serial {
			known = true
			if !r.queued {
				m.repeat(timer{kind: timerReport, session: b.session, serial: r.serial}, &r.attempt)
			}
		}
	}
	if known || slices.ContainsFunc(b.reported, func(r reported) bool { return r.checkpoint == a.serial }) {
		return // those that were acknowledged have arrived
	}
	if len(b.asks) == maxAsks {
		b.asks = slices.Delete(b.asks, 0, 1)
	}
	if !slices.ContainsFunc(b.asks, func(other ask) bool { return other.serial == a.serial }) {
		b.asks = append(b.asks, a)
	}
	m.answerAsks(b)
}

// answerAsks reports on a block, unless that must wait: a complete block is reported
// when its bundles are accepted, and a reader who is behind holds up the sender, who
// may only have so much unclaimed.
func (m *Machine) answerAsks(b *inBlock) {
	switch {
	case b.complete:
		return
	case m.rx.readable > readableLimit:
		if !b.waits {
			b.waits = true
			m.rx.queue(&m.rx.waiting, b)
		}
		return
	}
	for _, a := range b.asks {
		m.reportOn(b, a)
	}
	b.asks = b.asks[:0]
}

// readerMoved answers the checkpoints that waited for the reader.
func (m *Machine) readerMoved() {
	for m.rx.waiting.len() > 0 && m.rx.readable <= readableLimit {
		b := m.rx.waiting.pop()
		b.waits = false
		if b.state == inOpen {
			m.answerAsks(b)
		}
	}
}

// reportOn makes the report about the part of a block that a checkpoint asks for.
func (m *Machine) reportOn(b *inBlock, a ask) {
	scope := span{b.primary, a.upper}
	if a.report != 0 {
		scope.lo = 0
		if i := slices.IndexFunc(b.reported, func(r reported) bool { return r.serial == a.report }); i >= 0 {
			scope.lo = b.reported[i].lower
		}
	}
	if scope.lo >= scope.hi {
		scope.lo = 0 // it came late; the RFC allows 0, and silence would not stop its timer
	}
	if a.report == 0 {
		b.primary = max(b.primary, a.upper)
	}
	claims := b.received.overlap(scope, nil)
	for len(claims) > 0 {
		r := report{serial: b.serial, checkpoint: a.serial, scope: scope}
		n := m.claimsThatFit(b, r, claims)
		r.claims = claims[:n]
		if claims = claims[n:]; len(claims) > 0 {
			r.scope.hi = r.claims[n-1].hi
			scope.lo = r.scope.hi
		}
		m.addReport(b, r)
	}
}

// claimsThatFit is how many claims a report segment holds; at least one does.
func (m *Machine) claimsThatFit(b *inBlock, r report, claims []span) int {
	s := reportSegment{
		header: header{originator: m.params.Remote, session: b.session},
		serial: r.serial, checkpoint: r.checkpoint, upper: r.scope.hi, lower: r.scope.lo,
	}
	room := s.claimRoom(m.params.MTU)
	for i, c := range claims {
		room -= sdnvLen(c.lo-r.scope.lo) + sdnvLen(c.length())
		if room < 0 && i > 0 {
			return i
		}
	}
	return len(claims)
}

// addReport sends a report, in place of those that say less.
func (m *Machine) addReport(b *inBlock, r report) {
	b.serial++
	b.reports = slices.DeleteFunc(b.reports, func(old report) bool { return old.scope.within(r.scope) })
	if len(b.reports) == maxReports {
		b.reports = slices.Delete(b.reports, 0, 1)
	}
	if len(b.reported) == maxReported {
		b.reported = slices.Delete(b.reported, 0, 1)
	}
	b.reported = append(b.reported, reported{r.serial, r.checkpoint, r.scope.lo})
	r.queued = true
	b.reports = append(b.reports, r)
	m.queueControl(control{kind: controlReport, session: b.session, serial: r.serial})
}

// reportWhole claims all of a block, whose bundles were accepted.
func (m *Machine) reportWhole(b *inBlock) {
	var answers uint64
	if n := len(b.asks); n > 0 {
		answers = b.asks[n-1].serial
	}
	m.freeIn(b)
	b.state = inReported
	if b.redTop == 0 { // all green: nobody waits
		m.closeIn(b)
		return
	}
	scope := span{0, b.redEnd}
	b.last = report{serial: b.serial, checkpoint: answers, scope: scope, claims: []span{scope}, refusals: b.refusals}
	m.reportAgain(b)
}

// reportAgain sends the last report, unless it is about to be sent.
func (m *Machine) reportAgain(b *inBlock) {
	if !b.last.queued {
		m.repeat(timer{kind: timerReport, session: b.session, serial: b.last.serial}, &b.last.attempt)
	}
}

// onReportAck takes a report out that has arrived (RFC 5326 section 6.14).
func (m *Machine) onReportAck(s reportAck) {
	b := m.rx.blocks[s.session]
	if b == nil {
		return
	}
	r := b.report(s.serial)
	if r == nil {
		return
	}
	sent := r.sent
	if r.again {
		m.acks.note(m.now - sent)
	}
	if b.state == inReported {
		m.closeIn(b)
	} else {
		b.reports = slices.DeleteFunc(b.reports, func(r report) bool { return r.serial == s.serial })
	}
	m.answeredTo(sent)
}
