package ground

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"perigee/agent/durable"
	"perigee/agent/mail"
	"perigee/bundle/app"
	"perigee/models"
	"perigee/models/delta"
	"perigee/models/payload"
	"perigee/models/train"
)

// lowest is the lowest score at which detections are looked at to find the best
// threshold.
const lowest = 0.05

// features runs the backbone once on every sample of the round that it has not
// seen. Samples whose picture cannot be used leave the round.
func (g *Ground) features(ctx context.Context) error {
	base, err := models.ReadFile(g.modelPath(g.state.Base))
	if err != nil {
		return &roundError{err}
	}
	all := slices.Concat(g.state.Learn, g.state.Judge)
	bad := map[models.Hash]bool{}
	err = g.withEngine(base, func(e models.Engine) error {
		for i, id := range all {
			_, err := g.featuresOf(ctx, e, id)
			switch {
			case errors.Is(err, errPicture):
				g.log.Warn("sample leaves the round", "sample", id, "err", err)
				bad[id] = true
			case err != nil:
				return err
			}
			g.publish(func(p *Progress) { p.Done, p.Of = i+1, len(all) })
		}
		return nil
	})
	if err != nil {
		return err
	}
	next := g.state
	gone := func(id models.Hash) bool { return bad[id] }
	next.Learn, next.Judge = slices.DeleteFunc(slices.Clone(next.Learn), gone), slices.DeleteFunc(slices.Clone(next.Judge), gone)
	if len(next.Learn) == 0 || len(next.Judge) == 0 {
		return &roundError{errors.New("no usable sample is left on one of the sides")}
	}
	next.Stage = StageTrain
	return g.save(next)
}

// withEngine calls use with an engine for n.
func (g *Ground) withEngine(n *models.Network, use func(models.Engine) error) error {
	e, err := g.newEngine(n)
	if err != nil {
		return fmt.Errorf("start the engine: %w", err)
	}
	return errors.Join(use(e), e.Close())
}

// train retrains the head on the samples of the round.
func (g *Ground) train(ctx context.Context) error {
	base, err := models.ReadFile(g.modelPath(g.state.Base))
	if err != nil {
		return &roundError{err}
	}
	var data train.Data
	err = g.withEngine(base, func(e models.Engine) error {
		for _, id := range g.state.Learn {
			k, ok := g.library.get(id)
			if !ok {
				continue
			}
			f, err := g.featuresOf(ctx, e, id)
			if err != nil {
				return err
			}
			data.Learn = append(data.Learn, train.Sample{Features: f, Truth: k.Truth})
		}
		return nil
	})
	if err != nil {
		return &roundError{err}
	}
	trained, err := train.Head(ctx, base, data, g.trainOptions())
	if err != nil {
		return &roundError{err}
	}
	if err := g.storeModel(g.path(trainedName), trained); err != nil {
		return err
	}
	return g.advance(StageBuild)
}

func (g *Ground) trainOptions() train.Options {
	c := g.cfg.Train
	o := train.Options{
		Epochs: c.Epochs, Batch: c.Batch, LearningRate: c.LearningRate, Seed: c.Seed,
		Threads: min(c.Threads, 2), Rank: c.Rank, Layers: train.All,
	}
	if c.Layers == LayersLast {
		o.Layers = train.Last
	}
	var epoch, steps int
	var sum float64
	o.Progress = func(p train.Progress) {
		if p.Epoch != epoch {
			epoch, steps, sum = p.Epoch, 0, 0
		}
		steps++
		sum += p.Loss
		loss := sum / float64(steps)
		g.publish(func(q *Progress) { q.Done, q.Of, q.Loss = p.Epoch, p.Epochs, loss })
	}
	return o
}

func (g *Ground) storeModel(path string, n *models.Network) error {
	return g.disk.With(path, func(path string) error { return models.WriteFile(path, n) })
}

