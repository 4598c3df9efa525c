package ground

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"perigee/agent/agenttest"
	"perigee/agent/durable"
	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/payload"
)

func TestRoundIsDeployed(t *testing.T) {
	w := newWorld(t, 12)
	w.downlink(serviceSamples, w.batch(0, 0, 8))
	w.downlink(serviceSamples, w.batch(1, 6, 12))
	w.runAll(w.answering(payload.StatusActive, w.rounds(1)))
	s := w.state()
	r := s.Rounds[0]
	if r.Outcome != OutcomeDeployed || r.Version != 1 || r.Base != w.base.Hash() || r.Model != s.Announced || s.Version != 2 {
		t.Errorf("round %+v of state %+v", r, s)
	}
	if got := w.fly(satellite(), w.base); got.Hash() != r.Model {
		t.Errorf("the parts make %v, the report says %v", got.Hash(), r.Model)
	}
	p := w.parts(satellite())[numbered{}]
	if p.Version != 1 || p.Base != w.base.Hash() || p.Golden.MatchIoU != models.MatchIoU {
		t.Errorf("part %+v", p)
	}
	for _, stage := range []Stage{StageCollect, StageFeatures, StageTrain, StageBuild, StageEvaluate, StageGate, StageSend, StageWait} {
		if !w.stages()[stage] {
			t.Errorf("stage %s was not shown", stage)
		}
	}
	var report Report
	if found, err := durable.ReadJSON(filepath.Join(w.cfg.DataDir, "reports", "1.json"), maxStateFile, &report); err != nil || !found {
		t.Fatalf("no report: %v", err)
	}
	if report.Outcome != OutcomeDeployed || !report.Gate.Passed || report.Learn+report.Check+report.Judge != 12 || report.Judge == 0 || report.Old.Threshold == 0 {
		t.Errorf("report %+v", report)
	}
	var status Progress
	if found, err := durable.ReadJSON(filepath.Join(w.cfg.DataDir, "status.json"), maxStateFile, &status); err != nil || !found {
		t.Fatalf("no status: %v", err)
	}
	if status.Received != 12 || status.Duplicates != 2 || status.Labelled != 12 || status.Fresh != 0 || status.Active != r.Model {
		t.Errorf("status %+v", status)
	}
}

func TestGateStops(t *testing.T) {
	w := newWorld(t, 10)
	w.cfg.Deploy.Condition.Threshold = 1
	w.downlink(serviceSamples, w.batch(0, 0, 10))
	w.runAll(w.rounds(1))
	if r := w.state().Rounds[0]; r.Outcome != OutcomeGate || !strings.Contains(r.Reason, "f1_delta") {
		t.Errorf("round %+v", r)
	}
	if n := len(w.parts(satellite())); n != 0 {
		t.Errorf("%d parts were sent", n)
	}
	// The same samples do not start another round.
	w.runAll(func() bool { return w.state().Stage == StageCollect })
	if s := w.state(); len(s.Rounds) != 1 || s.Version != 2 {
		t.Errorf("state %+v", s)
	}
}

func TestRefusedUpdate(t *testing.T) {
	w := newWorld(t, 10)
	w.downlink(serviceSamples, w.batch(0, 0, 10))
	w.runAll(w.answering(payload.StatusRefused, w.rounds(1)))
	if r := w.state().Rounds[0]; r.Outcome != OutcomeNotDeployed || !strings.Contains(r.Reason, "the test says so") {
		t.Errorf("round %+v", r)
	}
}

func TestNoReceiptInTime(t *testing.T) {
	w := newWorld(t, 10)
	w.cfg.Send.ReceiptTimeout = 20 * dtntime.Millisecond
	w.downlink(serviceSamples, w.batch(0, 0, 10))
	w.runAll(w.rounds(1))
	if r := w.state().Rounds[0]; r.Outcome != OutcomeNotDeployed || !strings.Contains(r.Reason, "in time") {
		t.Errorf("round %+v", r)
	}
}

func TestSecondRoundStartsFromTheFirst(t *testing.T) {
	w := newWorld(t, 20)
	w.cfg.Trigger.Condition.Threshold = 10
	w.downlink(serviceSamples, w.batch(0, 0, 10))
	w.runAll(w.answering(payload.StatusActive, w.rounds(1)))
	first := w.state().Rounds[0]
	w.downlink(serviceSamples, w.batch(1, 10, 20))
	w.runAll(func() bool { return w.state().Stage == StageWait })
	s := w.state()
	if s.Base != first.Model || s.Version != 2 || len(s.all()) != 20 || len(s.Replay) == 0 {
		t.Errorf("second round %+v", s)
	}
}

