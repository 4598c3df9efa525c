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

// installReady takes into use what the parts that are there allow: of every
// update the last network of whose steps none is missing.
func (a *Agent) installReady(ctx context.Context) error {
	for _, open := range a.updates.inOrder() {
		ready := open.ready()
		if ready == 0 {
			continue
		}
		if err := a.advance(ctx, open, ready); err != nil {
			return err
		}
	}
	return nil
}

// advance installs the first ready steps of an update and reports how it went. The
// order makes it safe to be killed anywhere: the swap is durable first, then the
// receipt, then that the update has ended or how far it is; taken up again, a step
// that is active already goes on with its receipt.
func (a *Agent) advance(ctx context.Context, open *update, ready int) error {
	m := &open.meta
	if reason := a.unwanted(m); reason != "" {
		return a.refuse(m, reason)
	}
	from, ok := open.next(a.slots.Active.Hash, ready)
	if !ok {
		return a.refuse(m, fmt.Sprintf("%v: it is for %v, active is %v", delta.ErrWrongBase, open.steps[0].meta.Base, a.slots.Active.Hash))
	}
	to := open.usable(from, ready)
	if to > from && to > open.failed {
		reason, err := a.install(ctx, open, from, to)
		switch {
		case err != nil:
			return err
		case reason == nil:
			from = to
		case errors.Is(reason, errGolden) && to < len(open.steps):
			// What is to come may do better.
			open.failed = to
			a.log.Warn("a step of the update fails its self-test; waiting for the next", "update", m.Update, "step", to-1, "reason", reason)
		default:
			return a.refuse(m, reason.Error())
		}
	}
	return a.tell(open, from)
}

// usable returns how many steps lead to the last of the ready ones whose network
// may be used, or from when none of those behind it may.
func (u *update) usable(from, ready int) int {
	for to := ready; to > from; to-- {
		if !u.steps[to-1].meta.Draft {
			return to
		}
	}
	return from
}

// tell reports that the network of the first steps is active, unless that was done.
func (a *Agent) tell(open *update, steps int) error {
	m := &open.meta
	if a.slots.Active.Update != m.Update || steps == 0 || open.steps[steps-1].meta.Result != a.slots.Active.Hash {
		return nil
	}
	r := a.receipt(m.Update, m.Version, payload.StatusActive, "")
	r.Step = uint32(steps - 1)
	if steps == len(open.steps) {
		a.log.Info("update is active", "update", m.Update, "version", m.Version, "model", r.Active)
		return a.conclude(r)
	}
	last, err := open.told()
	if err != nil || last >= steps-1 {
		return err
	}
	a.log.Info("update is active in part", "update", m.Update, "version", m.Version, "step", r.Step, "of", m.Steps, "model", r.Active)
	if err := a.post(r); err != nil {
		return err
	}
	return a.updates.tell(open, steps-1)
}

// install makes the network of steps from up to to the active one. It returns the
// reason when it must not be used, and an error when the agent cannot go on.
func (a *Agent) install(ctx context.Context, open *update, from, to int) (reason, err error) {
	next, reason := a.build(open, from, to)
	if reason != nil {
		return reason, nil
	}
	if err := a.slots.stage(next); err != nil {
		return nil, fmt.Errorf("store the network of update %d: %w", open.meta.Update, err)
	}
	m := &open.steps[to-1].meta
	if reason := a.tryOut(ctx, next, m.Golden); reason != nil {
		return reason, ctx.Err()
	}
	return nil, a.swap(next, m)
}

// build returns the network that steps of an update make of the active one.
func (a *Agent) build(open *update, from, to int) (*models.Network, error) {
	next := a.runner.network()
	for i := from; i < to; i++ {
		m := &open.steps[i].meta
		whole, err := open.assemble(i)
		if err != nil {
			return nil, err
		}
		switch m.Type {
		case payload.UpdateDelta:
			next, err = a.apply(next, whole, m, i == to-1)
		case payload.UpdateModel:
			next, err = a.read(whole)
		default:
			err = fmt.Errorf("unknown %v", m.Type)
		}
		if err != nil {
			return nil, err
		}
		if next.Hash() != m.Result {
			return nil, fmt.Errorf("the result is %v, announced was %v", next.Hash(), m.Result)
		}
	}
	return next, nil
}

// errUnsigned: what a signature would have to vouch for has none.
var errUnsigned = errors.New("updates.allow_unsigned is not set")

// apply applies the delta of a step after checking who signed it and, for the one
// whose network is to be used, that what its parts say is what was signed.
func (a *Agent) apply(base *models.Network, file []byte, m *payload.ModelPart, last bool) (*models.Network, error) {
	d, err := delta.Decode(file)
	if err != nil {
		return nil, err
	}
	err = d.Verify(a.keys)
	signed := err == nil
	if errors.Is(err, delta.ErrUnsigned) && !a.cfg.Updates.AllowUnsigned {
		return nil, fmt.Errorf("%w, and %w", err, errUnsigned)
	}
	if errors.Is(err, delta.ErrUntrusted) && (len(a.keys) > 0 || !a.cfg.Updates.AllowUnsigned) {
		return nil, err
	}
	if last && signed {
		u := delta.Use{Version: m.Version, Threshold: m.Golden.Threshold, MinF1: m.Golden.MinF1, MatchIoU: m.Golden.MatchIoU}
		if u != d.Use {
			return nil, fmt.Errorf("%w: signed was %+v, the parts say %+v", delta.ErrUntrusted, d.Use, u)
		}
	}
	return d.Apply(base)
}

// read reads a whole model, which nobody can sign.
func (a *Agent) read(file []byte) (*models.Network, error) {
	if !a.cfg.Updates.AllowUnsigned {
		return nil, fmt.Errorf("whole models are not signed, and %w: send a delta", errUnsigned)
	}
	return models.Read(bytes.NewReader(file))
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
