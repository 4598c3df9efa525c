package agent

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"perigee/agent/agenttest"
	"perigee/agent/durable"
	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/mining"
	"perigee/models/payload"
)

func TestHardSamplesComeDownOnce(t *testing.T) {
	w := newWorld(t, 5)
	w.runAll(w.quiet)
	got := w.samples()
	for _, id := range w.ids {
		if got[id] != 1 {
			t.Errorf("sample %v came %d times", id, got[id])
		}
	}
	state, err := readMined(w.cfg.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	if c := state.Counters; c.Taken != 5 || c.Hard != 5 || c.Closed != 5 {
		t.Errorf("counters %+v", c)
	}
	batches := w.mission.SentTo(groundNode().WithService(ServiceSamples))
	if len(batches) != 3 {
		t.Errorf("%d batches of two samples, want 3", len(batches))
	}
	for i, s := range batches {
		b, err := payload.DecodeSampleBatch(s.Payload)
		if err != nil {
			t.Fatal(err)
		}
		if b.Batch != uint64(i) {
			t.Errorf("batch %d has number %d", i, b.Batch)
		}
		for _, sample := range b.Samples {
			if sample.Model != w.base.Hash() || sample.Filter != mining.Random || !strings.HasPrefix(sample.Name, "scene-") {
				t.Errorf("sample of %v by %q named %q", sample.Model, sample.Filter, sample.Name)
			}
		}
	}
}

func TestEasyPicturesStay(t *testing.T) {
	w := newWorld(t, 3)
	// Nothing scores below 0, so no picture with a detection is hard.
	w.cfg.Mining = mining.Config{Name: mining.Threshold, Params: map[string]float64{"threshold": 0}}
	w.cfg.Detect.Threshold = 0
	w.runAll(func() bool {
		s, err := readMined(w.cfg.DataDir)
		return err == nil && s.Counters.Taken == 3
	})
	if got := w.samples(); len(got) != 0 {
		t.Errorf("%d easy samples came down", len(got))
	}
}

func TestNewPicturesAppear(t *testing.T) {
	w := newWorld(t, 2)
	w.runAll(w.quiet)
	dir := agenttest.TempDir(t)
	late := agenttest.Pictures(t, dir, 1, 50)
	if err := os.Rename(filepath.Join(dir, "scene-00.jpg"), filepath.Join(w.cfg.Source.Folder, "scene-90.jpg")); err != nil {
		t.Fatal(err)
	}
	w.ids = append(w.ids, late...)
	w.runAll(w.quiet)
	for id, n := range w.samples() {
		if n != 1 {
			t.Errorf("sample %v came %d times", id, n)
		}
	}
}

func TestListIsReplayed(t *testing.T) {
	w := newWorld(t, 3)
	taken := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	var list bytes.Buffer
	list.WriteString("this is no JSON\n")
	for _, name := range []string{"scene-02.jpg", "scene-00.jpg", "missing.jpg", "../escape.jpg", "scene-01.jpg"} {
		line, err := json.Marshal(map[string]any{"image": name, "taken": taken, "pause": "1ms", "seed": 4})
		if err != nil {
			t.Fatal(err)
		}
		list.Write(append(line, '\n'))
	}
	w.cfg.Source.List = filepath.Join(w.cfg.Source.Folder, "list.jsonl")
	w.cfg.Source.Folder = ""
	w.cfg.Batch.MaxWait = dtntime.Hour // the end of the list closes the batch
	if err := os.WriteFile(w.cfg.Source.List, bytes.TrimRight(list.Bytes(), "\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.runAll(w.quiet)
	first, err := payload.DecodeSampleBatch(w.mission.SentTo(groundNode().WithService(ServiceSamples))[0].Payload)
	if err != nil {
		t.Fatal(err)
	}
	if s := first.Samples[0]; s.Name != "scene-02.jpg" || !s.Taken.Time().Equal(taken) {
		t.Errorf("first sample %q taken %v", s.Name, s.Taken)
	}
	state, err := readMined(w.cfg.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	if state.Counters.Broken != 3 {
		t.Errorf("%d lines left out, want 3", state.Counters.Broken)
	}
}

func TestFullNodeLosesNothing(t *testing.T) {
	w := newWorld(t, 5)
	w.cfg.Telemetry.Interval = dtntime.Millisecond
	w.mission.Refuse(40)
	w.runAll(w.quiet)
	for _, id := range w.ids {
		if n := w.samples()[id]; n != 1 {
			t.Errorf("sample %v came %d times", id, n)
		}
	}
}

func TestFullOutboxStopsTheCamera(t *testing.T) {
	w := newWorld(t, 12)
	w.cfg.Source.MaxPictureBytes, w.cfg.Batch.Bytes, w.cfg.Batch.OutboxBytes = 1000, 1000, 2000
	w.cfg.Telemetry.Interval = dtntime.Hour
	w.mission.Refuse(1 << 30)
	client := w.mission.Open(satellite(), agenttest.NewFuse(-1))
	a, err := New(w.cfg, Parts{Client: client, Clock: w.mission.Clock})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	most := w.cfg.Batch.OutboxBytes + 2*w.cfg.Batch.Bytes
	for range 30 {
		if _, _, size := a.miner.outbox.pending(); size >= w.cfg.Batch.OutboxBytes {
			break
		}
		p, err := a.miner.source.next(a.miner.state.Cursor)
		if err != nil || p == nil {
			t.Fatalf("source ended before the outbox was full: %v", err)
		}
		if err := a.miner.process(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, size := a.miner.outbox.pending(); size > most {
		t.Errorf("outbox holds %d bytes, want at most %d", size, most)
	}
	if err := a.runner.engine.Close(); err != nil {
		t.Fatal(err)
	}
	w.mission.Refuse(0)
	w.runAll(w.quiet)
}

func TestTelemetry(t *testing.T) {
	w := newWorld(t, 3)
	to := groundNode().WithService(ServiceTelemetry)
	w.cfg.Telemetry.Interval = dtntime.Millisecond
	last := func() *payload.Telemetry {
		all := w.mission.SentTo(to)
		if len(all) == 0 {
			return &payload.Telemetry{}
		}
		s := all[len(all)-1]
		if s.Out.Custody || s.Out.Lifetime != w.cfg.Telemetry.Lifetime {
			t.Errorf("telemetry with custody %v and lifetime %v", s.Out.Custody, s.Out.Lifetime)
		}
		m, err := payload.DecodeTelemetry(s.Payload)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	w.runAll(func() bool { return last().Sent == 3 })
	if m := last(); m.Taken != 3 || m.Hard != 3 || m.Model != w.base.Hash() || m.SentBytes == 0 || m.PendingBatches != 0 {
		t.Errorf("telemetry %+v", m)
	}
	if m := last(); m.Probation != 0 {
		t.Errorf("the network of the launch has a probation of %d pictures", m.Probation)
	}
	if m := last(); m.Battery <= 0 || m.Battery > 100 {
		t.Errorf("battery %v", m.Battery)
	}
}

func TestUpdateBecomesActive(t *testing.T) {
	w := newWorld(t, 1)
	parts := w.change(11, 2, nil)
	w.uplink(parts[2], parts[0], parts[0])
	w.runAll(func() bool { return w.mission.Queued(satellite().WithService(ServiceModels)) == 0 })
	if got := w.receipts(); len(got) != 0 {
		t.Fatalf("receipts before the update is whole: %+v", got)
	}
	// The rest comes passes later, to another run.
	w.uplink(parts[1])
	w.runAll(func() bool { return len(w.receipts()) > 0 })
	r, now := w.lastReceipt(), w.active()
	if r.Status != payload.StatusActive || r.Update != 11 || r.Active != parts[0].Result || r.ActiveVersion != 2 {
		t.Errorf("receipt %+v", r)
	}
	if now.Hash != parts[0].Result || now.Version != 2 || now.Slot != slotB || now.Threshold != 0.1 {
		t.Errorf("active %+v", now)
	}
	// The old network stays in the other slot.
	if n, err := models.ReadFile(filepath.Join(w.cfg.DataDir, "models", slotA+models.FileExt)); err != nil || n.Hash() != w.base.Hash() {
		t.Errorf("old network is gone: %v", err)
	}
	// The ground asks again, having lost the receipt.
	w.uplink(parts...)
	w.runAll(func() bool { return len(w.receipts()) > 1 && w.quiet() })
	if again := w.lastReceipt(); again != r {
		t.Errorf("second receipt %+v, want %+v", again, r)
	}
}

func TestSamplesNameTheNetworkThatLooked(t *testing.T) {
	w := newWorld(t, 2)
	w.runAll(w.quiet)
	parts := w.change(11, 2, nil)
	w.uplink(parts...)
	w.runAll(func() bool { return len(w.receipts()) > 0 })
	late := agenttest.Pictures(t, agenttest.TempDir(t), 1, 60)
	dir := agenttest.TempDir(t)
	agenttest.Pictures(t, dir, 1, 60)
	if err := os.Rename(filepath.Join(dir, "scene-00.jpg"), filepath.Join(w.cfg.Source.Folder, "scene-91.jpg")); err != nil {
		t.Fatal(err)
	}
	w.ids = append(w.ids, late...)
	w.runAll(w.quiet)
	all := w.mission.SentTo(groundNode().WithService(ServiceSamples))
	b, err := payload.DecodeSampleBatch(all[len(all)-1].Payload)
	if err != nil {
		t.Fatal(err)
	}
	if b.Samples[0].Model != parts[0].Result {
		t.Errorf("sample was seen by %v, want the new network", b.Samples[0].Model)
	}
}

func TestUpdateRefused(t *testing.T) {
	for name, test := range map[string]struct {
		how    func(w *world, p *payload.ModelPart, data *[]byte)
		reason string
	}{
		"wrong base": {func(w *world, p *payload.ModelPart, _ *[]byte) {
			p.Base = agenttest.Network(w.t, 8).Hash()
		}, "another network"},
		"delta for another base": {func(w *world, _ *payload.ModelPart, data *[]byte) {
			other := &world{t: w.t, base: agenttest.Network(w.t, 8)}
			*data = nil
			for _, p := range other.change(1, 1, nil) {
				*data = append(*data, p.Data...)
			}
		}, "another network"},
		"wrong result": {func(w *world, p *payload.ModelPart, _ *[]byte) {
			p.Result = models.HashBytes([]byte("other"))
		}, "announced was"},
		"damaged delta": {func(_ *world, _ *payload.ModelPart, data *[]byte) {
			*data = bytes.Clone(*data)
			(*data)[len(*data)-5] ^= 0x10
		}, "corrupt"},
		"golden test": {func(_ *world, p *payload.ModelPart, _ *[]byte) {
			p.Golden.MinF1 = 0.99
		}, "self-test failed"},
		"stale version": {func(_ *world, p *payload.ModelPart, _ *[]byte) {
			p.Version = 0
		}, "not above"},
		"too large": {func(w *world, _ *payload.ModelPart, _ *[]byte) {
			w.cfg.Updates.MaxBytes = 10
		}, "limit"},
		"no model file": {func(_ *world, p *payload.ModelPart, _ *[]byte) {
			p.Type = payload.UpdateModel
		}, "corrupt"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			parts := w.change(11, 2, func(p *payload.ModelPart, data *[]byte) { test.how(w, p, data) })
			w.uplink(parts...)
			w.runAll(func() bool { return len(w.receipts()) > 0 && w.quiet() })
			r := w.lastReceipt()
			if r.Status != payload.StatusRefused || !strings.Contains(r.Reason, test.reason) || r.Active != w.base.Hash() {
				t.Errorf("receipt %+v, want a reason with %q", r, test.reason)
			}
			if now := w.active(); now.Hash != w.base.Hash() || now.Version != 0 {
				t.Errorf("active %+v, want the old network", now)
			}
			if left, err := durable.Names(filepath.Join(w.cfg.DataDir, "updates")); err != nil || len(left) != 1 {
				t.Errorf("update folder holds %v, %v", left, err)
			}
		})
	}
}

func TestUselessPartsAreDropped(t *testing.T) {
	w := newWorld(t, 1)
	parts := w.change(11, 2, nil)
	damaged, err := parts[0].Encode()
	if err != nil {
		t.Fatal(err)
	}
	damaged[bytes.Index(damaged, parts[0].Data)+9] ^= 1
	w.mission.Inject(groundNode(), satellite().WithService(ServiceModels), damaged)
	whole, err := parts[0].Encode()
	if err != nil {
		t.Fatal(err)
	}
	w.mission.Inject(bundle.IPN(66, 0), satellite().WithService(ServiceModels), whole)
	w.mission.Inject(groundNode(), satellite().WithService(ServiceModels), make([]byte, maxPartFile+1))
	w.uplink(parts[1:]...)
	w.runAll(w.quiet)
	if got := w.receipts(); len(got) != 0 {
		t.Fatalf("receipts %+v", got)
	}
	w.uplink(parts[0])
	w.runAll(func() bool { return len(w.receipts()) > 0 })
	if r := w.lastReceipt(); r.Status != payload.StatusActive {
		t.Errorf("receipt %+v", r)
	}
}

func TestPartsThatDisagree(t *testing.T) {
	w := newWorld(t, 1)
	parts := w.change(11, 2, nil)
	other := w.change(11, 3, nil)
	w.uplink(parts[0], other[1])
	w.runAll(func() bool { return len(w.receipts()) > 0 && w.quiet() })
	if r := w.lastReceipt(); r.Status != payload.StatusRefused || !strings.Contains(r.Reason, "different wholes") {
		t.Errorf("receipt %+v", r)
	}
}

func TestOpenUpdatesAreBounded(t *testing.T) {
	w := newWorld(t, 1)
	w.cfg.Updates.MaxOpen = 2
	for i := range uint64(3) {
		w.uplink(w.change(11+i, 2+i, nil)[0])
	}
	w.runAll(func() bool { return len(w.receipts()) > 0 && w.quiet() })
	if r := w.lastReceipt(); r.Update != 11 || r.Status != payload.StatusRefused {
		t.Errorf("receipt %+v, want the oldest refused", r)
	}
}

func TestDamagedNetworkRollsBack(t *testing.T) {
	damage := func(t *testing.T, w *world, slot string) {
		path := filepath.Join(w.cfg.DataDir, "models", slot+models.FileExt)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)-9] ^= 4
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, slots := range map[string]string{"active": "b", "both": "ab"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.uplink(w.change(11, 2, nil)...)
			w.runAll(func() bool { return len(w.receipts()) > 0 && w.quiet() })
			for _, slot := range slots {
				damage(t, w, string(slot))
			}
			w.runAll(func() bool { return len(w.receipts()) > 1 })
			r := w.lastReceipt()
			if r.Status != payload.StatusRolledBack || r.Update != 11 || r.Active != w.base.Hash() || r.Reason == "" {
				t.Errorf("receipt %+v", r)
			}
			if now := w.active(); now.Hash != w.base.Hash() {
				t.Errorf("active %+v", now)
			}
			// The same change may come again under another number.
			w.uplink(w.change(12, 3, nil)...)
			w.runAll(func() bool { return len(w.receipts()) > 2 })
			if r := w.lastReceipt(); r.Status != payload.StatusActive || r.Update != 12 {
				t.Errorf("receipt %+v", r)
			}
		})
	}
	t.Run("nothing left", func(t *testing.T) {
		w := newWorld(t, 0)
		w.runAll(func() bool { return true })
		damage(t, w, "a")
		w.cfg.Model = ""
		a, err := New(w.cfg, Parts{Client: w.mission.Open(satellite(), agenttest.NewFuse(-1)), Clock: w.mission.Clock})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no network is left") {
			t.Errorf("agent without a network ended with %v", err)
		}
	})
}

// TestKilledAnywhere stops the agent before every durable step of a run with
// pictures and an update, and checks that the next run ends the same.
func TestKilledAnywhere(t *testing.T) {
	parts := newWorld(t, 0).change(11, 2, nil) // of the same network every time
	for cut := 0; ; cut++ {
		w := newWorld(t, 3)
		w.uplink(parts...)
		done := func() bool { return len(w.receipts()) > 0 && w.quiet() }
		fuse := agenttest.NewFuse(cut)
		w.run(fuse, done)
		where, blown := fuse.Blown()
		w.runAll(done)
		w.runAll(func() bool { return w.isTidy() }) // what was sent but not yet taken out
		checkKilled(t, w, where)
		if t.Failed() {
			return
		}
		if !blown {
			t.Logf("%d steps", fuse.Steps())
			return
		}
	}
}

func checkKilled(t *testing.T, w *world, where string) {
	t.Helper()
	for _, id := range w.ids {
		if n := w.samples()[id]; n < 1 || n > 2 {
			t.Errorf("cut before %s: sample %v came %d times", where, id, n)
		}
	}
	if now := w.active(); now.Version != 2 || now.Update != 11 {
		t.Errorf("cut before %s: active %+v", where, now)
	}
	for _, r := range w.receipts() {
		if r.Status != payload.StatusActive || r.Update != 11 || r.ActiveVersion != 2 {
			t.Errorf("cut before %s: receipt %+v", where, r)
		}
	}
	state, err := readMined(w.cfg.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	if c := state.Counters; c.Taken != 3 || c.Hard != 3 || c.Closed != 3 || len(state.Open) != 0 {
		t.Errorf("cut before %s: state %+v", where, state)
	}
}

// TestKilledInRollback damages the active network and stops the agent before
// every durable step of going back: the ground always hears of it.
func TestKilledInRollback(t *testing.T) {
	parts := newWorld(t, 0).change(11, 2, nil) // of the same network every time
	for cut := 0; ; cut++ {
		w := newWorld(t, 0)
		w.uplink(parts...)
		w.runAll(func() bool { return len(w.receipts()) > 0 && w.isTidy() })
		path := filepath.Join(w.cfg.DataDir, "models", slotB+models.FileExt)
		if err := os.Truncate(path, 1000); err != nil {
			t.Fatal(err)
		}
		done := func() bool { return len(w.receipts()) > 1 && w.isTidy() }
		fuse := agenttest.NewFuse(cut)
		w.run(fuse, done)
		where, blown := fuse.Blown()
		w.runAll(done)
		for _, r := range w.receipts()[1:] {
			if r.Status != payload.StatusRolledBack || r.Update != 11 || r.Active != w.base.Hash() {
				t.Fatalf("cut before %s: receipt %+v", where, r)
			}
		}
		if now := w.active(); now.Hash != w.base.Hash() {
			t.Fatalf("cut before %s: active %+v", where, now)
		}
		if !blown {
			t.Logf("%d steps", fuse.Steps())
			return
		}
	}
}

// TestLetterThatTakesTheNextOnesPlace: a payload that is queued again while it is
// being sent stays queued, whatever the order.
func TestLetterThatTakesTheNextOnesPlace(t *testing.T) {
	o, err := newOutbox(agenttest.TempDir(t), durable.Disk{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := o.write("receipt", 0, []byte("payload"))
	if err != nil {
		t.Fatal(err)
	}
	o.add(l)
	sent, _ := o.first()
	o.add(l)
	o.drop(sent)
	if n, _, _ := o.pending(); n != 1 {
		t.Errorf("%d payloads wait, want the one that was queued again", n)
	}
}

func TestRejectedPayloadIsKeptAside(t *testing.T) {
	w := newWorld(t, 0)
	client := w.mission.Open(satellite(), agenttest.NewFuse(-1))
	a, err := New(w.cfg, Parts{Client: client, Clock: w.mission.Clock})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer a.runner.engine.Close()
	o := a.miner.outbox
	for i := range uint64(keepRejected + 3) {
		l, err := o.write(batchKey(i), 1, []byte("payload"))
		if err != nil {
			t.Fatal(err)
		}
		l.size = 99 // the client rejects what is not as long as announced
		if err := o.send(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := durable.Names(o.dir + ".rejected")
	if err != nil || len(kept) != keepRejected || kept[0] != "0000000000000003-1.cbor" {
		t.Errorf("kept aside: %v, %v", kept, err)
	}
	if left, err := durable.Names(o.dir); err != nil || len(left) != 0 {
		t.Errorf("outbox holds %v, %v", left, err)
	}
}
