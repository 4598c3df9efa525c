package agent

import (
	"strings"
	"testing"

	"perigee/models"
	"perigee/models/payload"
)

// newTrialClass is a class whose satellite tries what it learned on recent pictures
// and on probation.
func newTrialClass(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, 6)
	w.cfg.Training.KeepBytes = 1 << 20
	w.cfg.Updates.Canary.Pictures = 3
	w.cfg.Updates.Watchdog.Pictures = 3
	w.runAll(func() bool { return w.quiet() && w.isTidy() })
	return w
}

// gentle makes a lesson change the network by a little.
func gentle(l *payload.Lesson) { l.Course.Rate = 1e-5 }

func TestLessonPassesCanaryAndProbation(t *testing.T) {
	w := newTrialClass(t)
	w.teach(w.lesson(5, 1, 2, gentle))
	w.runAll(w.ended)
	l := w.checkLearned(1)
	p := w.pointer()
	if p.Probation == nil || p.Previous == nil || p.Previous.Hash != w.base.Hash() {
		t.Fatalf("pointer %+v, want a probation", p)
	}
	w.more(3, 77)
	w.runAll(func() bool { return w.quiet() && w.pointer().Probation == nil })
	if now := w.active(); now.Hash != l.Result || now.Update != 5 {
		t.Errorf("active %+v after the probation, want what was learned, %v", now, l.Result)
	}
}

// TestCanaryRefusesLesson teaches nonsense in large steps.
func TestCanaryRefusesLesson(t *testing.T) {
	w := newTrialClass(t)
	w.teach(w.lesson(5, 1, 6, func(l *payload.Lesson) { l.Course.Rate, l.Course.Epochs = 0.1, 10 }))
	w.runAll(w.ended)
	receipts, learned := w.answers()
	if r := receipts[len(receipts)-1]; r.Status != payload.StatusRefused || !strings.Contains(r.Reason, "canary failed") || r.Active != w.base.Hash() {
		t.Errorf("receipt %+v", r)
	}
	if len(learned) != 1 || learned[0].Result == (models.Hash{}) {
		t.Errorf("reports %+v, want the one of what was refused", learned)
	}
	if now := w.active(); now.Hash != w.base.Hash() {
		t.Errorf("active %+v, want the old network", now)
	}
}

// TestForgedLessonChangesNothing: whoever sends bundles in the ground's name, but
// has no key of its, is answered and not obeyed, and does not keep the true lesson out.
func TestForgedLessonChangesNothing(t *testing.T) {
	for name, forge := range map[string]func(*payload.Lesson) error{
		"not signed":    func(*payload.Lesson) error { return nil },
		"by a stranger": func(l *payload.Lesson) error { return l.Sign(testKey(2)) },
		"altered": func(l *payload.Lesson) error {
			err := l.Sign(testKey(1))
			l.Course.Rate *= 2
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newClass(t, 6)
			w.trust(testKey(1))
			w.cfg.Updates.AllowUnsigned = false
			signed := func(sign func(*payload.Lesson) error) []payload.Lesson {
				return w.lesson(5, 1, 6, func(l *payload.Lesson) {
					if err := sign(l); err != nil {
						t.Fatal(err)
					}
				})
			}
			w.teach(signed(forge))
			w.runAll(w.ended)
			receipts, learned := w.answers()
			if r := receipts[len(receipts)-1]; r.Status != payload.StatusRefused || !strings.Contains(r.Reason, "not signed") || len(learned) != 0 {
				t.Errorf("receipt %+v, reports %+v", r, learned)
			}
			w.teach(signed(func(l *payload.Lesson) error { return l.Sign(testKey(1)) }))
			w.runAll(func() bool {
				receipts, _ := w.answers()
				return w.ended() && receipts[len(receipts)-1].Status == payload.StatusActive
			})
			w.checkLearned(1)
		})
	}
}
