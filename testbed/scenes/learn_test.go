//go:build experiment

// This experiment runs the whole loop of learning without any link, to fix the
// settings of the demonstration: train v1 on clean scenes, let the hard-example
// filter pick from a replayed list of drifted ones, train v2 on what it picked,
// and score both on held-out ground. It needs the assets and some minutes:
//
//	go test -tags experiment -run TestLearning -v -timeout 1h ./testbed/scenes -seed 1
package scenes

import (
	"context"
	"flag"
	"testing"
	"time"

	"perigee/models"
	"perigee/models/darknet"
	"perigee/models/mining"
	"perigee/models/train"
	"perigee/testbed/assets"
)

var (
	seedFlag    = flag.Uint64("seed", 1, "seed of scenes and trainings")
	scenesFlag  = flag.Int("scenes", 90, "clean scenes for v1")
	replayFlag  = flag.Int("replay", 90, "drifted scenes that are replayed to v1")
	hardFlag    = flag.Int("hard", 72, "most hard pictures that v2 learns from")
	epochs1Flag = flag.Int("epochs1", 8, "epochs of v1")
	epochs2Flag = flag.Int("epochs2", 6, "epochs of v2")
	rate1Flag   = flag.Float64("rate1", 1e-3, "learning rate of v1")
	rate2Flag   = flag.Float64("rate2", 7e-4, "learning rate of v2")
	last1Flag   = flag.Bool("last1", false, "train only the last layers of v1")
	last2Flag   = flag.Bool("last2", false, "train only the last layers of v2")
	rank2Flag   = flag.Int("rank2", 0, "rank of the change of v2; 0 is whole")
	batchFlag   = flag.Int("batch", 4, "samples of one step")
	filterFlag  = flag.String("filter", mining.Threshold, "hard-example filter")
	pictureFlag = flag.String("picture", "", "file for the picture of before and after")
)

// learner carries what the stages of the experiment share.
type learner struct {
	*testing.T
	earth  *Earth
	engine models.Engine
	start  time.Time
}

