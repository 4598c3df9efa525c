package ground

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"perigee/bundle"
	"perigee/models"
	"perigee/models/payload"
)

// latest returns the parts of the last update that was sent to a satellite.
func (w *world) latest(to bundle.EID) []payload.ModelPart {
	w.t.Helper()
	var last uint64
	parts := map[numbered]payload.ModelPart{}
	for _, s := range w.mission.SentTo(to.WithService(serviceModels)) {
		p, err := payload.DecodeModelPart(s.Payload)
		if err != nil {
			w.t.Fatal(err)
		}
		if p.Update != last {
			last = p.Update
			clear(parts)
		}
		parts[numbered{p.Step, p.Index}] = *p
	}
	order := slices.SortedFunc(maps.Keys(parts), func(a, b numbered) int {
		return int(a.step)<<16 + int(a.index) - int(b.step)<<16 - int(b.index)
	})
	var all []payload.ModelPart
	for _, at := range order {
		all = append(all, parts[at])
	}
	return all
}

// TestRebase has a satellite that refused a round. The update of the next one leads
// it to the same network as the other.
func TestRebase(t *testing.T) {
	for name, lost := range map[string]bool{"over the deltas of the round before": false, "directly, when these are lost": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 20)
			late := bundle.IPN(3, 0)
			w.cfg.Satellites = append(w.cfg.Satellites, late)
			w.cfg.Trigger.Condition.Threshold = 10
			w.cfg.Delta.Steps = []string{"int2", "int4"}
			w.downlink(serviceSamples, w.batch(0, 0, 10))
			answered := false
			w.runAll(func() bool {
				if w.state().Stage == StageWait && !answered {
					w.answer(satellite(), payload.StatusActive)
					w.answer(late, payload.StatusRefused)
					answered = true
				}
				return w.rounds(1)()
			})
			first := w.state().Rounds[0]
			if lost {
				if err := os.RemoveAll(filepath.Join(w.cfg.DataDir, "deltas")); err != nil {
					t.Fatal(err)
				}
			}
			w.downlink(serviceSamples, w.batch(1, 10, 20))
			w.runAll(func() bool { return w.state().Stage == StageWait })
			s := w.state()
			if s.Base != first.Model || len(s.Targets) != 2 || s.Targets[1].Base != w.base.Hash() {
				t.Fatalf("round %+v", s)
			}
			second, err := models.ReadFile(filepath.Join(w.cfg.DataDir, "models", first.Model.Digits()+models.FileExt))
			if err != nil {
				t.Fatal(err)
			}
			nearer := applyParts(t, second, w.latest(satellite()))
			farther := applyParts(t, w.base, w.latest(late))
			if nearer.Hash() != s.Candidate || farther.Hash() != s.Candidate {
				t.Errorf("satellites end with %v and %v, the round made %v", nearer.Hash(), farther.Hash(), s.Candidate)
			}
			steps := s.Targets[1].Steps
			if last := steps[len(steps)-1]; last.Draft || last.Result != s.Candidate || last.Score != s.Steps[len(s.Steps)-1].Score {
				t.Errorf("last step %+v", last)
			}
			if direct := len(steps) == 1 && steps[0].Encoding == "lossless"; direct != lost {
				t.Errorf("steps %+v", steps)
			}
			if !lost && !steps[0].Draft {
				t.Error("a network of an earlier round may be used on the way, although nobody judged it now")
			}
		})
	}
}
