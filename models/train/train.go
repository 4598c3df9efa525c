// Package train retrains the head of a network on the ground, from features
// that the frozen backbone made once. It builds the head as a gorgonia graph and
// lets gorgonia differentiate it; the heavy operators are its own, on vek32's
// vector kernels, and so is the solver, Adam, so that its state can be kept.
//
// Training is reproducible: the same network, samples and options give the same
// head bit for bit on the same kind of machine, whatever the number of threads
// and however often it is interrupted. Another machine may round differently, so
// what is trained is shipped, never trained again elsewhere to compare.
//
// A program of another kind may train in its place, over a folder (Program).
//
// The package knows nothing of pictures, files of the ground or links.
package train

import (
	"context"
	"errors"
	"fmt"
	"time"

	"perigee/models"
)

// ErrOptions is wrapped by errors about options that make no sense.
var ErrOptions = errors.New("unusable training options")

// ErrSample is wrapped by errors about samples that do not fit the network.
var ErrSample = errors.New("sample does not fit the network")

// ErrDiverged is wrapped by the error of a training whose loss is no longer a
// finite number. A lower learning rate helps.
var ErrDiverged = errors.New("training diverged")

// Sample is one picture to learn from: what the network's backbone makes of it,
// and what is on it. An empty Truth is a picture without objects.
type Sample struct {
	Features models.Features
	Truth    []models.Truth
}

// Data is what a training is given.
type Data struct {
	Learn []Sample // seen in every epoch
	// Replay are older samples, of which every epoch sees a share, so that the
	// network does not forget what it knew. None is fine.
	Replay []Sample
	// Check are samples that are never learnt from. When there are any, the
	// network of the epoch with the least loss on them is the result.
	Check []Sample
}

// Layers says which convolutions of the head are trained.
type Layers uint8

// The choices. Last trains only the convolutions right before the YOLO layers:
// many times faster, a change of a tenth of the size, and a little less gain.
const (
	All Layers = iota
	Last
)

// Options steer a training. The zero value of a field takes its default.
type Options struct {
	Epochs       int     // times that every sample is seen; default 10
	Batch        int     // samples of one step; default 8
	LearningRate float64 // of Adam, at the start; default 1e-3
	FinalRate    float64 // of Adam, at the end, falling linearly; default a tenth of LearningRate
	Seed         uint64  // of the order of samples and of the factors
	Threads      int     // lanes that run at once, 1 or 2; default 2
	Layers       Layers

	// Rank above zero trains biases and, instead of the weights of a
	// convolution, a change of the weights that is the product of two matrices
	// of that rank: a change that is small to send.
	Rank int

	// ReplayShare is the share of replayed samples in every epoch, from 0 to
	// below 1; default a quarter. Without samples to replay it has no meaning.
	ReplayShare float64
	// Patience is how many epochs may pass without a lower loss on the check
	// samples before the training ends; default 3.
	Patience int

	Checkpoint Checkpoint       // keeps the state of the training; nil: nobody does
	Progress   func(Progress)   // called after every step, from the goroutine of Head; may be nil
	Now        func() time.Time // clock for Progress.Left; nil leaves it zero
}

// Progress tells how far a training is.
type Progress struct {
	Epoch, Epochs int           // from 1
	Step, Steps   int           // of the whole training, from 1
	Loss          float64       // mean of the step, per sample
	CheckLoss     float64       // mean of the check samples behind the last whole epoch
	Left          time.Duration // estimate; zero without a clock
}

// Limits on options and samples.
const (
	MaxEpochs  = 1000
	MaxBatch   = 256
	MaxSamples = 100_000
	MaxRank    = 64
	maxObjects = 1000 // of one sample
)

// lanes is how many graphs share the samples of a step. It fixes the order in
// which gradients are summed, so it does not depend on Threads.
const lanes = 2

