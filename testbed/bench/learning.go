package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"perigee/models"
	"perigee/models/darknet"
	"perigee/models/train"
	"perigee/testbed/assets"
	"perigee/testbed/scenes"
)

// learningSeeds is how many seeds the measures of learning take the median of.
const learningSeeds = 3

// Scenes of the case.
const (
	cleanScenes   = 90  // that the network learns before launch
	driftedScenes = 120 // that it learns again
	heldOutScenes = 80  // drifted, from another half of the Earth, that judge
)

// school trains yolov3-tiny as the demonstration does, on the drifted scenes of
// several seeds. What it has trained stays in .cache/learning, so that a measure
// that is interrupted, or taken again, goes on from there.
type school struct {
	b      *bench
	dir    string
	earth  *scenes.Earth
	engine models.Engine
	coco   *models.Network
	cache  train.FeatureCache
	tests  []train.Sample // held-out
}

func (b *bench) openSchool(ctx context.Context) (*school, error) {
	files, err := assets.Fetch(ctx, assets.Options{Progress: b.progress.say})
	if err != nil {
		return nil, err
	}
	dir, err := assets.DefaultDir()
	if err != nil {
		return nil, err
	}
	s := &school{b: b, dir: filepath.Join(filepath.Dir(dir), "learning")}
	s.cache = train.FeatureCache{Dir: filepath.Join(s.dir, "features")}
	if s.earth, err = scenes.Load(files.BlueMarble, files.Water); err != nil {
		return nil, err
	}
	if s.coco, err = darknet.ReadFiles(files.Config, files.Weights, darknet.YOLOv3TinyHead); err != nil {
		return nil, err
	}
	if s.engine, err = models.NewEngine(s.coco, 2); err != nil {
		return nil, err
	}
	if s.tests, err = s.look(ctx, scenes.HeldOut, 1, heldOutScenes, true); err != nil {
		return nil, closing(err, s.engine.Close)
	}
	return s, nil
}

// look runs the backbone on the photographs of scenes, once.
func (s *school) look(ctx context.Context, split scenes.Split, first uint64, n int, drifted bool) ([]train.Sample, error) {
	samples := make([]train.Sample, n)
	for i := range samples {
		scene, err := s.earth.Scene(split, first+uint64(i))
		if err != nil {
			return nil, err
		}
		if drifted {
			scene = scene.Through(scenes.DefaultDrift())
		}
		s.b.progress.note(fmt.Sprintf("scene %d of %d", i+1, n))
		features, err := s.cache.Features(ctx, s.engine, scene.ID(), func() (models.Tensor, error) {
			photograph, err := scene.Photograph()
			if err != nil {
				return models.Tensor{}, err
			}
			return models.FromImage(photograph, scenes.Size, scenes.Size), nil
		})
		if err != nil {
			return nil, err
		}
		samples[i] = train.Sample{Features: features, Truth: scene.Truth}
	}
	return samples, nil
}

// train trains a head, unless that was done before.
func (s *school) train(ctx context.Context, name string, from *models.Network, samples func() ([]train.Sample, error), o train.Options) (*models.Network, error) {
	path := filepath.Join(s.dir, fmt.Sprintf("%s-%d%s", name, o.Seed, models.FileExt))
	if n, err := models.ReadFile(path); err == nil && n.BackboneHash() == from.BackboneHash() {
		return n, nil
	}
	o.Now, o.Checkpoint = time.Now, checkpoint(path+".ckpt")
	o.Progress = func(p train.Progress) {
		s.b.progress.note(fmt.Sprintf("training %s of seed %d: epoch %d of %d, loss %.1f, %v left",
			name, o.Seed, p.Epoch, p.Epochs, p.Loss, p.Left.Round(time.Second)))
	}
	learn, err := samples()
	if err != nil {
		return nil, err
	}
	n, err := train.Head(ctx, from, train.Data{Learn: learn}, o)
	if err != nil {
		return nil, fmt.Errorf("train %s of seed %d: %w", name, o.Seed, err)
	}
	if err := models.WriteFile(path, n); err != nil {
		return nil, err
	}
	return n, os.Remove(path + ".ckpt")
}

// checkpoint is the file of a training's state.
type checkpoint string

