package sim

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// fate is what became of a bundle that an application sent.
type fate struct {
	id     bundle.ID
	number uint64
	kind   Kind
	source *node
	to     bundle.EID // node ID
	size   int64      // of the whole bundle
	sum    uint32
	length int
	sent   time.Duration
	expiry dtntime.Time

	custody   bool
	accepted  bool // acknowledged to its application
	refused   bool
	expired   bool // some node deleted it because of its age
	delivered int  // times that it left a store to an application
	taken     bool // acknowledged to the application that received it
	holders   int  // nodes that have it durably in custody
	keepers   int  // nodes that have it durably
	arrived   time.Duration
}

// history is what is known of all bundles, and what was not kept.
type history struct {
	w        *world
	fates    map[bundle.ID]*fate
	order    []*fate
	open     int // accepted, neither delivered nor expired
	custody  map[custodian]bool
	failures []string
	crashes  int

	transmissions, records, repeats int
	transmittedBytes, recordBytes   int64
	deliveredInTime                 int64 // bytes of bundles, before the end of Length
	alarms                          int
}

// custodian is a node with a bundle in custody.
type custodian struct {
	node   int
	handle store.Handle
}

func newHistory(w *world) *history {
	return &history{w: w, fates: make(map[bundle.ID]*fate), custody: make(map[custodian]bool)}
}

// maxFailures is how many failures are kept.
const maxFailures = 20

func (h *history) fail(format string, args ...any) {
	if len(h.failures) < maxFailures {
		h.failures = append(h.failures, fmt.Sprintf("at %s: %s", h.w.now, fmt.Sprintf(format, args...)))
	}
}

func (h *history) sending(n *node, t *Traffic, b *bundle.Bundle, body []byte, size int64) *fate {
	f := &fate{
		id: b.ID(), number: uint64(len(h.order)), kind: t.Kind, source: n, to: t.To, size: size, sum: crc32.ChecksumIEEE(body), length: len(body),
		sent: h.w.now, expiry: b.Expiry(h.w.clock()), custody: t.Custody,
	}
	h.fates[f.id] = f
	h.order = append(h.order, f)
	h.w.note(n, "sends", f.number, uint64(size))
	return f
}

// answered takes the answer to an application that sent a bundle: what is acknowledged
// is durable.
func (h *history) answered(n *node, f *fate, err error) {
	if err != nil {
		f.refused = true
		return
	}
	f.accepted = true
	if f.isOpen() {
		h.open++
	}
	trace, err := n.store.Find(f.id)
	switch {
	case err != nil:
		h.w.fail(err)
	case trace.Live == nil && trace.Gone == nil && !f.expired:
		h.fail("%s was acknowledged by %s, which does not have it", f.id, n.id)
	case f.custody && trace.Live != nil && !trace.Live.Custodial:
		h.fail("%s was acknowledged by %s, which has it, but not in custody", f.id, n.id)
	}
}

// isOpen tells whether a bundle that was accepted is still to come.
func (f *fate) isOpen() bool { return f.accepted && f.delivered == 0 && !f.expired }

// isDrained tells whether everything that was accepted has been delivered or expired.
func (h *history) isDrained() bool { return h.open == 0 }

// close notes that a bundle has been delivered, or expired.
func (h *history) close(f *fate, was bool) {
	if was && !f.isOpen() {
		h.open--
	}
}

// transmitted counts a transmission.
func (h *history) transmitted(r *store.Record, size int) {
	if r.Flags&bundle.FlagAdminRecord != 0 {
		h.records++
		h.recordBytes += int64(size)
		return
	}
	h.transmissions++
	h.transmittedBytes += int64(size)
	if r.Attempts > 1 {
		h.repeats++
	}
}

// leaving checks what is about to leave a store: nothing before its time.
func (h *history) leaving(n *node, ops []store.Op) {
	for _, op := range ops {
		d, ok := op.(store.Delete)
		if !ok || d.Gone.Reason != store.GoneExpired {
			continue
		}
		if r, err := n.store.Get(d.Handle); err == nil && h.w.clock() < r.Expiry {
			h.fail("%s expired at %s before its time", r.ID, n.id)
		}
	}
}

