package train

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"perigee/models"
)

// kept is a Checkpoint in memory.
type kept struct {
	data  []byte
	saves int
}

func (k *kept) Load() ([]byte, error) { return k.data, nil }

func (k *kept) Save(data []byte) error {
	k.data, k.saves = bytes.Clone(data), k.saves+1
	return nil
}

// interruptible is a training with everything that a checkpoint must carry.
func interruptible(t *testing.T, net *models.Network) (Data, Options) {
	t.Helper()
	samples := smallSamples(t, net, 15)
	return Data{Learn: samples[:8], Replay: samples[8:12], Check: samples[12:]},
		Options{Epochs: 4, Batch: 3, Rank: 2, Seed: 3, LearningRate: 5e-3, ReplayShare: 0.3}
}

// TestKilledAnywhere stops a training behind every step, and checks that it goes
// on and ends with the same network as one that was never stopped.
func TestKilledAnywhere(t *testing.T) {
	net := smallNetwork(t)
	data, opts := interruptible(t, net)
	whole, err := Head(t.Context(), net, data, opts)
	if err != nil {
		t.Fatal(err)
	}
	again := 0
	for cut := 1; ; cut++ {
		var point kept
		opts.Checkpoint = &point
		ctx, cancel := context.WithCancel(t.Context())
		steps := 0
		opts.Progress = func(Progress) {
			if steps++; steps == cut {
				cancel()
			}
		}
		_, err := Head(ctx, net, data, opts)
		cancel()
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		first := 0
		opts.Progress = func(p Progress) {
			if first == 0 {
				first = p.Step
			}
			steps++
		}
		resumed, err := Head(t.Context(), net, data, opts)
		if err != nil {
			t.Fatal(err)
		}
		if resumed.Hash() != whole.Hash() {
			t.Fatalf("cut behind step %d: another network", cut)
		}
		again = max(again, steps-16)
		if cut == 16 {
			break
		}
		if want := (cut-1)/4*4 + 1; first != want {
			t.Fatalf("cut behind step %d: went on with step %d, want %d", cut, first, want)
		}
	}
	if again > 4 {
		t.Errorf("%d steps were done twice", again)
	}
}

// TestUnusableCheckpoints begins anew from whatever is not a whole checkpoint of
// the same training.
func TestUnusableCheckpoints(t *testing.T) {
	net := smallNetwork(t)
	data, opts := interruptible(t, net)
	opts.Epochs = 2
	var point kept
	opts.Checkpoint = &point
	whole, err := Head(t.Context(), net, data, opts)
	if err != nil {
		t.Fatal(err)
	}
	good := point.data
	begins := func(saved []byte, o Options, d Data) bool {
		t.Helper()
		o.Checkpoint = &kept{data: saved}
		first := 0
		o.Progress = func(p Progress) {
			if first == 0 {
				first = p.Step
			}
		}
		if _, err := Head(t.Context(), net, d, o); err != nil {
			t.Fatal(err)
		}
		return first == 1
	}
	if begins(good, opts, data) {
		t.Fatal("a finished training was done again")
	}
	for n := 0; n < len(good); n += 1 + n/40 {
		bad := bytes.Clone(good)
		bad[n] ^= 1
		if tr := restored(t, net, data, opts, good[:n]); tr == nil || restored(t, net, data, opts, bad) == nil {
			t.Fatalf("a checkpoint damaged at byte %d was used", n)
		}
	}
	other := opts
	other.LearningRate = 1e-3
	fewer := Data{Learn: data.Learn[1:], Replay: data.Replay, Check: data.Check}
	if !begins(good, other, data) || !begins(good, opts, fewer) {
		t.Error("a checkpoint of another training was used")
	}
	if again, err := Head(t.Context(), net, data, opts); err != nil || again.Hash() != whole.Hash() {
		t.Errorf("taken up at its end: %v", err)
	}
}

// restored returns the error of restoring data into a new trainer.
func restored(t *testing.T, net *models.Network, data Data, opts Options, saved []byte) error {
	t.Helper()
	opts, err := opts.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	tr := &trainer{opts: opts, digest: digest(net, data, opts)}
	return tr.restore(saved)
}

func TestCheckpointsThatFail(t *testing.T) {
	net := smallNetwork(t)
	data, opts := interruptible(t, net)
	opts.Checkpoint = failing{load: errors.New("no disk")}
	if _, err := Head(t.Context(), net, data, opts); err == nil {
		t.Error("an error of Load was lost")
	}
	full := errors.New("disk is full")
	opts.Checkpoint = failing{save: full}
	if _, err := Head(t.Context(), net, data, opts); !errors.Is(err, full) {
		t.Errorf("error %v, want that of Save", err)
	}
}

type failing struct{ load, save error }

func (f failing) Load() ([]byte, error) { return nil, f.load }
func (f failing) Save([]byte) error     { return f.save }
