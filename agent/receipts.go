package agent

import (
	"fmt"

	"perigee/models/payload"
)

func (a *Agent) refuse(m *payload.ModelPart, reason string) error {
	a.log.Warn("update refused", "update", m.Update, "version", m.Version, "reason", reason)
	return a.conclude(a.receipt(m.Update, m.Version, payload.StatusRefused, reason))
}

func (a *Agent) receipt(id, version uint64, status payload.Status, reason string) payload.Receipt {
	active := a.slots.active()
	return payload.Receipt{
		Update: id, Version: version, Status: status, Reason: shorten(reason, payload.MaxReason),
		Active: active.Hash, ActiveVersion: active.Version, Time: a.clock.Now(),
	}
}

// conclude posts an update's last receipt and then remembers it.
func (a *Agent) conclude(r payload.Receipt) error {
	if err := a.post(r); err != nil {
		return err
	}
	return a.updates.end(r)
}

// post puts a receipt on its way. The same receipt posted twice travels once or
// twice.
func (a *Agent) post(r payload.Receipt) error {
	data, err := r.Encode()
	if err != nil {
		return fmt.Errorf("prepare receipt of update %d: %w", r.Update, err)
	}
	l, err := a.receipts.write(fmt.Sprintf("%016x-%d-%02d", r.Update, r.Status, r.Step), 0, data)
	if err != nil {
		return err
	}
	a.receipts.add(l)
	return nil
}

// shorten cuts text to at most limit bytes of whole characters.
func shorten(text string, limit int) string {
	text = toValid(text)
	if len(text) <= limit {
		return text
	}
	cut := 0
	for i := range text {
		if i > limit {
			break
		}
		cut = i
	}
	return text[:cut]
}
