package ground

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"perigee/agent/agenttest"
	"perigee/agent/durable"
	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/delta"
	"perigee/models/payload"
)

func station() bundle.EID   { return bundle.IPN(1, 0) }
func satellite() bundle.EID { return bundle.IPN(2, 0) }

// world is a ground whose satellite is the test.
type world struct {
	t       *testing.T
	mission *agenttest.Mission
	cfg     Config
	base    *models.Network
	scenes  string // folder of pictures and labels
	count   int

	mu   sync.Mutex // guards seen
	seen []Progress
}

func newWorld(t *testing.T, pictures int) *world {
	t.Helper()
	w := &world{t: t, mission: agenttest.NewMission(), base: agenttest.Network(t, 7), count: pictures}
	dir := agenttest.TempDir(t)
	w.scenes = filepath.Join(dir, "scenes")
	agenttest.Pictures(t, w.scenes, pictures, 1)
	c := DefaultConfig()
	c.DataDir, c.Satellites, c.Labels = filepath.Join(dir, "ground"), []bundle.EID{satellite()}, w.scenes
	c.Model = agenttest.WriteModel(t, w.base)
	c.LabelEvery = 2 * dtntime.Millisecond
	c.Samples.HeldOut = 0.4
	c.Trigger.Condition.Threshold = float64(pictures)
	c.Train.Epochs, c.Train.Threads = 2, 1
	c.Deploy.Condition.Threshold, c.Deploy.ClassMargin = -1, 1
	c.Deploy.Resamples, c.Deploy.Pictures = 100, 1
	c.Send.PartBytes = 256
	c.Send.Retry = dtntime.Millisecond
	w.cfg = c
	return w
}

// Progress implements Observer.
func (w *world) Progress(p Progress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, p)
}

func (w *world) stages() map[Stage]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	got := map[Stage]bool{}
	for _, p := range w.seen {
		got[p.Stage] = true
	}
	return got
}

// keys makes a pair of keys and returns the files of the public and private one.
func (w *world) keys() (trusted []string, private string) {
	w.t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	dir := agenttest.TempDir(w.t)
	write := func(name, kind string, der []byte, err error) string {
		path := filepath.Join(dir, name)
		if err == nil {
			err = os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
		}
		if err != nil {
			w.t.Fatal(err)
		}
		return path
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	private = write("private.pem", "PRIVATE KEY", der, err)
	der, err = x509.MarshalPKIXPublicKey(key.Public())
	return []string{write("public.pem", "PUBLIC KEY", der, err)}, private
}

// batch is a batch of the pictures from first up to end.
func (w *world) batch(number uint64, first, end int) []byte {
	w.t.Helper()
	b := payload.SampleBatch{Batch: number}
	for i := first; i < end; i++ {
		name := fmt.Sprintf("scene-%02d.jpg", i)
		data, err := os.ReadFile(filepath.Join(w.scenes, name))
		if err != nil {
			w.t.Fatal(err)
		}
		s := payload.NewSample(data)
		s.Name, s.Taken, s.Model, s.Filter = name, 5, w.base.Hash(), "IBT"
		s.Found = []models.Detection{{Class: 1, Score: 0.4, Box: models.Box{X: 0.5, Y: 0.5, W: 0.1, H: 0.1}}}
		b.Samples = append(b.Samples, s)
	}
	data, err := b.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	return data
}

func (w *world) downlink(service uint64, data []byte) {
	w.mission.Inject(satellite(), station().WithService(service), data)
}

// numbered is the number of a part within its update.
type numbered struct{ step, index uint32 }

// parts returns the parts that were sent to a satellite.
func (w *world) parts(to bundle.EID) map[numbered]payload.ModelPart {
	w.t.Helper()
	got := map[numbered]payload.ModelPart{}
	for _, s := range w.mission.SentTo(to.WithService(serviceModels)) {
		p, err := payload.DecodeModelPart(s.Payload)
		if err != nil {
			w.t.Fatal(err)
		}
		if !s.Out.Custody {
			w.t.Error("a part travels without custody")
		}
		got[numbered{p.Step, p.Index}] = *p
	}
	return got
}

// isWhole tells that every part of an update is there.
func isWhole(parts map[numbered]payload.ModelPart) bool {
	first, ok := parts[numbered{}]
	if !ok {
		return false
	}
	for step := range first.Steps {
		p, ok := parts[numbered{step, 0}]
		if !ok {
			return false
		}
		for index := range p.Count {
			if _, ok := parts[numbered{step, index}]; !ok {
				return false
			}
		}
	}
	return true
}

// answer plays the satellite: once an update is whole, it sends the receipt.
func (w *world) answer(to bundle.EID, status payload.Status) {
	w.t.Helper()
	parts := w.parts(to)
	if !isWhole(parts) {
		return
	}
	p := parts[numbered{}]
	last := p.Steps - 1
	r := payload.Receipt{
		Update: p.Update, Version: p.Version, Step: last, Status: status,
		Active: parts[numbered{last, 0}].Result, ActiveVersion: p.Version, Time: 1 << 50,
	}
	if status != payload.StatusActive {
		r.Step, r.Active, r.ActiveVersion, r.Reason = 0, p.Base, 0, "the test says so"
	}
	data, err := r.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	w.mission.Inject(to, station().WithService(serviceReceipts), data)
}

// open makes a ground.
func (w *world) open(fuse *agenttest.Fuse) (*Ground, *agenttest.Client) {
	w.t.Helper()
	client := w.mission.Open(station(), fuse)
	g, err := New(w.cfg, Parts{Client: client, Clock: w.mission.Clock, Disk: durable.Disk{Before: fuse.Step}, Observer: w})
	if err != nil {
		w.t.Fatal(err)
	}
	return g, client
}

// run runs the ground until done, or until the fuse blows.
func (w *world) run(fuse *agenttest.Fuse, done func() bool) {
	w.t.Helper()
	g, client := w.open(fuse)
	defer client.Close()
	if err := w.mission.Drive(w.t.Context(), fuse, g.Run, done); err != nil {
		w.t.Fatalf("%v; %+v", err, w.state())
	}
}

func (w *world) runAll(done func() bool) {
	w.t.Helper()
	w.run(agenttest.NewFuse(-1), done)
}

// state returns what is on disk.
func (w *world) state() state {
	w.t.Helper()
	var s state
	if _, err := durable.ReadJSON(filepath.Join(w.cfg.DataDir, stateName), maxStateFile, &s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// rounds tells whether so many rounds have ended.
func (w *world) rounds(n int) func() bool {
	return func() bool { return len(w.state().Rounds) >= n }
}

// answering is done, with the satellite answering meanwhile.
func (w *world) answering(status payload.Status, done func() bool) func() bool {
	return func() bool {
		if s := w.state(); s.Stage == StageWait {
			for _, t := range s.Targets {
				if len(w.mission.SentTo(station().WithService(serviceReceipts))) < len(s.Targets) {
					w.answer(t.Node, status)
				}
			}
		}
		return done()
	}
}

// fly applies the parts that were sent to what the satellite flies.
func (w *world) fly(to bundle.EID, base *models.Network) *models.Network {
	w.t.Helper()
	parts := w.parts(to)
	for step := range parts[numbered{}].Steps {
		var data []byte
		for index := range parts[numbered{step, 0}].Count {
			data = append(data, parts[numbered{step, index}].Data...)
		}
		d, err := delta.Decode(data)
		if err != nil {
			w.t.Fatal(err)
		}
		if base, err = d.Apply(base); err != nil {
			w.t.Fatal(err)
		}
	}
	return base
}