func TestOnlyMatchingSatellitesAreAddressed(t *testing.T) {
	w := newWorld(t, 10)
	other, third := bundle.IPN(3, 0), bundle.IPN(4, 0)
	w.cfg.Satellites = append(w.cfg.Satellites, other, third)
	elsewhere := agenttest.Network(t, 8).Hash()
	telemetry := payload.Telemetry{Time: 100, Model: elsewhere, ModelVersion: 6}
	data, err := telemetry.Encode()
	if err != nil {
		t.Fatal(err)
	}
	w.mission.Inject(other, station().WithService(serviceTelemetry), data)
	w.runAll(func() bool { return w.mission.Queued(station().WithService(serviceTelemetry)) == 0 })
	w.downlink(serviceSamples, w.batch(0, 0, 10))
	w.runAll(w.answering(payload.StatusActive, w.rounds(1)))
	if len(w.parts(other)) != 0 || !isWhole(w.parts(satellite())) || !isWhole(w.parts(third)) {
		t.Errorf("parts went to %d, %d, %d", len(w.parts(satellite())), len(w.parts(other)), len(w.parts(third)))
	}
	lines, err := os.ReadFile(filepath.Join(w.cfg.DataDir, "telemetry", "ipn_3.0.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var line struct {
		Source bundle.EID
		Model  models.Hash
	}
	if err := json.Unmarshal(lines, &line); err != nil || line.Source != other || line.Model != elsewhere {
		t.Errorf("telemetry file %s: %v", lines, err)
	}
}

func TestUselessDeliveriesAreDropped(t *testing.T) {
	w := newWorld(t, 10)
	for _, service := range []uint64{serviceSamples, serviceTelemetry, serviceReceipts} {
		w.downlink(service, []byte("nonsense"))
		w.downlink(service, make([]byte, payload.MaxSmall+1))
	}
	damaged := w.batch(0, 0, 1)
	damaged[len(damaged)/2] ^= 1
	w.downlink(serviceSamples, damaged)
	w.mission.Inject(bundle.IPN(66, 0), station().WithService(serviceSamples), w.batch(0, 0, 1))
	w.runAll(func() bool {
		left := 0
		for _, service := range []uint64{serviceSamples, serviceTelemetry, serviceReceipts} {
			left += w.mission.Queued(station().WithService(service))
		}
		return left == 0
	})
	if names, err := durable.Names(filepath.Join(w.cfg.DataDir, "samples")); err != nil || len(names) != 0 {
		t.Errorf("samples %v, %v", names, err)
	}
}

func TestLabelsAreWaitedFor(t *testing.T) {
	w := newWorld(t, 10)
	hidden := filepath.Join(w.scenes, "scene-03.txt")
	text, err := os.ReadFile(hidden)
	if err != nil {
		t.Fatal(err)
	}
	// One is not there yet, and one names a class that the network does not know.
	if err := os.Remove(hidden); err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(w.scenes, "scene-04.txt")
	good, err := os.ReadFile(wrong)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(wrong, []byte("7 0.5 0.5 0.1 0.1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.downlink(serviceSamples, w.batch(0, 0, 10))
	w.runAll(func() bool { return w.labelled() == 8 })
	if s := w.state(); s.Stage != StageCollect && s.Stage != "" {
		t.Fatalf("round began with 8 of 10 labels: %+v", s)
	}
	if err := os.WriteFile(hidden, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(wrong, good, 0o644); err != nil {
		t.Fatal(err)
	}
	w.runAll(w.answering(payload.StatusActive, w.rounds(1)))
}

// labelled returns how many samples the last progress says are labelled.
func (w *world) labelled() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) == 0 {
		return 0
	}
	return w.seen[len(w.seen)-1].Labelled
}

func TestOldSamplesMakeRoom(t *testing.T) {
	w := newWorld(t, 12)
	dir := agenttest.TempDir(t)
	l, err := openLibrary(dir, durable.Disk{}, 5, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := payload.DecodeSampleBatch(w.batch(0, 0, 12))
	if err != nil {
		t.Fatal(err)
	}
	first := b.Samples[0].ID
	for i, s := range b.Samples {
		_, err := l.add(Sample{ID: s.ID, Name: s.Name, Received: 1}, s.Picture, func(id models.Hash) bool { return id == first })
		if err != nil {
			t.Fatal(err)
		}
		if all, _, _, _ := l.tally(0); all != min(i+1, 5) {
			t.Errorf("%d samples are kept after %d", all, i+1)
		}
	}
	names, err := durable.Names(dir)
	if err != nil || len(names) != 10 || !slices.Contains(names, first.Digits()+".jpg") {
		t.Errorf("folder holds %v, %v", names, err)
	}
}

// TestKilledAnywhere stops the ground before every durable step of a round, and
// checks that the next run ends the same: the same network, deployed once.
func TestKilledAnywhere(t *testing.T) {
	var want models.Hash
	for cut := 0; ; cut++ {
		w := newWorld(t, 6)
		w.downlink(serviceSamples, w.batch(0, 0, 3))
		w.downlink(serviceSamples, w.batch(1, 3, 6))
		w.cfg.Train.Epochs, w.cfg.Send.PartBytes = 1, 512
		done := w.answering(payload.StatusActive, w.rounds(1))
		fuse := agenttest.NewFuse(cut)
		w.run(fuse, done)
		where, blown := fuse.Blown()
		w.runAll(done)
		s := w.state()
		r := s.Rounds[0]
		if len(s.Rounds) != 1 || r.Outcome != OutcomeDeployed || s.Stage != StageCollect {
			t.Fatalf("cut before %s: %+v", where, s)
		}
		if want == (models.Hash{}) {
			want = r.Model
		}
		if got := w.fly(satellite(), w.base).Hash(); got != r.Model || got != want {
			t.Fatalf("cut before %s: the satellite flies %v, the report says %v, the first run made %v", where, got, r.Model, want)
		}
		if n := len(w.mission.SentTo(satellite().WithService(serviceModels))); n > len(w.parts(satellite()))+1 {
			t.Fatalf("cut before %s: %d parts were sent, %d differ", where, n, len(w.parts(satellite())))
		}
		if !blown {
			t.Logf("%d steps", fuse.Steps())
			return
		}
	}
}
