package agent

import (
	"context"
	"strings"
	"sync"

	"perigee/bundle/dtntime"
	"perigee/models"
)

// runner runs the active network. A change of network waits for the picture
// under way, and no picture sees two networks.
type runner struct {
	clock  dtntime.Clock
	detect models.DetectOptions

	mu     sync.Mutex // guards what follows, and the engine's network
	engine models.Engine
	active flying
	busy   dtntime.Duration // time spent looking at pictures
}

func (r *runner) network() *models.Network { return r.engine.Network() }

// load replaces the network.
func (r *runner) load(n *models.Network, active flying) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.engine.Load(n); err != nil {
		return err
	}
	r.active = active
	return nil
}

// look detects what is in a picture and returns which network said so.
func (r *runner) look(ctx context.Context, data []byte) ([]models.Detection, models.Hash, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	start := r.clock.Now()
	tensor, err := tensorOf(data, r.engine.Network())
	if err != nil {
		return nil, models.Hash{}, err
	}
	options := r.detect
	if r.active.Threshold > 0 {
		options.Threshold = r.active.Threshold
	}
	found, err := r.engine.Detect(ctx, tensor, options)
	r.busy = r.busy.Add(r.clock.Now().Sub(start))
	return found, r.active.Hash, err
}

// state returns which network runs and how long networks have run.
func (r *runner) state() (flying, dtntime.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.active, r.busy
}

// toValid replaces what is not UTF-8.
func toValid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }
