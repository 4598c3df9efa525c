package agent

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"perigee/agent/agenttest"
	"perigee/agent/durable"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/delta"
	"perigee/models/golden"
	"perigee/models/payload"
)

// faulty is an engine that does something to one network only.
type faulty struct {
	models.Engine
	network  models.Hash
	detect   func() error          // before it detects
	backbone func() error          // before it runs the backbone
	head     func([]models.Tensor) // to the outputs
}

func (f *faulty) is() bool { return f.Network().Hash() == f.network }

func (f *faulty) Detect(ctx context.Context, picture models.Tensor, o models.DetectOptions) ([]models.Detection, error) {
	if f.is() && f.detect != nil {
		if err := f.detect(); err != nil {
			return nil, err
		}
	}
	return f.Engine.Detect(ctx, picture, o)
}

func (f *faulty) Backbone(ctx context.Context, picture models.Tensor) (models.Features, error) {
	if f.is() && f.backbone != nil {
		if err := f.backbone(); err != nil {
			return nil, err
		}
	}
	return f.Engine.Backbone(ctx, picture)
}

func (f *faulty) Head(ctx context.Context, features models.Features) ([]models.Tensor, error) {
	out, err := f.Engine.Head(ctx, features)
	if err == nil && f.is() && f.head != nil {
		f.head(out)
	}
	return out, err
}

// makeFaulty has every engine of the world be faulty.
func (w *world) makeFaulty(fault faulty) {
	w.engine = func(n *models.Network, threads int) (models.Engine, error) {
		e, err := models.NewEngine(n, threads)
		if err != nil {
			return nil, err
		}
		f := fault
		f.Engine = e
		return &f, nil
	}
}

// expecting is an update of the base network that says what its result computes
// for the golden pictures, changed by spoil.
func (w *world) expecting(number, version uint64, spoil func([]models.Expected)) []payload.ModelPart {
	w.t.Helper()
	return w.change(number, version, func(_ *payload.ModelPart, file *[]byte) {
		d, err := delta.Decode(*file)
		if err != nil {
			w.t.Fatal(err)
		}
		next, err := d.Apply(w.base)
		if err != nil {
			w.t.Fatal(err)
		}
		e, err := models.NewEngine(next, 1)
		if err != nil {
			w.t.Fatal(err)
		}
		defer e.Close()
		pictures, err := golden.Read(w.cfg.Updates.Golden)
		if err != nil {
			w.t.Fatal(err)
		}
		if d.Expected, err = golden.Expect(w.t.Context(), e, pictures); err != nil {
			w.t.Fatal(err)
		}
		if spoil != nil {
			spoil(d.Expected)
		}
		if *file, err = d.Encode(nil); err != nil {
			w.t.Fatal(err)
		}
	})
}

// after runs the agent until the update with these parts has ended, and returns the
// last receipt about it.
func (w *world) after(parts []payload.ModelPart) payload.Receipt {
	w.t.Helper()
	w.uplink(parts...)
	w.runAll(func() bool {
		return len(w.receipts()) > 0 && w.lastReceipt().Update == parts[0].Update && w.quiet() && w.isTidy()
	})
	return w.lastReceipt()
}

func TestEveryStageHasItsReceipt(t *testing.T) {
	w := newWorld(t, 3)
	w.runAll(w.quiet)
	r := w.after(w.expecting(11, 2, nil))
	var got []payload.Status
	for _, s := range w.said() {
		got = append(got, s.Status)
	}
	if want := []payload.Status{payload.StatusReceived, payload.StatusVerified, payload.StatusActive}; !slices.Equal(got, want) {
		t.Errorf("receipts %v, want %v", got, want)
	}
	if !strings.Contains(r.Reason, "2 as expected") || !strings.Contains(r.Reason, "3 recent pictures") {
		t.Errorf("receipt says %q, want what the trial found", r.Reason)
	}
}

