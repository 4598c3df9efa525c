package lab

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"perigee/bundle/contact"
	"perigee/models"
)

const firstLight = "../scenarios/first-light.toml"

func TestScenariosAreValid(t *testing.T) {
	files, err := filepath.Glob("../scenarios/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("found no scenario: %v", err)
	}
	for _, f := range files {
		kind, err := KindOf(f)
		switch {
		case err != nil:
			t.Error(err)
		case kind == KindNetwork:
			if _, err := ReadNetwork(f); err != nil {
				t.Error(err)
			}
		default:
			if _, err := ReadScenario(f); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestScenarioMistakesNameTheKey(t *testing.T) {
	good, err := os.ReadFile(firstLight)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ old, new, want string }{
		{`seed = 1`, `sed = 1`, "sed"},
		{`backend = "auto"`, `backend = "magic"`, "backend"},
		{`uplink = "100 kbit/s"`, `uplink = "100 kB"`, "is not a rate"},
		{`uplink = "100 kbit/s"`, `uplink = "fast"`, "is not a rate"},
		{`length = "24s"`, `length = "0s"`, "passes.length"},
		{`length = "24s"`, `length = "-4s"`, "is not a duration"},
		{`after = 0.4`, `after = 1.4`, "cut.after"},
		{`drifted = 90`, `drifted = 9`, "train.samples"},
		{`rank = 2`, `rank = -1`, "train.rank"},
	} {
		text := strings.Replace(string(good), test.old, test.new, 1)
		if text == string(good) {
			t.Fatalf("%q is not in the scenario", test.old)
		}
		path := filepath.Join(t.TempDir(), "bad.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ReadScenario(path)
		if !errors.Is(err, ErrScenario) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("with %q: %v, want an ErrScenario about %q", test.new, err, test.want)
		}
	}
}

func TestPlanFollowsThePasses(t *testing.T) {
	s, err := ReadScenario(firstLight)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	passes := s.passes(start)
	path := filepath.Join(t.TempDir(), "plan.jsonl")
	if err := s.writePlan(path, passes); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plan, err := contact.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	if plan.Len() != 2*s.Passes.Count {
		t.Errorf("the plan has %d contacts for %d passes", plan.Len(), s.Passes.Count)
	}
	for c := range plan.All() {
		want := contact.BitRate(100_000)
		if c.To == groundNode {
			want = 100_000_000
		}
		if c.Rate != want {
			t.Errorf("contact from %s to %s has %d bit/s, want %d", c.From, c.To, c.Rate, want)
		}
		if c.Start.Time() != start.Add(3*time.Second) {
			t.Errorf("the first pass starts at %s", c.Start)
		}
		if c.To == groundNode {
			break
		}
	}
}

// kept is a report of a run that kept everything.
func kept() Report {
	h := models.HashBytes([]byte("v2"))
	return Report{
		F1DriftV1: 0.3, F1DriftV2: 0.9, ModelBytes: 35_000_000, DeltaBytes: 450_000,
		ActiveModel: h, AnnouncedModel: h, Pictures: 130, SamplesHard: 80, SamplesReceived: 80,
	}
}

func TestReportNamesWhatWasNotKept(t *testing.T) {
	whole := kept()
	if whole.judge(); len(whole.Failures) != 0 {
		t.Errorf("a good run fails: %v", whole.Failures)
	}
	for want, spoil := range map[string]func(*Report){
		"rose by":              func(r *Report) { r.F1DriftV2 = 0.5 },
		"more than a tenth":    func(r *Report) { r.DeltaBytes = 3_600_000 },
		"the ground announced": func(r *Report) { r.ActiveModel = models.HashBytes([]byte("v1")) },
		"no telemetry":         func(r *Report) { r.Pictures = 0 },
		"hard samples reached": func(r *Report) { r.SamplesReceived = 79 },
		"still on their way":   func(r *Report) { r.Undelivered = 1 },
		"delivered twice":      func(r *Report) { r.DeliveredTwice = 1 },
	} {
		r := kept()
		spoil(&r)
		if r.judge(); len(r.Failures) != 1 || !strings.Contains(r.Failures[0], want) {
			t.Errorf("failures %v, want one about %q", r.Failures, want)
		}
	}
}

func TestReportRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	r := kept()
	r.judge()
	if err := r.write(path); err != nil {
		t.Fatal(err)
	}
	got, err := ReadReport(path)
	if err != nil {
		t.Fatal(err)
	}
	var table, want bytes.Buffer
	if err := errors.Join(got.Table(&table), r.Table(&want)); err != nil {
		t.Fatal(err)
	}
	if table.String() != want.String() || !strings.Contains(table.String(), "1/77 of the model") {
		t.Errorf("table:\n%s", table.String())
	}
}

func TestLinesShowQuarters(t *testing.T) {
	var out bytes.Buffer
	p := NewProgress(&out, false)
	p.Stage("training", 8)
	for i := range 8 {
		p.Step(i + 1)
	}
	if n := strings.Count(out.String(), "\n"); n != 4 {
		t.Errorf("%d lines, want one for the stage and one for each quarter before the end:\n%s", n, out.String())
	}
}