// build packs the change and keeps the network that it gives, which is the one
// that is judged and flies.
func (g *Ground) build(ctx context.Context) error {
	base, err := models.ReadFile(g.modelPath(g.state.Base))
	if err != nil {
		return &roundError{err}
	}
	trained, err := models.ReadFile(g.path(trainedName))
	if err != nil {
		return &roundError{err}
	}
	d, candidate, err := delta.Build(base, trained, g.encoding())
	if err != nil {
		return &roundError{err}
	}
	if err := g.disk.Write(g.path(deltaName), d.Data); err != nil {
		return err
	}
	if err := g.storeModel(g.modelPath(candidate.Hash()), candidate); err != nil {
		return err
	}
	next := g.state
	next.Stage, next.Candidate, next.Backbone = StageEvaluate, candidate.Hash(), candidate.BackboneHash()
	next.Bytes, next.Encoding = int64(len(d.Data)), d.Encoding.String()
	g.log.Info("change of network packed", "version", next.Version, "size", next.Bytes, "encoding", next.Encoding)
	return g.save(next)
}

func (g *Ground) encoding() delta.Encoding {
	e := delta.Encoding{Bits: g.cfg.Delta.Bits, Rank: g.cfg.Train.Rank}
	if e.Bits == delta.Lossless {
		e.Rank = 0
	}
	return e
}

// evaluate scores the old and the new network on the held-out samples.
func (g *Ground) evaluate(ctx context.Context) error {
	next := g.state
	for i, side := range []struct {
		hash  models.Hash
		score *models.Score
	}{{g.state.Base, &next.Old}, {g.state.Candidate, &next.New}} {
		n, err := models.ReadFile(g.modelPath(side.hash))
		if err != nil {
			return &roundError{err}
		}
		if *side.score, err = g.score(ctx, n, i*len(g.state.Judge)); err != nil {
			return &roundError{err}
		}
	}
	next.Stage = StageGate
	return g.save(next)
}

// score returns the F1 of a network at its best threshold.
func (g *Ground) score(ctx context.Context, n *models.Network, done int) (models.Score, error) {
	var judged []models.Judged
	err := g.withEngine(n, func(e models.Engine) error {
		for i, id := range g.state.Judge {
			k, ok := g.library.get(id)
			if !ok {
				continue
			}
			found, err := g.detect(ctx, e, id)
			if err != nil {
				return err
			}
			judged = append(judged, models.Judged{Truth: k.Truth, Found: found})
			g.publish(func(p *Progress) { p.Done, p.Of = done+i+1, 2*len(g.state.Judge) })
		}
		return nil
	})
	return models.BestF1(judged, models.MatchIoU), err
}

func (g *Ground) detect(ctx context.Context, e models.Engine, id models.Hash) ([]models.Detection, error) {
	f, err := g.featuresOf(ctx, e, id)
	if err != nil {
		return nil, err
	}
	outputs, err := e.Head(ctx, f)
	if err != nil {
		return nil, err
	}
	found, err := e.Network().Decode(outputs, lowest)
	if err != nil {
		return nil, err
	}
	return models.NMS(found, models.DefaultDetectOptions().NMS), nil
}

// gate decides whether the new network may fly, and to whom it goes.
func (g *Ground) gate(context.Context) error {
	s := &g.state
	g.log.Info("gate", "version", s.Version, "f1_old", s.Old.F1, "f1_new", s.New.F1, "limit", g.cfg.Deploy.Threshold, "passed", g.passes())
	if !g.passes() {
		reason := fmt.Sprintf("%s is %.3f, want above %.3f", g.cfg.Deploy.Metric, s.New.F1-s.Old.F1, g.cfg.Deploy.Threshold)
		return g.endRound(OutcomeGate, reason)
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

// send hands the parts of the update to the node, each under custody. It counts
// them one by one, so that a restart goes on behind the last.
func (g *Ground) send(ctx context.Context) error {
	data, err := durable.Read(g.path(deltaName), payload.MaxUpdate)
	if errors.Is(err, fs.ErrNotExist) {
		return &roundError{err}
	}
	if err != nil {
		return err
	}
	s := &g.state
	parts, err := payload.Split(payload.ModelPart{
		Update: s.Update, Version: s.Version, Type: payload.UpdateDelta, Encoding: s.Encoding,
		Base: s.Base, Result: s.Candidate, Backbone: s.Backbone,
		Golden: payload.Golden{MinF1: g.cfg.Deploy.GoldenF1, Threshold: s.New.Threshold, MatchIoU: models.MatchIoU},
	}, data, g.cfg.Send.PartBytes)
	if err != nil {
		return &roundError{err}
	}
	for i := range s.Targets {
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
