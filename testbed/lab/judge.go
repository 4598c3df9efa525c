package lab

import (
	"context"
	"fmt"
	"path/filepath"

	"perigee/models"
	"perigee/models/train"
	"perigee/testbed/scenes"
)

// scoreFrom is the lowest score of detections that are judged.
const scoreFrom = 0.02

// judgement is how the network that flew at first and the one on board at the end
// do on scenes that neither was trained on.
type judgement struct {
	clean, drifted []train.Sample
	v1Clean        models.Score
	v1Drift        models.Score
	v2Clean        models.Score
	v2Drift        models.Score
}

// judge scores both networks and draws the picture of before and after.
func (w *world) judge(ctx context.Context, v2 *models.Network, picture string) (*judgement, error) {
	var j judgement
	var err error
	n := w.scenario.Scenes.HeldOut
	if j.clean, err = w.look(ctx, w.v1, scenes.HeldOut, seedHeldOut, n, false); err != nil {
		return nil, err
	}
	if j.drifted, err = w.look(ctx, w.v1, scenes.HeldOut, seedHeldOut, n, true); err != nil {
		return nil, err
	}
	w.progress.Stage("judging both networks", 4)
	for i, run := range []struct {
		net     *models.Network
		samples []train.Sample
		score   *models.Score
	}{
		{w.v1, j.clean, &j.v1Clean}, {w.v1, j.drifted, &j.v1Drift}, {v2, j.clean, &j.v2Clean}, {v2, j.drifted, &j.v2Drift},
	} {
		found, err := detect(ctx, run.net, run.samples, scoreFrom)
		if err != nil {
			return nil, err
		}
		judged := make([]models.Judged, len(found))
		for k := range found {
			judged[k] = models.Judged{Truth: run.samples[k].Truth, Found: found[k]}
		}
		*run.score = models.BestF1(judged, models.MatchIoU)
		w.progress.Step(i + 1)
	}
	return &j, w.draw(ctx, &j, v2, picture)
}

// detect runs the head of net on features.
func detect(ctx context.Context, net *models.Network, samples []train.Sample, threshold float32) ([][]models.Detection, error) {
	engine, err := models.NewEngine(net, 2)
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	found := make([][]models.Detection, len(samples))
	for i, s := range samples {
		maps, err := engine.Head(ctx, s.Features)
		if err != nil {
			return nil, err
		}
		all, err := net.Decode(maps, threshold)
		if err != nil {
			return nil, err
		}
		found[i] = models.NMS(all, models.DefaultDetectOptions().NMS)
	}
	return found, nil
}

// draw writes the picture of the drifted scene with the most objects, as each
// network sees it at its own best threshold for drifted scenes.
func (w *world) draw(ctx context.Context, j *judgement, v2 *models.Network, path string) error {
	most := 0
	for i, s := range j.drifted {
		if len(s.Truth) > len(j.drifted[most].Truth) {
			most = i
		}
	}
	scene, err := w.scene(scenes.HeldOut, seedHeldOut, most, true)
	if err != nil {
		return err
	}
	panel := func(net *models.Network, title string, score models.Score) (scenes.Panel, error) {
		found, err := detect(ctx, net, j.drifted[most:most+1], score.Threshold)
		if err != nil {
			return scenes.Panel{}, err
		}
		return scenes.Panel{
			Picture: scene.Image, Truth: scene.Truth, Found: found[0], Title: title,
			Note: fmt.Sprintf("F1 %.2f on %d held-out scenes", score.F1, len(j.drifted)),
		}, nil
	}
	before, err := panel(w.v1, "before: as launched", j.v1Drift)
	if err != nil {
		return err
	}
	after, err := panel(v2, "after: the difference applied on board", j.v2Drift)
	if err != nil {
		return err
	}
	return scenes.WritePNG(filepath.Clean(path), scenes.Compare("Drifted sensor: "+scene.ID(), before, after))
}
