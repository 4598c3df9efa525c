package agent

import (
	"context"
	"errors"
	"fmt"

	"perigee/models"
	"perigee/models/golden"
)

// errCanary is wrapped by the reasons for which a network is not used after it
// looked at recent pictures.
var errCanary = errors.New("canary failed")

// canaryFloor is the lowest score that tells how sure a network is of the best
// that it sees, whatever its threshold.
const canaryFloor = 0.01

// glance is what a network sees in the recent pictures.
type glance struct {
	objects []int   // in each, at the network's own threshold
	best    float64 // mean of the best score in each
}

func (g *glance) sum() int {
	sum := 0
	for _, n := range g.objects {
		sum += n
	}
	return sum
}

// canary lets the network of e look at recent pictures, and then the one that
// flies, on the same engine: what flies goes on undisturbed beside it. It returns
// what was seen, for people, or the reason for which the network must not be used.
// The engine ends up with the network that flies.
func (a *Agent) canary(ctx context.Context, e models.Engine, threshold float32, files [][]byte) (string, error) {
	if len(files) == 0 {
		return "no recent pictures", nil
	}
	now, active := a.runner.flying()
	fresh, err := a.glance(ctx, e, threshold, files)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errCanary, err)
	}
	if err := e.Load(now); err != nil {
		return "", fmt.Errorf("%w: %w", errCanary, err)
	}
	old, err := a.glance(ctx, e, active.Threshold, files)
	if err != nil {
		// It flies; its faults are not the new one's.
		return fmt.Sprintf("the active network fails on recent pictures: %v", err), ctx.Err()
	}
	if err := a.cfg.Updates.Canary.judge(&old, &fresh); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d recent pictures: %d objects, best score %.2f (before: %d, %.2f)",
		len(fresh.objects), fresh.sum(), fresh.best, old.sum(), old.best), nil
}

// glance runs the network of e on pictures. Those that are none are left out.
func (a *Agent) glance(ctx context.Context, e models.Engine, threshold float32, files [][]byte) (glance, error) {
	if threshold == 0 {
		threshold = a.cfg.Detect.Threshold
	}
	var g glance
	n := e.Network()
	for _, file := range files {
		tensor, err := models.FromJPEG(file, n.Input().W, n.Input().H)
		if err != nil {
			continue
		}
		features, err := e.Backbone(ctx, tensor)
		if err != nil {
			return glance{}, err
		}
		outputs, err := e.Head(ctx, features)
		if err != nil {
			return glance{}, err
		}
		if err := golden.Finite(outputs); err != nil {
			return glance{}, err
		}
		found, err := n.Decode(outputs, min(threshold, canaryFloor))
		if err != nil {
			return glance{}, err
		}
		best, counted := float32(0), found[:0]
		for _, d := range found {
			best = max(best, d.Score)
			if d.Score >= threshold {
				counted = append(counted, d)
			}
		}
		g.best += float64(best)
		g.objects = append(g.objects, len(models.NMS(counted, a.cfg.Detect.NMS)))
	}
	g.best /= float64(max(1, len(g.objects)))
	return g, nil
}

// judge holds what a new network sees against what the one that flies sees.
func (c *CanaryConfig) judge(old, fresh *glance) error {
	plenty, blind := 0, 0
	for i := range min(len(old.objects), len(fresh.objects)) {
		if old.objects[i] < c.Plenty {
			continue
		}
		plenty++
		if fresh.objects[i] == 0 {
			blind++
		}
	}
	switch rate := float32(fresh.sum()) / float32(max(1, len(fresh.objects))); {
	case plenty > 0 && float32(blind)/float32(plenty) > c.Blind:
		return fmt.Errorf("%w: sees nothing in %d of the %d recent pictures in which the active network sees %d objects or more, limit %g",
			errCanary, blind, plenty, c.Plenty, c.Blind)
	case fresh.best < float64(c.Confidence)*old.best:
		return fmt.Errorf("%w: mean of the best scores in %d recent pictures is %.3f, that of the active network %.3f, want at least %g of it",
			errCanary, len(fresh.objects), fresh.best, old.best, c.Confidence)
	case rate > c.MostObjects:
		return fmt.Errorf("%w: %.1f objects a picture in %d recent pictures, limit %g", errCanary, rate, len(fresh.objects), c.MostObjects)
	}
	return nil
}
