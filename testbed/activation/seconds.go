package activation

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"perigee/agent"
	"perigee/agent/durable"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/delta"
	"perigee/models/golden"
	"perigee/models/payload"
)

// Timed says what activation is timed.
type Timed struct {
	Dir      string // with golden pictures and pictures in it, and no satellite yet
	Command  Command
	Base     *models.Network
	Target   *models.Network
	Encoding delta.Encoding
	Interval dtntime.Duration // from one picture that is looked at to the next
	Canary   int              // recent pictures
}

// GoldenDir and PictureDir are the folders of a satellite's folder that hold its
// golden pictures with their labels, and the pictures that it takes.
func GoldenDir(dir string) string { return filepath.Join(dir, goldenName) }

// PictureDir is described at GoldenDir.
func PictureDir(dir string) string { return filepath.Join(dir, pictureName) }

// Timing is how long an activation took.
type Timing struct {
	Duration time.Duration // from the last part to the receipt that says active
	Pictures uint64        // that the old network, or at the very end the new one, looked at meanwhile
	Bytes    uint64        // of the difference
	Said     string        // by the receipt
}

// Time has a satellite take in one change, the last part of which comes when all
// others are there and the satellite is busy with pictures.
func Time(ctx context.Context, o Timed) (timing Timing, err error) {
	craft := Craft{Interval: o.Interval, Probation: probation, Canary: o.Canary}
	cfg := craft.config(o.Dir)
	if err := errors.Join(craft.write(o.Dir), writeKey(o.Dir), models.WriteFile(cfg.Model, o.Base), writeList(PictureDir(o.Dir), listEntries)); err != nil {
		return Timing{}, err
	}
	pictures, err := golden.Read(cfg.Updates.Golden)
	if err != nil {
		return Timing{}, err
	}
	c, err := makeChange(ctx, o.Base, o.Target, o.Encoding, pictures)
	if err != nil {
		return Timing{}, err
	}
	cut, err := c.parts(1, 1, false, 1024)
	if err != nil {
		return Timing{}, err
	}
	s, err := openStation(ctx, o.Dir)
	if err != nil {
		return Timing{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	p, err := start(ctx, o.Command, o.Dir)
	if err != nil {
		return Timing{}, err
	}
	defer func() {
		_, killed := p.kill()
		err = errors.Join(err, killed)
	}()
	last := len(cut) - 1
	if err := s.send(ctx, cut[:last]); err != nil {
		return Timing{}, err
	}
	if err := busy(ctx, &cfg, last); err != nil {
		return Timing{}, err
	}
	return lastPart(ctx, s, &cfg, cut[last:])
}

// lastPart sends what is left and waits for the end.
func lastPart(ctx context.Context, s *station, cfg *agent.Config, left []payload.ModelPart) (Timing, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	before, err := taken(cfg)
	if err != nil {
		return Timing{}, err
	}
	from := time.Now()
	if err := s.send(ctx, left); err != nil {
		return Timing{}, err
	}
	r, err := s.ended(ctx, left[0].Update)
	if err != nil {
		return Timing{}, err
	}
	took := time.Since(from)
	if r.Status != payload.StatusActive {
		return Timing{}, fmt.Errorf("the change ended with %+v", r)
	}
	after, err := taken(cfg)
	return Timing{Duration: took, Pictures: after - before, Bytes: left[0].Size, Said: r.Reason}, err
}

// taken returns how many pictures the satellite has looked at.
func taken(cfg *agent.Config) (uint64, error) {
	var state struct {
		Counters agent.Counters `json:"counters"`
	}
	_, err := durable.ReadJSON(filepath.Join(cfg.DataDir, "state.json"), 1<<20, &state)
	return state.Counters.Taken, err
}

// busy waits until so many parts are there, and enough pictures for the canary.
func busy(ctx context.Context, cfg *agent.Config, parts int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		there, err := filepath.Glob(filepath.Join(cfg.DataDir, "updates", "*", "part-*"))
		if err != nil {
			return err
		}
		n, err := taken(cfg)
		if err != nil {
			return err
		}
		if len(there) >= parts && n > uint64(cfg.Updates.Canary.Pictures) {
			return nil
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("%d of %d parts and %d pictures were taken: %w", len(there), parts, n, err)
		}
	}
}
