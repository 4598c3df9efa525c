package ground

import (
	"crypto/ed25519"
	"errors"
	"fmt"

	"perigee/agent/mail"
	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/delta"
	"perigee/models/labels"
	"perigee/models/lesson"
	"perigee/models/payload"
)

// beginLesson begins a round in which labels go up and nothing else: to each
// satellite those of its own samples, as far as they are new, for whatever it flies.
// What does not make a lesson yet waits for the next round. There is nothing to train
// or to judge here.
func (g *Ground) beginLesson(last uint64) error {
	now := &g.state
	next := state{
		Version: now.Version, Consumed: last, Learned: now.Learned, Announced: now.Announced, Rounds: now.Rounds,
		Stage: StageSend, Lesson: true, Update: uint64(g.clock.Now()), PartBytes: g.cfg.Send.PartBytes,
		Taught: make(map[bundle.EID]uint64),
	}
	for _, sat := range g.roster.snapshot() {
		taught, known := now.Taught[sat.Node]
		if !known {
			taught = now.Consumed
		}
		ids := g.library.freshOf(sat.Node, taught, g.cfg.Train.MaxSamples)
		if !g.isLesson(ids) {
			next.Taught[sat.Node] = taught
			continue
		}
		next.Taught[sat.Node] = last
		next.Learn = append(next.Learn, ids...)
		next.Targets = append(next.Targets, target{Node: sat.Node, Base: sat.Active})
		next.Version = max(next.Version, sat.Version+1)
	}
	if len(next.Targets) == 0 {
		g.state.Consumed, g.state.Taught = last, next.Taught
		return g.endRound(OutcomeNotDeployed, "no satellite has enough labelled samples of its own")
	}
	next.Base = next.Targets[0].Base
	for i := range next.Targets {
		parts, err := g.lessonFor(&next, &next.Targets[i])
		if err != nil {
			return &roundError{err}
		}
		for _, p := range parts {
			next.Bytes += int64(len(p.Labels))
		}
	}
	g.log.Info("round begins", "version", next.Version, "strategy", g.cfg.Strategy, "samples", len(next.Learn), "satellites", len(next.Targets), "size", next.Bytes)
	return g.save(next)
}

// isLesson tells whether samples are enough for a lesson.
func (g *Ground) isLesson(ids []models.Hash) bool {
	judge := 0
	for _, id := range ids {
		if isHeldOut(id, g.cfg.Samples.HeldOut) {
			judge++
		}
	}
	return lesson.Suffices(len(ids)-judge, judge, g.cfg.Samples.HeldOut)
}

