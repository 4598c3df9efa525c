package ground

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"perigee/agent/durable"
	"perigee/models"
	"perigee/models/delta"
	"perigee/models/payload"
)

// deltaPath is where the file of a step is kept once it was signed. The name says
// from which network to which it leads, so the folder is a map of ways between
// networks that satellites may fly.
func (g *Ground) deltaPath(base, result models.Hash) string {
	return g.path("deltas", base.Digits()+"-"+result.Digits()+delta.FileExt)
}

// edges returns the deltas that are kept.
func (g *Ground) edges() ([]delta.Edge, error) {
	names, err := durable.Names(g.path("deltas"))
	if err != nil {
		return nil, err
	}
	var edges []delta.Edge
	for _, name := range names {
		e, ok := parseEdge(name)
		if !ok {
			continue
		}
		info, err := os.Stat(g.path("deltas", name))
		if err != nil {
			return nil, fmt.Errorf("look at a kept delta: %w", err)
		}
		e.Bytes = info.Size()
		edges = append(edges, e)
	}
	return edges, nil
}

func parseEdge(name string) (e delta.Edge, ok bool) {
	base, result, _ := strings.Cut(strings.TrimSuffix(name, delta.FileExt), "-")
	var okBase, okResult bool
	e.Base, okBase = models.ParseDigits(base)
	e.Result, okResult = models.ParseDigits(result)
	return e, okBase && okResult
}

// address chooses for every satellite the steps that lead from what it flies to the
// network of the round, so that all end with the same one: those of the round where
// they fit, else a way over deltas of earlier rounds or one lossless delta, whichever
// is fewer bytes.
func (g *Ground) address(ctx context.Context, next *state) error {
	next.Targets = nil
	for _, sat := range g.roster.snapshot() {
		if sat.Active == next.Base {
			next.Targets = append(next.Targets, target{Node: sat.Node})
			continue
		}
		if sat.Active == next.Candidate {
			continue
		}
		steps, err := g.lead(ctx, next, sat.Active)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			g.log.Warn("satellite flies a network from which no way is known; it is left out of this round", "node", sat.Node, "model", sat.Active, "err", err)
			continue
		}
		g.log.Info("satellite flies another network; its update starts there", "node", sat.Node, "model", sat.Active, "steps", len(steps), "size", total(steps))
		next.Targets = append(next.Targets, target{Node: sat.Node, Base: sat.Active, Steps: steps})
	}
	return nil
}

// lead returns the steps from a network to the one of the round.
func (g *Ground) lead(ctx context.Context, next *state, from models.Hash) ([]Step, error) {
	edges, err := g.edges()
	if err != nil {
		return nil, err
	}
	direct, failed := g.direct(next, from)
	if failed == nil {
		edges = append(edges, delta.Edge{Base: from, Result: next.Candidate, Bytes: int64(len(direct))})
	}
	path, ok := delta.Route(edges, from, next.Candidate)
	if !ok {
		return nil, failed
	}
	if failed == nil && len(path) == 1 && path[0] == len(edges)-1 {
		if err := g.disk.Write(g.deltaPath(from, next.Candidate), direct); err != nil {
			return nil, err
		}
	}
	var steps []Step
	for _, i := range path {
		step, err := g.resign(ctx, next, edges[i].Base, edges[i].Result)
		if err != nil {
			return nil, err
		}
		steps = append(steps, step)
	}
	if len(steps) > payload.MaxSteps {
		return nil, fmt.Errorf("%d steps, limit %d", len(steps), payload.MaxSteps)
	}
	return steps, nil
}

// direct makes the lossless delta from a network to the one of the round.
func (g *Ground) direct(next *state, from models.Hash) ([]byte, error) {
	base, err := models.ReadFile(g.modelPath(from))
	if err != nil {
		return nil, err
	}
	to, err := models.ReadFile(g.modelPath(next.Candidate))
	if err != nil {
		return nil, err
	}
	d, _, err := delta.Build(base, to, delta.Encoding{Bits: delta.Lossless})
	if err != nil {
		return nil, err
	}
	return d.Encode(nil)
}

// resign signs the kept delta between two networks for this round. It says how its
// network is to be used: as the round does, when it is one of these, and else as a
// draft.
func (g *Ground) resign(ctx context.Context, next *state, base, result models.Hash) (Step, error) {
	key, err := g.signingKey()
	if err != nil {
		return Step{}, err
	}
	path := g.deltaPath(base, result)
	data, err := durable.Read(path, payload.MaxUpdate)
	if err != nil {
		return Step{}, err
	}
	d, err := delta.Decode(data)
	if err != nil {
		return Step{}, fmt.Errorf("%s: %w", path, err)
	}
	step := Step{Encoding: d.Encoding.String(), Result: result, Draft: true}
	if i := slices.IndexFunc(next.Steps, func(s Step) bool { return s.Result == result }); i >= 0 {
		step.Score, step.Draft = next.Steps[i].Score, next.Steps[i].Draft
	}
	golden := g.golden(&step)
	d.Use = delta.Use{Version: next.Version, Draft: step.Draft, Threshold: golden.Threshold, MinF1: golden.MinF1, MatchIoU: golden.MatchIoU}
	d.Expected = nil
	if !step.Draft {
		if d.Expected, err = g.expect(ctx, result); err != nil {
			return Step{}, err
		}
	}
	file, err := d.Encode(key)
	if err != nil {
		return Step{}, err
	}
	step.Bytes = int64(len(file))
	return step, g.disk.Write(path, file)
}

// cleanDeltas removes the deltas over which no way leads from a network that a
// satellite flies to another one, or to the one that was sent last.
func (g *Ground) cleanDeltas() error {
	edges, err := g.edges()
	if err != nil {
		return err
	}
	var flown []models.Hash
	for _, s := range g.roster.snapshot() {
		if !slices.Contains(flown, s.Active) {
			flown = append(flown, s.Active)
		}
	}
	keep := map[int]bool{}
	for _, from := range flown {
		for _, to := range append(slices.Clone(flown), g.state.Announced) {
			path, _ := delta.Route(edges, from, to)
			for _, i := range path {
				keep[i] = true
			}
		}
	}
	for i, e := range edges {
		if !keep[i] {
			if err := g.disk.Remove(g.deltaPath(e.Base, e.Result)); err != nil {
				return err
			}
		}
	}
	return nil
}