func TestResultsThatFailTheGoldenTest(t *testing.T) {
	for name, test := range map[string]struct {
		spoil  func(w *world, e []models.Expected)
		fault  faulty
		reason string
	}{
		"another output": {spoil: func(_ *world, e []models.Expected) { e[1].Summary[1] += 0.01 * e[1].Summary[0] }, reason: "something else than expected"},
		"a picture that is not there": {
			spoil: func(_ *world, e []models.Expected) { e[0].Picture = models.PictureIDOf(nil) }, reason: "is not here",
		},
		"one filter computed wrongly": {fault: faulty{head: func(out []models.Tensor) {
			for i, c := 0, out[0].Channel(3); i < len(c); i++ {
				c[i] += 0.2
			}
		}}, reason: "something else than expected"},
		"no number": {fault: faulty{head: func(out []models.Tensor) { out[0].Data[5] = float32(math.NaN()) }}, reason: "not finite"},
		"an engine that fails": {
			fault: faulty{backbone: func() error { return errors.New("no such kernel") }}, reason: "no such kernel",
		},
		"no pictures on board": {
			spoil:  func(w *world, _ []models.Expected) { w.cfg.Updates.Golden = filepath.Join(w.cfg.DataDir, "none") },
			reason: "golden pictures",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			parts := w.expecting(11, 2, func(e []models.Expected) {
				if test.spoil != nil {
					test.spoil(w, e)
				}
			})
			test.fault.network = parts[0].Result
			w.makeFaulty(test.fault)
			r := w.after(parts)
			if r.Status != payload.StatusRefused || !strings.Contains(r.Reason, test.reason) {
				t.Errorf("receipt %+v, want a refusal about %q", r, test.reason)
			}
			if now := w.active(); now.Hash != w.base.Hash() {
				t.Errorf("active %+v, want the old network", now)
			}
		})
	}
}

func TestCanaryJudges(t *testing.T) {
	c := DefaultConfig().Updates.Canary
	for name, test := range map[string]struct {
		old, fresh glance
		reason     string
	}{
		"like before":                {glance{[]int{3, 4, 0}, 0.8}, glance{[]int{3, 2, 1}, 0.7}, ""},
		"sees more":                  {glance{[]int{0, 0, 1}, 0.2}, glance{[]int{5, 9, 7}, 0.9}, ""},
		"nothing to see":             {glance{[]int{0, 0, 0}, 0.1}, glance{[]int{0, 0, 0}, 0.05}, ""},
		"half of the plenty missed":  {glance{[]int{3, 4, 0}, 0.8}, glance{[]int{3, 0, 0}, 0.6}, ""},
		"blind":                      {glance{[]int{3, 4, 5}, 0.8}, glance{[]int{3, 0, 0}, 0.6}, "sees nothing in 2 of the 3"},
		"blind where there is a lot": {glance{[]int{9, 1, 1}, 0.8}, glance{[]int{0, 1, 1}, 0.6}, "sees nothing in 1 of the 1"},
		"unsure":                     {glance{[]int{3, 4, 5}, 0.8}, glance{[]int{1, 1, 1}, 0.2}, "want at least 0.3 of it"},
		"flood":                      {glance{[]int{1, 1}, 0.5}, glance{[]int{150, 60}, 0.9}, "105.0 objects a picture"},
		"no picture could be read":   {glance{}, glance{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.judge(&test.old, &test.fresh)
			if test.reason == "" && err != nil || test.reason != "" && (!errors.Is(err, errCanary) || !strings.Contains(err.Error(), test.reason)) {
				t.Errorf("judged %v, want %q", err, test.reason)
			}
		})
	}
}

// TestCanaryRefuses sends a network that sees nothing to a satellite whose network
// sees a lot.
func TestCanaryRefuses(t *testing.T) {
	w := newWorld(t, 3)
	w.cfg.Detect.Threshold = 0.05
	w.runAll(w.quiet)
	parts := w.change(11, 2, func(p *payload.ModelPart, file *[]byte) {
		head := w.base.HeadParams()
		rest := head
		for _, c := range w.base.HeadConvs() {
			if len(c.Bias) == 7 {
				rest[4] -= 30 // objectness
			}
			rest = rest[len(c.Bias)+len(c.Weights):]
		}
		blind, err := w.base.WithHead(head)
		if err != nil {
			t.Fatal(err)
		}
		d, next, err := delta.Build(w.base, blind, delta.Encoding{Bits: 32})
		if err != nil {
			t.Fatal(err)
		}
		p.Result = next.Hash()
		if *file, err = d.Encode(nil); err != nil {
			t.Fatal(err)
		}
	})
	r := w.after(parts)
	if r.Status != payload.StatusRefused || !strings.Contains(r.Reason, "canary failed: sees nothing in 3 of the 3") {
		t.Errorf("receipt %+v", r)
	}
	if now := w.active(); now.Hash != w.base.Hash() {
		t.Errorf("active %+v, want the old network", now)
	}
}

