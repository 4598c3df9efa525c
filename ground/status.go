package ground

import (
	"slices"

	"perigee/agent/durable"
	"perigee/bundle/dtntime"
	"perigee/models"
)

// statusEvery bounds how often status.json is written while a stage runs.
const statusEvery = 500 * dtntime.Millisecond

// publish changes the progress and shows it: to the observer always, and in
// status.json when the stage changed or the file is older than statusEvery.
//
// The counts come from the library and the roster. What the loop's goroutine
// owns it puts in by setBusy.
func (g *Ground) publish(change func(*Progress)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := &g.progress
	change(p)
	now := g.clock.Now()
	p.At = now
	p.Received, p.Labelled, p.Fresh, p.Duplicates = g.library.tally(p.consumed)
	p.Satellites = g.roster.snapshot()
	p.Active = believed(p.Satellites)
	if g.observer != nil {
		shown := *p
		shown.Satellites, shown.Rounds = slices.Clone(p.Satellites), slices.Clone(p.Rounds)
		g.observer.Progress(shown)
	}
	if !p.changed && now.Sub(g.written) < statusEvery && now >= g.written {
		return
	}
	p.changed, g.written = false, now
	// The file is a view for people: a failure to write it is worth a word, not
	// the end, and it is no step that anything relies on.
	if err := (durable.Disk{}).WriteJSON(g.path("status.json"), p); err != nil {
		g.log.Warn("progress not written", "err", err)
	}
}

// setBusy shows a new state of the loop to the other goroutines.
func (g *Ground) setBusy(s *state) {
	busy := map[models.Hash]bool{}
	for _, id := range s.all() {
		busy[id] = true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy = busy
	p := &g.progress
	p.changed = p.changed || p.Stage != s.Stage || p.Version != s.Version
	p.Stage, p.Version, p.consumed = s.Stage, s.Version, s.Consumed
	p.Announced, p.DeltaBytes, p.Rounds = s.Announced, s.Bytes, slices.Clone(s.Rounds)
}

// isBusy tells whether the running round uses a sample.
func (g *Ground) isBusy(id models.Hash) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.busy[id]
}
