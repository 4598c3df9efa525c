package ground

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"

	"perigee/agent/durable"
	"perigee/models"
	"perigee/models/delta"
	"perigee/models/gate"
	"perigee/models/payload"
)

// build packs the change in steps and keeps the network that each gives: these
// are what is judged and flies.
func (g *Ground) build(context.Context) error {
	base, err := models.ReadFile(g.modelPath(g.state.Base))
	if err != nil {
		return &roundError{err}
	}
	trained, err := models.ReadFile(g.path(trainedName))
	if err != nil {
		return &roundError{err}
	}
	encodings, err := g.encodings()
	if err != nil {
		return &roundError{err}
	}
	chain, err := delta.BuildSteps(base, trained, encodings)
	if err != nil {
		return &roundError{err}
	}
	next := g.state
	next.Stage, next.Backbone, next.Steps = StageEvaluate, base.BackboneHash(), nil
	for i, s := range chain {
		file, err := s.Encode(nil)
		if err != nil {
			return &roundError{err}
		}
		if err := g.disk.Write(g.stepPath(i), file); err != nil {
			return err
		}
		if err := g.storeModel(g.modelPath(s.Result), s.Network); err != nil {
			return err
		}
		next.Steps = append(next.Steps, Step{Encoding: s.Encoding.String(), Result: s.Result, Bytes: int64(len(file))})
		g.log.Info("step of the change packed", "version", next.Version, "step", i, "size", len(file), "encoding", s.Encoding)
	}
	return g.save(next)
}

func (g *Ground) encodings() ([]delta.Encoding, error) {
	if len(g.cfg.Delta.Steps) > 0 {
		return delta.ParseSteps(g.cfg.Delta.Steps)
	}
	return delta.AdvisedSteps(g.cfg.Train.Rank), nil
}

// evaluate judges the old network and that of every step on the held-out samples.
func (g *Ground) evaluate(ctx context.Context) error {
	next := g.state
	next.Steps = slices.Clone(next.Steps)
	base, err := models.ReadFile(g.modelPath(next.Base))
	if err != nil {
		return &roundError{err}
	}
	old, score, err := g.judge(ctx, base, 0, 1+len(next.Steps))
	if err != nil {
		return &roundError{err}
	}
	next.Old = score
	for i := range next.Steps {
		s := &next.Steps[i]
		n, err := models.ReadFile(g.modelPath(s.Result))
		if err != nil {
			return &roundError{err}
		}
		var side gate.Side
		side, s.Score, err = g.judge(ctx, n, i+1, 1+len(next.Steps))
		switch {
		case errors.Is(err, errOutput):
			s.Score, s.Gate = models.Score{}, g.cfg.gate().Refuse(err.Error())
		case err != nil:
			return &roundError{err}
		default:
			s.Gate = g.cfg.gate().Decide(old, side)
		}
	}
	next.Steps = worthSending(next.Steps)
	last := next.Steps[len(next.Steps)-1]
	next.Stage, next.Candidate, next.New, next.Gate = StageGate, last.Result, last.Score, last.Gate
	next.Bytes = total(next.Steps)
	return g.save(next)
}

// worthSending leaves out the steps behind the first that is judged no worse than
// the last and passes the gate if that does: they cost time on the link and gain
// nothing that can be shown.
func worthSending(steps []Step) []Step {
	last := &steps[len(steps)-1]
	for i := range steps {
		if s := &steps[i]; s.Score.F1 >= last.Score.F1 && (s.Gate.Passed || !last.Gate.Passed) {
			return steps[:i+1]
		}
	}
	return steps
}

func total(steps []Step) int64 {
	var sum int64
	for i := range steps {
		sum += steps[i].Bytes
	}
	return sum
}

// sign writes the steps as they will be sent. Each says how its network is to be
// used, and whether the gate lets it be.
func (g *Ground) sign(ctx context.Context, next *state) error {
	key, err := g.signingKey()
	if err != nil {
		return &roundError{err}
	}
	next.Steps = slices.Clone(next.Steps)
	base := next.Base
	for i := range next.Steps {
		s := &next.Steps[i]
		s.Draft = i < len(next.Steps)-1 && !s.Gate.Passed
		data, err := durable.Read(g.stepPath(i), payload.MaxUpdate)
		if err != nil {
			return &roundError{err}
		}
		d, err := delta.Decode(data)
		if err != nil {
			return &roundError{err}
		}
		golden := g.golden(s)
		d.Use = delta.Use{Version: next.Version, Draft: s.Draft, Threshold: golden.Threshold, MinF1: golden.MinF1, MatchIoU: golden.MatchIoU}
		if !s.Draft {
			if d.Expected, err = g.expect(ctx, s.Result); err != nil {
				return cmp.Or(ctx.Err(), error(&roundError{err}))
			}
		}
		file, err := d.Encode(key)
		if err != nil {
			return &roundError{err}
		}
		if err := g.disk.Write(g.deltaPath(base, s.Result), file); err != nil {
			return err
		}
		s.Bytes = int64(len(file))
		base = s.Result
	}
	next.Bytes = total(next.Steps)
	return nil
}

// golden is the self-test that the satellite makes of a step's network.
func (g *Ground) golden(s *Step) payload.Golden {
	return payload.Golden{MinF1: g.cfg.Deploy.GoldenF1, Threshold: s.Score.Threshold, MatchIoU: models.MatchIoU}
}

// maxKeyFile bounds the file of the signing key, in bytes.
const maxKeyFile = 64 << 10

func (g *Ground) signingKey() (ed25519.PrivateKey, error) {
	if g.cfg.Delta.Key == "" {
		return nil, nil
	}
	text, err := durable.Read(g.cfg.Delta.Key, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("delta.key: %w", err)
	}
	key, err := delta.ParsePrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("delta.key: %s: %w", g.cfg.Delta.Key, err)
	}
	return key, nil
}