func (o Options) withDefaults() (Options, error) {
	set := func(v *int, otherwise int) {
		if *v == 0 {
			*v = otherwise
		}
	}
	set(&o.Epochs, 10)
	set(&o.Batch, 8)
	set(&o.Threads, lanes)
	set(&o.Patience, 3)
	if o.ReplayShare == 0 {
		o.ReplayShare = 0.25
	}
	if o.LearningRate == 0 {
		o.LearningRate = 1e-3
	}
	if o.FinalRate == 0 {
		o.FinalRate = o.LearningRate / 10
	}
	inside := func(name string, v, low, high int) error {
		if v < low || v > high {
			return fmt.Errorf("%w: %s is %d, want %d to %d", ErrOptions, name, v, low, high)
		}
		return nil
	}
	if !(o.LearningRate > 0 && o.LearningRate <= 1) || !(o.FinalRate > 0 && o.FinalRate <= 1) {
		return o, fmt.Errorf("%w: learning rates %g and %g, want above 0 and up to 1", ErrOptions, o.LearningRate, o.FinalRate)
	}
	if !(o.ReplayShare > 0 && o.ReplayShare < 1) {
		return o, fmt.Errorf("%w: a share of %g is replayed, want 0 to below 1", ErrOptions, o.ReplayShare)
	}
	return o, errors.Join(
		inside("epochs", o.Epochs, 1, MaxEpochs), inside("batch", o.Batch, 1, MaxBatch),
		inside("threads", o.Threads, 1, lanes), inside("rank", o.Rank, 0, MaxRank),
		inside("layers", int(o.Layers), int(All), int(Last)), inside("patience", o.Patience, 1, MaxEpochs))
}

// Head returns a network with the backbone of net and a head retrained on the
// samples, starting from the head of net. The loss is binary cross entropy on
// objectness, centre offsets and classes, and smooth L1 on log sizes, summed
// over a picture and averaged over a step. Between steps it looks at ctx. Errors wrap
// ErrOptions, ErrSample, ErrDiverged or the context's error.
//
// A step of a whole yolov3-tiny head needs about 250 MB besides the samples.
func Head(ctx context.Context, net *models.Network, data Data, opts Options) (*models.Network, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("train head: %w", err)
	}
	if err := data.check(net); err != nil {
		return nil, fmt.Errorf("train head: %w", err)
	}
	t, err := newTrainer(ctx, net, data, opts)
	if err != nil {
		return nil, fmt.Errorf("train head: %w", err)
	}
	err = t.resume()
	if err == nil {
		err = t.run(ctx)
	}
	if err := errors.Join(err, t.close()); err != nil {
		return nil, fmt.Errorf("train head: %w", err)
	}
	return net.WithHead(t.vars.head())
}

func (d Data) check(net *models.Network) error {
	if n := len(d.Learn); n == 0 || n+len(d.Replay)+len(d.Check) > MaxSamples {
		return fmt.Errorf("%w: %d samples to learn from, want at least 1 and %d in all at most", ErrSample, n, MaxSamples)
	}
	for _, side := range []struct {
		name    string
		samples []Sample
	}{{"learn", d.Learn}, {"replay", d.Replay}, {"check", d.Check}} {
		if err := checkSamples(net, side.samples); err != nil {
			return fmt.Errorf("%s: %w", side.name, err)
		}
	}
	return nil
}

func checkSamples(net *models.Network, samples []Sample) error {
	taps := net.Taps()
	for i, s := range samples {
		if len(s.Features) != len(taps) {
			return fmt.Errorf("%w: sample %d has %d feature maps, want %d", ErrSample, i, len(s.Features), len(taps))
		}
		for j, layer := range taps {
			if f, want := s.Features[j], net.Shape(layer); f.Shape != want || len(f.Data) != want.Size() {
				return fmt.Errorf("%w: sample %d, feature map %d is %v, want %v", ErrSample, i, j, f.Shape, want)
			}
		}
		if len(s.Truth) > maxObjects {
			return fmt.Errorf("%w: sample %d holds %d objects, want at most %d", ErrSample, i, len(s.Truth), maxObjects)
		}
		for _, t := range s.Truth {
			if err := checkTruth(t, net.Classes()); err != nil {
				return fmt.Errorf("%w: sample %d: %w", ErrSample, i, err)
			}
		}
	}
	return nil
}

func checkTruth(t models.Truth, classes int) error {
	if t.Class < 0 || t.Class >= classes {
		return fmt.Errorf("class %d, want 0 to %d", t.Class, classes-1)
	}
	b := t.Box
	inside := b.X >= 0 && b.X <= 1 && b.Y >= 0 && b.Y <= 1
	if !inside || !(b.W > 1e-4 && b.W <= 2) || !(b.H > 1e-4 && b.H <= 2) {
		return fmt.Errorf("box %v, want its centre in the picture and a size of 1e-4 to 2", b)
	}
	return nil
}
