package ground

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"perigee/agent/durable"
	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/delta"
	"perigee/models/gate"
	"perigee/models/payload"
)

// keepRounds is how many ended rounds are remembered.
const keepRounds = 64

// state is where the loop stands. It is written whenever a stage has left its
// result on disk, so a stage that was interrupted is done again from the start.
type state struct {
	Stage    Stage  `json:"stage"`
	Version  uint64 `json:"version"`  // that the running or coming round makes
	Consumed uint64 `json:"consumed"` // label number up to which samples had their round
	Learned  uint64 `json:"learned"`  // likewise, a round whose network was deployed
	// Taught is likewise, by satellite, what was in a lesson for it.
	Taught map[bundle.EID]uint64 `json:"taught,omitempty"`

	// Of the running round.
	Base models.Hash `json:"base"`
	sides
	Candidate models.Hash   `json:"candidate"`
	Backbone  models.Hash   `json:"backbone"`
	Steps     []Step        `json:"steps,omitempty"`
	Bytes     int64         `json:"bytes,omitempty"` // of the change of model
	Old       models.Score  `json:"old"`
	New       models.Score  `json:"new"`
	Gate      gate.Decision `json:"gate"`
	Update    uint64        `json:"update,omitempty"`
	Lesson    bool          `json:"lesson,omitempty"` // the update is of labels alone
	Targets   []target      `json:"targets,omitempty"`
	PartBytes int           `json:"part_bytes,omitempty"` // data of a part at most
	Deadline  dtntime.Time  `json:"deadline,omitempty"`   // for receipts

	Announced models.Hash `json:"announced"` // the last network that was sent
	Rounds    []Round     `json:"rounds,omitempty"`
}

// Step is one of the steps that a change of network goes in.
type Step struct {
	Encoding string        `json:"encoding"`
	Result   models.Hash   `json:"result"`
	Bytes    int64         `json:"bytes"`
	Score    models.Score  `json:"score"`
	Gate     gate.Decision `json:"gate"`
	Draft    bool          `json:"draft"` // satellites may not use it
}

// target is a satellite that the update is addressed to.
type target struct {
	Node bundle.EID `json:"node"`
	Sent int        `json:"sent"` // parts that the node has taken
	// Base is what it flies, and Steps what leads from there, when these are not
	// the round's. A lesson has no steps.
	Base  models.Hash `json:"base,omitzero"`
	Steps []Step      `json:"steps,omitempty"`
}

// steps returns the steps that go to a target, and the network that they start from.
func (s *state) steps(t *target) (models.Hash, []Step) {
	if t.Base == (models.Hash{}) {
		return s.Base, s.Steps
	}
	return t.Base, t.Steps
}

// Files of the data folder.
const (
	stateName   = "state.json"
	trainedName = "trained" + models.FileExt
)

// stepPath is where a step is kept until it may be sent.
func (g *Ground) stepPath(number int) string {
	return g.path(fmt.Sprintf("step-%02d%s", number, delta.FileExt))
}

func (g *Ground) path(parts ...string) string {
	return filepath.Join(append([]string{g.cfg.DataDir}, parts...)...)
}

func (g *Ground) modelPath(h models.Hash) string {
	return g.path("models", h.Digits()+models.FileExt)
}

func (g *Ground) recall() error {
	found, err := durable.ReadJSON(g.path(stateName), maxStateFile, &g.state)
	if err != nil {
		return fmt.Errorf("recall the loop: %w", err)
	}
	if !found {
		g.state = state{Stage: StageCollect, Version: 1}
	}
	g.setBusy(&g.state)
	return nil
}

// save makes next the state, on disk first.
func (g *Ground) save(next state) error {
	if err := g.disk.WriteJSON(g.path(stateName), next); err != nil {
		return err
	}
	g.state = next
	g.setBusy(&next)
	g.publish(func(p *Progress) { p.Done, p.Of, p.Loss, p.CheckLoss, p.Left, p.Waiting = 0, 0, 0, 0, 0, "" })
	return nil
}