// TestSameNetworkAgain: an update ends also when another has brought its network.
func TestSameNetworkAgain(t *testing.T) {
	w := newWorld(t, 0)
	first := w.after(w.change(11, 2, nil))
	r := w.after(w.change(12, 3, nil))
	if r.Status != payload.StatusActive || r.Active != first.Active || r.ActiveVersion != 2 || !strings.Contains(r.Reason, "flies already") {
		t.Errorf("receipt %+v", r)
	}
	if now := w.active(); now.Update != 11 || now.Version != 2 {
		t.Errorf("active %+v, want it as it was", now)
	}
}

func TestRecentPicturesAreBounded(t *testing.T) {
	w := newWorld(t, 12)
	w.cfg.Updates.Canary.Pictures = 3
	w.cfg.Updates.Canary.Interval = dtntime.Millisecond
	w.runAll(w.quiet)
	names, err := durable.Names(filepath.Join(w.cfg.DataDir, "recent"))
	if err != nil || !slices.Equal(names, []string{"0000000000000010.jpg", "0000000000000011.jpg", "0000000000000012.jpg"}) {
		t.Errorf("kept %v, %v", names, err)
	}
}

// more puts further pictures before the camera.
func (w *world) more(count int, seed uint64) {
	w.t.Helper()
	dir := agenttest.TempDir(w.t)
	w.ids = append(w.ids, agenttest.Pictures(w.t, dir, count, seed)...)
	for i, name := range w.names(dir) {
		if err := os.Rename(filepath.Join(dir, name), filepath.Join(w.cfg.Source.Folder, "scene-9"+string(rune('a'+int(seed%26)))+string(rune('a'+i))+".jpg")); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) names(dir string) []string {
	w.t.Helper()
	names, err := durable.Names(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	return slices.DeleteFunc(names, func(name string) bool { return !golden.IsPicture(name) })
}

// pointer returns what the data folder says.
func (w *world) pointer() pointer {
	w.t.Helper()
	var p pointer
	if _, err := durable.ReadJSON(filepath.Join(w.cfg.DataDir, "models", "active.json"), maxStateFile, &p); err != nil {
		w.t.Fatal(err)
	}
	return p
}

func TestProbationIsPassed(t *testing.T) {
	w := newWorld(t, 0)
	w.cfg.Updates.Watchdog.Pictures = 3
	w.after(w.change(11, 2, nil))
	if p := w.pointer(); p.Probation == nil || p.Previous == nil || p.Previous.Hash != w.base.Hash() {
		t.Fatalf("pointer %+v, want a probation", p)
	}
	w.more(2, 40)
	w.runAll(w.quiet)
	if p := w.pointer().Probation; p == nil || p.Pictures != 2 || p.Begun != 0 {
		t.Errorf("probation %+v, want one after 2 pictures", p)
	}
	w.more(1, 41)
	w.runAll(func() bool { return w.quiet() && w.isTidy() })
	if p := w.pointer(); p.Probation != nil || p.Previous == nil {
		t.Errorf("pointer %+v, want no probation and the old network still there", p)
	}
}

func TestProbationEndsWithTime(t *testing.T) {
	w := newWorld(t, 0)
	w.cfg.Updates.Watchdog.Time = dtntime.Millisecond // the clock goes on by one at every look
	w.after(w.change(11, 2, nil))
	if w.pointer().Probation == nil {
		t.Fatal("probation ended without a picture")
	}
	w.more(1, 40)
	w.runAll(w.quiet)
	if p := w.pointer().Probation; p != nil {
		t.Errorf("probation %+v, want none", p)
	}
}

// TestWatchdog has an active network go wrong in every way that ends its probation.
func TestWatchdog(t *testing.T) {
	for name, test := range map[string]struct {
		fault  faulty
		cfg    func(*UpdateConfig)
		reason string
	}{
		"inference fails":  {fault: faulty{detect: func() error { return errors.New("no such kernel") }}, reason: "no such kernel"},
		"too many objects": {cfg: func(c *UpdateConfig) { c.Watchdog.MostObjects = 0.001 }, reason: "objects a picture in 5 pictures, limit 0.001"},
		"too few objects": {cfg: func(c *UpdateConfig) {
			c.Watchdog.Pictures, c.Watchdog.LeastObjects, c.Watchdog.MostObjects = 6, 99, 100
		}, reason: "in 6 pictures, want at least 99"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 0)
			parts := w.change(11, 2, func(p *payload.ModelPart, _ *[]byte) { p.Golden.Threshold = 0.01 })
			test.fault.network = parts[0].Result
			w.makeFaulty(test.fault)
			if test.cfg != nil {
				test.cfg(&w.cfg.Updates)
			}
			if r := w.after(parts); r.Status != payload.StatusActive {
				t.Fatalf("receipt %+v", r)
			}
			w.more(7, 40)
			w.runAll(func() bool { return w.quiet() && w.isTidy() && w.lastReceipt().Status == payload.StatusRolledBack })
			r := w.lastReceipt()
			if !strings.Contains(r.Reason, test.reason) || r.Update != 11 || r.Active != w.base.Hash() || r.ActiveVersion != 0 {
				t.Errorf("receipt %+v, want a return because of %q", r, test.reason)
			}
			if p := w.pointer(); p.Active.Hash != w.base.Hash() || p.Probation != nil || len(p.Returns) != 0 {
				t.Errorf("pointer %+v", p)
			}
			if state, err := readMined(w.cfg.DataDir); err != nil || state.Counters.Taken != 7 || state.Counters.Broken != 0 {
				t.Errorf("counters %+v, %v: a picture was lost", state.Counters, err)
			}
			// A later change finds everything in order.
			w.engine = nil
			w.cfg.Updates.Watchdog = DefaultConfig().Updates.Watchdog
			if r := w.after(w.change(12, 3, nil)); r.Status != payload.StatusActive {
				t.Errorf("receipt %+v", r)
			}
		})
	}
}

