package ground

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"perigee/agent/durable"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/train"
)

// What a training keeps in the data folder, for one that is taken up again.
const (
	checkpointName = "training.ckpt"
	programDir     = "training"
	maxCheckpoint  = 2 << 30 // bytes
)

// train retrains the head on the samples of the round.
func (g *Ground) train(ctx context.Context) error {
	base, err := models.ReadFile(g.modelPath(g.state.Base))
	if err != nil {
		return &roundError{err}
	}
	data, err := g.trainData(ctx, base)
	if err != nil {
		return &roundError{err}
	}
	head := train.Head
	if command := g.cfg.Train.Program; len(command) > 0 {
		head = train.Program{Command: command, Dir: g.path(programDir)}.Head
	}
	trained, err := head(ctx, base, data, g.trainOptions())
	if err != nil {
		return &roundError{err}
	}
	if err := g.storeModel(g.path(trainedName), trained); err != nil {
		return err
	}
	return g.advance(StageBuild)
}

// trainData gathers the samples of the round with their features.
func (g *Ground) trainData(ctx context.Context, base *models.Network) (train.Data, error) {
	var data train.Data
	err := g.withEngine(base, func(e models.Engine) error {
		for _, side := range []struct {
			ids []models.Hash
			to  *[]train.Sample
		}{{g.state.Learn, &data.Learn}, {g.state.Replay, &data.Replay}, {g.state.Check, &data.Check}} {
			for _, id := range side.ids {
				k, ok := g.library.get(id)
				if !ok {
					continue
				}
				f, err := g.featuresOf(ctx, e, id)
				if err != nil {
					return err
				}
				*side.to = append(*side.to, train.Sample{Features: f, Truth: k.Truth})
			}
		}
		return nil
	})
	return data, err
}

func (g *Ground) trainOptions() train.Options {
	c := g.cfg.Train
	o := train.Options{
		Epochs: c.Epochs, Batch: c.Batch, LearningRate: c.LearningRate, Seed: c.Seed, ReplayShare: c.Replay,
		Threads: min(c.Threads, 2), Rank: c.Rank, Layers: train.All, Checkpoint: checkpoint{g},
		Now: func() time.Time { return g.clock.Now().Time() },
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
		g.publish(func(q *Progress) {
			q.Done, q.Of, q.Loss, q.CheckLoss, q.Left = p.Epoch, p.Epochs, loss, p.CheckLoss, dtntime.Of(p.Left)
		})
	}
	return o
}

// checkpoint keeps the state of a training in the data folder.
type checkpoint struct{ g *Ground }

// Load implements train.Checkpoint.
func (c checkpoint) Load() ([]byte, error) {
	data, err := durable.Read(c.g.path(checkpointName), maxCheckpoint)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// Save implements train.Checkpoint.
func (c checkpoint) Save(data []byte) error { return c.g.disk.Write(c.g.path(checkpointName), data) }
