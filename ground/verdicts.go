package ground

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"perigee/agent/mail"
	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/darknet"
	"perigee/models/payload"
)

const serviceVerdicts = 13 // on the satellite

// Who gives a verdict.
const (
	SourceLabel = "label" // the Labeller
	SourceModel = "model" // the network of VerdictConfig.Model
)

// Limits of one batch of verdicts, which goes whole.
const (
	maxBatchVerdicts = 256
	maxBatchLabels   = 4096
)

// VerdictConfig steers what satellites are told about their samples.
type VerdictConfig struct {
	Send bool `toml:"send"` // true
	// Model is a larger network that gives a verdict until somebody has labelled the
	// sample: a model file, or Darknet weights when ModelConfig names their
	// configuration. Empty: none. Nothing is trained on its verdicts.
	Model       string  `toml:"model"`
	ModelConfig string  `toml:"model_config"`
	Threshold   float32 `toml:"threshold"` // lowest score that counts; 0.5
	// Lifetime is how long verdicts may be on their way; 30 days.
	Lifetime dtntime.Duration `toml:"lifetime"`
	Priority bundle.Priority  `toml:"priority"` // bulk
}

func (c *VerdictConfig) validate() error {
	switch {
	case !(c.Threshold >= 0 && c.Threshold <= 1):
		return fmt.Errorf("verdicts.threshold is %v, want 0 to 1", c.Threshold)
	case c.Lifetime < dtntime.Millisecond:
		return fmt.Errorf("verdicts.lifetime is %v, want at least 1ms", c.Lifetime)
	case c.Priority > bundle.PriorityExpedited:
		return fmt.Errorf("verdicts.priority %v is unknown", c.Priority)
	case c.ModelConfig != "" && c.Model == "":
		return errors.New("verdicts.model_config is set, but verdicts.model is empty: name the weights")
	}
	return nil
}

// guess is the verdict of the larger network on a sample.
type guess struct {
	Model   models.Hash    `json:"model"`
	Objects []models.Truth `json:"objects"`
}

// owed is a verdict that the satellite has not been told.
type owed struct {
	sample  models.Hash
	objects []models.Truth
}

// verdict returns who has said last what is in a sample, "" for nobody.
func (k *kept) verdict() (source string, objects []models.Truth) {
	switch {
	case k.Labelled > 0:
		return SourceLabel, k.Truth
	case k.Guess != nil:
		return SourceModel, k.Guess.Objects
	}
	return "", nil
}

// owed returns verdicts of one source that one satellite, the first to be owed
// any, has not been told, as many as fit into a batch.
func (l *library) owed() (to bundle.EID, source string, list []owed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	labels := 0
	for _, k := range l.order {
		by, objects := k.verdict()
		if by == "" || by == k.Told {
			continue
		}
		if len(list) == 0 {
			to, source = k.Satellite, by
		}
		if k.Satellite != to || by != source {
			continue
		}
		objects = objects[:min(len(objects), payload.MaxDetections)]
		labels += len(objects)
		if len(list) == maxBatchVerdicts || len(list) > 0 && labels > maxBatchLabels {
			break
		}
		list = append(list, owed{k.ID, objects})
	}
	return to, source, list
}

// change replaces the record of a sample, unless it is gone.
func (l *library) change(id models.Hash, how func(*kept)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.byID[id]
	if k == nil {
		return nil
	}
	next := *k
	how(&next)
	if err := l.disk.WriteJSON(l.recordPath(id), next); err != nil {
		return err
	}
	*k = next
	return nil
}

// unguessed returns the samples of which nobody has said anything, oldest first.
func (l *library) unguessed() []models.Hash {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ids []models.Hash
	for _, k := range l.order {
		if by, _ := k.verdict(); by == "" {
			ids = append(ids, k.ID)
		}
	}
	return ids
}