// TestSelfTestAtStart: a network on probation that fails its self-test after a
// restart does not fly any more.
func TestSelfTestAtStart(t *testing.T) {
	w := newWorld(t, 0)
	parts := w.expecting(11, 2, nil)
	w.after(parts)
	w.makeFaulty(faulty{network: parts[0].Result, head: func(out []models.Tensor) { clear(out[0].Data) }})
	w.runAll(func() bool { return w.lastReceipt().Status == payload.StatusRolledBack && w.isTidy() })
	if r := w.lastReceipt(); !strings.Contains(r.Reason, "something else than expected") {
		t.Errorf("receipt %+v", r)
	}
	if now := w.active(); now.Hash != w.base.Hash() {
		t.Errorf("active %+v", now)
	}
}

// TestKillLoop has the process go down over the new network again and again: in its
// trial, in the self-test at the start, and over a picture.
func TestKillLoop(t *testing.T) {
	for name, test := range map[string]struct {
		arm    func(f *faulty, down func() error)
		first  bool // the trial passes
		status payload.Status
		reason string
	}{
		"trial":     {func(f *faulty, down func() error) { f.backbone = down }, false, payload.StatusRefused, "went down 3 times while it tried"},
		"self-test": {func(f *faulty, down func() error) { f.backbone = down }, true, payload.StatusRolledBack, "went down 3 times before"},
		"picture":   {func(f *faulty, down func() error) { f.detect = down }, true, payload.StatusRolledBack, "went down 3 times before"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 0)
			parts := w.change(11, 2, nil)
			if test.first {
				w.after(parts)
				w.more(1, 40)
			} else {
				w.uplink(parts...)
			}
			ends := func() bool { return len(w.receipts()) > 0 && w.lastReceipt().Status == test.status && w.isTidy() }
			starts, down := 0, true
			for ; down; starts++ {
				if starts > 5 {
					t.Fatalf("still going down; receipts %+v", w.said())
				}
				fuse := agenttest.NewFuse(-1)
				fault := faulty{network: parts[0].Result}
				test.arm(&fault, func() error { fuse.Blow(); return agenttest.ErrCut })
				w.makeFaulty(fault)
				w.run(fuse, ends)
				_, down = fuse.Blown()
			}
			if r := w.lastReceipt(); starts != 4 || !strings.Contains(r.Reason, test.reason) || r.Active != w.base.Hash() {
				t.Errorf("after %d starts: receipt %+v", starts, r)
			}
			if now := w.active(); now.Hash != w.base.Hash() {
				t.Errorf("active %+v", now)
			}
		})
	}
}

