package link

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestLosses draws many packets and holds what is lost against what was asked for: the
// mean, the length of bursts, and that bursts are as long as they should be more or
// less often, not only on average.
func TestLosses(t *testing.T) {
	const packets = 3_000_000
	for _, want := range []Loss{
		{Mean: 0.01}, {Mean: 0.3}, {Mean: 0.01, Burst: 1}, {Mean: 0.02, Burst: 5}, {Mean: 0.03, Burst: 20}, {Mean: 0.5, Burst: 3}, {Mean: 1},
	} {
		s := losses{rng: rand.New(rand.NewPCG(1, 0))}
		lost, bursts, single, run := 0, 0, 0, 0
		for range packets {
			if s.next(want) {
				lost++
				run++
				continue
			}
			if run > 0 {
				bursts++
				if run == 1 {
					single++
				}
			}
			run = 0
		}
		if got := float64(lost) / packets; math.Abs(got-want.Mean) > 0.05*want.Mean {
			t.Errorf("%+v: lost %.5f of the packets", want, got)
		}
		length := want.Burst
		if length == 0 {
			length = 1 / (1 - want.Mean)
		}
		if want.Mean == 1 {
			continue // one burst without end
		}
		if got := float64(lost) / float64(bursts); math.Abs(got-length) > 0.05*length {
			t.Errorf("%+v: bursts of %.3f packets, want %.3f", want, got, length)
		}
		// Lengths are geometrically distributed; within four standard deviations.
		q := 1 / length
		if got := float64(single) / float64(bursts); math.Abs(got-q) > 4*math.Sqrt(q*(1-q)/float64(bursts))+1e-9 {
			t.Errorf("%+v: %.3f of the bursts are of one packet, want %.3f", want, got, q)
		}
	}
}

func TestLossesRepeat(t *testing.T) {
	draw := func(seed uint64) (lost [1000]bool) {
		s := losses{rng: rand.New(rand.NewPCG(seed, 0))}
		for i := range lost {
			lost[i] = s.next(Loss{Mean: 0.1, Burst: 3})
		}
		return lost
	}
	first := draw(1)
	if first != draw(1) {
		t.Error("the same seed lost other packets")
	}
	if first == draw(2) {
		t.Error("another seed lost the same packets")
	}
}

// TestLossesBeginAnywhere begins many times: the first packet is lost as often as any.
func TestLossesBeginAnywhere(t *testing.T) {
	const times = 20_000
	lost := 0
	for seed := range uint64(times) {
		s := losses{rng: rand.New(rand.NewPCG(seed, 0))}
		if s.next(Loss{Mean: 0.2, Burst: 10}) {
			lost++
		}
	}
	if got := float64(lost) / times; math.Abs(got-0.2) > 0.01 {
		t.Errorf("%.3f of the first packets are lost", got)
	}
}