// loop goes through the stages until ctx ends.
func (g *Ground) loop(ctx context.Context) error {
	for {
		stage := g.state.Stage
		step, ok := map[Stage]func(context.Context) error{
			StageCollect: g.collect, StageFeatures: g.features, StageTrain: g.train, StageBuild: g.build,
			StageEvaluate: g.evaluate, StageGate: g.gate, StageSend: g.send, StageWait: g.await,
		}[stage]
		if !ok {
			return fmt.Errorf("%s names the stage %q, which is unknown: remove the file to begin anew", g.path(stateName), stage)
		}
		g.log.Info("stage begins", "stage", stage, "version", g.state.Version)
		err := step(ctx)
		var failed *roundError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &failed):
			g.log.Error("round failed", "version", g.state.Version, "stage", stage, "err", err)
			err = g.endRound(OutcomeFailed, err.Error())
		}
		if err != nil {
			return fmt.Errorf("stage %s of version %d: %w", stage, g.state.Version, err)
		}
	}
}

// roundError ends a round, but not the ground.
type roundError struct{ err error }

func (e *roundError) Error() string { return e.err.Error() }
func (e *roundError) Unwrap() error { return e.err }

// collect labels samples until there are enough for a round, and begins it.
func (g *Ground) collect(ctx context.Context) error {
	for {
		if err := g.labelAll(ctx); err != nil {
			return err
		}
		_, _, fresh, _ := g.library.tally(g.state.Consumed)
		s, last := g.library.newest(g.state.Learned, &g.cfg)
		waiting := g.awaited(fresh, &s)
		if waiting == "" {
			return g.begin(s, last)
		}
		g.publish(func(p *Progress) { p.Waiting = waiting })
		if err := g.waitFor(ctx, g.cfg.LabelEvery.Std()); err != nil {
			return err
		}
	}
}

// waitFor waits until something is received, but no longer than d, and shows how
// far the ground is.
func (g *Ground) waitFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-g.wake:
	case <-t.C:
	case <-ctx.Done():
	}
	g.publish(func(*Progress) {})
	return ctx.Err()
}

func (g *Ground) labelAll(ctx context.Context) error {
	labelled := 0
	for _, s := range g.library.unlabelled() {
		truth, err := g.labeller.Label(ctx, s)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			err = g.checkTruth(truth)
		}
		if err != nil {
			if !errors.Is(err, ErrNoLabel) && !g.badLabels[s.ID] {
				g.badLabels[s.ID] = true
				g.log.Warn("label of a sample is of no use; mend it and it is taken", "sample", s.ID, "picture", s.Name, "err", err)
			}
			continue
		}
		delete(g.badLabels, s.ID)
		if err := g.library.label(s.ID, truth); err != nil {
			return err
		}
		labelled++
	}
	if labelled > 0 {
		g.log.Info("samples labelled", "samples", labelled)
		g.publish(func(*Progress) {})
	}
	return nil
}

func (g *Ground) checkTruth(truth []models.Truth) error {
	for _, t := range truth {
		if t.Class < 0 || t.Class >= g.classes {
			return fmt.Errorf("class %d, the network knows 0 to %d", t.Class, g.classes-1)
		}
	}
	return nil
}

// begin freezes the samples of a round and the network that it starts from.
func (g *Ground) begin(s sides, last uint64) error {
	base := believed(g.roster.snapshot())
	if _, err := models.ReadFile(g.modelPath(base)); err != nil {
		g.log.Warn("the satellites fly a network that is not kept here; starting from the last one known", "model", base, "err", err)
		base = g.launched
	}
	if g.cfg.Strategy == StrategyLabels {
		return g.beginLesson(last)
	}
	byID := func(a, b models.Hash) int { return slices.Compare(a[:], b[:]) }
	for _, side := range [][]models.Hash{s.Learn, s.Replay, s.Check, s.Judge} {
		slices.SortFunc(side, byID)
	}
	g.log.Info("round begins", "version", g.state.Version,
		"learn", len(s.Learn), "replay", len(s.Replay), "check", len(s.Check), "judge", len(s.Judge), "base", base)
	return g.save(state{
		Stage: StageFeatures, Version: g.state.Version, Consumed: last, Learned: g.state.Learned, Base: base, sides: s, Taught: g.state.Taught,
		Announced: g.state.Announced, Rounds: g.state.Rounds,
	})
}

// advance makes the next stage durable.
func (g *Ground) advance(to Stage) error {
	next := g.state
	next.Stage = to
	return g.save(next)
}