// lessonFor makes the lesson of a target of a round, the same each time. It is cut so that a
// part fits easily in a pass.
func (g *Ground) lessonFor(s *state, t *target) ([]payload.Lesson, error) {
	var pictures []labels.Labelled
	for _, id := range s.Learn {
		if k, ok := g.library.get(id); ok && k.Satellite.Node() == t.Node {
			pictures = append(pictures, labels.Labelled{Key: labels.KeyOf(id), Truth: k.Truth})
		}
	}
	key, err := g.signingKey()
	if err != nil {
		return nil, err
	}
	packs, err := cutLabels(pictures, s.PartBytes)
	if err != nil {
		return nil, err
	}
	if len(packs) > payload.MaxLessonParts {
		return nil, fmt.Errorf("lesson of %d parts, limit %d: raise send.part_bytes", len(packs), payload.MaxLessonParts)
	}
	parts := make([]payload.Lesson, len(packs))
	for i, pack := range packs {
		parts[i] = payload.Lesson{
			Update: s.Update, Version: s.Version, Base: t.Base,
			Part: uint32(i), Parts: uint32(len(packs)), Course: g.course(), Labels: pack,
		}
		if err := signLesson(&parts[i], key); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

func signLesson(l *payload.Lesson, key ed25519.PrivateKey) error {
	if key == nil {
		return nil
	}
	return l.Sign(key)
}

// course is how the satellite trains: as the ground would.
func (g *Ground) course() payload.Course {
	t := &g.cfg.Train
	return payload.Course{
		Epochs: uint32(t.Epochs), Batch: uint32(t.Batch), Rank: uint32(t.Rank), Rate: t.LearningRate, Seed: t.Seed,
		HeldOut: g.cfg.Samples.HeldOut, MinGain: g.leastGain(), MinF1: g.cfg.Deploy.GoldenF1,
	}
}

// leastGain is what F1 must gain on the samples that judge: as much as to be deployed,
// when that is a matter of F1.
func (g *Ground) leastGain() float64 {
	if c := &g.cfg.Deploy.Condition; c.Metric == "f1_delta" {
		return min(max(c.Threshold, -1), 1)
	}
	return 0
}

// cutLabels packs labels into pieces of at most size bytes, halving what is larger. A
// single picture may be over it.
func cutLabels(pictures []labels.Labelled, size int) ([][]byte, error) {
	if len(pictures) <= labels.MaxPictures {
		pack, err := labels.Pack(pictures)
		if err != nil {
			return nil, err
		}
		if len(pack) <= size || len(pictures) <= 1 {
			return [][]byte{pack}, nil
		}
	}
	first, err := cutLabels(pictures[:len(pictures)/2], size)
	if err != nil {
		return nil, err
	}
	second, err := cutLabels(pictures[len(pictures)/2:], size)
	return append(first, second...), err
}

// keepLearned keeps the network that a satellite trained, made of the delta that it
// sent down, so that later rounds can start from it.
func (g *Ground) keepLearned(from bundle.EID, l *payload.Learned) error {
	g.log.Info("satellite has learned", "source", from, "update", l.Update, "version", l.Version, "model", l.Result,
		"samples", l.Trained, "missing", l.Missing, "f1_old", l.OldF1, "f1_new", l.NewF1)
	g.keeping.Lock()
	defer g.keeping.Unlock()
	if err := g.storeLearned(l); err != nil {
		return err
	}
	err := g.roster.change(from, func(s *Satellite) {
		s.Heard = g.clock.Now()
		if l.Update >= s.Lesson.Update {
			s.Lesson = Lesson{
				Update: l.Update, Model: l.Result, Trained: l.Trained, Judged: l.Judged, Missing: l.Missing,
				F1Old: l.OldF1, F1New: l.NewF1, Spent: dtntime.Duration(l.Spent),
			}
		}
	})
	g.publish(func(*Progress) {})
	signal(g.wake)
	return err
}

// storeLearned keeps the network and the delta. One that cannot be made is worth a
// word: the satellite flies it all the same, and is left out of rounds that would
// start from it.
func (g *Ground) storeLearned(l *payload.Learned) error {
	d, err := delta.Decode(l.Delta)
	if err != nil {
		return fmt.Errorf("%w: %w", mail.ErrUseless, err)
	}
	base, err := models.ReadFile(g.modelPath(l.Base))
	if err == nil {
		var result *models.Network
		if result, err = d.Apply(base); err == nil && result.Hash() != l.Result {
			err = errors.New("the delta is of another network than was announced")
		}
		if err == nil {
			return errors.Join(g.storeModel(g.modelPath(l.Result), result), g.disk.Write(g.deltaPath(l.Base, l.Result), l.Delta))
		}
	}
	g.log.Error("the network that a satellite has learned cannot be made here", "model", l.Result, "base", l.Base, "err", err)
	return nil
}

// sumUpLesson notes how a lesson went: the network of the first satellite that flies
// what it learned, and the mean F1 of all of these.
func (g *Ground) sumUpLesson() {
	now := &g.state
	var before, after float32
	count := 0
	for _, t := range now.Targets {
		s, ok := g.roster.get(t.Node)
		if !ok || s.Lesson.Update != now.Update || s.Active != s.Lesson.Model {
			continue
		}
		if count == 0 {
			now.Candidate = s.Lesson.Model
		}
		before, after = before+s.Lesson.F1Old, after+s.Lesson.F1New
		count++
	}
	if count > 0 {
		now.Old.F1, now.New.F1 = before/float32(count), after/float32(count)
	}
}
