package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/viterin/vek/vek32"

	"perigee/models"
)

// trainer holds what a training needs between steps.
type trainer struct {
	opts   Options
	digest models.Hash // when checkpoints are made
	vars   *variables
	lanes  []*lane
	solver *adam
	random *rand.PCG
	rng    *rand.Rand // reads random

	learn, replay, check []example

	epoch     int         // that runs, from 1
	order     []int       // of the examples of the epoch: learn, then replay
	done      int         // of order
	before    []byte      // state of random before the epoch
	best      [][]float32 // values of the variables at the least check loss
	bestLoss  float64
	bestEpoch int
}

func newTrainer(ctx context.Context, net *models.Network, data Data, opts Options) (*trainer, error) {
	t := &trainer{opts: opts, random: rand.NewPCG(opts.Seed, 0x747261696e), bestLoss: math.Inf(1)}
	t.rng = rand.New(t.random)
	t.vars = newVariables(net, opts, t.rng)
	t.solver = newAdam(t.vars.trained)
	if opts.Checkpoint != nil {
		t.digest = digest(net, data, opts)
	}
	from, err := t.prepare(ctx, net, data)
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
func (t *trainer) prepare(ctx context.Context, net *models.Network, data Data) (from []int, err error) {
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
	for _, side := range []struct {
		samples []Sample
		to      *[]example
	}{{data.Learn, &t.learn}, {data.Replay, &t.replay}, {data.Check, &t.check}} {
		for _, s := range side.samples {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			e := example{targets: assign(outs, net.Input(), s.Truth)}
			for _, f := range s.Features {
				e.maps = append(e.maps, f.Data)
			}
			if fixed != nil {
				if e.maps, err = fixed.run(e.maps); err != nil {
					return nil, err
				}
			}
			*side.to = append(*side.to, e)
		}
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

// replayed is how many examples of each epoch are replayed ones.
func (t *trainer) replayed() int {
	if len(t.replay) == 0 {
		return 0
	}
	share := t.opts.ReplayShare
	return int(math.Round(float64(len(t.learn)) * share / (1 - share)))
}

// perEpoch is the number of steps of an epoch.
func (t *trainer) perEpoch() int {
	return (len(t.learn) + t.replayed() + t.opts.Batch - 1) / t.opts.Batch
}

// begin shuffles the examples of the next epoch: all that are to be learnt and
// some of those that are replayed.
func (t *trainer) begin() error {
	var err error
	if t.before, err = t.random.MarshalBinary(); err != nil {
		return fmt.Errorf("note the random state: %w", err)
	}
	t.done = 0
	t.order = t.order[:0]
	for i := range t.learn {
		t.order = append(t.order, i)
	}
	var again []int
	for range t.replayed() {
		if len(again) == 0 {
			again = t.rng.Perm(len(t.replay))
		}
		t.order = append(t.order, len(t.learn)+again[0])
		again = again[1:]
	}
	t.rng.Shuffle(len(t.order), func(i, j int) { t.order[i], t.order[j] = t.order[j], t.order[i] })
	return nil
}

func (t *trainer) example(i int) example {
	if i < len(t.learn) {
		return t.learn[i]
	}
	return t.replay[i-len(t.learn)]
}

// run does the epochs that are left and leaves the best parameters in vars.
func (t *trainer) run(ctx context.Context) error {
	p := Progress{Epochs: t.opts.Epochs, Steps: t.perEpoch() * t.opts.Epochs}
	first := max(t.epoch-1, 0)*t.perEpoch() + t.done/t.opts.Batch
	var start time.Time
	if t.opts.Now != nil {
		start = t.opts.Now()
	}
	for t.epoch <= t.opts.Epochs {
		for t.done < len(t.order) {
			if err := ctx.Err(); err != nil {
				return err
			}
			p.Epoch, p.Step = t.epoch, (t.epoch-1)*t.perEpoch()+t.done/t.opts.Batch+1
			next := min(t.done+t.opts.Batch, len(t.order))
			loss, err := t.step(t.order[t.done:next], p)
			if err != nil {
				return fmt.Errorf("step %d of %d: %w", p.Step, p.Steps, err)
			}
			t.done = next
			p.Loss = loss
			if t.opts.Now != nil {
				p.Left = t.opts.Now().Sub(start) * time.Duration(p.Steps-p.Step) / time.Duration(p.Step-first)
			}
			if t.opts.Progress != nil {
				t.opts.Progress(p)
			}
			if p.Step%saveEvery == 0 && t.done < len(t.order) {
				if err := t.save(); err != nil {
					return err
				}
			}
		}
		stop, err := t.endEpoch(ctx, &p)
		if err != nil || stop {
			return err
		}
	}
	t.takeBest()
	return nil
}

// endEpoch looks at the check samples, keeps the best parameters, and begins the
// next epoch. It tells whether the training stops early.
func (t *trainer) endEpoch(ctx context.Context, p *Progress) (stop bool, err error) {
	if len(t.check) > 0 {
		if p.CheckLoss, err = t.checkLoss(ctx); err != nil {
			return false, err
		}
		if p.CheckLoss < t.bestLoss {
			t.bestLoss, t.bestEpoch, t.best = p.CheckLoss, t.epoch, nil
			for _, v := range t.vars.trained {
				t.best = append(t.best, slices.Clone(v.data()))
			}
		}
		if t.epoch-t.bestEpoch >= t.opts.Patience {
			t.takeBest()
			return true, nil
		}
	}
	t.epoch++
	if err := t.begin(); err != nil {
		return false, err
	}
	return false, t.save()
}

// takeBest goes back to the parameters with the least loss on the check samples.
func (t *trainer) takeBest() {
	for i, values := range t.best {
		copy(t.vars.trained[i].data(), values)
	}
}

// checkLoss is the mean loss on the check samples.
func (t *trainer) checkLoss(ctx context.Context) (float64, error) {
	all := make([]int, len(t.check))
	for i := range all {
		all[i] = i
	}
	if err := t.through(ctx, all, func(i int) example { return t.check[i] }); err != nil {
		return 0, fmt.Errorf("check the loss: %w", err)
	}
	return t.loss(len(all)), nil
}

// through runs examples through the lanes, the first half through the first one,
// so that sums do not depend on which ends first.
func (t *trainer) through(ctx context.Context, batch []int, of func(int) example) error {
	half := (len(batch) + 1) / lanes
	parts := [lanes][]int{batch[:half], batch[half:]}
	var group errgroup.Group
	group.SetLimit(t.opts.Threads)
	for i, l := range t.lanes {
		group.Go(func() error {
			l.clear()
			for _, n := range parts[i] {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := l.add(of(n)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// loss is the mean loss of what ran through the lanes last.
func (t *trainer) loss(examples int) float64 {
	return (t.lanes[0].total + t.lanes[1].total) / float64(examples)
}

// step runs one batch through the lanes and lets the solver change the head. It
// returns the mean loss.
func (t *trainer) step(batch []int, p Progress) (float64, error) {
	// A step is short and is not interrupted in the middle.
	if err := t.through(context.Background(), batch, t.example); err != nil {
		return 0, err
	}
	loss := t.loss(len(batch))
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return 0, fmt.Errorf("%w: the loss is %v at a learning rate of %g; lower it", ErrDiverged, loss, t.rate(p))
	}
	for i, v := range t.vars.trained {
		vek32.Add_Into(v.grad, t.lanes[0].sums[i], t.lanes[1].sums[i])
		vek32.MulNumber_Inplace(v.grad, 1/float32(len(batch)))
	}
	t.solver.step(t.vars.trained, t.rate(p))
	return loss, nil
}

// rate returns the learning rate of a step.
func (t *trainer) rate(p Progress) float64 {
	done := float64(p.Step-1) / float64(max(1, p.Steps-1))
	return t.opts.LearningRate + done*(t.opts.FinalRate-t.opts.LearningRate)
}