// endRound remembers how the round went and goes back to collecting.
func (g *Ground) endRound(outcome, reason string) error {
	if g.state.Lesson {
		g.sumUpLesson()
	}
	now := g.state
	r := Round{
		Version: now.Version, Outcome: outcome, Reason: reason, Base: now.Base, Model: now.Candidate,
		F1Old: now.Old.F1, F1New: now.New.F1, DeltaBytes: now.Bytes, Finished: g.clock.Now(),
	}
	if err := g.report(r); err != nil {
		return err
	}
	rounds := append(slices.Clone(now.Rounds), r)
	rounds = rounds[max(0, len(rounds)-keepRounds):]
	if err := g.clean(); err != nil {
		return err
	}
	g.log.Info("round ends", "version", now.Version, "outcome", outcome, "reason", reason)
	learned := now.Learned
	if outcome == OutcomeDeployed {
		learned = now.Consumed
	}
	return g.save(state{
		Stage: StageCollect, Version: now.Version + 1, Consumed: now.Consumed, Learned: learned,
		Taught: now.Taught, Announced: now.Announced, Rounds: rounds,
	})
}

// Report is reports/VERSION.json: how a network was judged and what became of it.
type Report struct {
	Round
	Learn  int           `json:"samples_trained"`
	Replay int           `json:"samples_replayed"`
	Check  int           `json:"samples_checked"`
	Judge  int           `json:"samples_held_out"`
	Gate   gate.Decision `json:"gate"`
	Old    models.Score  `json:"old"`
	New    models.Score  `json:"new"`
	Steps  []Step        `json:"steps,omitempty"`
	Update uint64        `json:"update,omitempty"`
}

func (g *Ground) report(r Round) error {
	s := &g.state
	return g.disk.WriteJSON(g.path("reports", fmt.Sprintf("%d.json", r.Version)), Report{
		Round: r, Learn: len(s.Learn), Replay: len(s.Replay), Check: len(s.Check), Judge: len(s.Judge),
		Gate: s.Gate, Old: s.Old, New: s.New, Steps: s.Steps, Update: s.Update,
	})
}

// clean removes what no later round needs: features above a bound, networks that
// no satellite is believed to fly, and what a training left.
func (g *Ground) clean() error {
	if err := g.boundFeatures(); err != nil {
		return err
	}
	for _, left := range []string{checkpointName, programDir} {
		if err := g.disk.Remove(g.path(left)); err != nil {
			return err
		}
	}
	if err := g.cleanDeltas(); err != nil {
		return err
	}
	g.keeping.Lock()
	defer g.keeping.Unlock()
	keep := map[string]bool{
		filepath.Base(g.modelPath(g.launched)): true, filepath.Base(g.modelPath(g.state.Candidate)): true,
		filepath.Base(g.modelPath(g.state.Base)): true,
	}
	for _, s := range g.roster.snapshot() {
		keep[filepath.Base(g.modelPath(s.Active))] = true
		keep[filepath.Base(g.modelPath(s.Lesson.Model))] = true
	}
	names, err := durable.Names(g.path("models"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if !keep[name] {
			if err := g.disk.Remove(g.path("models", name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// await waits until every satellite has said what became of the update.
func (g *Ground) await(ctx context.Context) error {
	for {
		active, ended, reason := g.receipts()
		g.publish(func(p *Progress) { p.Done, p.Of = ended, len(g.state.Targets) })
		left := g.state.Deadline.Sub(g.clock.Now())
		if ended == len(g.state.Targets) || left == 0 {
			if active > 0 {
				return g.endRound(OutcomeDeployed, reason)
			}
			if reason == "" {
				reason = "no receipt came in time"
			}
			return g.endRound(OutcomeNotDeployed, reason)
		}
		if err := g.waitFor(ctx, min(left.Std(), time.Minute)); err != nil {
			return err
		}
	}
}

// receipts counts the satellites on which the update, or some of its steps, is
// active and those for which it has ended, and returns the last reason given.
func (g *Ground) receipts() (active, ended int, reason string) {
	for _, t := range g.state.Targets {
		_, steps := g.state.steps(&t)
		last := uint32(max(len(steps)-1, 0))
		s, ok := g.roster.get(t.Node)
		if !ok {
			ended++
			continue
		}
		if s.Update != g.state.Update {
			continue
		}
		if g.state.Lesson && s.Status == payload.StatusActive ||
			slices.ContainsFunc(g.state.Steps, func(step Step) bool { return step.Result == s.Active }) {
			active++
		}
		switch s.Status {
		case payload.StatusActive:
			if s.Step == last {
				ended++
			}
		case payload.StatusRefused, payload.StatusRolledBack:
			ended++
			reason = fmt.Sprintf("%v: %v: %s", t.Node, s.Status, s.Reason)
		}
	}
	return active, ended, reason
}
