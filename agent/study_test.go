package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"perigee/agent/agenttest"
	"perigee/agent/durable"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/delta"
	"perigee/models/labels"
	"perigee/models/payload"
)

// newClass is a world that holds the samples that it sent.
func newClass(t *testing.T, pictures int) *world {
	t.Helper()
	w := newWorld(t, pictures)
	w.cfg.Training.KeepBytes = 1 << 20
	w.cfg.Updates.Canary.Pictures = 0 // what is taught here is nonsense
	w.runAll(func() bool { return w.quiet() && w.isTidy() })
	return w
}

// lesson is a lesson about every picture, in parts of so many.
func (w *world) lesson(number, version uint64, each int, how func(*payload.Lesson)) []payload.Lesson {
	w.t.Helper()
	l := payload.Lesson{Update: number, Version: version, Base: w.base.Hash(), Course: payload.Course{
		Epochs: 2, Batch: 4, Rank: 1, Rate: 0.01, Seed: 3, HeldOut: 0, MinGain: -1,
	}}
	l.Parts = uint32((len(w.ids) + each - 1) / each)
	var all []payload.Lesson
	for first := 0; first < len(w.ids); first += each {
		var pictures []labels.Labelled
		for _, id := range w.ids[first:min(first+each, len(w.ids))] {
			pictures = append(pictures, labels.Labelled{Key: labels.KeyOf(id), Truth: []models.Truth{{Class: 1, Box: models.Box{X: 0.5, Y: 0.5, W: 0.3, H: 0.3}}}})
		}
		packed, err := labels.Pack(pictures)
		if err != nil {
			w.t.Fatal(err)
		}
		part := l
		part.Part, part.Labels = uint32(len(all)), packed
		if how != nil {
			how(&part)
		}
		all = append(all, part)
	}
	return all
}

func (w *world) teach(parts []payload.Lesson) {
	w.t.Helper()
	for _, p := range parts {
		data, err := p.Encode()
		if err != nil {
			w.t.Fatal(err)
		}
		w.mission.Inject(groundNode(), satellite().WithService(ServiceLessons), data)
	}
}

// answers returns the receipts, and what was learned.
func (w *world) answers() (receipts []payload.Receipt, learned []payload.Learned) {
	w.t.Helper()
	for _, s := range w.mission.SentTo(groundNode().WithService(ServiceReceipts)) {
		m, err := payload.Decode(s.Payload)
		if err != nil {
			w.t.Fatal(err)
		}
		switch m := m.(type) {
		case *payload.Receipt:
			receipts = append(receipts, *m)
		case *payload.Learned:
			learned = append(learned, *m)
		}
	}
	return receipts, learned
}

// ended tells that the last receipt is about the end of an update, and that nothing
// of a lesson is left.
func (w *world) ended() bool {
	receipts, _ := w.answers()
	if len(receipts) == 0 || receipts[len(receipts)-1].Status < payload.StatusActive {
		return false
	}
	names, err := durable.Names(filepath.Join(w.cfg.DataDir, "receipts"))
	if err != nil || len(names) > 0 {
		return false
	}
	folders, err := filepath.Glob(filepath.Join(w.cfg.DataDir, "lessons", "*", "*"))
	return err == nil && len(folders) == 0
}

func (w *world) held() int {
	w.t.Helper()
	names, err := durable.Names(filepath.Join(w.cfg.DataDir, "held"))
	if err != nil {
		w.t.Fatal(err)
	}
	return len(names)
}

// checkLearned checks the end of a lesson that became the active network.
func (w *world) checkLearned(version uint64) payload.Learned {
	w.t.Helper()
	receipts, learned := w.answers()
	last := receipts[len(receipts)-1]
	if last.Status != payload.StatusActive || len(learned) == 0 {
		w.t.Fatalf("receipts %+v", receipts)
	}
	l := learned[len(learned)-1]
	d, err := delta.Decode(l.Delta)
	if err != nil {
		w.t.Fatal(err)
	}
	made, err := d.Apply(w.base)
	if err != nil || made.Hash() != l.Result || made.Hash() == w.base.Hash() {
		w.t.Fatalf("what was sent down makes %v, not %v: %v", made.Hash(), l.Result, err)
	}
	if active := w.active(); active.Hash != l.Result || active.Version != version || last.Active != l.Result {
		w.t.Fatalf("%v flies in version %d, %v was learned", active.Hash, active.Version, l.Result)
	}
	return l
}

