package train

import (
	"slices"
	"testing"

	"perigee/models"
)

// TestEarlyStop trains on few samples until it knows them by heart and does ever
// worse on the check samples.
func TestEarlyStop(t *testing.T) {
	net := smallNetwork(t)
	samples := smallSamples(t, net, 8)
	data := Data{Learn: samples[:3], Check: samples[3:]}
	run := func(patience int) (*models.Network, []float64) {
		t.Helper()
		var losses []float64 // of the check samples, by epoch
		trained, err := Head(t.Context(), net, data, Options{
			Epochs: 60, Batch: 3, LearningRate: 2e-2, Patience: patience,
			Progress: func(p Progress) { losses = append(losses, p.CheckLoss) },
		})
		if err != nil {
			t.Fatal(err)
		}
		return trained, losses[1:] // a step is an epoch, and tells of the one before
	}
	stopped, few := run(4)
	patient, all := run(60)
	if len(few) == len(all) {
		t.Fatalf("it went through all epochs: losses %.2f", few)
	}
	if stopped.Hash() != patient.Hash() {
		t.Error("more patience found another network, although nothing better came")
	}
	best := slices.Index(all, slices.Min(all))
	if best+1 >= len(few) {
		t.Errorf("it stopped before the best epoch, %d: losses %.2f", best, all)
	}
}

func TestReplay(t *testing.T) {
	net := smallNetwork(t)
	samples := smallSamples(t, net, 14)
	data := Data{Learn: samples[:9], Replay: samples[9:]}
	opts, err := Options{Batch: 4, ReplayShare: 0.4}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	tr, err := newTrainer(t.Context(), net, data, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	seen := map[int]int{}
	for range 3 {
		if err := tr.begin(); err != nil {
			t.Fatal(err)
		}
		if len(tr.order) != 15 || tr.perEpoch() != 4 {
			t.Fatalf("%d examples in %d steps, want 9 to learn and 6 replayed in 4", len(tr.order), tr.perEpoch())
		}
		learnt := map[int]bool{}
		for _, i := range tr.order {
			seen[i]++
			if i < 9 {
				learnt[i] = true
			}
		}
		if len(learnt) != 9 {
			t.Errorf("an epoch saw %d of 9 samples", len(learnt))
		}
	}
	for i := 9; i < 14; i++ {
		if seen[i] < 3 || seen[i] > 6 {
			t.Errorf("sample %d was replayed %d times in 3 epochs of 6", i, seen[i])
		}
	}
}