func (l *learner) check(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// lap reports what took how long since the last report.
func (l *learner) lap(what string, pictures int) time.Duration {
	took := time.Since(l.start)
	l.Logf("%-28s %6.1f s  %5.0f ms each", what, took.Seconds(), took.Seconds()*1000/float64(max(pictures, 1)))
	l.start = time.Now()
	return took
}

// look makes scenes and runs the backbone on their photographs.
func (l *learner) look(split Split, first uint64, n int, drifted bool) ([]Scene, []train.Sample) {
	var list []Scene
	var samples []train.Sample
	for i := range n {
		scene := mustScene(l, l.earth, split, first+uint64(i))
		if drifted {
			scene = scene.Through(DefaultDrift())
		}
		photograph, err := scene.Photograph()
		l.check(err)
		features, err := l.engine.Backbone(context.Background(), models.FromImage(photograph, Size, Size))
		l.check(err)
		list = append(list, scene)
		samples = append(samples, train.Sample{Features: features, Truth: scene.Truth})
	}
	return list, samples
}

// detect runs the head that the engine holds.
func (l *learner) detect(s train.Sample, threshold float32) []models.Detection {
	maps, err := l.engine.Head(context.Background(), s.Features)
	l.check(err)
	found, err := l.engine.Network().Decode(maps, threshold)
	l.check(err)
	return models.NMS(found, models.DefaultDetectOptions().NMS)
}

func (l *learner) score(net *models.Network, samples []train.Sample) models.Score {
	l.check(l.engine.Load(net))
	return models.BestF1(l.judge(samples), models.MatchIoU)
}

func (l *learner) scoreAt(samples []train.Sample, threshold float32) models.Score {
	return models.F1At(l.judge(samples), models.MatchIoU, threshold)
}

func (l *learner) judge(samples []train.Sample) []models.Judged {
	var judged []models.Judged
	for _, s := range samples {
		judged = append(judged, models.Judged{Truth: s.Truth, Found: l.detect(s, 0.02)})
	}
	return judged
}

func (l *learner) train(net *models.Network, samples []train.Sample, opts train.Options) *models.Network {
	every := time.Now()
	opts.Seed, opts.Batch, opts.Now = *seedFlag, *batchFlag, time.Now
	opts.Progress = func(p train.Progress) {
		if time.Since(every) > 10*time.Second {
			every = time.Now()
			l.Logf("  epoch %d of %d, step %d of %d: loss %.2f, %v left", p.Epoch, p.Epochs, p.Step, p.Steps, p.Loss, p.Left.Round(time.Second))
		}
	}
	trained, err := train.Head(context.Background(), net, train.Data{Learn: samples}, opts)
	l.check(err)
	return trained
}

func layersOf(last bool) train.Layers {
	if last {
		return train.Last
	}
	return train.All
}

func TestLearning(t *testing.T) {
	l := &learner{T: t, earth: realEarth(t), start: time.Now()}
	dir, err := assets.DefaultDir()
	l.check(err)
	files, err := assets.Locate(dir)
	l.check(err)
	coco, err := darknet.ReadFiles(files.Config, files.Weights, darknet.YOLOv3TinyHead)
	l.check(err)
	l.engine, err = models.NewEngine(coco, 2)
	l.check(err)
	defer l.engine.Close()
	base := *seedFlag * 1_000_000

	_, cleanTest := l.look(HeldOut, 1, 50, false)
	driftScenes, driftTest := l.look(HeldOut, 1, 50, true)
	l.lap("look at 100 held-out", 100)

	_, clean := l.look(Train, base, *scenesFlag, false)
	learning := l.lap("look at clean scenes", *scenesFlag)
	v1 := l.train(coco, clean, train.Options{Epochs: *epochs1Flag, LearningRate: *rate1Flag, Layers: layersOf(*last1Flag)})
	learning += l.lap("train v1 (ms a sample)", *scenesFlag**epochs1Flag)
	v1Clean, v1Drift := l.score(v1, cleanTest), l.score(v1, driftTest)
	t.Logf("v1: clean %.3f at %.2f, drift %.3f at %.2f", v1Clean.F1, v1Clean.Threshold, v1Drift.F1, v1Drift.Threshold)
	t.Logf("v1 on drift at its threshold for clean scenes: %.3f", l.scoreAt(driftTest, v1Clean.Threshold).F1)
	l.lap("score v1", 100)

	_, replay := l.look(Train, base+500_000, *replayFlag, true)
	filter, err := mining.New(mining.Config{Name: *filterFlag}, nil)
	l.check(err)
	var hard []train.Sample
	picked := 0
	for _, s := range replay {
		if filter.Judge(l.detect(s, models.DefaultDetectOptions().Threshold)).Hard {
			if picked++; len(hard) < *hardFlag {
				hard = append(hard, s)
			}
		}
	}
	learning += l.lap("replay drifted scenes", *replayFlag)
	t.Logf("filter %s picked %d of %d, %d used", *filterFlag, picked, len(replay), len(hard))
	v2 := l.train(v1, hard, train.Options{Epochs: *epochs2Flag, LearningRate: *rate2Flag, Layers: layersOf(*last2Flag), Rank: *rank2Flag})
	learning += l.lap("train v2 (ms a sample)", len(hard)**epochs2Flag)
	v2Clean, v2Drift := l.score(v2, cleanTest), l.score(v2, driftTest)
	t.Logf("v2 on drift at the threshold of v1 for clean scenes: %.3f", l.scoreAt(driftTest, v1Clean.Threshold).F1)
	t.Logf("v2: clean %.3f at %.2f, drift %.3f at %.2f", v2Clean.F1, v2Clean.Threshold, v2Drift.F1, v2Drift.Threshold)
	t.Logf("seed %d: v1 clean %.3f drift %.3f | v2 clean %.3f drift %.3f | gain %.3f | learning took %.0f s",
		*seedFlag, v1Clean.F1, v1Drift.F1, v2Clean.F1, v2Drift.F1, v2Drift.F1-v1Drift.F1, learning.Seconds())
	l.draw(driftScenes, driftTest, v1, v2, v1Drift.Threshold, v2Drift.Threshold)
	if v1Clean.F1 < 0.85 || v2Drift.F1-v1Drift.F1 < 0.35 {
		t.Errorf("want v1 of 0.85 on clean scenes and a gain of 0.35 on drifted ones")
	}
}

// draw composes before and after for the held-out scene with the most objects.
func (l *learner) draw(list []Scene, samples []train.Sample, v1, v2 *models.Network, t1, t2 float32) {
	if *pictureFlag == "" {
		return
	}
	most := 0
	for i, scene := range list {
		if len(scene.Truth) > len(list[most].Truth) {
			most = i
		}
	}
	panel := func(net *models.Network, title string, threshold float32) Panel {
		l.check(l.engine.Load(net))
		return Panel{Picture: list[most].Image, Truth: list[most].Truth, Found: l.detect(samples[most], threshold), Title: title}
	}
	l.check(WritePNG(*pictureFlag, Compare("Drifted sensor: "+list[most].ID(), panel(v1, "v1", t1), panel(v2, "v2", t2))))
}
