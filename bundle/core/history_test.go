package core_test

import (
	"bytes"
	"io"
	"slices"
	"strings"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/core"
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

	stored    bool  // durably, on some node
	accepted  bool  // acknowledged to its sender
	refused   error // by the first node
	delivered int
	expired   bool // some node deleted it because of its age
	removed   bool
	spoiled   bool // it need not reach all that it is for
	taken     bool // by an application, durably, of a bundle for several
	takers    map[seat]*taker
}

// seat is an application: that of a node's endpoint, or one that is registered there.
type seat struct {
	node         int
	registration uint64
}

// taker is what an application knows of a bundle.
type taker struct {
	of     *fate
	leased int  // to it, in that life of its node; 0: not
	acked  bool // it knows that the bundle is its own
	done   bool // and so does its node, durably
}

// isGroup tells whether a bundle is for several.
func (f *fate) isGroup() bool { return !f.primary.Destination.IsSingleton() }

// taker returns what an application knows of a bundle that it got, nil for those
// that no application of the world sent.
func (m *machine) taker(e core.Deliver) *taker {
	f := m.w.sent[e.Record.ID]
	if f == nil {
		return nil
	}
	return f.taker(seat{m.number, e.Registration})
}

func (f *fate) taker(at seat) *taker {
	if f.takers == nil {
		f.takers = make(map[seat]*taker)
	}
	if f.takers[at] == nil {
		f.takers[at] = &taker{of: f}
	}
	return f.takers[at]
}

// spoil notes that a bundle for several need not reach all of them.
func (w *world) spoil(id bundle.ID) {
	if f := w.sent[id]; f != nil {
		f.spoiled = true
	}
}

// unregistered forgets an application.
func (w *world) unregistered(m *machine, number uint64) {
	for _, id := range w.order {
		delete(w.sent[id].takers, seat{m.number, number})
	}
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

// acknowledging returns the applications whose acknowledgement of a bundle for several
// becomes durable with ops.
func (w *world) acknowledging(m *machine, ops []store.Op) []*taker {
	var list []*taker
	for _, op := range ops {
		var h store.Handle
		var left []uint64
		switch op := op.(type) {
		case store.Update:
			h = op.Record.Handle
			left, _, _ = op.Record.Spread.Parse()
		case store.Delete:
			if op.Gone.Reason == store.GoneDelivered {
				h = op.Handle
			}
		}
		r, err := m.store.Get(h)
		f := w.sent[r.ID]
		if err != nil || f == nil || !f.isGroup() {
			continue
		}
		before, _, _ := r.Spread.Parse()
		for _, number := range before {
			if !slices.Contains(left, number) {
				list = append(list, f.taker(seat{m.number, number}))
			}
		}
	}
	return list
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
		case store.Put:
			if f := m.w.sent[op.Record.ID]; f != nil {
				f.stored = true
			}
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
		if f.delivered > 1 && !f.isGroup() {
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
func (m *machine) checkDelivery(e core.Deliver) {
	w, rec := m.w, &e.Record
	f := w.sent[rec.ID]
	if f == nil {
		return
	}
	t := m.taker(e)
	switch {
	case t.acked:
		w.fail("%s is delivered again after it was acknowledged", f.id)
	case t.leased == m.epoch:
		w.fail("%s is delivered while an application has it", f.id)
	case m.now() > rec.Expiry.Add(tolerance):
		w.fail("%s is delivered %d ms after it expired", f.id, m.now()-rec.Expiry)
	}
	t.leased = m.epoch
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

// checkReport checks that a report about a bundle of this node tells the truth: somebody
// has it then, or an application did.
func (m *machine) checkReport(e *app.Event) {
	if e.Kind != app.EventReported {
		return
	}
	f := m.w.sent[*e.Bundle]
	if f == nil {
		return
	}
	m.w.reports++
	switch word, _, _ := strings.Cut(e.Detail, ","); word {
	case "delivered":
		if f.delivered == 0 && !f.taken {
			m.w.fail("%s is told that %s was delivered, which it was not", m.id, f.id)
		}
	case "received", "forwarded", "custody accepted":
		if !f.stored {
			m.w.fail("%s is told that %s was %s, which was never stored", m.id, f.id, word)
		}
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
	case s.Queued > s.Entries || s.Book > s.Entries || s.Groups > max(m.resident()/4, 1)+s.Registrations || s.Copies > s.Groups*s.Neighbours:
		m.w.fail("%s has %d bundles and more on its lists: %+v", m.id, bundles, s)
	case s.Arriving > s.Commits+s.Entries:
		m.w.fail("%s waits for bundles that nobody stores: %+v", m.id, s)
	case s.Receivers > 1+s.Registrations || s.Registrations > len(m.registrations)+1 || s.Endpoints > s.Entries+s.Receivers:
		m.w.fail("%s has forgotten endpoints: %+v", m.id, s)
	case s.Neighbours > len(m.w.nodes) || s.Links > len(m.sessions)+len(m.ending)+1:
		m.w.fail("%s has forgotten links: %+v with %d", m.id, s, len(m.sessions)+len(m.ending))
	case s.Expiries > 2*m.most+100 || s.Holds > 2*m.most+100:
		m.w.fail("%s has forgotten timers: %+v", m.id, s)
	}
}
