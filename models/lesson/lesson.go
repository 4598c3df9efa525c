// Package lesson is what a satellite does with labels that come up in place of a
// network: it trains a low-rank difference of the head, packs it as a delta, and
// judges on samples that were not learnt from what the delta gives. What flies is
// the packed result, not the trained one, so that whoever has the delta has the
// same bits: training again on another machine would not give them.
//
// The package knows nothing of pictures, disks or links.
package lesson

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"perigee/models"
	"perigee/models/delta"
	"perigee/models/payload"
	"perigee/models/train"
)

// ErrSamples is wrapped by errors about a lesson without enough samples.
var ErrSamples = errors.New("too few samples of the lesson are held")

// ErrGain is wrapped by the error of a training that gained too little.
var ErrGain = errors.New("the trained network is not better enough")

// bits of the packed difference. A downlink is wide, and eight lose nothing that
// F1 would show.
const bits = 8

// lowest is the lowest score at which detections are looked at to find the best
// threshold.
const lowest = 0.05

// Sample is a picture of a lesson.
type Sample struct {
	ID models.Hash // SHA-256 of the picture
	train.Sample
}

// HeldOut tells whether a sample judges networks and is never trained on. It
// depends on the picture alone, so it is the same for ever and for everyone.
func HeldOut(id models.Hash, share float64) bool {
	return float64(binary.BigEndian.Uint64(id[:8]))/math.MaxUint64 < share
}

// Means are what a satellite lends to a lesson.
type Means struct {
	Engine     models.Engine // of the lesson's own: its network is replaced
	Threads    int
	Checkpoint train.Checkpoint
	Progress   func(train.Progress)
	Now        func() time.Time // clock for Progress.Left; may be nil
}

// Outcome is what a lesson has given.
type Outcome struct {
	Delta           *delta.Delta
	Network         *models.Network
	Trained, Judged int // samples
	// Old and New are the scores on those that judged, each at its best threshold.
	// They are zero if none did: then the satellite's own threshold holds.
	Old, New models.Score
}

// Learn trains the head of net. It returns an error that wraps ErrSamples or ErrGain
// when nothing comes of it, and otherwise those of train.Head and delta.Build.
func Learn(ctx context.Context, net *models.Network, samples []Sample, course payload.Course, m Means) (*Outcome, error) {
	var data train.Data
	var judges []train.Sample
	for _, s := range samples {
		if HeldOut(s.ID, course.HeldOut) {
			judges = append(judges, s.Sample)
		} else {
			data.Learn = append(data.Learn, s.Sample)
		}
	}
	if len(data.Learn) == 0 || len(judges) == 0 && course.HeldOut > 0 {
		return nil, fmt.Errorf("%w: %d to learn from, %d to judge", ErrSamples, len(data.Learn), len(judges))
	}
	trained, err := train.Head(ctx, net, data, train.Options{
		Epochs: int(course.Epochs), Batch: int(course.Batch), Rank: int(course.Rank), LearningRate: course.Rate, Seed: course.Seed,
		Threads: m.Threads, Checkpoint: m.Checkpoint, Progress: m.Progress, Now: m.Now,
	})
	if err != nil {
		return nil, err
	}
	o := &Outcome{Trained: len(data.Learn), Judged: len(judges)}
	if o.Delta, o.Network, err = delta.Build(net, trained, delta.Encoding{Bits: bits, Rank: int(course.Rank)}); err != nil {
		return nil, err
	}
	if len(judges) == 0 {
		return o, nil // no threshold can be the best one of nothing
	}
	if o.Old, err = score(ctx, m.Engine, net, judges); err != nil {
		return nil, err
	}
	if o.New, err = score(ctx, m.Engine, o.Network, judges); err != nil {
		return nil, err
	}
	if gain := float64(o.New.F1) - float64(o.Old.F1); gain <= course.MinGain {
		return nil, fmt.Errorf("%w: F1 %.3f after %.3f on %d samples, want more than %+.3f", ErrGain, o.New.F1, o.Old.F1, len(judges), course.MinGain)
	}
	return o, nil
}

// score is the F1 of a network at its best threshold.
func score(ctx context.Context, e models.Engine, n *models.Network, judges []train.Sample) (models.Score, error) {
	if err := e.Load(n); err != nil {
		return models.Score{}, err
	}
	judged := make([]models.Judged, len(judges))
	for i, s := range judges {
		outputs, err := e.Head(ctx, s.Features)
		if err != nil {
			return models.Score{}, err
		}
		for _, o := range outputs {
			for _, v := range o.Data {
				if v-v != 0 {
					return models.Score{}, fmt.Errorf("%w: an output is not finite", ErrGain)
				}
			}
		}
		found, err := n.Decode(outputs, lowest)
		if err != nil {
			return models.Score{}, err
		}
		judged[i] = models.Judged{Truth: s.Truth, Found: models.NMS(found, models.DefaultDetectOptions().NMS)}
	}
	return models.BestF1(judged, models.MatchIoU), nil
}
