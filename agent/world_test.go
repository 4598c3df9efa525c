package agent

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"

	"perigee/agent/agenttest"
	"perigee/agent/durable"
	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/delta"
	"perigee/models/mining"
	"perigee/models/payload"
)

// world is a satellite whose ground is the test.
type world struct {
	t       *testing.T
	mission *agenttest.Mission
	cfg     Config
	base    *models.Network
	ids     []models.Hash // of the pictures
	log     *slog.Logger
	engine  EngineFactory
}

func groundNode() bundle.EID { return bundle.IPN(1, 0) }
func satellite() bundle.EID  { return bundle.IPN(2, 0) }

func newWorld(t *testing.T, pictures int) *world {
	t.Helper()
	w := &world{t: t, mission: agenttest.NewMission(), base: agenttest.Network(t, 7)}
	dir := agenttest.TempDir(t)
	c := DefaultConfig()
	c.DataDir, c.Ground = filepath.Join(dir, "sat"), groundNode()
	c.Model = agenttest.WriteModel(t, w.base)
	c.Source.Folder = filepath.Join(dir, "pictures")
	c.Source.Interval = dtntime.Millisecond
	c.Mining = mining.Config{Name: mining.Random, Params: map[string]float64{"random_ratio": 1}}
	c.Batch.Samples = 2
	c.Batch.MaxWait = 30 * dtntime.Millisecond
	c.Telemetry.Interval = dtntime.Hour
	c.Retry = RetryConfig{First: dtntime.Millisecond, Most: 5 * dtntime.Millisecond}
	c.Updates.MinF1, c.Updates.AllowUnsigned = 0, true
	c.Updates.Golden = filepath.Join(dir, "golden")
	agenttest.Pictures(t, c.Updates.Golden, 2, 99)
	w.ids = agenttest.Pictures(t, c.Source.Folder, pictures, 1)
	w.cfg = c
	return w
}

// run runs the agent until done, or until the fuse blows.
func (w *world) run(fuse *agenttest.Fuse, done func() bool) {
	w.t.Helper()
	w.runAs(fuse, (*Agent).Run, done)
}

// runAs is run with whoever runs the agent.
func (w *world) runAs(fuse *agenttest.Fuse, how func(*Agent, context.Context) error, done func() bool) {
	w.t.Helper()
	client := w.mission.Open(satellite(), fuse)
	defer client.Close()
	a, err := New(w.cfg, Parts{Client: client, Clock: w.mission.Clock, Disk: durable.Disk{Before: fuse.Step}, Log: w.log, Engine: w.engine})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.mission.Drive(w.t.Context(), fuse, func(ctx context.Context) error { return how(a, ctx) }, done); err != nil {
		w.t.Fatalf("%v; %+v", err, w.receipts())
	}
}

// runAll runs the agent without a fuse until done.
func (w *world) runAll(done func() bool) {
	w.t.Helper()
	w.run(agenttest.NewFuse(-1), done)
}

// samples returns how often each sample came down.
func (w *world) samples() map[models.Hash]int {
	w.t.Helper()
	got := map[models.Hash]int{}
	for _, s := range w.mission.SentTo(groundNode().WithService(ServiceSamples)) {
		if !s.Out.Custody {
			w.t.Error("a batch travels without custody")
		}
		b, err := payload.DecodeSampleBatch(s.Payload)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, sample := range b.Samples {
			got[sample.ID]++
		}
	}
	return got
}

// receipts returns those that say how an update, or a step of it, ended.
func (w *world) receipts() []payload.Receipt {
	w.t.Helper()
	return slices.DeleteFunc(w.said(), func(r payload.Receipt) bool { return r.Status < payload.StatusActive })
}

// said returns all receipts.
func (w *world) said() []payload.Receipt {
	w.t.Helper()
	var got []payload.Receipt
	for _, s := range w.mission.SentTo(groundNode().WithService(ServiceReceipts)) {
		r, err := payload.DecodeReceipt(s.Payload)
		if err != nil {
			w.t.Fatal(err)
		}
		got = append(got, *r)
	}
	return got
}

