package ground

import (
	"context"
	"errors"
	"fmt"

	"perigee/models"
	"perigee/models/gate"
)

// lowest is the lowest score at which detections are looked at to find the best
// threshold.
const lowest = 0.05

// features runs the backbone once on every sample of the round that it has not
// seen. Samples whose picture cannot be used leave the round.
func (g *Ground) features(ctx context.Context) error {
	base, err := models.ReadFile(g.modelPath(g.state.Base))
	if err != nil {
		return &roundError{err}
	}
	all := g.state.all()
	bad := map[models.Hash]bool{}
	err = g.withEngine(base, func(e models.Engine) error {
		for i, id := range all {
			_, err := g.featuresOf(ctx, e, id)
			switch {
			case errors.Is(err, errPicture):
				g.log.Warn("sample leaves the round", "sample", id, "err", err)
				bad[id] = true
			case err != nil:
				return err
			}
			g.publish(func(p *Progress) { p.Done, p.Of = i+1, len(all) })
		}
		return nil
	})
	if err != nil {
		return err
	}
	next := g.state
	next.sides = next.without(func(id models.Hash) bool { return bad[id] })
	if len(next.Learn) == 0 || len(next.Judge) == 0 {
		return &roundError{errors.New("no usable sample is left on one of the sides")}
	}
	next.Stage = StageTrain
	return g.save(next)
}

// withEngine calls use with an engine for n.
func (g *Ground) withEngine(n *models.Network, use func(models.Engine) error) error {
	e, err := g.newEngine(n)
	if err != nil {
		return fmt.Errorf("start the engine: %w", err)
	}
	return errors.Join(use(e), e.Close())
}

func (g *Ground) storeModel(path string, n *models.Network) error {
	return g.disk.With(path, func(path string) error { return models.WriteFile(path, n) })
}

// judge returns what the network with this number, of so many that are judged,
// finds in the held-out samples, and its F1 at its best threshold. The error
// wraps errOutput when the network computes what is not finite.
func (g *Ground) judge(ctx context.Context, n *models.Network, number, networks int) (gate.Side, models.Score, error) {
	var side gate.Side
	err := g.withEngine(n, func(e models.Engine) error {
		for i, id := range g.state.Judge {
			k, ok := g.library.get(id)
			if !ok {
				continue
			}
			found, err := g.detect(ctx, e, id)
			if err != nil {
				return fmt.Errorf("sample %v: %w", id, err)
			}
			side.Pictures = append(side.Pictures, models.Judged{Truth: k.Truth, Found: found})
			g.publish(func(p *Progress) { p.Done, p.Of = number*len(g.state.Judge)+i+1, networks*len(g.state.Judge) })
		}
		return nil
	})
	score := models.BestF1(side.Pictures, models.MatchIoU)
	side.Threshold = score.Threshold
	return side, score, err
}

// errOutput is wrapped by errors about a network that computes what is not finite.
var errOutput = errors.New("an output of the network is not finite")

func (g *Ground) detect(ctx context.Context, e models.Engine, id models.Hash) ([]models.Detection, error) {
	f, err := g.featuresOf(ctx, e, id)
	if err != nil {
		return nil, err
	}
	outputs, err := e.Head(ctx, f)
	if err != nil {
		return nil, err
	}
	for _, o := range outputs {
		for _, v := range o.Data {
			if v-v != 0 {
				return nil, errOutput
			}
		}
	}
	found, err := e.Network().Decode(outputs, lowest)
	if err != nil {
		return nil, err
	}
	return models.NMS(found, models.DefaultDetectOptions().NMS), nil
}
