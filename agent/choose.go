package agent

import (
	"context"
	"fmt"
	"path/filepath"

	"perigee/agent/durable"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/mining"
	"perigee/models/payload"
)

// SelectConfig says what makes a picture hard besides the filter, and which hard
// ones are sent; see mining.Options. What is 0 is off.
type SelectConfig struct {
	NoDetection  bool    `toml:"no_detection"` // true
	Same         float64 `toml:"same"`
	Disagreement float64 `toml:"disagreement"`
	Novelty      float64 `toml:"novelty"`
	Memory       int     `toml:"memory"` // 256
}

// Sketches tells whether pictures need a sketch.
func (c SelectConfig) Sketches() bool { return mining.Options(c).Sketches() }

func (c SelectConfig) validate() error {
	if err := mining.Options(c).Validate(); err != nil {
		return fmt.Errorf("select: %w", err)
	}
	return nil
}

// BudgetConfig bounds what mining uses in a period. What is 0 has no bound.
type BudgetConfig struct {
	Period   dtntime.Duration `toml:"period"`    // 24h
	Bytes    int64            `toml:"bytes"`     // of the pictures of samples
	EnergyWh float64          `toml:"energy_wh"` // to look at pictures and to send samples
	// ClassSamples is how many samples may show one class, and EmptySamples how
	// many may show nothing that the network knows.
	ClassSamples int `toml:"class_samples"`
	EmptySamples int `toml:"empty_samples"`
}

func (c BudgetConfig) validate() error {
	switch {
	case c.Period < dtntime.Second || c.Period > 366*dtntime.Day:
		return fmt.Errorf("budget.period is %v, want 1s to 8784h", c.Period)
	case c.Bytes < 0:
		return fmt.Errorf("budget.bytes is %d, want 0 for no bound, or more", c.Bytes)
	case !(c.EnergyWh >= 0 && c.EnergyWh <= 1e6):
		return fmt.Errorf("budget.energy_wh is %v, want 0 for no bound, up to 1000000", c.EnergyWh)
	case c.ClassSamples < 0:
		return fmt.Errorf("budget.class_samples is %d, want 0 for no bound, or more", c.ClassSamples)
	case c.EmptySamples < 0:
		return fmt.Errorf("budget.empty_samples is %d, want 0 for no bound, or more", c.EmptySamples)
	}
	return nil
}

// chooser decides which pictures become samples. It belongs to the miner's
// goroutine.
type chooser struct {
	selector  *mining.Selector
	allowance mining.Allowance
	resting   bool // the energy of the period is used up
	announcer
}

const (
	memoryFile    = "memory.json"
	maxMemoryFile = 16 << 20 // bytes
)

func (a *Agent) prepareChooser(n *models.Network) error {
	filter, err := mining.New(a.cfg.Mining, a.stream())
	if err != nil {
		return err
	}
	m := a.miner
	var memory mining.Memory
	if _, err := durable.ReadJSON(filepath.Join(a.cfg.DataDir, memoryFile), maxMemoryFile, &memory); err != nil {
		a.log.Warn("pictures seen before are forgotten", "err", err)
		memory = mining.Memory{}
	}
	m.selector = mining.NewSelector(filter, mining.Options(a.cfg.Select), memory, n.BackboneHash())
	b := a.cfg.Budget
	m.allowance = mining.Allowance{
		Period: b.Period, Bytes: b.Bytes, Joule: 3600 * b.EnergyWh, PerClass: b.ClassSamples, Empty: b.EmptySamples,
	}
	return nil
}

// keepMemory makes what was seen durable. After a crash a little of it is missing,
// at the price of a picture that is sent although a like one was.
func (m *miner) keepMemory() error {
	if !m.cfg.Select.Sketches() {
		return nil
	}
	return m.disk.WriteJSON(filepath.Join(m.cfg.DataDir, memoryFile), m.selector.Memory())
}

// rests tells whether the energy of the period is used up. Pictures then wait for
// the next one.
func (m *miner) rests() bool {
	now := m.clock.Now()
	drained := m.allowance.IsDrained(m.allowance.Renew(m.state.Spent, now))
	if drained && !m.resting {
		m.log.Info("energy of the period is used up; pictures wait for the next", "budget_wh", m.cfg.Budget.EnergyWh, "period", m.cfg.Budget.Period)
	}
	m.resting = drained
	return drained
}

// choose decides whether a picture that was looked at becomes a sample, and fills
// in why. next is the state with the picture counted.
func (m *miner) choose(next *mined, s *payload.Sample, found []models.Detection) (mining.Choice, bool) {
	sketch, took := m.runner.seen()
	now := m.clock.Now()
	next.Spent = m.allowance.Renew(next.Spent, now)
	next.Spent.Joule += m.cfg.Craft.ComputeW * took.Std().Seconds()
	c := m.selector.Choose(found, sketch)
	s.Filter, s.Value, s.Worth = c.Filter, c.Value, c.Worth
	m.log.Debug("picture seen", "picture", s.Name, "objects", len(found), "hard", c.Hard, "filter", c.Filter, "value", c.Value,
		"worth", c.Worth, "repeat", c.Repeat)
	if !c.Hard {
		return c, false
	}
	if c.Repeat {
		next.Counters.Repeats++
		return c, false
	}
	size := len(s.Picture)
	if m.cfg.Preview.FeaturesFirst {
		var err error
		if size, err = m.makePreview(s, sketch); err != nil {
			m.log.Error("hard picture has no preview and is left out", "picture", s.Name, "err", err)
			next.Counters.Broken++
			return c, false
		}
	}
	item := mining.Item{Bytes: int64(size), Worth: c.Worth, Classes: c.Classes, Joule: m.cfg.Craft.RadioJMB * float64(size) / 1e6}
	if reason := m.allowance.Objection(next.Spent, item, now); reason != "" {
		m.log.Info("hard picture is not sent", "picture", s.Name, "reason", reason)
		next.Counters.Spared++
		return c, false
	}
	next.Spent = next.Spent.Take(item)
	next.Counters.Hard++
	return c, true
}

// worthOf is what samples are worth together: the value of their bundle.
func worthOf(samples []payload.Sample) uint64 {
	var sum uint64
	for i := range samples {
		sum += uint64(samples[i].Worth)
	}
	return sum
}

// sight is what the runner keeps of the picture that it looked at last.
type sight struct {
	sketches bool          // whether sketches are wanted
	sketch   mining.Sketch // nil without one
	took     dtntime.Duration
}

// see detects what is in a picture, and sketches it if that is wanted. r.mu is held.
func (r *runner) see(ctx context.Context, picture models.Tensor, o models.DetectOptions) ([]models.Detection, error) {
	start := r.clock.Now()
	r.sketch = nil
	found, err := r.detectAndSketch(ctx, picture, o)
	r.took = r.clock.Now().Sub(start)
	return found, err
}

func (r *runner) detectAndSketch(ctx context.Context, picture models.Tensor, o models.DetectOptions) ([]models.Detection, error) {
	if !r.sketches {
		return r.engine.Detect(ctx, picture, o)
	}
	features, err := r.engine.Backbone(ctx, picture)
	if err != nil {
		return nil, err
	}
	outputs, err := r.engine.Head(ctx, features)
	if err != nil {
		return nil, err
	}
	found, err := r.engine.Network().Decode(outputs, o.Threshold)
	if err != nil {
		return nil, err
	}
	r.sketch = mining.NewSketch(features)
	return models.NMS(found, o.NMS), nil
}

// seen returns the sketch of the picture that was looked at last, and how long
// that took.
func (r *runner) seen() (mining.Sketch, dtntime.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sketch, r.took
}
