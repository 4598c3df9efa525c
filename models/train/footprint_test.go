package train

import (
	"runtime"
	"testing"
)

// TestFootprint measures what a training holds at its end. Foreseen is more: what it
// held for a moment, too.
func TestFootprint(t *testing.T) {
	net := smallNetwork(t)
	for _, rank := range []int{0, 0, 2} { // the first fills what gorgonia keeps for itself
		o, err := Options{Rank: rank, Epochs: 1}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		fixed, sample := Footprint(net, o)
		data := Data{Learn: smallSamples(t, net, 4)}
		before := heap()
		tr, err := newTrainer(t.Context(), net, data, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		held := heap() - before
		if err := tr.close(); err != nil {
			t.Fatal(err)
		}
		if want := fixed + 4*sample; held > want || held < want/4 {
			t.Errorf("rank %d: %d bytes are held, %d were foreseen", rank, held, want)
		}
	}
}

// heap returns how many bytes are held.
func heap() int64 {
	var m runtime.MemStats
	for range 3 { // pools and finalizers hold on for a while
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