func TestLessonIsLearned(t *testing.T) {
	w := newClass(t, 24)
	key := testKey(1)
	w.trust(key)
	w.cfg.Updates.AllowUnsigned = false
	w.teach(w.lesson(5, 1, 3, func(l *payload.Lesson) {
		l.Course.HeldOut = 0.5
		if err := l.Sign(key); err != nil {
			t.Fatal(err)
		}
	}))
	w.runAll(w.ended)
	l := w.checkLearned(1)
	if l.Trained == 0 || l.Judged == 0 || l.Trained+l.Judged != 24 || l.Missing != 0 || l.Spent == 0 {
		t.Errorf("learned %+v", l)
	}
	if n := w.held(); n != 0 {
		t.Errorf("%d samples are held although their labels came", n)
	}
	// The same lesson again is not learned again.
	_, before := w.answers()
	w.teach(w.lesson(5, 1, 24, nil))
	w.runAll(func() bool { return w.mission.Queued(satellite().WithService(ServiceLessons)) == 0 })
	if _, after := w.answers(); len(after) != len(before) {
		t.Errorf("%d reports, %d before", len(after), len(before))
	}
}

func TestLessonIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		config func(*Config)
		lesson func(*payload.Lesson)
		want   string
	}{
		"no samples held":  {func(c *Config) { c.Training.KeepBytes = 0 }, nil, "keep_bytes"},
		"samples gone":     {func(c *Config) { c.Training.KeepBytes = 1 }, nil, "too few samples"},
		"other base":       {nil, func(l *payload.Lesson) { l.Base[3] ^= 1 }, "another network"},
		"old version":      {nil, func(l *payload.Lesson) { l.Version = 0 }, "not above"},
		"out of time":      {func(c *Config) { c.Training.MaxTime = dtntime.Millisecond }, func(l *payload.Lesson) { l.Course.Epochs = 50 }, "training.max_time"},
		"out of energy":    {func(c *Config) { c.Training.EnergyWh = 1e-6 }, func(l *payload.Lesson) { l.Course.Epochs = 50 }, "training.energy_wh"},
		"no memory":        {func(c *Config) { c.Training.Memory = 1 << 16 }, func(l *payload.Lesson) { l.Course.Rank = 64 }, "training.memory"},
		"too few judge":    {nil, func(l *payload.Lesson) { l.Course.HeldOut = 0.5 }, "to judge"},
		"unsigned":         {func(c *Config) { c.Updates.AllowUnsigned = false }, nil, "not signed"},
		"self-test failed": {nil, func(l *payload.Lesson) { l.Course.MinF1 = 1 }, "self-test"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newClass(t, 6)
			if test.config != nil {
				test.config(&w.cfg)
			}
			w.teach(w.lesson(5, 1, 6, test.lesson))
			w.runAll(w.ended)
			receipts, _ := w.answers()
			if r := receipts[len(receipts)-1]; r.Status != payload.StatusRefused || !strings.Contains(r.Reason, test.want) {
				t.Errorf("receipt %+v, want %q", r, test.want)
			}
			if active := w.active(); active.Hash != w.base.Hash() {
				t.Errorf("%v flies", active.Hash)
			}
		})
	}
}

