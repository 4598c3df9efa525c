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
	"perigee/models/gate"
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

// Suffices tells whether so many samples to learn from and so many held out make a
// lesson: what judges must be able to tell a gain from luck, unless none are held out.
func Suffices(learn, judge int, share float64) bool {
	return learn > 0 && (share == 0 || judge >= gate.DefaultRule().Pictures)
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
	// They are zero if none did. A threshold of zero leaves the satellite its own.
	Old, New models.Score
	Decision gate.Decision // of the gate; zero if none judged
}

// rule is the gate on board: that of a ground that sets nothing, with the gain
// and the seed of the lesson, so that a run after a kill decides the same.
func rule(course payload.Course) gate.Rule {
	r := gate.DefaultRule()
	r.Threshold, r.Seed = course.MinGain, course.Seed
	return r
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
	r := rule(course)
	if !Suffices(len(data.Learn), len(judges), course.HeldOut) {
		return nil, fmt.Errorf("%w: %d to learn from, %d to judge; want at least 1 and %d, or none held out", ErrSamples, len(data.Learn), len(judges), r.Pictures)
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
	if err := o.judge(ctx, m.Engine, net, judges, r); err != nil {
		return nil, err
	}
	return o, nil
}

// judge lets the gate decide between net and what was learned.
func (o *Outcome) judge(ctx context.Context, e models.Engine, net *models.Network, judges []train.Sample, r gate.Rule) error {
	old, err := look(ctx, e, net, judges)
	if err != nil {
		return err
	}
	next, err := look(ctx, e, o.Network, judges)
	if err != nil {
		return err
	}
	o.Old, o.New = models.BestF1(old, models.MatchIoU), models.BestF1(next, models.MatchIoU)
	o.Decision = r.Decide(gate.Side{Pictures: old, Threshold: o.Old.Threshold}, gate.Side{Pictures: next, Threshold: o.New.Threshold})
	if !o.Decision.Passed {
		return fmt.Errorf("%w: %s", ErrGain, o.Decision.Reason)
	}
	if o.New.F1 == 0 {
		o.New.Threshold = 0 // no threshold is the best one where nothing is found
	}
	return nil
}

// look returns what a network finds in the samples that judge.
func look(ctx context.Context, e models.Engine, n *models.Network, judges []train.Sample) ([]models.Judged, error) {
	if err := e.Load(n); err != nil {
		return nil, err
	}
	judged := make([]models.Judged, len(judges))
	for i, s := range judges {
		outputs, err := e.Head(ctx, s.Features)
		if err != nil {
			return nil, err
		}
		for _, o := range outputs {
			for _, v := range o.Data {
				if v-v != 0 {
					return nil, fmt.Errorf("%w: an output is not finite", ErrGain)
				}
			}
		}
		found, err := n.Decode(outputs, lowest)
		if err != nil {
			return nil, err
		}
		judged[i] = models.Judged{Truth: s.Truth, Found: models.NMS(found, models.DefaultDetectOptions().NMS)}
	}
	return judged, nil
}
