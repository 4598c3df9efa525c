package ground

import (
	"path/filepath"
	"strings"
	"testing"

	"perigee/agent/durable"
)

// TestGateRefusesWhatIsNotFinite has a training that ends in numbers so large that
// what the network computes of them is infinite.
func TestGateRefusesWhatIsNotFinite(t *testing.T) {
	w := newWorld(t, 10)
	w.cfg.Delta.Steps = []string{"lossless"}
	w.cfg.Train.Program = []string{"/bin/sh", "-c", `tr '\000-\377' '\177' <base.f32 >head.f32`}
	w.downlink(serviceSamples, w.batch(0, 0, 10))
	w.runAll(w.rounds(1))
	var report Report
	if found, err := durable.ReadJSON(filepath.Join(w.cfg.DataDir, "reports", "1.json"), maxStateFile, &report); err != nil || !found {
		t.Fatalf("no report: %v", err)
	}
	var status Progress
	if found, err := durable.ReadJSON(filepath.Join(w.cfg.DataDir, "status.json"), maxStateFile, &status); err != nil || !found || len(status.Rounds) != 1 {
		t.Fatalf("no status: %v, %+v", err, status)
	}
	for where, r := range map[string]Round{"report": report.Round, "status": status.Rounds[0]} {
		if r.Outcome != OutcomeGate || !strings.Contains(r.Reason, "not finite") {
			t.Errorf("%s: round %+v", where, r)
		}
	}
	if report.Gate.Passed || report.Gate.Judged || !strings.Contains(report.Gate.Reason, "not finite") {
		t.Errorf("gate %+v", report.Gate)
	}
}

// TestGateRefusesWhatWasNotJudged takes up a round at the gate whose state has no
// decision, as one of another program might.
func TestGateRefusesWhatWasNotJudged(t *testing.T) {
	w := newWorld(t, 10)
	w.downlink(serviceSamples, w.batch(0, 0, 10))
	w.runAll(func() bool { return w.state().Stage == StageWait })
	s := w.state()
	s.Stage, s.Update, s.Targets, s.Gate = StageGate, 0, nil, w.cfg.gate().Refuse("")
	if err := (durable.Disk{}).WriteJSON(filepath.Join(w.cfg.DataDir, stateName), s); err != nil {
		t.Fatal(err)
	}
	w.runAll(w.rounds(1))
	if r := w.state().Rounds[0]; r.Outcome != OutcomeGate || !strings.Contains(r.Reason, "not judged") {
		t.Errorf("round %+v", r)
	}
}
