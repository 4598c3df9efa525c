// Package train retrains the head of a network on the ground, from features
// that the frozen backbone made once. It builds the head as a gorgonia graph,
// lets gorgonia differentiate it and gorgonia's Adam step it; the heavy
// operators are its own, on vek32's vector kernels.
//
// Training is reproducible: the same network, samples and options give the same
// head bit for bit on the same kind of machine, whatever the number of threads.
// Another machine may round differently, so what is trained is shipped, never
// trained again elsewhere to compare.
//
// The package knows nothing of pictures, files of the ground or links.
package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/viterin/vek/vek32"
	"gorgonia.org/gorgonia"

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

	Progress func(Progress)   // called after every step, from the goroutine of Head; may be nil
	Now      func() time.Time // clock for Progress.Left; nil leaves it zero
}

// Progress tells how far a training is.
type Progress struct {
	Epoch, Epochs int           // from 1
	Step, Steps   int           // of the whole training, from 1
	Loss          float64       // mean of the step, per sample
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
	return o, errors.Join(
		inside("epochs", o.Epochs, 1, MaxEpochs), inside("batch", o.Batch, 1, MaxBatch),
		inside("threads", o.Threads, 1, lanes), inside("rank", o.Rank, 0, MaxRank),
		inside("layers", int(o.Layers), int(All), int(Last)))
}

// Head returns a network with the backbone of net and a head retrained on the
// samples, starting from the head of net. The loss is binary cross entropy on
// objectness, centre offsets and classes, and smooth L1 on log sizes, summed
// over a picture and averaged over a step. Between steps it looks at ctx. Errors wrap
// ErrOptions, ErrSample, ErrDiverged or the context's error.
//
// A step of a whole yolov3-tiny head needs about 250 MB besides the samples.
func Head(ctx context.Context, net *models.Network, samples []Sample, opts Options) (*models.Network, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("train head: %w", err)
	}
	if err := checkSamples(net, samples); err != nil {
		return nil, fmt.Errorf("train head: %w", err)
	}
	t, err := newTrainer(ctx, net, samples, opts)
	if err != nil {
		return nil, fmt.Errorf("train head: %w", err)
	}
	err = errors.Join(t.run(ctx), t.close())
	if err != nil {
		return nil, fmt.Errorf("train head: %w", err)
	}
	return net.WithHead(t.vars.head())
}

func checkSamples(net *models.Network, samples []Sample) error {
	if len(samples) == 0 || len(samples) > MaxSamples {
		return fmt.Errorf("%w: %d samples, want 1 to %d", ErrSample, len(samples), MaxSamples)
	}
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

// trainer holds what a training needs between steps.
type trainer struct {
	opts     Options
	vars     *variables
	lanes    []*lane
	solver   *gorgonia.AdamSolver
	rng      *rand.Rand
	examples []example
}

func newTrainer(ctx context.Context, net *models.Network, samples []Sample, opts Options) (*trainer, error) {
	t := &trainer{opts: opts, rng: rand.New(rand.NewPCG(opts.Seed, 0x747261696e))}
	t.vars = newVariables(net, opts.Layers, opts.Rank, t.rng)
	t.solver = gorgonia.NewAdamSolver(gorgonia.WithLearnRate(opts.LearningRate))
	from, err := t.prepare(ctx, net, samples)
	if err != nil {
		return nil, err
	}
	for range lanes {
		l, err := newLane(net, t.vars, from)
		if err != nil {
			return nil, errors.Join(err, t.close())
		}
		t.lanes = append(t.lanes, l)
	}
	return t, nil
}

// prepare turns samples into examples and returns the layers that the training
// graph starts from. What lies before them does not change, so it is computed
// once.
func (t *trainer) prepare(ctx context.Context, net *models.Network, samples []Sample) (from []int, err error) {
	outs := outputs(net)
	from = net.Taps()
	var fixed *stem
	if t.opts.Layers == Last {
		from = nil
		for _, out := range outs {
			if kind := net.Graph().Layers[out.layer-1].Kind; kind != models.Convolution {
				return nil, fmt.Errorf("%w: layer %d before a YOLO layer is %s, want convolutional", ErrOptions, out.layer-1, kind)
			}
			from = append(from, out.layer-2)
		}
		if fixed, err = newStem(net, t.vars, net.Taps(), from); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, fixed.close()) }()
	}
	for _, s := range samples {
		e := example{targets: assign(outs, net.Input(), s.Truth)}
		for _, f := range s.Features {
			e.maps = append(e.maps, f.Data)
		}
		if fixed != nil {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if e.maps, err = fixed.run(e.maps); err != nil {
				return nil, err
			}
		}
		t.examples = append(t.examples, e)
	}
	return from, nil
}

func (t *trainer) close() error {
	var errs []error
	for _, l := range t.lanes {
		errs = append(errs, l.close())
	}
	return errors.Join(errs...)
}

// run does all epochs.
func (t *trainer) run(ctx context.Context) error {
	perEpoch := (len(t.examples) + t.opts.Batch - 1) / t.opts.Batch
	p := Progress{Epochs: t.opts.Epochs, Steps: perEpoch * t.opts.Epochs}
	var start time.Time
	if t.opts.Now != nil {
		start = t.opts.Now()
	}
	for p.Epoch = 1; p.Epoch <= t.opts.Epochs; p.Epoch++ {
		order := t.rng.Perm(len(t.examples))
		for at := 0; at < len(order); at += t.opts.Batch {
			if err := ctx.Err(); err != nil {
				return err
			}
			p.Step++
			loss, err := t.step(order[at:min(at+t.opts.Batch, len(order))], p)
			if err != nil {
				return fmt.Errorf("step %d of %d: %w", p.Step, p.Steps, err)
			}
			p.Loss = loss
			if t.opts.Now != nil {
				p.Left = t.opts.Now().Sub(start) * time.Duration(p.Steps-p.Step) / time.Duration(p.Step)
			}
			if t.opts.Progress != nil {
				t.opts.Progress(p)
			}
		}
	}
	return nil
}

// step runs one batch through the lanes and lets the solver change the head. It
// returns the mean loss.
func (t *trainer) step(batch []int, p Progress) (float64, error) {
	half := (len(batch) + 1) / lanes
	parts := [lanes][]int{batch[:half], batch[half:]}
	var group errgroup.Group
	group.SetLimit(t.opts.Threads)
	for i, l := range t.lanes {
		group.Go(func() error {
			l.clear()
			for _, n := range parts[i] {
				if err := l.add(t.examples[n]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	loss := (t.lanes[0].total + t.lanes[1].total) / float64(len(batch))
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return 0, fmt.Errorf("%w: the loss is %v at a learning rate of %g; lower it", ErrDiverged, loss, t.rate(p))
	}
	model := make([]gorgonia.ValueGrad, len(t.vars.trained))
	for i, v := range t.vars.trained {
		grad := v.gradient()
		vek32.Add_Into(grad, t.lanes[0].sums[i], t.lanes[1].sums[i])
		vek32.MulNumber_Inplace(grad, 1/float32(len(batch)))
		model[i] = v
	}
	gorgonia.WithLearnRate(t.rate(p))(t.solver)
	if err := t.solver.Step(model); err != nil {
		return 0, fmt.Errorf("step the solver: %w", err)
	}
	return loss, nil
}

// rate returns the learning rate of a step.
func (t *trainer) rate(p Progress) float64 {
	done := float64(p.Step-1) / float64(max(1, p.Steps-1))
	return t.opts.LearningRate + done*(t.opts.FinalRate-t.opts.LearningRate)
}
