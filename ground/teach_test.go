package ground

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"perigee/agent/agenttest"
	"perigee/agent/durable"
	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/labels"
	"perigee/models/payload"
)

// newClass is a pair of which the ground sends labels alone.
func newClass(t *testing.T, pictures int) *pair {
	t.Helper()
	p := newPair(t, pictures)
	p.cfg.Strategy = StrategyLabels
	p.sat.Training.KeepBytes = 1 << 20
	p.sat.Updates.Canary.Pictures = 0 // so little teaches nothing that a canary would like
	return p
}

// checkTaught checks that the satellite flies what it learned, and that the ground
// has the same network.
func (p *pair) checkTaught() {
	p.t.Helper()
	s := p.state()
	if len(s.Rounds) == 0 {
		p.t.Fatal("no round has ended")
	}
	r := s.Rounds[0]
	var active struct {
		Active struct {
			Hash    models.Hash
			Version uint64
		}
	}
	if _, err := durable.ReadJSON(filepath.Join(p.sat.DataDir, "models", "active.json"), maxStateFile, &active); err != nil {
		p.t.Fatal(err)
	}
	if r.Outcome != OutcomeDeployed || r.Model != active.Active.Hash || r.Version != active.Active.Version || r.Model == p.base.Hash() || r.DeltaBytes == 0 {
		p.t.Errorf("round %+v, the satellite flies %+v", r, active)
	}
	here, err := models.ReadFile(filepath.Join(p.cfg.DataDir, "models", r.Model.Digits()+models.FileExt))
	if err != nil || here.Hash() != r.Model {
		p.t.Errorf("the ground does not have %v: %v", r.Model, err)
	}
	if n := len(p.mission.SentTo(satellite().WithService(serviceModels))); n != 0 {
		p.t.Errorf("%d parts of a delta went up", n)
	}
}

func TestLabelsAlone(t *testing.T) {
	p := newClass(t, 30)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p.run(ctx, func() *agenttest.Fuse { return agenttest.NewFuse(-1) }, p.rounds(1))
	p.checkTaught()
	var report Report
	if found, err := durable.ReadJSON(filepath.Join(p.cfg.DataDir, "reports", "1.json"), maxStateFile, &report); err != nil || !found || report.Learn != 30 {
		t.Errorf("report %+v, %v", report, err)
	}
	var status Progress
	if _, err := durable.ReadJSON(filepath.Join(p.cfg.DataDir, "satellites.json"), maxStateFile, &status.Satellites); err != nil {
		t.Fatal(err)
	}
	if l := status.Satellites[0].Lesson; l.Model != report.Model || l.Trained == 0 || l.Judged == 0 || l.Trained+l.Judged != 30 {
		t.Errorf("lesson %+v", l)
	}
}

func TestLabelsAloneKilledAtRandom(t *testing.T) {
	for seed := range uint64(3) {
		p := newClass(t, 24)
		rng := rand.New(rand.NewPCG(seed, 4))
		var mu sync.Mutex // guards rng
		fuse := func() *agenttest.Fuse {
			mu.Lock()
			defer mu.Unlock()
			return agenttest.NewFuse(8 + rng.IntN(30))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cuts := p.run(ctx, fuse, p.rounds(1))
		cancel()
		t.Logf("seed %d: started anew %d times", seed, cuts)
		p.checkTaught()
	}
}

// TestLessonsAreOfOwnSamples has two satellites, of which one sent nothing.
func TestLessonsAreOfOwnSamples(t *testing.T) {
	w := newWorld(t, 24)
	w.cfg.Strategy = StrategyLabels
	w.cfg.Satellites = append(w.cfg.Satellites, bundle.IPN(3, 0))
	w.downlink(serviceSamples, w.batch(0, 0, 24))
	w.runAll(func() bool { return w.state().Stage == StageWait })
	if n := len(w.mission.SentTo(bundle.IPN(3, 0).WithService(serviceLessons))); n != 0 {
		t.Errorf("%d parts of a lesson about another's samples", n)
	}
	sent := w.mission.SentTo(satellite().WithService(serviceLessons))
	if pictures := w.taughtIn(sent); pictures != 24 || len(sent) < 2 {
		t.Errorf("labels of %d pictures in %d parts", pictures, len(sent))
	}
}

// taughtIn checks the parts of a lesson for what is launched, and returns of how many
// pictures the labels are.
func (w *world) taughtIn(sent []agenttest.Sent) (pictures int) {
	w.t.Helper()
	for _, s := range sent {
		l, err := payload.DecodeLesson(s.Payload)
		if err != nil {
			w.t.Fatal(err)
		}
		if !s.Out.Custody || l.Base != w.base.Hash() || int(l.Parts) != len(sent) || len(l.Labels) > w.cfg.Send.PartBytes {
			w.t.Errorf("lesson %+v", l)
		}
		got, err := labels.Unpack(l.Labels)
		if err != nil {
			w.t.Fatal(err)
		}
		pictures += len(got)
	}
	return pictures
}

// TestSamplesWaitForALesson has a satellite that has sent too few samples for a lesson
// when another is taught: they are in the lesson that it gets later.
func TestSamplesWaitForALesson(t *testing.T) {
	w := newWorld(t, 60)
	other := bundle.IPN(3, 0)
	w.cfg.Strategy, w.cfg.Samples.HeldOut, w.cfg.Trigger.Condition.Threshold = StrategyLabels, 0.5, 30
	w.cfg.Satellites = append(w.cfg.Satellites, other)
	w.downlink(serviceSamples, w.batch(0, 0, 24))
	w.mission.Inject(other, station().WithService(serviceSamples), w.batch(0, 24, 30))
	w.cfg.Send.ReceiptTimeout = dtntime.Millisecond // nobody answers
	w.runAll(w.rounds(1))
	first := w.mission.SentTo(satellite().WithService(serviceLessons))
	if n := w.taughtIn(first); n != 24 || len(w.mission.SentTo(other.WithService(serviceLessons))) != 0 {
		t.Fatalf("labels of %d pictures for the one, some for the other", n)
	}
	w.mission.Inject(other, station().WithService(serviceSamples), w.batch(1, 30, 60))
	w.runAll(w.rounds(2))
	if n := w.taughtIn(w.mission.SentTo(other.WithService(serviceLessons))); n != 36 {
		t.Errorf("labels of %d pictures, want all 36 of the satellite", n)
	}
	if n := len(w.mission.SentTo(satellite().WithService(serviceLessons))); n != len(first) {
		t.Errorf("%d parts for a satellite that has sent nothing new", n-len(first))
	}
}
