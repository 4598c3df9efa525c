package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"perigee/bundle/dtntime"
	"perigee/models"
)

// runner runs the active network. A change of network waits for the picture
// under way, and no picture sees two networks. While the network is on probation,
// the runner is its watchdog.
type runner struct {
	clock    dtntime.Clock
	detect   models.DetectOptions
	slots    *slots
	recent   *recent
	patience dtntime.Duration // with a picture of a network on probation
	returned chan struct{}    // the runner went back to another network
	log      *slog.Logger

	mu     sync.Mutex // guards what follows, and the engine's network
	engine models.Engine
	active flying
	busy   dtntime.Duration // time spent looking at pictures
	sight
}

// errGrave is wrapped by errors after which the agent cannot go on.
var errGrave = errors.New("the networks on board cannot be kept")

// flying returns the network that runs.
func (r *runner) flying() (*models.Network, flying) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.engine.Network(), r.active
}

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

// look detects what is in a picture and returns which network said so. When a
// network on probation must go, the one before it looks at the picture. Errors are
// the picture's, but for those that wrap errGrave.
func (r *runner) look(ctx context.Context, data []byte) ([]models.Detection, models.Hash, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	start := r.clock.Now()
	found, reason, err := r.watch(ctx, data)
	if err == nil && reason != "" {
		if err = r.goBack(reason); err == nil {
			found, _, err = r.watch(ctx, data)
		}
	}
	end := r.clock.Now()
	r.busy = r.busy.Add(end.Sub(start))
	if err == nil {
		err = r.recent.keep(end, data)
	}
	return found, r.active.Hash, err
}

// watch detects what is in a picture. On probation it returns the reason for which
// the network must go, if there is one.
func (r *runner) watch(ctx context.Context, data []byte) (found []models.Detection, reason string, err error) {
	in := r.engine.Network().Input()
	tensor, err := models.FromJPEG(data, in.W, in.H)
	if err != nil {
		return nil, "", err
	}
	if !r.slots.onProbation() {
		found, err = r.run(ctx, tensor)
		return found, "", err
	}
	if reason, err = r.slots.begin(); err != nil || reason != "" {
		return nil, reason, grave(err)
	}
	limited, cancel := context.WithTimeout(ctx, r.patience.Std())
	found, err = r.run(limited, tensor)
	cancel()
	switch {
	case ctx.Err() != nil:
		return nil, "", errors.Join(ctx.Err(), grave(r.slots.finish()))
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Sprintf("probation: a picture took longer than %v", r.patience), nil
	case err != nil:
		return nil, fmt.Sprintf("probation: inference failed: %v", err), nil
	}
	reason, err = r.slots.finishPicture(r.clock.Now(), len(found))
	return found, reason, grave(err)
}

func (r *runner) run(ctx context.Context, tensor models.Tensor) ([]models.Detection, error) {
	options := r.detect
	if r.active.Threshold > 0 {
		options.Threshold = r.active.Threshold
	}
	return r.see(ctx, tensor, options)
}

// goBack runs the network before the active one again.
func (r *runner) goBack(reason string) error {
	n, err := r.slots.goBack(reason)
	if err != nil {
		return grave(err)
	}
	return r.takeUp(n)
}

// takeUp runs n, which the slots call active now; nil is what runs already.
func (r *runner) takeUp(n *models.Network) error {
	if n != nil {
		if err := r.engine.Load(n); err != nil {
			return grave(err)
		}
	}
	r.active = r.slots.active()
	signal(r.returned)
	return nil
}

func grave(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errGrave, err)
}

// state returns which network runs and how long networks have run.
func (r *runner) state() (flying, dtntime.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.active, r.busy
}

// toValid replaces what is not UTF-8.
func toValid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }
