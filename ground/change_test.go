package ground

import (
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"perigee/agent/agenttest"
	"perigee/agent/durable"
	"perigee/models"
	"perigee/models/delta"
	"perigee/models/gate"
	"perigee/models/payload"
)

func TestWorthSending(t *testing.T) {
	for name, test := range map[string]struct {
		f1     []float32
		passed []bool
		want   int
	}{
		"better and better":        {[]float32{0.7, 0.8, 0.9}, []bool{true, true, true}, 3},
		"nothing gained":           {[]float32{0.7, 0.9, 0.9}, []bool{true, true, true}, 2},
		"worse at the end":         {[]float32{0.9, 0.8, 0.85}, []bool{true, true, true}, 1},
		"only one":                 {[]float32{0.2}, []bool{false}, 1},
		"dip in the middle":        {[]float32{0.7, 0.6, 0.9}, []bool{true, true, true}, 3},
		"nothing ever found":       {[]float32{0, 0}, []bool{false, false}, 1},
		"better, but a class lost": {[]float32{0.9, 0.8, 0.85}, []bool{false, true, true}, 3},
	} {
		var steps []Step
		for i, f1 := range test.f1 {
			steps = append(steps, Step{Score: models.Score{F1: f1}, Gate: gate.Decision{Passed: test.passed[i]}})
		}
		if got := len(worthSending(steps)); got != test.want {
			t.Errorf("%s: %d steps are sent, want %d", name, got, test.want)
		}
	}
}

// TestChangeGoesInSteps builds a change, judges its steps by hand, and applies
// what would be sent.
func TestChangeGoesInSteps(t *testing.T) {
	w := newWorld(t, 2)
	w.cfg.Delta.Steps = []string{"int2", "int3", "int4"}
	trusted, private := w.keys()
	w.cfg.Delta.Key = private
	g, client := w.open(agenttest.NewFuse(-1))
	defer client.Close()
	for _, dir := range []string{"models", "deltas"} {
		if err := g.disk.MkdirAll(g.path(dir)); err != nil {
			t.Fatal(err)
		}
	}
	trained := agenttest.Nudged(t, w.base, 0.01)
	for path, n := range map[string]*models.Network{g.modelPath(w.base.Hash()): w.base, g.path(trainedName): trained} {
		if err := g.storeModel(path, n); err != nil {
			t.Fatal(err)
		}
	}
	g.library = &library{}
	g.roster = &roster{}
	g.state = state{Stage: StageBuild, Version: 4, Base: w.base.Hash(), Old: models.Score{F1: 0.5}}
	if err := g.build(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, passed := range []bool{false, true, true} {
		g.state.Steps[i].Score.Threshold, g.state.Steps[i].Gate.Passed = 0.3, passed
	}
	next := g.state
	if err := g.sign(t.Context(), &next); err != nil {
		t.Fatal(err)
	}
	g.state = next
	g.state.PartBytes = 256
	parts, err := g.parts(&target{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(trusted[0])
	if err != nil {
		t.Fatal(err)
	}
	keys, err := delta.ParsePublicKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	flies := applyParts(t, w.base, parts, keys...)
	if flies.Hash() != g.state.Steps[2].Result {
		t.Errorf("the parts make %v, the steps announce %v", flies.Hash(), g.state.Steps[2].Result)
	}
	var drafts []bool
	for _, s := range g.state.Steps {
		drafts = append(drafts, s.Draft)
	}
	if !slices.Equal(drafts, []bool{true, false, false}) {
		t.Errorf("drafts %v: a step that does not pass the gate must not be used", drafts)
	}
	if next.Bytes != total(next.Steps) || next.Bytes == 0 {
		t.Errorf("%d bytes", next.Bytes)
	}
}

// applyParts applies parts in the order in which they are sent.
func applyParts(t *testing.T, base *models.Network, parts []payload.ModelPart, keys ...ed25519.PublicKey) *models.Network {
	t.Helper()
	var file []byte
	for i, p := range parts {
		file = append(file, p.Data...)
		if p.Index+1 < p.Count {
			continue
		}
		d, err := delta.Decode(file)
		if err == nil && len(keys) > 0 {
			err = d.Verify(keys)
		}
		if err != nil {
			t.Fatal(err)
		}
		want := delta.Use{Version: p.Version, Draft: p.Draft, Threshold: p.Golden.Threshold, MinF1: p.Golden.MinF1, MatchIoU: p.Golden.MatchIoU}
		if d.Use != want || p.Base != base.Hash() {
			t.Errorf("part %d says %+v for %v, signed is %+v", i, want, p.Base, d.Use)
		}
		if base, err = d.Apply(base); err != nil {
			t.Fatal(err)
		}
		file = nil
	}
	return base
}

// TestStepsAreFollowed counts receipts about single steps.
func TestStepsAreFollowed(t *testing.T) {
	hash := func(n int) models.Hash { return models.HashBytes(fmt.Append(nil, n)) }
	receipt := func(step uint32, status payload.Status) payload.Receipt {
		return payload.Receipt{Update: 9, Step: step, Status: status, Active: hash(int(step)), Time: 1}
	}
	refused := receipt(0, payload.StatusRefused)
	refused.Reason = "self-test"
	for name, test := range map[string]struct {
		receipts      []payload.Receipt
		active, ended int
	}{
		"first step":           {[]payload.Receipt{receipt(0, payload.StatusActive)}, 1, 0},
		"last step":            {[]payload.Receipt{receipt(1, payload.StatusActive)}, 1, 1},
		"out of order":         {[]payload.Receipt{receipt(1, payload.StatusActive), receipt(0, payload.StatusActive)}, 1, 1},
		"refused at the end":   {[]payload.Receipt{receipt(0, payload.StatusActive), refused}, 1, 1},
		"refused, then active": {[]payload.Receipt{refused, receipt(0, payload.StatusActive)}, 1, 1},
	} {
		w := newWorld(t, 2)
		g, client := w.open(agenttest.NewFuse(-1))
		g.library = &library{}
		dir := agenttest.TempDir(t)
		var err error
		if g.roster, err = openRoster(filepath.Join(dir, "satellites.json"), durable.Disk{}, w.cfg.Satellites, w.base.Hash()); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(w.cfg.DataDir, 0o755); err != nil {
			t.Fatal(err)
		}
		g.state = state{Update: 9, Steps: []Step{{Result: hash(0)}, {Result: hash(1)}}, Targets: []target{{Node: satellite()}}}
		for _, r := range test.receipts {
			data, err := r.Encode()
			if err == nil {
				err = g.keepAnswer(satellite(), data)
			}
			if err != nil && !strings.Contains(err.Error(), "step") {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if active, ended, _ := g.receipts(); active != test.active || ended != test.ended {
			t.Errorf("%s: active on %d, ended on %d, want %d and %d", name, active, ended, test.active, test.ended)
		}
		_ = client.Close()
	}
}

// TestProgramTrains has a shell in place of the training.
func TestProgramTrains(t *testing.T) {
	w := newWorld(t, 12)
	w.cfg.Train.Program = []string{"/bin/sh", "-c", `test -s job.json && tr '\000' '\001' <base.f32 >head.f32 && echo '{"epoch": 1, "epochs": 1, "loss": 3.5}'`}
	w.downlink(serviceSamples, w.batch(0, 0, 12))
	w.runAll(w.answering(payload.StatusActive, w.rounds(1)))
	r := w.state().Rounds[0]
	if r.Outcome != OutcomeDeployed || w.fly(satellite(), w.base).Hash() != r.Model {
		t.Errorf("round %+v", r)
	}
	if _, err := os.Stat(filepath.Join(w.cfg.DataDir, programDir)); !os.IsNotExist(err) {
		t.Errorf("the folder of the program is left: %v", err)
	}
}
