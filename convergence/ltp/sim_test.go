package ltp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"perigee/convergence"
)

// TestSimulation lets bundles go both ways through links with all faults at once:
// every bundle must be accepted once and intact, with bounded memory, and nothing
// may stay open. SEEDS=n SEED_BASE=m looks at other worlds than the first few.
func TestSimulation(t *testing.T) {
	seeds, base := fromEnv(t, "SEEDS", 60), fromEnv(t, "SEED_BASE", 1)
	for seed := base; seed < base+seeds; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { simulate(t, seed) })
	}
}

func fromEnv(t *testing.T, name string, fallback uint64) uint64 {
	t.Helper()
	s, ok := os.LookupEnv(name)
	if !ok {
		return fallback
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func simulate(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 99))
	light := []time.Duration{0, time.Millisecond, 8 * time.Millisecond, time.Second, 3 * time.Minute}[random.IntN(5)]
	limits := func(p *Params) {
		p.MTU = []int{256, 600, 1400, 9000}[random.IntN(4)]
		p.MaxHeld = 1 << 20 << random.IntN(5)
		p.MaxUnclaimed = 128 << 10 << random.IntN(4)
		p.MaxBlocks = 4 << random.IntN(6)
		p.StreamFrom = 16 << 10 << random.IntN(3)
		p.Aggregate = []int{0, 4000, 60000}[random.IntN(3)]
		p.Random = rand.New(rand.NewPCG(seed, p.Local))
		p.DeadAfter = time.Hour + 100*light
	}
	w := newWorld(t, seed, newTestMachine(1, 2, limits), newTestMachine(2, 1, limits),
		randomChannel(random, light), randomChannel(random, light))
	var counts [2]int
	for i, p := range []*party{w.a, w.b} {
		counts[i] = 5 + random.IntN(40)
		for number := range counts[i] {
			p.toSend = append(p.toSend, randomLoad(random, number))
		}
		p.retry = func(number int, fate error) bool {
			var refused *convergence.RefusedError
			return errors.Is(fate, ErrForgotten) || errors.As(fate, &refused) && refused.Reason == convergence.RefuseRetransmit &&
				(number%11 != 5 || refusalOf(number) != refused.Reason)
		}
		p.accept = randomReader(rand.New(rand.NewPCG(seed, uint64(i))))
		for range random.IntN(3) { // the contact ends for a while
			at := time.Duration(random.Int64N(int64(time.Minute)))
			w.after(at, func() { w.a.m.Suspend(w.now); w.b.m.Suspend(w.now) })
			w.after(at+time.Duration(random.Int64N(int64(time.Minute))), func() { w.a.m.Resume(w.now); w.b.m.Resume(w.now) })
		}
	}
	defer func() {
		if t.Failed() {
			t.Logf("light %s, forward %s, back %s", light, w.a.out, w.b.out)
		}
	}()
	w.run(2*time.Hour+2000*light, func() bool { return w.isQuiet() && len(w.at) == 0 })
	wantFates(t, w.a, w.b, counts[0])
	wantFates(t, w.b, w.a, counts[1])
	for _, p := range []*party{w.a, w.b} {
		p.m.Close(w.now)
	}
	w.run(w.now+24*time.Hour, func() bool { return !w.a.m.link.open && !w.b.m.link.open })
	w.run(w.now+24*time.Hour, func() bool { return len(w.a.m.timers)+len(w.b.m.timers) == 0 })
	for _, p := range []*party{w.a, w.b} {
		if p.err != convergence.ErrClosed || p.m.tx.pool.held+p.m.rx.pool.held > 0 {
			t.Errorf("link ended with %v, %d and %d bytes are still held", p.err, p.m.tx.pool.held, p.m.rx.pool.held)
		}
	}
}

func randomChannel(random *rand.Rand, light time.Duration) channel {
	c := channel{
		rate:      []float64{64e3, 1e6, 20e6, 100e6}[random.IntN(4)],
		light:     light,
		loss:      []float64{0, 0.01, 0.1, 0.3}[random.IntN(4)],
		burst:     []float64{0, 5}[random.IntN(2)],
		duplicate: []float64{0, 0.05}[random.IntN(2)],
		jitter:    []time.Duration{0, 2 * time.Millisecond, 50 * time.Millisecond}[random.IntN(3)],
	}
	for range random.IntN(3) {
		at := time.Duration(random.Int64N(int64(time.Minute)))
		c.cuts = append(c.cuts, [2]time.Duration{at, at + time.Duration(random.Int64N(int64(20*time.Second)))})
	}
	return c
}

func randomLoad(random *rand.Rand, number int) load {
	l := load{number: number, bundle: random.IntN(2) == 0}
	l.length = 64 + random.Uint64N([]uint64{100, 3000, 100_000, 400_000}[random.IntN(4)])
	return l
}

// randomReader accepts most bundles, now or later, and refuses some, always the same.
func randomReader(random *rand.Rand) func(int) (time.Duration, convergence.RefuseReason, bool) {
	return func(number int) (time.Duration, convergence.RefuseReason, bool) {
		delay := time.Duration(0)
		if random.IntN(4) == 0 {
			delay = time.Duration(random.Int64N(int64(2 * time.Second)))
		}
		return delay, refusalOf(number), number%11 != 5
	}
}

func refusalOf(number int) convergence.RefuseReason {
	return convergence.RefuseReason(2 + number%3)
}

// wantFates checks what randomReader made of n loads, and what the sender was told.
func wantFates(t *testing.T, from, to *party, n int) {
	t.Helper()
	for i := range n {
		fate, known := from.fates[i]
		refused := i%11 == 5
		var want error
		if refused {
			want = &convergence.RefusedError{Reason: refusalOf(i)}
		}
		if !known || fmt.Sprint(fate) != fmt.Sprint(want) {
			t.Errorf("load %d: fate %v (known %t), want %v", i, fate, known, want)
		}
		if got := to.held[i]; got > 1 && !from.retried[i] || (got > 0) == refused {
			t.Errorf("load %d was accepted %d times; refused %t", i, got, refused)
		}
	}
	if from.err != nil {
		t.Errorf("link ended: %v", from.err)
	}
}