// committed takes what has become durable.
func (h *history) committed(n *node, ops []store.Op) {
	for _, op := range ops {
		switch op := op.(type) {
		case store.Put:
			if f := h.fates[op.Record.ID]; f != nil {
				f.keepers++
				h.holds(n, f, op.Record.Handle, op.Record.Custodial)
			}
		case store.Update:
			if f := h.fates[op.Record.ID]; f != nil {
				h.holds(n, f, op.Record.Handle, op.Record.Custodial)
			}
		case store.Delete:
			if f := h.fates[op.Gone.ID]; f != nil {
				f.keepers--
				h.left(n, f, op)
			}
		}
	}
}

// holds notes whether a node has a bundle in custody.
func (h *history) holds(n *node, f *fate, handle store.Handle, custody bool) {
	c := custodian{n.number, handle}
	switch was := h.custody[c]; {
	case custody && !was:
		h.custody[c] = true
		f.holders++
	case was && !custody:
		delete(h.custody, c)
		f.holders--
	}
}

// left checks that a bundle may leave a store: nobody may be the last to hold it.
func (h *history) left(n *node, f *fate, op store.Delete) {
	h.holds(n, f, op.Handle, false)
	h.w.note(n, op.Gone.Reason.String(), f.number)
	was := f.isOpen()
	switch op.Gone.Reason {
	case store.GoneDelivered:
		if f.delivered++; f.delivered > 1 {
			h.fail("%s was delivered twice", f.id)
			break
		}
		f.arrived = h.w.now
		if h.w.now <= h.w.cfg.Length.Std() {
			h.deliveredInTime += f.size
		}
	case store.GoneExpired:
		f.expired = true
	}
	h.close(f, was)
	if f.isOpen() && f.custody && f.holders == 0 && h.w.clock() < f.expiry {
		h.fail("%s left the last node that had it in custody, %s: %s", f.id, n.id, op.Gone.Reason)
	}
}

// delivering checks what an application gets: the right bundle, whole, in time and not
// again.
func (h *history) delivering(n *node, r *store.Record) {
	f := h.fates[r.ID]
	switch {
	case f == nil:
		h.fail("%s is delivered at %s, and nobody sent it", r.ID, n.id)
		return
	case f.taken:
		h.fail("%s is delivered again after it was acknowledged", f.id)
	case h.w.clock() > r.Expiry:
		h.fail("%s is delivered after it has expired", f.id)
	}
	content, err := n.store.Open(r.Handle)
	if err != nil {
		h.fail("%s is delivered, but: %v", f.id, err)
		return
	}
	defer content.Close()
	body := make([]byte, r.PayloadLen)
	if _, err := content.ReadAt(body, r.HeaderLen); err != nil && !errors.Is(err, io.EOF) {
		h.fail("%s is delivered, but: %v", f.id, err)
		return
	}
	if len(body) != f.length || crc32.ChecksumIEEE(body) != f.sum {
		h.fail("%s is delivered with another payload", f.id)
	}
}

// acknowledged takes the answer to an application that made a bundle its own.
func (h *history) acknowledged(_ *node, r *store.Record, err error) {
	if f := h.fates[r.ID]; f != nil && err == nil {
		f.taken = true
	}
}

// notice takes news of a node.
func (h *history) notice(n *node, e *app.Event) {
	if e.Kind == app.EventAlarm {
		h.alarms++
		h.w.note(n, "alarm")
	}
}

// checkEnd checks what is left at the end.
func (h *history) checkEnd() {
	for _, f := range h.order {
		switch {
		case !f.isOpen() || h.w.clock() >= f.expiry:
		case f.keepers == 0:
			h.fail("%s was accepted and is nowhere, neither delivered nor expired", f.id)
		case f.custody && f.holders == 0:
			h.fail("%s was accepted in custody, and nobody has it so", f.id)
		}
	}
}
