package agent

import (
	"path/filepath"
	"reflect"
	"testing"

	"perigee/agent/agenttest"
	"perigee/agent/record"
	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/payload"
)

func verdicts(t *testing.T, given dtntime.Time, source string, class int, ids ...models.Hash) []byte {
	t.Helper()
	b := payload.VerdictBatch{Time: given, Source: source}
	for _, id := range ids {
		b.Verdicts = append(b.Verdicts, payload.Verdict{Sample: id, Labels: []models.Truth{{Class: class, Box: models.Box{X: 0.5, Y: 0.5, W: 0.2, H: 0.2}}}})
	}
	data, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (w *world) correct(from bundle.EID, data []byte) {
	w.mission.Inject(from, satellite().WithService(ServiceVerdicts), data)
}

// heard tells that every sample came down and every verdict was taken.
func (w *world) heard() bool {
	return w.quiet() && w.mission.Queued(satellite().WithService(ServiceVerdicts)) == 0
}

func (w *world) entry(id models.Hash) record.Entry {
	w.t.Helper()
	e, err := record.Read(filepath.Join(w.cfg.DataDir, "record"), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// TestVerdictCorrectsTheRecord has verdicts come passes later, the later one first,
// one twice, and some that are of no use.
func TestVerdictCorrectsTheRecord(t *testing.T) {
	w := newWorld(t, 3)
	w.runAll(w.quiet)
	for i, id := range w.ids {
		if e := w.entry(id); e.Verdict != nil || !e.Sample || e.Model != w.base.Hash() || e.Name == "" || e.Taken == 0 {
			t.Errorf("picture %d before any verdict: %+v", i, e)
		}
	}
	person := verdicts(t, 2000, "label", 1, w.ids[0])
	w.correct(groundNode(), person)
	w.correct(groundNode(), verdicts(t, 1000, "model", 0, w.ids[0], w.ids[1]))
	w.correct(groundNode(), person)
	w.correct(groundNode(), verdicts(t, 3000, "label", 0, models.HashBytes([]byte("never seen"))))
	w.correct(groundNode(), []byte("nonsense"))
	w.correct(bundle.IPN(66, 0), verdicts(t, 9000, "label", 0, w.ids[0]))
	w.runAll(w.heard)
	for i, want := range []*record.Verdict{
		{Source: "label", Given: 2000, Objects: []models.Truth{{Class: 1, Box: models.Box{X: 0.5, Y: 0.5, W: 0.2, H: 0.2}}}},
		{Source: "model", Given: 1000, Objects: []models.Truth{{Class: 0, Box: models.Box{X: 0.5, Y: 0.5, W: 0.2, H: 0.2}}}},
		nil,
	} {
		got := w.entry(w.ids[i]).Verdict
		if got != nil {
			if got.Received == 0 {
				t.Errorf("picture %d: no time of receipt", i)
			}
			got.Received = 0
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("picture %d: verdict %+v, want %+v", i, got, want)
		}
	}
}

// TestVerdictsKilledAnywhere stops the agent before every durable step.
func TestVerdictsKilledAnywhere(t *testing.T) {
	for cut := 0; ; cut += 3 {
		w := newWorld(t, 2)
		w.runAll(w.quiet)
		w.correct(groundNode(), verdicts(t, 2000, "label", 1, w.ids...))
		fuse := agenttest.NewFuse(cut)
		w.run(fuse, w.heard)
		where, blown := fuse.Blown()
		w.runAll(w.heard)
		for _, id := range w.ids {
			if e := w.entry(id); e.Verdict == nil || e.Verdict.Given != 2000 {
				t.Fatalf("cut before %s: %+v", where, e)
			}
		}
		if !blown {
			return
		}
	}
}

func TestRecordIsBounded(t *testing.T) {
	w := newWorld(t, 5)
	w.cfg.Record.Max = 2
	w.runAll(w.quiet)
	left := 0
	if err := record.Each(filepath.Join(w.cfg.DataDir, "record"), func(record.Entry) error { left++; return nil }); err != nil {
		t.Fatal(err)
	}
	if left != 2 {
		t.Errorf("%d pictures are in the record, want 2", left)
	}
}