// TestReturnGoesToWhatHasProvedItself: a second step becomes active while the first
// is on probation, and fails.
func TestReturnGoesToWhatHasProvedItself(t *testing.T) {
	w := newWorld(t, 0)
	steps := w.steps(11, 2, false, nil)
	w.uplink(steps[0]...)
	w.runAll(func() bool { return w.taken() && len(w.told()) == 1 && w.isTidy() })
	w.uplink(steps[1]...)
	w.runAll(func() bool { return w.taken() && len(w.told()) == 2 && w.isTidy() })
	if p := w.pointer(); p.Active.Slot != slotC || p.Previous.Hash != w.base.Hash() {
		t.Errorf("pointer %+v, want the third slot and the network of the launch to go back to", p)
	}
	w.makeFaulty(faulty{network: steps[1][0].Result, detect: func() error { return errors.New("no such kernel") }})
	w.more(1, 40)
	w.runAll(func() bool { return w.lastReceipt().Status == payload.StatusRolledBack && w.quiet() && w.isTidy() })
	if now := w.active(); now.Hash != w.base.Hash() {
		t.Errorf("active %+v, want the network of the launch", now)
	}
	// What is left of the update comes too late.
	w.uplink(steps[2]...)
	w.runAll(func() bool { return w.taken() && w.isTidy() })
	if now := w.active(); now.Hash != w.base.Hash() {
		t.Errorf("active %+v, want the network of the launch still", now)
	}
}

// TestKilledOnProbation stops the agent before every durable step of a network
// that flies, fails on probation and goes: whatever happens, the ground hears of it,
// a picture is neither lost nor seen by two, and the old network flies.
func TestKilledOnProbation(t *testing.T) {
	parts := newWorld(t, 0).change(11, 2, nil) // of the same network every time
	for cut := 0; ; cut++ {
		w := newWorld(t, 0)
		w.after(parts)
		w.more(2, 40)
		w.makeFaulty(faulty{network: parts[0].Result, detect: func() error { return errors.New("no such kernel") }})
		done := func() bool {
			return w.quiet() && w.isTidy() && w.lastReceipt().Status == payload.StatusRolledBack
		}
		fuse := agenttest.NewFuse(cut)
		w.run(fuse, done)
		where, blown := fuse.Blown()
		w.runAll(done)
		if p := w.pointer(); p.Active.Hash != w.base.Hash() || p.Probation != nil || len(p.Returns) != 0 {
			t.Fatalf("cut before %s: pointer %+v", where, p)
		}
		if r := w.lastReceipt(); !strings.Contains(r.Reason, "no such kernel") || len(w.receipts()) > 3 {
			t.Fatalf("cut before %s: receipts %+v", where, w.receipts())
		}
		if state, err := readMined(w.cfg.DataDir); err != nil || state.Counters.Taken != 2 || state.Counters.Broken != 0 {
			t.Fatalf("cut before %s: counters %+v, %v", where, state.Counters, err)
		}
		if !blown {
			t.Logf("%d steps", fuse.Steps())
			return
		}
	}
}