// answer tells satellites what is in their samples until ctx ends. What the node
// has not taken is owed still after a restart; what it has taken it keeps for as
// long as no link is there.
func (g *Ground) answer(ctx context.Context) error {
	if !g.cfg.Verdicts.Send {
		return nil
	}
	judge, err := g.openJudge()
	if err != nil {
		return err
	}
	if judge != nil {
		defer judge.Close()
	}
	for {
		if judge != nil {
			if err := g.guessAll(ctx, judge); err != nil {
				return err
			}
		}
		told, err := g.tell(ctx)
		if err != nil {
			return err
		}
		if told {
			continue
		}
		t := time.NewTimer(g.cfg.LabelEvery.Std())
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

// openJudge starts the larger network, or returns nil when there is none.
func (g *Ground) openJudge() (models.Engine, error) {
	c := &g.cfg.Verdicts
	if c.Model == "" {
		return nil, nil
	}
	read := func() (*models.Network, error) { return models.ReadFile(c.Model) }
	if c.ModelConfig != "" {
		read = func() (*models.Network, error) { return darknet.ReadFiles(c.ModelConfig, c.Model, g.cfg.ModelHead) }
	}
	n, err := read()
	if err != nil {
		return nil, fmt.Errorf("%w: verdicts.model: %w", ErrConfig, err)
	}
	if n.Classes() < g.classes {
		return nil, fmt.Errorf("%w: verdicts.model knows %d classes, the network on board %d: they must be the same ones", ErrConfig, n.Classes(), g.classes)
	}
	e, err := g.newEngine(n)
	if err != nil {
		return nil, fmt.Errorf("start the engine of verdicts.model: %w", err)
	}
	return e, nil
}

// guessAll has the larger network look at the samples of which nobody has said
// anything.
func (g *Ground) guessAll(ctx context.Context, e models.Engine) error {
	for _, id := range g.library.unguessed() {
		objects, err := g.guess(ctx, e, id)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if !g.badGuesses[id] {
				g.badGuesses[id] = true
				g.log.Warn("the larger network has no verdict", "sample", id, "err", err)
			}
			continue
		}
		err = g.library.change(id, func(k *kept) { k.Guess = &guess{e.Network().Hash(), objects} })
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *Ground) guess(ctx context.Context, e models.Engine, id models.Hash) ([]models.Truth, error) {
	data, err := g.library.picture(id)
	if err != nil {
		return nil, err
	}
	picture, err := tensorOf(data, e.Network().Input())
	if err != nil {
		return nil, err
	}
	found, err := e.Detect(ctx, picture, models.DetectOptions{Threshold: g.cfg.Verdicts.Threshold, NMS: models.DefaultDetectOptions().NMS})
	if err != nil {
		return nil, err
	}
	objects := []models.Truth{}
	for _, d := range found {
		if b := d.Box; d.Class < g.classes && b.X-b.X == 0 && b.Y-b.Y == 0 && b.W-b.W == 0 && b.H-b.H == 0 { // finite
			objects = append(objects, models.Truth{Class: d.Class, Box: d.Box})
		}
	}
	return objects, nil
}

// tell hands one batch of verdicts to the node, if any is owed. A crash behind that
// has it told again, which changes nothing on board.
func (g *Ground) tell(ctx context.Context) (bool, error) {
	to, source, list := g.library.owed()
	if len(list) == 0 {
		return false, nil
	}
	batch := payload.VerdictBatch{Time: g.clock.Now(), Source: source}
	for _, o := range list {
		batch.Verdicts = append(batch.Verdicts, payload.Verdict{Sample: o.sample, Labels: o.objects})
	}
	data, err := batch.Encode()
	if err != nil {
		return false, fmt.Errorf("prepare verdicts for %v: %w", to, err)
	}
	id, err := g.client.Send(ctx, app.Outgoing{
		To: to.WithService(serviceVerdicts), Custody: true, Lifetime: g.cfg.Verdicts.Lifetime,
		Priority: g.cfg.Verdicts.Priority, Payload: bytes.NewReader(data), Length: int64(len(data)),
	})
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil && mail.IsPassing(err):
		g.log.Info("node does not take verdicts now; trying again", "err", err)
		return true, mail.Pause(ctx, g.cfg.Send.Retry.Std())
	case errors.Is(err, app.ErrRejected):
		g.log.Error("node rejects verdicts for good; the satellite is not told", "to", to, "verdicts", len(list), "err", err)
	case err != nil:
		return false, fmt.Errorf("send verdicts to %v: %w", to, err)
	default:
		g.log.Info("verdicts handed to the node", "by", source, "verdicts", len(list), "bundle", id, "to", to, "size", len(data))
	}
	for _, o := range list {
		if err := g.library.change(o.sample, func(k *kept) { k.Told = source }); err != nil {
			return false, err
		}
	}
	return true, nil
}
