package main

import (
	"context"
	_ "embed" // for the reference
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"perigee/models"
	"perigee/models/train"
)

//go:embed torch_head.py
var torchScript []byte

// What a step is of, and how many are timed.
const (
	stepBatch  = 8 // samples
	stepEpochs = 5 // steps of a round; the first warms up
	stepRounds = 3
)

// sameLoss is how far apart, in parts of their value, the losses of both sides may
// be for the first steps of a round: then they do the same work.
const sameLoss = 1e-3

func trainMeasures() []measure {
	return []measure{
		{
			name: "train.step", what: "a step of training the head of yolov3-tiny on 8 samples, on one and two threads, and one of rank 2; reference: PyTorch on as many",
			bars: map[string]bar{
				"train.step":   {ratio: limit{2.5, atMost}},
				"train.step_1": {ratio: limit{2.5, atMost}},
			},
			take: trainStep,
		},
	}
}

// trainStep times the steps of both sides in turns, a round of some steps each.
func trainStep(ctx context.Context, b *bench) ([]figure, error) {
	if said, err := exec.CommandContext(ctx, python, "-c", "import numpy, torch").CombinedOutput(); err != nil {
		return nil, fmt.Errorf(`PyTorch is not there for %s: %w: %.200s; run "apt-get install --no-install-recommends python3-torch libopenblas0-pthread"`, python, err, said)
	}
	dir, err := b.folder("train.step")
	if err != nil {
		return nil, err
	}
	script := filepath.Join(dir, "torch_head.py")
	if err := os.WriteFile(script, torchScript, 0o600); err != nil {
		return nil, err
	}
	net, samples, err := b.lesson(ctx)
	if err != nil {
		return nil, err
	}
	var figures []figure
	for _, kind := range []struct {
		name          string
		threads, rank int
	}{{"train.step", 2, 0}, {"train.step_1", 1, 0}, {"train.step_rank2", 2, 2}, {"train.step_rank2_1", 1, 2}} {
		torch := train.Program{
			Command: []string{python, script, strconv.Itoa(kind.threads)}, Dir: filepath.Join(dir, kind.name),
		}
		o := train.Options{Epochs: stepEpochs, Batch: stepBatch, Threads: kind.threads, Rank: kind.rank, Seed: 1}
		f, err := b.compareSteps(ctx, kind.name, net, samples, o, torch.Head)
		if err != nil {
			return figures, fmt.Errorf("%s: %w", kind.name, err)
		}
		figures = append(figures, f)
	}
	return figures, nil
}

// lesson is yolov3-tiny and as many samples as a step takes.
func (b *bench) lesson(ctx context.Context) (*models.Network, []train.Sample, error) {
	net, picture, err := b.tiny(ctx)
	if err != nil {
		return nil, nil, err
	}
	e, err := models.NewEngine(net, 2)
	if err != nil {
		return nil, nil, err
	}
	samples := make([]train.Sample, stepBatch)
	for i := range samples {
		for j := range picture.Data {
			picture.Data[j] = float32(math.Mod(float64(picture.Data[j])+0.618, 1))
		}
		features, err := e.Backbone(ctx, picture)
		if err != nil {
			return nil, nil, closing(err, e.Close)
		}
		samples[i].Features = features
		for k := range 5 {
			side := float32(k+1) / 40
			samples[i].Truth = append(samples[i].Truth, models.Truth{
				Class: 4 * (k%2 + 1), Box: models.Box{X: float32(2*k+1) / 11, Y: float32(i+1) / 9, W: side, H: 1.5 * side},
			})
		}
	}
	return net, samples, e.Close()
}

// head trains the head of a network.
type head func(context.Context, *models.Network, train.Data, train.Options) (*models.Network, error)

// compareSteps times a step of ours and of the reference.
func (b *bench) compareSteps(ctx context.Context, name string, net *models.Network, samples []train.Sample, o train.Options, reference head) (figure, error) {
	// One thread is one: the collector has no other.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(o.Threads))
	var values, refs []float64
	for round := range stepRounds {
		b.progress.note(fmt.Sprintf("%s, round %d of %d", name, round+1, stepRounds))
		ours, losses, err := timeSteps(ctx, train.Head, net, samples, o)
		if err != nil {
			return figure{}, err
		}
		theirs, want, err := timeSteps(ctx, reference, net, samples, o)
		if err != nil {
			return figure{}, fmt.Errorf("the reference: %w", err)
		}
		if err := agree(losses, want, o.Rank); err != nil {
			return figure{}, err
		}
		values, refs = append(values, ours...), append(refs, theirs...)
	}
	return figure{name: name, value: median(values) * 1e3, unit: "ms", reference: median(refs) * 1e3}, nil
}

// timeSteps trains and returns how many seconds each step but the first took, and
// the loss of each.
func timeSteps(ctx context.Context, do head, net *models.Network, samples []train.Sample, o train.Options) (took, losses []float64, err error) {
	runtime.GC() // nobody pays for the garbage of the one before
	var last time.Time
	o.Progress = func(p train.Progress) {
		now := time.Now()
		if p.Step > 1 {
			took = append(took, now.Sub(last).Seconds())
		}
		last, losses = now, append(losses, p.Loss)
	}
	if _, err := do(ctx, net, train.Data{Learn: slices.Clone(samples)}, o); err != nil {
		return nil, nil, err
	}
	if len(took) == 0 {
		return nil, nil, errors.New("no step was told of")
	}
	return took, losses, nil
}

// agree checks that both sides do the same: that their losses are the same. Factors
// begin with other random numbers, so only the first loss of a low rank is.
func agree(ours, theirs []float64, rank int) error {
	if len(ours) != len(theirs) {
		return fmt.Errorf("%d steps, the reference does %d", len(ours), len(theirs))
	}
	for i := range ours {
		if rank > 0 && i > 0 {
			break
		}
		if math.Abs(ours[i]-theirs[i]) > sameLoss*math.Abs(theirs[i]) {
			return fmt.Errorf("the loss of step %d is %g, the reference computes %g: they do not do the same", i+1, ours[i], theirs[i])
		}
	}
	return nil
}
