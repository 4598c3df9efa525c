package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"perigee/models"
	"perigee/models/delta"
	"perigee/models/golden"
	"perigee/models/payload"
)

// installReady takes into use what the parts that are there allow: of every
// update the last network of whose steps none is missing. Before that it reports
// the networks that had to go.
func (a *Agent) installReady(ctx context.Context) error {
	for {
		if err := a.reportReturns(); err != nil {
			return err
		}
		err := a.advanceAll(ctx)
		if !errors.Is(err, errMoved) {
			return err
		}
	}
}

func (a *Agent) advanceAll(ctx context.Context) error {
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

// reportReturns tells the ground of the networks that had to go, and ends the
// updates that brought them. The pointer names them until that is durable.
func (a *Agent) reportReturns() error {
	for {
		back := a.slots.untold()
		if back == nil {
			return nil
		}
		if err := a.conclude(a.receipt(back.From.Update, back.From.Version, payload.StatusRolledBack, back.Reason)); err != nil {
			return err
		}
		if err := a.slots.told(); err != nil {
			return err
		}
	}
}

// advance installs the first ready steps of an update and reports how it went. The
// order makes it safe to be killed anywhere: the swap is durable first, then the
// receipt, then that the update has ended or how far it is; taken up again, a step
// that is active already goes on with its receipt. It fails with errMoved when the
// network that flies was taken out of use meanwhile.
func (a *Agent) advance(ctx context.Context, open *update, ready int) error {
	m := &open.meta
	if reason := a.unwanted(m); reason != "" {
		return a.refuse(m, reason)
	}
	base, active := a.runner.flying()
	if a.slots.untold() != nil {
		return errMoved // perhaps from the network of this very update, which must not come back
	}
	from, ok := open.next(active.Hash, ready)
	if !ok {
		return a.refuse(m, fmt.Sprintf("%v: it is for %v, active is %v", delta.ErrWrongBase, open.steps[0].meta.Base, active.Hash))
	}
	if from == len(open.steps) && active.Update != m.Update {
		// Another update has brought the same network.
		r := a.receipt(m.Update, m.Version, payload.StatusActive, fmt.Sprintf("its network flies already, as version %d", active.Version))
		r.Step = uint32(from - 1)
		return a.conclude(r)
	}
	to := open.usable(from, ready)
	if to > from && to > open.done.Failed {
		reason, err := a.install(ctx, open, base, from, to)
		if err == nil && reason != nil && a.slots.active().Hash != active.Hash {
			err = errMoved
		}
		switch {
		case err != nil:
			return err
		case reason == nil:
			from = to
		case errors.Is(reason, errTrial) && to < len(open.steps):
			// What is to come may do better.
			a.log.Warn("a step of the update fails its trial; waiting for the next", "update", m.Update, "step", to-1, "reason", reason)
			open.done.Failed, open.done.Tries = to, 0
			return a.updates.keep(open)
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
	m, active := &open.meta, a.slots.active()
	if active.Update != m.Update || steps == 0 || open.steps[steps-1].meta.Result != active.Hash {
		return nil
	}
	r := a.receipt(m.Update, m.Version, payload.StatusActive, active.Trial)
	r.Step = uint32(steps - 1)
	if steps == len(open.steps) {
		a.log.Info("update is active", "update", m.Update, "version", m.Version, "model", r.Active)
		return a.conclude(r)
	}
	if open.done.Told >= steps {
		return nil
	}
	a.log.Info("update is active in part", "update", m.Update, "version", m.Version, "step", r.Step, "of", m.Steps, "model", r.Active)
	if err := a.post(r); err != nil {
		return err
	}
	open.done.Told, open.done.Tries = steps, 0
	return a.updates.keep(open)
}

// install makes the network of steps from up to to the active one. It returns the
// reason when it must not be used, and an error when the agent cannot go on.
func (a *Agent) install(ctx context.Context, open *update, base *models.Network, from, to int) (reason, err error) {
	m := &open.steps[to-1].meta
	if open.done.Tries >= a.cfg.Updates.Watchdog.Tries {
		return fmt.Errorf("the satellite went down %d times while it tried the update out", open.done.Tries), nil
	}
	open.done.Tries++
	if err := a.updates.keep(open); err != nil {
		return nil, err
	}
	if err := a.note(m, payload.StatusReceived); err != nil {
		return nil, err
	}
	next, criteria, reason := a.build(open, base, from, to)
	if reason != nil {
		return reason, nil
	}
	if err := a.note(m, payload.StatusVerified); err != nil {
		return nil, err
	}
	slot, err := a.slots.stage(next)
	if err != nil {
		return nil, fmt.Errorf("store the network of update %d: %w", m.Update, err)
	}
	said, reason := a.tryOut(ctx, next, criteria)
	if ctx.Err() != nil {
		// An orderly end is no fault of the update.
		open.done.Tries--
		return nil, errors.Join(ctx.Err(), a.updates.keep(open))
	}
	if reason != nil {
		return reason, nil
	}
	f := flying{Slot: slot, Hash: next.Hash(), Version: m.Version, Update: m.Update, Threshold: m.Golden.Threshold, Trial: shorten(said, payload.MaxReason)}
	return nil, a.swap(next, f, base.Hash(), &probation{Since: a.clock.Now(), Test: criteria})
}

// note posts a receipt on the way to the network of a step.
func (a *Agent) note(m *payload.ModelPart, status payload.Status) error {
	a.log.Info("update goes on", "update", m.Update, "version", m.Version, "step", m.Step, "status", status)
	r := a.receipt(m.Update, m.Version, status, "")
	r.Step = m.Step
	return a.post(r)
}

// build returns the network that steps of an update make of base, and what its
// self-test asks for.
func (a *Agent) build(open *update, base *models.Network, from, to int) (next *models.Network, want golden.Criteria, err error) {
	next = base
	for i := from; i < to; i++ {
		m := &open.steps[i].meta
		whole, err := open.assemble(i)
		if err != nil {
			return nil, want, err
		}
		want = golden.Criteria{MinF1: max(m.Golden.MinF1, a.cfg.Updates.MinF1), Threshold: m.Golden.Threshold, MatchIoU: m.Golden.MatchIoU}
		switch m.Type {
		case payload.UpdateDelta:
			next, want.Expected, err = a.apply(next, whole, m, i == to-1)
		case payload.UpdateModel:
			next, err = a.read(whole)
		default:
			err = fmt.Errorf("unknown %v", m.Type)
		}
		if err != nil {
			return nil, want, err
		}
		if next.Hash() != m.Result {
			return nil, want, fmt.Errorf("the result is %v, announced was %v", next.Hash(), m.Result)
		}
	}
	return next, want, nil
}

// errUnsigned: what a signature would have to vouch for has none.
var errUnsigned = errors.New("updates.allow_unsigned is not set")

// apply applies the delta of a step after checking who signed it and, for the one
// whose network is to be used, that what its parts say is what was signed. It also
// returns what the delta expects of the result.
func (a *Agent) apply(base *models.Network, file []byte, m *payload.ModelPart, last bool) (*models.Network, []models.Expected, error) {
	d, err := delta.Decode(file)
	if err != nil {
		return nil, nil, err
	}
	err = d.Verify(a.keys)
	signed := err == nil
	if errors.Is(err, delta.ErrUnsigned) && !a.cfg.Updates.AllowUnsigned && !a.lessons.made(models.HashBytes(file)) {
		return nil, nil, fmt.Errorf("%w, and %w", err, errUnsigned)
	}
	if errors.Is(err, delta.ErrUntrusted) && (len(a.keys) > 0 || !a.cfg.Updates.AllowUnsigned) {
		return nil, nil, err
	}
	if last && signed {
		u := delta.Use{Version: m.Version, Threshold: m.Golden.Threshold, MinF1: m.Golden.MinF1, MatchIoU: m.Golden.MatchIoU}
		if u != d.Use {
			return nil, nil, fmt.Errorf("%w: signed was %+v, the parts say %+v", delta.ErrUntrusted, d.Use, u)
		}
	}
	next, err := d.Apply(base)
	return next, d.Expected, err
}

// read reads a whole model, which nobody can sign.
func (a *Agent) read(file []byte) (*models.Network, error) {
	if !a.cfg.Updates.AllowUnsigned {
		return nil, fmt.Errorf("whole models are not signed, and %w: send a delta", errUnsigned)
	}
	return models.Read(bytes.NewReader(file))
}

// swap makes a staged network the active one, between two pictures.
func (a *Agent) swap(n *models.Network, f flying, from models.Hash, p *probation) error {
	if err := a.slots.swap(f, from, p); err != nil {
		return fmt.Errorf("make update %d active: %w", f.Update, err)
	}
	return a.runner.load(n, f)
}