// TestLessonThatGainsNothingIsRefused: the receipt says what the gate says.
func TestLessonThatGainsNothingIsRefused(t *testing.T) {
	w := newClass(t, 24)
	w.teach(w.lesson(5, 1, 24, func(l *payload.Lesson) { l.Course.HeldOut, l.Course.MinGain = 0.5, 0.9 }))
	w.runAll(w.ended)
	receipts, learned := w.answers()
	r := receipts[len(receipts)-1]
	if r.Status != payload.StatusRefused || !strings.Contains(r.Reason, "not better enough: f1_delta is") || len(learned) != 0 {
		t.Errorf("receipt %+v, reports %+v", r, learned)
	}
	if active := w.active(); active.Hash != w.base.Hash() {
		t.Errorf("%v flies", active.Hash)
	}
}

// TestHeldSamplesAreBounded sends more than may be held: the oldest go.
func TestHeldSamplesAreBounded(t *testing.T) {
	w := newWorld(t, 8)
	w.cfg.Training.KeepBytes = 3000 // of samples of a good kilobyte
	w.runAll(func() bool { return w.quiet() && w.isTidy() })
	h, err := openHeld(w.cfg.DataDir, durable.Disk{}, w.cfg.Training.KeepBytes)
	if err != nil {
		t.Fatal(err)
	}
	if len(h.all) == 0 || len(h.all) == 8 || h.bytes > 3000 {
		t.Fatalf("%d samples of %d bytes are held", len(h.all), h.bytes)
	}
	if _, ok := h.find(labels.KeyOf(w.ids[0])); ok {
		t.Error("the oldest is held")
	}
	newest := w.ids[len(w.ids)-1]
	if id, ok := h.find(labels.KeyOf(newest)); !ok || id != newest {
		t.Fatal("the newest is not held")
	}
	if picture, err := h.picture(newest); err != nil || models.HashBytes(picture) != newest {
		t.Errorf("picture of %d bytes: %v", len(picture), err)
	}
}

// TestSamplesAreHeldKilledAnywhere stops the satellite before every durable step of
// sending its samples: it holds them all, once.
func TestSamplesAreHeldKilledAnywhere(t *testing.T) {
	for cut := 0; ; cut++ {
		w := newWorld(t, 3)
		w.cfg.Training.KeepBytes = 1 << 20
		done := func() bool { return w.quiet() && w.isTidy() }
		fuse := agenttest.NewFuse(cut)
		w.run(fuse, done)
		where, blown := fuse.Blown()
		w.runAll(done)
		h, err := openHeld(w.cfg.DataDir, durable.Disk{}, w.cfg.Training.KeepBytes)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range w.ids {
			if _, ok := h.find(labels.KeyOf(id)); !ok {
				t.Fatalf("cut before %s: sample %v is not held", where, id)
			}
		}
		if left, err := durable.Names(filepath.Join(w.cfg.DataDir, "open")); err != nil || len(left) > 0 || len(h.all) != len(w.ids) {
			t.Fatalf("cut before %s: %d samples are held, %v are left, %v", where, len(h.all), left, err)
		}
		if !blown {
			t.Logf("%d steps", fuse.Steps())
			return
		}
	}
}

// TestLessonKilledAnywhere stops the satellite before every durable step of a
// lesson, and checks that the next run ends the same: the same network, active.
func TestLessonKilledAnywhere(t *testing.T) {
	w := newClass(t, 3)
	template := w.cfg.DataDir
	var want models.Hash
	for cut := 0; ; cut++ {
		w.mission = agenttest.NewMission()
		w.cfg.DataDir = filepath.Join(agenttest.TempDir(t), "sat")
		if err := os.CopyFS(w.cfg.DataDir, os.DirFS(template)); err != nil {
			t.Fatal(err)
		}
		w.teach(w.lesson(5, 1, 2, nil))
		fuse := agenttest.NewFuse(cut)
		w.run(fuse, w.ended)
		where, blown := fuse.Blown()
		w.runAll(w.ended)
		l := w.checkLearned(1)
		if want == (models.Hash{}) {
			want = l.Result
		}
		if l.Result != want || l.Trained != 3 {
			t.Fatalf("cut before %s: learned %v on %d samples, the first run %v", where, l.Result, l.Trained, want)
		}
		if !blown {
			t.Logf("%d steps", fuse.Steps())
			return
		}
	}
}
