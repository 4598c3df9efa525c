package core_test

import (
	"bytes"
	"io"

	"perigee/bundle"
	"perigee/bundle/custody"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// fate is what became of a bundle that an application sent.
type fate struct {
	id      bundle.ID
	primary bundle.Primary
	payload []byte
	custody bool
	expiry  dtntime.Time // by the sender's clock

	accepted  bool  // acknowledged to its sender
	refused   error // by the first node
	delivered int
	expired   bool // some node deleted it because of its age
	removed   bool
	leased    int  // to an application, in that life of its node; 0: not
	acked     bool // its application knows that it is its own
}

// tally is what crossed the links.
type tally struct {
	bundles, records         int // transfers begun, of administrative records apart
	bundleBytes, recordBytes int64
	failed                   bool // a disk, with which what was sent is sent again
}

// maxRecordSize is more than any administrative record needs.
const maxRecordSize = 4 * custody.MaxSignalBytes

// count notes a transfer.
func (w *world) count(t *transfer, raw []byte) {
	if !t.admin {
		w.tally.bundles++
		w.tally.bundleBytes += int64(len(raw))
		return
	}
	w.tally.records++
	w.tally.recordBytes += int64(len(raw))
	if len(raw) > maxRecordSize {
		w.fail("%s sends an administrative record of %d bytes", t.from.id, len(raw))
	}
}

// tolerance is by how much a node may be off its own clock.
const tolerance = second

// accept takes the answer to an application that sent a bundle: what is
// acknowledged is durable.
func (w *world) accept(f *fate, m *machine, err error) {
	f.refused = err
	if err != nil {
		return
	}
	f.accepted = true
	trace, err := m.store.Find(f.id)
	if err != nil {
		w.t.Fatal(err)
	}
	switch {
	case trace.Live == nil && trace.Gone == nil && !f.expired:
		w.fail("%s was acknowledged by %s, which does not have it", f.id, m.id)
	case f.custody && trace.Live != nil && !trace.Live.Custodial:
		w.fail("%s was acknowledged by %s, which has it, but not in custody", f.id, m.id)
	}
}

// leave checks what is about to leave a store.
func (w *world) leave(m *machine, ops []store.Op) {
	for _, op := range ops {
		d, ok := op.(store.Delete)
		if !ok || d.Gone.Reason != store.GoneExpired {
			continue
		}
		if r, err := m.store.Get(d.Handle); err == nil && r.Duty != store.DutyAssemble && m.now().Add(tolerance) < r.Expiry {
			w.fail("%s expired at %s before its time", r.ID, m.id)
		}
	}
}

// committed checks what has become durable.
func (m *machine) committed(ops []store.Op) {
	for _, op := range ops {
		switch op := op.(type) {
		case store.SetCounter:
			if op.Value < m.counters[op.Name] {
				m.w.fail("%s sets the counter %s back from %d to %d", m.id, op.Name, m.counters[op.Name], op.Value)
			}
			m.counters[op.Name] = op.Value
		case store.Delete:
			m.w.left(m, op)
		}
	}
}

// left checks that a bundle may leave a store: nobody may be the last to hold it.
func (w *world) left(m *machine, op store.Delete) {
	f := w.sent[op.Gone.ID]
	if f == nil {
		return
	}
	w.note("%s: %s is %s", m.id, f.id, op.Gone.Reason)
	switch op.Gone.Reason {
	case store.GoneDelivered:
		f.delivered++
		if f.delivered > 1 {
			w.fail("%s was delivered twice", f.id)
		}
	case store.GoneRemoved:
		f.removed = true
	case store.GoneExpired:
		f.expired = true
	}
	if w.isOrphaned(f) {
		w.fail("%s left the last node that had it in custody, %s: %s", f.id, m.id, op.Gone.Reason)
	}
}

// isOrphaned tells whether nobody answers for a bundle that somebody must answer
// for. A node deletes what has expired by its own clock, right or wrong.
func (w *world) isOrphaned(f *fate) bool {
	return f.accepted && f.custody && f.delivered == 0 && !f.removed && !f.expired && w.now < f.expiry && w.custodians(f.id) == 0
}

// custodians counts the nodes that have a bundle durably in custody.
func (w *world) custodians(id bundle.ID) int {
	n := 0
	for _, m := range w.nodes {
		if trace, err := m.store.Find(id); err == nil && trace.Live != nil && trace.Live.Custodial {
			n++
		}
	}
	return n
}

// checkCustody checks that somebody answers for each bundle.
func (w *world) checkCustody() {
	for _, id := range w.order {
		if w.isOrphaned(w.sent[id]) {
			w.fail("nobody has %s in custody", id)
		}
	}
}

// checkDelivery checks what an application gets: the right bundle, whole, in time,
// and not again.
func (m *machine) checkDelivery(rec store.Record) {
	w := m.w
	f := w.sent[rec.ID]
	if f == nil {
		return
	}
	switch {
	case f.acked:
		w.fail("%s is delivered again after it was acknowledged", f.id)
	case f.leased == m.epoch:
		w.fail("%s is delivered while an application has it", f.id)
	case m.now() > rec.Expiry.Add(tolerance):
		w.fail("%s is delivered %d ms after it expired", f.id, m.now()-rec.Expiry)
	}
	f.leased = m.epoch
	content, err := m.store.Open(rec.Handle)
	if err != nil {
		w.fail("%s is delivered, but: %v", f.id, err)
		return
	}
	defer content.Close()
	raw, err := io.ReadAll(io.NewSectionReader(content, 0, content.Size()))
	if err != nil {
		w.t.Fatal(err)
	}
	b, payload, err := bundle.Parse(raw, bundle.DefaultLimits())
	switch {
	case err != nil:
		w.fail("%s is delivered, but: %v", f.id, err)
	case !sameBundle(&b.Primary, &f.primary):
		w.fail("%s is delivered with another primary block", f.id)
	case !bytes.Equal(payload, f.payload):
		w.fail("%s is delivered with another payload", f.id)
	}
}

func sameBundle(a, b *bundle.Primary) bool {
	return a.Source == b.Source && a.Created == b.Created && a.Destination == b.Destination && a.ReportTo == b.ReportTo &&
		a.Flags == b.Flags && a.Lifetime == b.Lifetime && a.CRC == b.CRC
}

// returned notes that an application gives a bundle back.
func (w *world) returned(rec store.Record) {
	if f := w.sent[rec.ID]; f != nil {
		f.leased = 0
	}
}

// acknowledged notes that an application knows a bundle to be its own.
func (w *world) acknowledged(rec store.Record) {
	if f := w.sent[rec.ID]; f != nil {
		f.acked = true
	}
}

// maxCommit is more than the bundles that leave with one commit.
const maxCommit = 64

// checkBounds checks that the memory of a node is bounded by what it has stored.
func (m *machine) checkBounds() {
	s, bundles := m.core.Sizes(), int(m.store.Stats().Bundles)
	m.most = max(m.most, bundles)
	switch {
	case s.Entries > bundles+maxCommit*s.Commits: // parts leave memory behind the whole
		m.w.fail("%s knows %d bundles and has %d", m.id, s.Entries, bundles)
	case s.Queued > s.Entries || s.Book > s.Entries:
		m.w.fail("%s has %d bundles and more on its lists: %+v", m.id, bundles, s)
	case s.Arriving > s.Commits+s.Entries:
		m.w.fail("%s waits for bundles that nobody stores: %+v", m.id, s)
	case s.Receivers > 1 || s.Endpoints > s.Entries+s.Receivers:
		m.w.fail("%s has forgotten endpoints: %+v", m.id, s)
	case s.Neighbours > len(m.w.nodes) || s.Links > len(m.sessions)+len(m.ending)+1:
		m.w.fail("%s has forgotten links: %+v with %d", m.id, s, len(m.sessions)+len(m.ending))
	case s.Expiries > 2*m.most+100 || s.Holds > 2*m.most+100:
		m.w.fail("%s has forgotten timers: %+v", m.id, s)
	}
}
