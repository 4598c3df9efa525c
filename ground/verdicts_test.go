package ground

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"perigee/agent/agenttest"
	"perigee/agent/record"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/payload"
)

// told returns what the satellite was told of each sample, by whom, in order.
func (w *world) told() (bySample map[models.Hash][]string, batches []payload.VerdictBatch) {
	w.t.Helper()
	bySample = map[models.Hash][]string{}
	for _, s := range w.mission.SentTo(satellite().WithService(serviceVerdicts)) {
		if !s.Out.Custody || s.Out.Lifetime != w.cfg.Verdicts.Lifetime {
			w.t.Errorf("verdicts travel with custody %v and lifetime %v", s.Out.Custody, s.Out.Lifetime)
		}
		b, err := payload.DecodeVerdictBatch(s.Payload)
		if err != nil {
			w.t.Fatal(err)
		}
		batches = append(batches, *b)
		for _, v := range b.Verdicts {
			bySample[v.Sample] = append(bySample[v.Sample], b.Source)
		}
	}
	return bySample, batches
}

func TestLabelsGoUpAsVerdicts(t *testing.T) {
	w := newWorld(t, 6)
	w.cfg.Trigger.Condition.Threshold = 100 // no round
	w.downlink(serviceSamples, w.batch(0, 0, 6))
	all := func() bool { got, _ := w.told(); return len(got) == 6 }
	w.mission.Refuse(3) // the node is full for a while
	w.runAll(all)
	_, batches := w.told()
	for _, b := range batches {
		for _, v := range b.Verdicts {
			if len(v.Labels) != 1 || b.Time == 0 {
				t.Errorf("verdict %+v at %v", v, b.Time)
			}
		}
	}
	// Another run tells nothing again.
	w.runAll(func() bool { return w.labelled() == 6 })
	if got, _ := w.told(); len(got) != 6 {
		t.Errorf("told of %d samples", len(got))
	}
	for id, by := range func() map[models.Hash][]string { got, _ := w.told(); return got }() {
		if len(by) != 1 || by[0] != SourceLabel {
			t.Errorf("sample %v: told by %v", id, by)
		}
	}
}

// TestLargerModelSpeaksFirst has a network give verdicts until a person does.
func TestLargerModelSpeaksFirst(t *testing.T) {
	w := newWorld(t, 4)
	w.cfg.Trigger.Condition.Threshold = 100
	w.cfg.Verdicts.Model, w.cfg.Verdicts.Threshold = agenttest.WriteModel(t, agenttest.Network(t, 11)), 0
	hidden := filepath.Join(w.scenes, "hidden")
	if err := os.Rename(filepath.Join(w.scenes, "scene-02.txt"), hidden); err != nil {
		t.Fatal(err)
	}
	w.downlink(serviceSamples, w.batch(0, 0, 4))
	picture, err := os.ReadFile(filepath.Join(w.scenes, "scene-02.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	id := models.HashBytes(picture)
	heard := func(n int) func() bool {
		return func() bool { got, _ := w.told(); return len(got) == 4 && len(got[id]) == n }
	}
	w.runAll(heard(1))
	if err := os.Rename(hidden, filepath.Join(w.scenes, "scene-02.txt")); err != nil {
		t.Fatal(err)
	}
	w.runAll(heard(2))
	got, batches := w.told()
	if got[id][0] != SourceModel || got[id][1] != SourceLabel {
		t.Errorf("told by %v", got[id])
	}
	for i := range batches[1:] {
		if batches[i+1].Time <= batches[i].Time {
			t.Errorf("batch %d was given at %v, the one before at %v", i+1, batches[i+1].Time, batches[i].Time)
		}
	}
}

func TestVerdictsCanBeOff(t *testing.T) {
	w := newWorld(t, 4)
	w.cfg.Trigger.Condition.Threshold = 100
	w.cfg.Verdicts.Send = false
	w.downlink(serviceSamples, w.batch(0, 0, 4))
	w.runAll(func() bool { return w.labelled() == 4 })
	if got, _ := w.told(); len(got) != 0 {
		t.Errorf("told of %d samples", len(got))
	}
}

// TestVerdictsOwedAnywhere stops the ground before every durable step: nothing is
// forgotten, and nothing told more than twice.
func TestVerdictsOwedAnywhere(t *testing.T) {
	for cut := 0; ; cut += 2 {
		w := newWorld(t, 3)
		w.cfg.Trigger.Condition.Threshold = 100
		w.downlink(serviceSamples, w.batch(0, 0, 3))
		all := func() bool { got, _ := w.told(); return len(got) == 3 }
		fuse := agenttest.NewFuse(cut)
		w.run(fuse, all)
		where, blown := fuse.Blown()
		w.runAll(all)
		got, _ := w.told()
		for id, by := range got {
			if len(by) > 2 {
				t.Fatalf("cut before %s: sample %v was told %d times", where, id, len(by))
			}
		}
		if !blown {
			return
		}
	}
}

// TestVerdictReachesTheRecord lets satellite and ground talk: every sample's record
// on board is corrected.
func TestVerdictReachesTheRecord(t *testing.T) {
	p := newPair(t, 6)
	p.cfg.Trigger.Condition.Threshold = 100
	p.cfg.LabelEvery = 20 * dtntime.Millisecond
	dir := filepath.Join(p.sat.DataDir, "record")
	corrected := func() bool {
		n := 0
		err := record.Each(dir, func(e record.Entry) error {
			if e.Verdict != nil && e.Verdict.Source == SourceLabel && len(e.Objects()) == 1 {
				n++
			}
			return nil
		})
		return err == nil && n == p.count
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	p.run(ctx, func() *agenttest.Fuse { return agenttest.NewFuse(-1) }, corrected)
}
