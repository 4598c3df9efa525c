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
	for _, sat := range g.roster.snapshot() {
		next.Version = max(next.Version, sat.Version+1)
	}
	if err := g.sign(ctx, &next); err != nil {
		return err
	}
	if err := g.address(ctx, &next); err != nil {
		return err
	}
	if len(next.Targets) == 0 {
		return g.endRound(OutcomeNotDeployed, "no satellite flies a network from which a way to this one is known")
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
	for i := range g.state.Targets {
		service, parts, err := g.mailFor(&g.state.Targets[i])
		if err != nil {
			return &roundError{err}
		}
		for g.state.Targets[i].Sent < len(parts) {
			if err := g.sendPart(ctx, i, service, parts); err != nil {
				return err
			}
		}
	}
	next := g.state
	next.Stage, next.Deadline = StageWait, g.clock.Now().Add(g.cfg.Send.ReceiptTimeout)
	return g.save(next)
}

// mailFor returns the messages for a target, and the service that they go to.
func (g *Ground) mailFor(t *target) (service uint64, messages []payload.Message, err error) {
	if g.state.Lesson {
		parts, err := g.lessonFor(&g.state, t)
		for i := range parts {
			messages = append(messages, &parts[i])
		}
		return serviceLessons, messages, err
	}
	parts, err := g.parts(t)
	for i := range parts {
		messages = append(messages, &parts[i])
	}
	return serviceModels, messages, err
}

// parts cuts the steps of the update for a target.
func (g *Ground) parts(t *target) ([]payload.ModelPart, error) {
	s := &g.state
	base, steps := s.steps(t)
	var all []payload.ModelPart
	for i := range steps {
		step := &steps[i]
		file, err := durable.Read(g.deltaPath(base, step.Result), payload.MaxUpdate)
		if err != nil {
			return nil, err
		}
		parts, err := payload.Split(payload.ModelPart{
			Update: s.Update, Version: s.Version, Type: payload.UpdateDelta, Step: uint32(i), Steps: uint32(len(steps)),
			Draft: step.Draft, Encoding: step.Encoding, Base: base, Result: step.Result, Backbone: s.Backbone, Golden: g.golden(step),
		}, file, s.PartBytes)
		if err != nil {
			return nil, err
		}
		all, base = append(all, parts...), step.Result
	}
	return all, nil
}

func (g *Ground) sendPart(ctx context.Context, i int, service uint64, parts []payload.Message) error {
	t := g.state.Targets[i]
	message, err := parts[t.Sent].Encode()
	if err != nil {
		return &roundError{err}
	}
	id, err := g.client.Send(ctx, app.Outgoing{
		To: t.Node.WithService(service), Custody: true, Lifetime: g.cfg.Send.Lifetime,
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
	g.publish(func(p *Progress) { p.Done, p.Of = next.Targets[i].Sent, len(parts) })
	return nil
}