func (w *world) lastReceipt() payload.Receipt {
	w.t.Helper()
	all := w.receipts()
	if len(all) == 0 {
		w.t.Fatal("no receipt came")
	}
	return all[len(all)-1]
}

// active returns what the data folder says flies, with its network checked.
func (w *world) active() flying {
	w.t.Helper()
	var p pointer
	if found, err := durable.ReadJSON(filepath.Join(w.cfg.DataDir, "models", "active.json"), maxStateFile, &p); err != nil || !found {
		w.t.Fatalf("no active network: %v", err)
	}
	n, err := models.ReadFile(filepath.Join(w.cfg.DataDir, "models", p.Active.Slot+models.FileExt))
	if err != nil {
		w.t.Fatal(err)
	}
	if n.Hash() != p.Active.Hash {
		w.t.Fatalf("active slot holds %v, pointer says %v", n.Hash(), p.Active.Hash)
	}
	return p.Active
}

// change is an update of the base network in one step, in three parts or so.
func (w *world) change(number, version uint64, how func(*payload.ModelPart, *[]byte)) []payload.ModelPart {
	w.t.Helper()
	d, next, err := delta.Build(w.base, agenttest.Nudged(w.t, w.base, 0.01), delta.Int(8))
	if err != nil {
		w.t.Fatal(err)
	}
	template := payload.ModelPart{
		Update: number, Version: version, Type: payload.UpdateDelta, Encoding: d.Encoding.String(),
		Base: w.base.Hash(), Result: next.Hash(), Backbone: next.BackboneHash(), Golden: payload.Golden{Threshold: 0.1},
	}
	data, err := d.Encode(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if how != nil {
		how(&template, &data)
	}
	parts, err := payload.Split(template, data, (len(data)+2)/3)
	if err != nil {
		w.t.Fatal(err)
	}
	return parts
}

// steps is an update of the base network in three steps of two parts each. The
// first one is a draft if that is asked for.
func (w *world) steps(number, version uint64, draft bool, key ed25519.PrivateKey) [][]payload.ModelPart {
	w.t.Helper()
	chain, err := delta.BuildSteps(w.base, agenttest.Nudged(w.t, w.base, 0.01), []delta.Encoding{delta.Int(2), delta.Int(3), delta.Int(4)})
	if err != nil {
		w.t.Fatal(err)
	}
	var all [][]payload.ModelPart
	for i, s := range chain {
		s.Use = delta.Use{Version: version, Draft: draft && i == 0, Threshold: 0.1}
		data, err := s.Encode(key)
		if err != nil {
			w.t.Fatal(err)
		}
		parts, err := payload.Split(payload.ModelPart{
			Update: number, Version: version, Type: payload.UpdateDelta, Step: uint32(i), Steps: uint32(len(chain)), Draft: s.Use.Draft,
			Encoding: s.Encoding.String(), Base: s.Base, Result: s.Result, Backbone: s.Backbone, Golden: payload.Golden{Threshold: 0.1},
		}, data, (len(data)+1)/2)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, parts)
	}
	return all
}

func (w *world) uplink(parts ...payload.ModelPart) {
	w.t.Helper()
	for _, p := range parts {
		data, err := p.Encode()
		if err != nil {
			w.t.Fatal(err)
		}
		w.mission.Inject(groundNode(), satellite().WithService(ServiceModels), data)
	}
}

// quiet tells that every sample came down and every part was taken.
func (w *world) quiet() bool {
	return len(w.samples()) == len(w.ids) && w.mission.Queued(satellite().WithService(ServiceModels)) == 0
}

// isTidy tells that nothing waits to be sent.
func (w *world) isTidy() bool {
	w.t.Helper()
	for _, dir := range []string{"outbox", "open", "receipts"} {
		if left, err := durable.Names(filepath.Join(w.cfg.DataDir, dir)); err != nil || len(left) != 0 {
			return false
		}
	}
	return true
}
