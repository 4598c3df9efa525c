package agent

import (
	"context"
	"errors"
	"fmt"

	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/golden"
)

// errTrial is wrapped by the reasons for which a network fails its trial, as
// against those for which it is none at all.
var errTrial = errors.New("trial")

// trialThreads is how many cores a trial takes: what flies needs the others.
const trialThreads = 1

// tryOut lets a network make its self-test and look at recent pictures, on an
// engine of its own beside the one in service. It returns what it found, for
// people, or the reason for which the network must not be used.
func (a *Agent) tryOut(ctx context.Context, n *models.Network, want golden.Criteria) (said string, reason error) {
	pictures, err := golden.Read(a.goldenDir())
	if err != nil {
		return "", err
	}
	files := a.runner.recent.pictures()
	patience := a.cfg.Updates.Watchdog.Patience * dtntime.Duration(len(pictures)+2*len(files))
	limited, cancel := context.WithTimeout(ctx, patience.Std())
	defer cancel()
	said, err = a.tryWithin(limited, n, want, pictures, files)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("it took longer than %v", patience)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", errTrial, err)
	}
	return said, nil
}

func (a *Agent) tryWithin(ctx context.Context, n *models.Network, want golden.Criteria, pictures []golden.Picture, files [][]byte) (said string, err error) {
	e, err := a.newEngine(n, trialThreads)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	score, err := golden.Test(ctx, e, pictures, want)
	if err != nil {
		return "", err
	}
	seen, err := a.canary(ctx, e, want.Threshold, files)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("self-test: F1 %.3f on %d pictures, %d as expected; %s", score.F1, len(pictures), len(want.Expected), seen), nil
}

// startEngine brings up the engine of the active network. One on probation passes
// its self-test again, or gives way to the network before it.
func (a *Agent) startEngine(ctx context.Context, n *models.Network) (models.Engine, error) {
	reason, err := a.slots.begin()
	if err != nil {
		return nil, err
	}
	if reason == "" && a.slots.onProbation() {
		e, err := a.bringUp(ctx, n)
		if err == nil || ctx.Err() != nil {
			return e, errors.Join(err, a.slots.finish())
		}
		reason = fmt.Sprintf("probation: %v", err)
	}
	if reason != "" {
		back, err := a.slots.goBack(reason)
		if err != nil {
			return nil, err
		}
		if back != nil {
			n = back
		}
	}
	return a.newEngine(n, a.cfg.Detect.Threads)
}

// bringUp starts the engine of a network on probation and has it make its
// self-test.
func (a *Agent) bringUp(ctx context.Context, n *models.Network) (models.Engine, error) {
	pictures, err := golden.Read(a.goldenDir())
	if err != nil {
		return nil, err
	}
	e, err := a.newEngine(n, a.cfg.Detect.Threads)
	if err != nil {
		return nil, err
	}
	patience := a.cfg.Updates.Watchdog.Patience * dtntime.Duration(len(pictures))
	limited, cancel := context.WithTimeout(ctx, patience.Std())
	defer cancel()
	if _, err := golden.Test(limited, e, pictures, a.slots.criteria()); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}