// Load implements train.Checkpoint.
func (c checkpoint) Load() ([]byte, error) {
	data, err := os.ReadFile(string(c))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// Save implements train.Checkpoint.
func (c checkpoint) Save(data []byte) error { return renameio.WriteFile(string(c), data, 0o644) }

// f1 is that of a network on the held-out scenes, at its best threshold.
func (s *school) f1(ctx context.Context, n *models.Network) (float64, error) {
	if err := s.engine.Load(n); err != nil {
		return 0, err
	}
	judged := make([]models.Judged, len(s.tests))
	for i, t := range s.tests {
		maps, err := s.engine.Head(ctx, t.Features)
		if err != nil {
			return 0, err
		}
		found, err := n.Decode(maps, 0.02)
		if err != nil {
			return 0, err
		}
		judged[i] = models.Judged{Truth: t.Truth, Found: models.NMS(found, models.DefaultDetectOptions().NMS)}
	}
	return float64(models.BestF1(judged, models.MatchIoU).F1), nil
}

// pupil is what one seed has learned: the network that was launched, and what
// different trainings on the same drifted scenes make of it.
type pupil struct {
	seed      uint64
	launched  *models.Network
	retrained map[string]*models.Network
}

// The trainings. The whole head is the reference of the others.
const (
	wholeHead = "whole"
	lastOnly  = "last"
	rankTwo   = "rank2"
	rankFour  = "rank4"
)

func trainings() map[string]train.Options {
	return map[string]train.Options{
		wholeHead: {Epochs: 7, LearningRate: 5e-4, Batch: 8},
		lastOnly:  {Epochs: 12, LearningRate: 2e-3, Batch: 8, Layers: train.Last},
		rankTwo:   {Epochs: 30, LearningRate: 3e-3, Batch: 4, Rank: 2},
		rankFour:  {Epochs: 30, LearningRate: 3e-3, Batch: 8, Rank: 4},
	}
}

// base is where the scenes of a seed begin.
const base = 1_000_000

// launched is the network that was launched, of one seed.
func (s *school) launched(ctx context.Context, seed uint64) (*models.Network, error) {
	clean := func() ([]train.Sample, error) { return s.look(ctx, scenes.Train, seed*base, cleanScenes, false) }
	return s.train(ctx, "launched", s.coco, clean, train.Options{Epochs: 8, LearningRate: 1e-3, Batch: 4, Seed: seed})
}

// drifted are the scenes of a seed from which it learns again.
func (s *school) drifted(ctx context.Context, seed uint64) ([]train.Sample, error) {
	return s.look(ctx, scenes.Train, seed*base+base/2, driftedScenes, true)
}

// retrained is what a training makes of the network that was launched.
func (s *school) retrained(ctx context.Context, seed uint64, launched *models.Network, name string) (*models.Network, error) {
	o := trainings()[name]
	o.Seed = seed
	return s.train(ctx, name, launched, func() ([]train.Sample, error) { return s.drifted(ctx, seed) }, o)
}

// pupil trains for one seed.
func (s *school) pupil(ctx context.Context, seed uint64) (*pupil, error) {
	var err error
	p := &pupil{seed: seed, retrained: make(map[string]*models.Network)}
	if p.launched, err = s.launched(ctx, seed); err != nil {
		return nil, err
	}
	for _, name := range []string{wholeHead, lastOnly, rankTwo, rankFour} {
		if p.retrained[name], err = s.retrained(ctx, seed, p.launched, name); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// eachPupil calls do with what every seed has learned, one after the other.
func (b *bench) eachPupil(ctx context.Context, seeds int, do func(*school, *pupil) error) (err error) {
	s, err := b.openSchool(ctx)
	if err != nil {
		return err
	}
	defer func() { err = closing(err, s.engine.Close) }()
	// All trainings first: they are kept, so a run that is interrupted has lost
	// none, while what is measured is not.
	for seed := range uint64(seeds) {
		if _, err := s.pupil(ctx, seed+1); err != nil {
			return err
		}
	}
	for seed := range uint64(seeds) {
		p, err := s.pupil(ctx, seed+1)
		if err != nil {
			return err
		}
		if err := do(s, p); err != nil {
			return err
		}
	}
	return nil
}
