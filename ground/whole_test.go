package ground

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"perigee/agent"
	"perigee/agent/agenttest"
	"perigee/agent/durable"
	"perigee/bundle/dtntime"
	"perigee/models/mining"
	"perigee/models/payload"
)

// pair is a satellite and a ground that really talk to each other.
type pair struct {
	*world
	sat agent.Config
}

func newPair(t *testing.T, pictures int) *pair {
	t.Helper()
	p := &pair{world: newWorld(t, pictures)}
	c := agent.DefaultConfig()
	c.DataDir, c.Ground, c.Model = filepath.Join(agenttest.TempDir(t), "sat"), station(), p.cfg.Model
	c.Source.Folder, c.Source.Interval = p.scenes, dtntime.Millisecond
	c.Mining = mining.Config{Name: mining.Random, Params: map[string]float64{"random_ratio": 1}}
	c.Batch.Samples, c.Batch.MaxWait = 3, 20*dtntime.Millisecond
	c.Telemetry.Interval = 5 * dtntime.Millisecond
	c.Retry = agent.RetryConfig{First: dtntime.Millisecond, Most: 4 * dtntime.Millisecond}
	c.Updates.MinF1, c.Updates.Golden = 0, filepath.Join(agenttest.TempDir(t), "golden")
	c.Updates.Keys, p.cfg.Delta.Key = p.keys()
	c.Updates.Watchdog.Tries = 100 // it is cut off more often than any satellite
	p.cfg.Deploy.Golden = c.Updates.Golden
	agenttest.Pictures(t, c.Updates.Golden, 2, 99)
	p.sat = c
	return p
}

// run runs both until done, each again and again while its fuse blows.
func (p *pair) run(ctx context.Context, fuse func() *agenttest.Fuse, done func() bool) (cuts int) {
	p.t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex // guards cuts
	again := func(start func(*agenttest.Fuse) error) {
		for ctx.Err() == nil {
			f := fuse()
			err := start(f)
			if _, blown := f.Blown(); !blown && ctx.Err() == nil {
				p.t.Errorf("an application ended by itself: %v", err)
				cancel()
			} else if err != nil && !errors.Is(err, agenttest.ErrCut) {
				p.t.Errorf("a cut application ended with %v", err)
			}
			mu.Lock()
			cuts++
			mu.Unlock()
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		again(func(f *agenttest.Fuse) error {
			client := p.mission.Open(satellite(), f)
			defer client.Close()
			a, err := agent.New(p.sat, agent.Parts{Client: client, Clock: p.mission.Clock, Disk: durable.Disk{Before: f.Step}})
			if err != nil {
				return err
			}
			return a.Run(ctx)
		})
	})
	wg.Go(func() {
		again(func(f *agenttest.Fuse) error {
			g, client := p.open(f)
			defer client.Close()
			return g.Run(ctx)
		})
	})
	if err := p.mission.Wait(ctx, done); err != nil {
		p.t.Errorf("the loop did not close: %v; ground %+v", err, p.state())
	}
	cancel()
	wg.Wait()
	return cuts
}

func (p *pair) check() {
	p.t.Helper()
	s := p.state()
	r := s.Rounds[0]
	if r.Outcome != OutcomeDeployed || r.Model != s.Announced {
		p.t.Errorf("round %+v", r)
	}
	var active struct {
		Active struct {
			Hash    string
			Version uint64
		}
	}
	if _, err := durable.ReadJSON(filepath.Join(p.sat.DataDir, "models", "active.json"), maxStateFile, &active); err != nil {
		p.t.Fatal(err)
	}
	if active.Active.Hash != r.Model.String() || active.Active.Version != r.Version {
		p.t.Errorf("satellite flies %+v, the ground announced %v", active, r.Model)
	}
	for _, sent := range p.mission.SentTo(station().WithService(serviceReceipts)) {
		receipt, err := payload.DecodeReceipt(sent.Payload)
		if err == nil && receipt.Status == payload.StatusActive && !strings.Contains(receipt.Reason, "2 as expected") {
			p.t.Errorf("receipt %+v, want a trial on what the ground expects", receipt)
		}
		if err != nil || receipt.Status > payload.StatusActive {
			p.t.Errorf("receipt %+v, %v", receipt, err)
		}
	}
	names, err := durable.Names(filepath.Join(p.cfg.DataDir, "samples"))
	if err != nil || len(names) != 2*p.count {
		p.t.Errorf("%d files of samples, want a picture and a record for each of %d; %v", len(names), p.count, err)
	}
}

func TestWholeLoop(t *testing.T) {
	p := newPair(t, 12)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	p.run(ctx, func() *agenttest.Fuse { return agenttest.NewFuse(-1) }, p.rounds(1))
	p.check()
}

func TestWholeLoopKilledAtRandom(t *testing.T) {
	for seed := range uint64(4) {
		p := newPair(t, 8)
		rng := rand.New(rand.NewPCG(seed, 3))
		var mu sync.Mutex // guards rng
		fuse := func() *agenttest.Fuse {
			mu.Lock()
			defer mu.Unlock()
			return agenttest.NewFuse(8 + rng.IntN(30))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		cuts := p.run(ctx, fuse, p.rounds(1))
		cancel()
		t.Logf("seed %d: started anew %d times", seed, cuts)
		p.check()
	}
}

// TestWholeLoopWithYOLO takes a turn with the real yolov3-tiny, on pictures too
// few to learn anything from.
func TestWholeLoopWithYOLO(t *testing.T) {
	if testing.Short() || underRace {
		t.Skip("the real network takes some seconds, and half a minute under the race detector")
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "gorgonia.org/gorgonia").Output()
	if err != nil {
		t.Skipf("go list does not find the module that ships yolov3-tiny: %v", err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "examples", "tiny-yolo-v3-coco", "data")
	weights := filepath.Join(dir, "yolov3-tiny.weights")
	if _, err := os.Stat(weights); err != nil {
		t.Skipf("yolov3-tiny is not there: %v", err)
	}
	p := newPair(t, 4)
	p.cfg.Model, p.cfg.ModelConfig = weights, filepath.Join(dir, "yolov3-tiny.cfg")
	p.sat.Model, p.sat.ModelConfig = p.cfg.Model, p.cfg.ModelConfig
	p.cfg.Train.Layers, p.cfg.Train.Epochs, p.cfg.Send.PartBytes = LayersLast, 1, 16<<10
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	p.run(ctx, func() *agenttest.Fuse { return agenttest.NewFuse(-1) }, p.rounds(1))
	p.check()
	t.Logf("change of %d bytes in %d parts", p.state().Rounds[0].DeltaBytes, len(p.parts(satellite())))
}
