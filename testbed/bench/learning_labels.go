package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"perigee/bundle"
	"perigee/models"
	"perigee/models/delta"
	"perigee/models/labels"
	"perigee/models/lesson"
	"perigee/models/payload"
	"perigee/models/train"
)

func labelMeasures() []measure {
	return []measure{{
		name: "labels.bytes", what: "bytes of the bundles of a labels-only update, and F1 of what a satellite makes of it on one thread; beside it those of the delta of rank 2",
		take: labelsBytes,
	}}
}

// course is how the satellite trains: as the ground does for a delta of rank 2.
func course(seed uint64) payload.Course {
	o := trainings()[rankTwo]
	return payload.Course{
		Epochs: uint32(o.Epochs), Batch: uint32(o.Batch), Rank: uint32(o.Rank), Rate: o.LearningRate, Seed: seed,
		HeldOut: 0.1, MinGain: 0.1,
	}
}

// labelsBytes teaches every seed by labels alone.
func labelsBytes(ctx context.Context, b *bench) (figures []figure, err error) {
	s, err := b.openSchool(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = closing(err, s.engine.Close) }()
	collected := make(map[string][]float64)
	note := func(name string, value float64) { collected[name] = append(collected[name], value) }
	for seed := range uint64(learningSeeds) {
		t, err := s.teach(ctx, seed+1)
		if err != nil {
			return nil, fmt.Errorf("seed %d: %w", seed+1, err)
		}
		b.progress.say(fmt.Sprintf("seed %d: %d bytes up, F1 %.3f after %.3f, %d bytes down; the delta takes %d, F1 %.3f",
			seed+1, t.up, t.f1, t.old, t.down, t.delta, t.f1Delta))
		note("labels.bytes", float64(t.up))
		note("labels.f1.launched", t.old)
		note("labels.f1", t.f1)
		note("labels.down", float64(t.down))
		note("labels.delta", float64(t.delta))
		note("labels.f1.delta", t.f1Delta)
	}
	for name, values := range collected {
		unit := "bytes"
		if name[:8] == "labels.f" {
			unit = "F1"
		}
		figures = append(figures, figure{name: name, value: median(values), unit: unit})
		if name == "labels.bytes" || name == "labels.f1" {
			figures = append(figures, figure{name: name + "_spread", value: slices.Max(values) - slices.Min(values), unit: unit})
		}
	}
	slices.SortFunc(figures, func(a, b figure) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return figures, nil
}

// labelsDelta is the delta that stands beside: the smallest of few bits that loses
// nothing.
const labelsDelta = "int4-rank2"

// taught is what a lesson takes and gives, and what a delta does.
type taught struct {
	up, down, delta  int // bytes of bundles
	old, f1, f1Delta float64
}

// teach makes the lesson of a seed, reads it as the satellite does, and trains.
func (s *school) teach(ctx context.Context, seed uint64) (taught, error) {
	launched, err := s.launched(ctx, seed)
	if err != nil {
		return taught{}, err
	}
	samples, err := s.drifted(ctx, seed)
	if err != nil {
		return taught{}, err
	}
	pictures := make([]labels.Labelled, len(samples))
	held := make([]lesson.Sample, len(samples))
	for i, sample := range samples {
		id := models.HashBytes(fmt.Append(nil, seed, i)) // in place of the picture's
		pictures[i] = labels.Labelled{Key: labels.KeyOf(id), Truth: sample.Truth}
		held[i] = lesson.Sample{ID: id, Sample: train.Sample{Features: sample.Features}}
	}
	packed, err := labels.Pack(pictures)
	if err != nil {
		return taught{}, err
	}
	l := payload.Lesson{Update: uint64(missionTime), Version: 2, Base: launched.Hash(), Parts: 1, Course: course(seed), Labels: packed}
	if err := l.Sign(missionKey(1)); err != nil {
		return taught{}, err
	}
	message, err := l.Encode()
	if err != nil {
		return taught{}, err
	}
	if pictures, err = labels.Unpack(l.Labels); err != nil {
		return taught{}, err
	}
	for i := range held {
		held[i].Truth = pictures[i].Truth // rounded
	}
	t := taught{up: bundleSize(message)}
	path := filepath.Join(s.dir, fmt.Sprintf("lesson-%d%s", seed, delta.FileExt))
	engine, err := models.NewEngine(launched, 1)
	if err != nil {
		return taught{}, err
	}
	out, err := lesson.Learn(ctx, launched, held, l.Course, lesson.Means{
		Engine: engine, Threads: 1, Checkpoint: checkpoint(path + ".ckpt"),
		Progress: func(p train.Progress) {
			s.b.progress.note(fmt.Sprintf("lesson of seed %d: epoch %d of %d, loss %.1f", seed, p.Epoch, p.Epochs, p.Loss))
		},
	})
	if err = closing(err, engine.Close); err != nil {
		return taught{}, err
	}
	file, err := out.Delta.Encode(nil)
	if err != nil {
		return taught{}, err
	}
	t.down = bundleSize(file)
	if t.old, err = s.f1(ctx, launched); err != nil {
		return taught{}, err
	}
	if t.f1, err = s.f1(ctx, out.Network); err != nil {
		return taught{}, err
	}
	return t, s.byDelta(ctx, seed, launched, &t)
}

// byDelta adds what a delta of the same rank takes and gives.
func (s *school) byDelta(ctx context.Context, seed uint64, launched *models.Network, t *taught) error {
	retrained, err := s.retrained(ctx, seed, launched, rankTwo)
	if err != nil {
		return err
	}
	stages, err := pack(launched, retrained, []string{labelsDelta})
	if err != nil {
		return err
	}
	part := payload.ModelPart{Version: 2, Type: payload.UpdateDelta, Encoding: labelsDelta}
	parts, err := payload.Split(part, make([]byte, stages[0].bytes), 16<<10)
	if err != nil {
		return err
	}
	for i := range parts {
		message, err := parts[i].Encode()
		if err != nil {
			return err
		}
		t.delta += bundleSize(message)
	}
	t.f1Delta, err = s.f1(ctx, stages[0].net)
	return err
}

// missionTime is when the lesson is sent; its number is a time.
const missionTime = 846_000_000_123

// bundleSize is how many bytes a payload takes on a link, in a bundle under custody
// as the daemons make it.
func bundleSize(payload []byte) int {
	b := bundle.Bundle{
		Primary: bundle.Primary{
			CRC: bundle.CRC32C, Destination: bundle.IPN(2, 15), Source: bundle.IPN(1, 15), ReportTo: bundle.IPN(1, 15),
			Created:  bundle.Timestamp{Time: missionTime, Sequence: 1},
			Lifetime: 7 * 24 * 3600 * 1000,
		},
		Payload: bundle.PayloadHeader{CRC: bundle.CRC32C, Length: uint64(len(payload))},
	}
	b.SetExtension(bundle.CustodyBlock(2, bundle.Custody{SeqID: 1}))
	b.SetExtension(bundle.PreviousNodeBlock(3, bundle.IPN(1, 0)))
	return int(b.EncodedLen())
}
