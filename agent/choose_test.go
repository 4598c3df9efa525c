package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"perigee/agent/agenttest"
	"perigee/bundle/dtntime"
	"perigee/models/mining"
	"perigee/models/payload"
)

// mined returns what the data folder says of the pictures.
func (w *world) mined() mined {
	w.t.Helper()
	m, err := readMined(w.cfg.DataDir)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// looked is done when so many pictures were looked at and nothing waits.
func (w *world) looked(pictures uint64) func() bool {
	return func() bool { return w.mined().Counters.Taken == pictures && w.isTidy() }
}

// again puts a picture that was taken before under another name.
func (w *world) again(from, to string) {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.cfg.Source.Folder, from))
	if err == nil {
		err = os.WriteFile(filepath.Join(w.cfg.Source.Folder, to), data, 0o644)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestRepeatsStay(t *testing.T) {
	w := newWorld(t, 2)
	w.cfg.Select.Same = 1e-6 // the network of the tests sees little difference in anything
	w.runAll(w.looked(2))
	// Another run remembers what was sent.
	w.again("scene-00.jpg", "scene-50.jpg")
	w.runAll(w.looked(3))
	if c := w.mined().Counters; c.Hard != 2 || c.Repeats != 1 {
		t.Errorf("counters %+v", c)
	}
	for id, n := range w.samples() {
		if n != 1 {
			t.Errorf("sample %v came %d times", id, n)
		}
	}
}

// TestRepeatsLoseNothing stops the agent before every durable step, with repeats
// left out: nothing may be taken for a repeat of itself.
func TestRepeatsLoseNothing(t *testing.T) {
	for cut := 0; ; cut++ {
		w := newWorld(t, 3)
		w.cfg.Select.Same = 1e-6
		fuse := agenttest.NewFuse(cut)
		w.run(fuse, w.quiet)
		where, blown := fuse.Blown()
		w.runAll(w.quiet)
		if got := w.samples(); len(got) != 3 {
			t.Fatalf("cut before %s: %d of 3 samples came", where, len(got))
		}
		if !blown {
			return
		}
	}
}

func TestBatchesHaveTheirValue(t *testing.T) {
	w := newWorld(t, 4)
	w.runAll(w.quiet)
	for _, s := range w.mission.SentTo(groundNode().WithService(ServiceSamples)) {
		b, err := payload.DecodeSampleBatch(s.Payload)
		if err != nil {
			t.Fatal(err)
		}
		want := uint64(0)
		for _, sample := range b.Samples {
			if sample.Worth == 0 {
				t.Errorf("sample %s is worth nothing", sample.Name)
			}
			want += uint64(sample.Worth)
		}
		if s.Out.Value != want {
			t.Errorf("batch %d has value %d, its samples are worth %d", b.Batch, s.Out.Value, want)
		}
	}
}

func TestLetterNames(t *testing.T) {
	for _, l := range []letter{{key: "0001", samples: 3}, {key: "0001", samples: 3, value: 77}, {key: "00ff-3-01"}} {
		if got, ok := parseLetter(l.name()); !ok || got != l {
			t.Errorf("%s is read as %+v, %v; want %+v", l.name(), got, ok, l)
		}
	}
	for _, name := range []string{"", "x", "1-2", "-2.cbor", "1-x.cbor", "1-2.vx.cbor", "1-2.v.cbor"} {
		if l, ok := parseLetter(name); ok {
			t.Errorf("%q is read as %+v", name, l)
		}
	}
}

func TestBudgetHoldsOverRestarts(t *testing.T) {
	w := newWorld(t, 6)
	w.cfg.Budget.EmptySamples, w.cfg.Budget.ClassSamples = 2, 2
	w.cfg.Batch.Samples = 1
	w.runAll(func() bool { return w.mined().Counters.Taken >= 3 })
	w.runAll(w.looked(6))
	m := w.mined()
	most := 2 * (1 + len(m.Spent.Classes)) // by class, and without any
	if n := len(w.samples()); n > most || n == 0 || uint64(n) != m.Counters.Hard || m.Counters.Hard+m.Counters.Spared != 6 {
		t.Errorf("%d samples came, at most %d may; %+v", n, most, m)
	}
	// The next period has room again.
	w.cfg.Budget.Period = dtntime.Duration(1234567)
	agenttest.Pictures(t, filepath.Join(w.cfg.DataDir, "more"), 1, 77)
	if err := os.Rename(filepath.Join(w.cfg.DataDir, "more", "scene-00.jpg"), filepath.Join(w.cfg.Source.Folder, "scene-99.jpg")); err != nil {
		t.Fatal(err)
	}
	w.runAll(w.looked(7))
	if now := w.mined(); now.Counters.Hard != m.Counters.Hard+1 {
		t.Errorf("in the next period: %+v", now)
	}
}

func TestBytesOfThePeriod(t *testing.T) {
	w := newWorld(t, 6)
	info, err := os.Stat(filepath.Join(w.cfg.Source.Folder, "scene-00.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	w.cfg.Budget.Bytes = 2*info.Size() + 200
	w.runAll(w.looked(6))
	if m := w.mined(); m.Spent.Bytes > w.cfg.Budget.Bytes || m.Counters.Hard == 0 || m.Counters.Spared == 0 {
		t.Errorf("%+v", m)
	}
}

// TestPicturesWaitForEnergy uses up the energy of a period with the first picture.
func TestPicturesWaitForEnergy(t *testing.T) {
	w := newWorld(t, 3)
	w.cfg.Budget.EnergyWh = 1e-9
	w.runAll(func() bool { return w.mined().Counters.Taken == 1 && w.isTidy() })
	// Time goes on by a millisecond a look, so the day is not over.
	client := w.mission.Open(satellite(), agenttest.NewFuse(-1))
	defer client.Close()
	a, err := New(w.cfg, Parts{Client: client, Clock: w.mission.Clock})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !a.miner.rests() {
		t.Errorf("pictures are looked at although the energy is used up: %+v", w.mined().Spent)
	}
	a.miner.allowance.Period = 7 * dtntime.Day // another numbering: another period
	if a.miner.rests() {
		t.Error("the next period does not begin")
	}
	if err := a.runner.engine.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSketchingSeesTheSame(t *testing.T) {
	w := newWorld(t, 3)
	w.cfg.Mining = mining.Config{Name: mining.Random, Params: map[string]float64{"random_ratio": 1}}
	look := func() string {
		w.runAll(w.quiet)
		text := ""
		for _, s := range w.mission.SentTo(groundNode().WithService(ServiceSamples)) {
			b, err := payload.DecodeSampleBatch(s.Payload)
			if err != nil {
				t.Fatal(err)
			}
			for _, sample := range b.Samples {
				text += fmt.Sprint(sample.Name, sample.Found)
			}
		}
		return text
	}
	plain := look()
	w = newWorld(t, 3)
	w.cfg.Select.Novelty = 1
	if got := look(); got != plain {
		t.Errorf("with sketches %s, without %s", got, plain)
	}
}
