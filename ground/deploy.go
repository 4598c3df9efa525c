package ground

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"perigee/agent/durable"
	"perigee/agent/mail"
	"perigee/bundle/app"
	"perigee/models/payload"
)

// gate decides whether the new network may fly, and to whom it goes.
func (g *Ground) gate(ctx context.Context) error {
	s := &g.state
	d := &s.Gate
	g.log.Info("gate", "version", s.Version, "f1_old", s.Old.F1, "f1_new", s.New.F1, "metric", d.Condition.Metric,
		"value", d.Value, "low", d.Low, "high", d.High, "limit", d.Condition.Threshold, "passed", d.Passed, "reason", d.Reason)
	if !d.Passed {
		return g.endRound(OutcomeGate, cmp.Or(d.Reason, "the network was not judged"))
	}
	next := g.state
	next.Targets = nil
	for _, sat := range g.roster.snapshot() {
		if sat.Active != s.Base {
			g.log.Warn("satellite flies another network; it is left out of this round", "node", sat.Node, "model", sat.Active)
			continue
		}
		next.Targets = append(next.Targets, target{Node: sat.Node})
		next.Version = max(next.Version, sat.Version+1)
	}
	if len(next.Targets) == 0 {
		return g.endRound(OutcomeNotDeployed, "no satellite flies the network that this one starts from")
	}
	if err := g.sign(ctx, &next); err != nil {
		return err
	}
	g.foresee(ctx, &next)
	// Numbers of updates are times, so that they differ from those of an
	// earlier data folder.
	next.Update = uint64(g.clock.Now())
	next.Stage, next.Announced = StageSend, next.Candidate
	if err := g.save(next); err != nil {
		return err
	}
	return g.report(Round{
		Version: next.Version, Base: next.Base, Model: next.Candidate,
		F1Old: next.Old.F1, F1New: next.New.F1, DeltaBytes: next.Bytes,
	})
}

// send hands the parts of the update to the node, each under custody, the coarse
// steps first. It counts them one by one, so that a restart goes on behind the
// last.
func (g *Ground) send(ctx context.Context) error {
	parts, err := g.parts()
	if err != nil {
		return &roundError{err}
	}
	for i := range g.state.Targets {
		for g.state.Targets[i].Sent < len(parts) {
			if err := g.sendPart(ctx, i, parts); err != nil {
				return err
			}
		}
	}
	next := g.state
	next.Stage, next.Deadline = StageWait, g.clock.Now().Add(g.cfg.Send.ReceiptTimeout)
	return g.save(next)
}

// parts cuts the steps of the update.
func (g *Ground) parts() ([]payload.ModelPart, error) {
	s := &g.state
	base := s.Base
	var all []payload.ModelPart
	for i := range s.Steps {
		step := &s.Steps[i]
		file, err := durable.Read(g.updatePath(i), payload.MaxUpdate)
		if err != nil {
			return nil, err
		}
		parts, err := payload.Split(payload.ModelPart{
			Update: s.Update, Version: s.Version, Type: payload.UpdateDelta, Step: uint32(i), Steps: uint32(len(s.Steps)),
			Draft: step.Draft, Encoding: step.Encoding, Base: base, Result: step.Result, Backbone: s.Backbone, Golden: g.golden(step),
		}, file, s.PartBytes)
		if err != nil {
			return nil, err
		}
		all, base = append(all, parts...), step.Result
	}
	return all, nil
}

func (g *Ground) sendPart(ctx context.Context, i int, parts []payload.ModelPart) error {
	t := g.state.Targets[i]
	message, err := parts[t.Sent].Encode()
	if err != nil {
		return &roundError{err}
	}
	id, err := g.client.Send(ctx, app.Outgoing{
		To: t.Node.WithService(serviceModels), Custody: true, Lifetime: g.cfg.Send.Lifetime,
		Priority: g.cfg.Send.Priority, Payload: bytes.NewReader(message), Length: int64(len(message)),
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && mail.IsPassing(err):
		g.log.Info("node does not take a part now; trying again", "part", t.Sent, "err", err)
		return mail.Pause(ctx, g.cfg.Send.Retry.Std())
	case errors.Is(err, app.ErrRejected):
		return &roundError{fmt.Errorf("send part %d to %v: %w", t.Sent, t.Node, err)}
	case err != nil:
		return fmt.Errorf("send part %d to %v: %w", t.Sent, t.Node, err)
	}
	g.log.Info("part of the update handed to the node", "part", t.Sent, "of", len(parts), "bundle", id, "to", t.Node, "size", len(message))
	next := g.state
	next.Targets = slices.Clone(next.Targets)
	next.Targets[i].Sent++
	if err := g.save(next); err != nil {
		return err
	}
	sent := 0
	for _, t := range next.Targets {
		sent += t.Sent
	}
	g.publish(func(p *Progress) { p.Done, p.Of = sent, len(parts)*len(next.Targets) })
	return nil
}
