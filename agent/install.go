package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"perigee/models"
	"perigee/models/delta"
	"perigee/models/payload"
)

// installComplete ends every update whose parts are all there.
func (a *Agent) installComplete(ctx context.Context) error {
	for _, open := range a.updates.inOrder() {
		if !open.complete() {
			continue
		}
		if err := a.finish(ctx, open); err != nil {
			return err
		}
	}
	return nil
}

// finish installs an update and reports how it went. The order makes it safe to
// be killed anywhere: the swap is durable first, then the receipt, then that the
// update has ended; taken up again, an update that is active already goes on with
// its receipt.
func (a *Agent) finish(ctx context.Context, open *update) error {
	m := &open.meta
	if a.slots.Active.Update != m.Update || a.slots.Active.Hash != m.Result {
		reason, err := a.install(ctx, open)
		if err != nil {
			return err
		}
		if reason != nil {
			return a.refuse(m, reason.Error())
		}
	}
	a.log.Info("update is active", "update", m.Update, "version", m.Version, "model", m.Result)
	return a.conclude(a.receipt(m.Update, m.Version, payload.StatusActive, ""))
}

// install makes the network of an update the active one. It returns the reason
// when the update is refused, and an error when the agent cannot go on.
func (a *Agent) install(ctx context.Context, open *update) (reason, err error) {
	if reason := a.unwanted(&open.meta); reason != "" {
		return errors.New(reason), nil
	}
	whole, reason := open.assemble()
	if reason != nil {
		return reason, nil
	}
	next, reason := a.build(&open.meta, whole)
	if reason != nil {
		return reason, nil
	}
	if err := a.slots.stage(next); err != nil {
		return nil, fmt.Errorf("store the network of update %d: %w", open.meta.Update, err)
	}
	if reason := a.tryOut(ctx, next, open.meta.Golden); reason != nil {
		return reason, ctx.Err()
	}
	return nil, a.swap(next, &open.meta)
}

// build returns the network that an update makes of the active one.
func (a *Agent) build(m *payload.ModelPart, whole []byte) (*models.Network, error) {
	active := a.runner.network()
	var next *models.Network
	var err error
	switch m.Type {
	case payload.UpdateDelta:
		if m.Base != active.Hash() {
			return nil, fmt.Errorf("%w: it is for %v, active is %v", delta.ErrWrongBase, m.Base, active.Hash())
		}
		next, err = delta.Apply(active, bytes.NewReader(whole))
	case payload.UpdateModel:
		next, err = models.Read(bytes.NewReader(whole))
	default:
		err = fmt.Errorf("unknown %v", m.Type)
	}
	if err != nil {
		return nil, err
	}
	if next.Hash() != m.Result {
		return nil, fmt.Errorf("the result is %v, announced was %v", next.Hash(), m.Result)
	}
	return next, nil
}

// tryOut runs the self-test on an engine of its own, beside the one in service.
func (a *Agent) tryOut(ctx context.Context, n *models.Network, want payload.Golden) error {
	e, err := a.newEngine(n)
	if err != nil {
		return fmt.Errorf("%w: %w", errGolden, err)
	}
	err = selfTest(ctx, a.goldenDir(), e, want, a.cfg.Updates.MinF1)
	return errors.Join(err, e.Close())
}

// swap makes the staged network the active one, between two pictures.
func (a *Agent) swap(n *models.Network, m *payload.ModelPart) error {
	next := flying{Hash: n.Hash(), Version: m.Version, Update: m.Update, Threshold: m.Golden.Threshold}
	if err := a.slots.swap(next); err != nil {
		return fmt.Errorf("make update %d active: %w", m.Update, err)
	}
	return a.runner.load(n, a.slots.Active)
}

func (a *Agent) refuse(m *payload.ModelPart, reason string) error {
	a.log.Warn("update refused", "update", m.Update, "version", m.Version, "reason", reason)
	return a.conclude(a.receipt(m.Update, m.Version, payload.StatusRefused, reason))
}

func (a *Agent) receipt(id, version uint64, status payload.Status, reason string) payload.Receipt {
	active := a.slots.Active
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
	l, err := a.receipts.write(fmt.Sprintf("%016x-%d", r.Update, r.Status), 0, data)
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
