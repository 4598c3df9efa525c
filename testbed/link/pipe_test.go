package link

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"perigee/bundle/contact"
)

const ms = time.Millisecond

func outLane(l Lane) Config { return Config{Shape: Shape{Out: l}, Seed: 1} }

func TestPipeRate(t *testing.T) {
	for _, rate := range []contact.BitRate{
		9600, 100 * contact.KilobitPerSecond, contact.MegabitPerSecond, 100 * contact.MegabitPerSecond, contact.GigabitPerSecond,
		10 * contact.GigabitPerSecond,
	} {
		for _, size := range []int{40, 1500} {
			s := simulate(t, outLane(Lane{Rate: rate, Delay: 8 * ms, Queue: Queue{Packets: 100}}))
			span := busy(int64(size)*1000, rate) // a thousand packets
			s.flood(size, span)
			s.until(time.Hour)
			last := s.arrivals[len(s.arrivals)-1].at - s.arrivals[0].at
			got := float64(len(s.arrivals)-1) * float64(size) * 8 / last.Seconds()
			if math.Abs(got/float64(rate)-1) > 0.01 {
				t.Errorf("%d bit/s in packets of %d bytes: %.0f bit/s", rate, size, got)
			}
			f := s.stats(s.now)
			want := busy(f.Bytes, rate)
			if (f.Busy-want).Abs() > want/100 || f.Overflowed == 0 {
				t.Errorf("%d bit/s: busy for %v, want %v: %+v", rate, f.Busy, want, f)
			}
			s.balance()
		}
	}
}

func TestPipeDelayIsExact(t *testing.T) {
	for _, lane := range []Lane{
		{},
		{Delay: 8 * ms},
		{Rate: contact.MegabitPerSecond, Delay: 20 * time.Minute},
		{Rate: 100 * contact.MegabitPerSecond},
	} {
		s := simulate(t, outLane(lane))
		for i := range 5 {
			s.until(time.Duration(i) * time.Second)
			s.packet(1250)
		}
		s.until(time.Hour)
		var want []arrival
		for i := range 5 {
			sent := time.Duration(i)*time.Second + busy(1250, lane.Rate)
			want = append(want, arrival{sent + lane.Delay, uint64(i)})
		}
		if !slices.Equal(s.arrivals, want) {
			t.Errorf("%+v: %v, want %v", lane, s.arrivals, want)
		}
	}
}

func TestPipeQueue(t *testing.T) {
	for _, test := range []struct {
		queue Queue
		size  int
		want  int // packets of ten that find room
	}{
		{Queue{Packets: 3}, 1000, 3},
		{Queue{Bytes: 3000}, 1000, 3},
		{Queue{Bytes: 2999}, 1000, 2},
		{Queue{Bytes: 100}, 1000, 1}, // an empty queue takes any packet
		{Queue{Bytes: 3000, Packets: 2}, 1000, 2},
		{Queue{Bytes: 1000, Packets: 9}, 500, 2},
		{Queue{}, 1500, 10},
	} {
		s := simulate(t, outLane(Lane{Rate: 8000, Queue: test.queue}))
		for range 10 {
			s.packet(test.size)
		}
		// Room comes back as packets leave, not before.
		s.until(busy(int64(test.size), 8000) - 1)
		s.packet(test.size)
		over := s.stats(s.now).Overflowed
		s.until(busy(int64(test.size), 8000))
		s.packet(test.size)
		s.until(time.Hour)
		if over != int64(11-test.want) || len(s.arrivals) != test.want+1 {
			t.Errorf("%+v: %d overflowed at first and %d arrived, want %d and %d", test.queue, over, len(s.arrivals), 11-test.want, test.want+1)
		}
		s.balance()
	}
	// A fifth of a second by default.
	s := simulate(t, outLane(Lane{Rate: 8 * contact.MegabitPerSecond}))
	for range 1000 {
		s.packet(1000)
	}
	if f := s.stats(s.now); f.Overflowed != 800 {
		t.Errorf("the queue holds %d packets of 1 kB at 8 Mbit/s, want 200", 1000-f.Overflowed)
	}
}

func TestPipeLoss(t *testing.T) {
	// What is lost has taken its time.
	s := simulate(t, outLane(Lane{Rate: 8000, Loss: Loss{Mean: 1}}))
	s.packet(1000)
	s.until(time.Minute)
	if f := s.stats(s.now); len(s.arrivals) != 0 || f.Lost != 1 || f.Busy != time.Second {
		t.Errorf("%v arrived, %+v", s.arrivals, f)
	}
	// What is lost stays the same when other things are asked for too, and is another
	// in the other direction.
	run := func(lane Lane, direction uint64) []uint64 {
		lane.Loss = Loss{Mean: 0.1, Burst: 2}
		s := simulate(t, outLane(lane))
		s.pipe = newPipe(outLane(lane), lane, direction)
		for range 1000 {
			s.packet(100)
		}
		s.until(time.Hour)
		s.balance()
		return slices.Compact(slices.Sorted(slices.Values(s.numbers())))
	}
	plain := run(Lane{}, 0)
	if !slices.Equal(plain, run(Lane{Rate: contact.GigabitPerSecond, Delay: ms, Jitter: ms, Duplicate: 0.5}, 0)) {
		t.Error("jitter and duplication changed what is lost")
	}
	if slices.Equal(plain, run(Lane{}, 1)) {
		t.Error("both directions lose the same")
	}
}

func TestPipeJitter(t *testing.T) {
	const packets = 20_000
	for _, reorder := range []bool{false, true} {
		s := simulate(t, outLane(Lane{Delay: 50 * ms, Jitter: 20 * ms, Reorder: reorder}))
		for i := range packets {
			s.until(time.Duration(i) * 100 * ms) // so far apart that none can catch up
			s.packet(100)
		}
		s.until(24 * time.Hour)
		least, most, sum := time.Hour, time.Duration(0), time.Duration(0)
		for _, a := range s.arrivals {
			d := a.at - time.Duration(a.number)*100*ms
			least, most, sum = min(least, d), max(most, d), sum+d
		}
		if least < 30*ms || least > 31*ms || most > 70*ms || most < 69*ms || (sum/packets-50*ms).Abs() > ms/2 {
			t.Errorf("delays from %v to %v, %v on average", least, most, sum/packets)
		}
		s = simulate(t, outLane(Lane{Delay: 50 * ms, Jitter: 20 * ms, Reorder: reorder}))
		for i := range 1000 {
			s.until(time.Duration(i) * ms)
			s.packet(100)
		}
		s.until(time.Hour)
		if sorted := slices.IsSorted(s.numbers()); sorted == reorder || len(s.arrivals) != 1000 {
			t.Errorf("reordering %v: %d arrived, in order: %v", reorder, len(s.arrivals), sorted)
		}
	}
}

func TestPipeDuplicates(t *testing.T) {
	s := simulate(t, outLane(Lane{Delay: ms, Duplicate: 0.05}))
	for range 100_000 {
		s.packet(100)
	}
	s.until(time.Second)
	f := s.stats(s.now)
	if int64(len(s.arrivals)) != 100_000+f.Duplicated || f.Duplicated < 4_800 || f.Duplicated > 5_200 || !slices.IsSorted(s.numbers()) {
		t.Errorf("%d arrived, %+v", len(s.arrivals), f)
	}
	s.balance()
}

// TestPipeCut sends a packet of a second each second over a lane with a delay of two,
// cuts it from 3.5 s to 13.5 s, and goes on sending.
func TestPipeCut(t *testing.T) {
	const second = time.Second
	for _, test := range []struct {
		queue, flight bool
		want          []arrival
		cut           int64
	}{
		// Packet 0 has arrived at 3 s; 1 and 2 are in flight, 3 is half sent, 4
		// waits; 5 and 6 come in the cut and 7 after it.
		{false, false, []arrival{{3 * second, 0}, {17 * second, 7}}, 6},
		{false, true, []arrival{{3 * second, 0}, {4 * second, 1}, {5 * second, 2}, {17 * second, 7}}, 4},
		{true, false, []arrival{{3 * second, 0}, {16 * second, 3}, {17 * second, 4}, {18 * second, 5}, {19 * second, 6}, {20 * second, 7}}, 2},
		{true, true, []arrival{
			{3 * second, 0},
			{4 * second, 1},
			{5 * second, 2},
			{16 * second, 3},
			{17 * second, 4},
			{18 * second, 5},
			{19 * second, 6},
			{20 * second, 7},
		}, 0},
	} {
		c := outLane(Lane{Rate: 8000, Delay: 2 * second, Queue: Queue{Packets: 100}})
		c.KeepQueue, c.KeepFlight = test.queue, test.flight
		s := simulate(t, c)
		for range 5 {
			s.packet(1000)
		}
		s.until(3500 * ms)
		s.setOpen(s.now, false)
		s.setOpen(s.now, false) // changes nothing
		s.until(4200 * ms)
		s.packet(1000)
		s.until(9 * second)
		s.packet(1000)
		s.until(13500 * ms)
		s.setOpen(s.now, true)
		s.setOpen(s.now, true)
		s.until(14 * second)
		s.packet(1000)
		s.until(time.Hour)
		f := s.stats(s.now)
		if !slices.Equal(s.arrivals, test.want) || f.Cut != test.cut {
			t.Errorf("queue kept %v, flight kept %v: %v arrived, %d cut, want %v, %d", test.queue, test.flight, s.arrivals, f.Cut, test.want, test.cut)
		}
		// What was half sent counts only if it was sent in the end.
		sent := 8 * second
		if !test.queue {
			sent = 4 * second
		}
		if f.Busy != sent {
			t.Errorf("queue kept %v: busy for %v, want %v", test.queue, f.Busy, sent)
		}
		s.balance()
	}
}

func TestPipeBeginsClosed(t *testing.T) {
	c := outLane(Lane{Rate: 8000})
	c.Closed = true
	s := simulate(t, c)
	s.packet(1000)
	s.until(time.Second)
	s.setOpen(s.now, true)
	s.packet(1000)
	s.until(time.Minute)
	if want := []arrival{{2 * time.Second, 1}}; !slices.Equal(s.arrivals, want) {
		t.Errorf("%v arrived, want %v", s.arrivals, want)
	}
}

// TestPipeReshape changes the lane while packets are under way: they keep what they
// had, and those after them do not overtake.
func TestPipeReshape(t *testing.T) {
	s := simulate(t, outLane(Lane{Rate: 8000, Delay: 10 * time.Second}))
	s.packet(1000)
	s.packet(1000)
	s.lane = Lane{Rate: 80_000, Delay: time.Second}
	s.packet(1000)
	s.until(11 * time.Second)
	s.packet(1000)
	s.until(time.Hour)
	want := []arrival{{11 * time.Second, 0}, {12 * time.Second, 1}, {12 * time.Second, 2}, {12100 * ms, 3}}
	if !slices.Equal(s.arrivals, want) {
		t.Errorf("%v arrived, want %v", s.arrivals, want)
	}
}

// TestPipeRandom does anything that can be done, in any order: every packet meets one
// fate, none overtakes on a lane that keeps the order, the queue stays within its
// limits, and the same seed does the same again.
func TestPipeRandom(t *testing.T) {
	for seed := range uint64(100) {
		first, second := randomRun(t, seed), randomRun(t, seed)
		if !slices.Equal(first, second) {
			t.Fatalf("seed %d: two runs differ", seed)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func randomRun(t *testing.T, seed uint64) []arrival {
	rng := rand.New(rand.NewPCG(seed, 99))
	share := func() float64 { return rng.Float64() * 0.3 * float64(rng.IntN(2)) }
	order := rng.IntN(2) == 0
	lane := func() Lane {
		delay := time.Duration(rng.Int64N(int64(time.Second)))
		return Lane{
			Rate: contact.BitRate(rng.IntN(2) * (1 + rng.IntN(10_000_000))), Delay: delay, Jitter: time.Duration(rng.Int64N(int64(delay) + 1)),
			Reorder: !order, Loss: Loss{Mean: share(), Burst: float64(rng.IntN(2) * (1 + rng.IntN(9)))}, Duplicate: share(),
			Queue: Queue{Bytes: int64(rng.IntN(2) * rng.IntN(20_000)), Packets: rng.IntN(2) * rng.IntN(20)},
		}
	}
	c := outLane(lane())
	c.Seed, c.KeepQueue, c.KeepFlight, c.Closed = seed, rng.IntN(2) == 0, rng.IntN(2) == 0, rng.IntN(2) == 0
	s := simulate(t, c)
	for range 2000 {
		switch rng.IntN(20) {
		case 0:
			s.lane = lane()
		case 1:
			s.setOpen(s.now, rng.IntN(2) == 0)
		case 2, 3, 4, 5:
			s.until(s.now + time.Duration(rng.Int64N(int64(20*ms))))
		default:
			overflowed := s.flow.Overflowed
			s.packet(8 + rng.IntN(1492))
			limit := s.lane.queue(s.mtu)
			if packets, bytes := s.queue.size(); (s.open || s.keepQueue) && s.flow.Overflowed == overflowed && packets > 1 &&
				(limit.Packets > 0 && packets > limit.Packets || limit.Bytes > 0 && bytes > limit.Bytes) {
				t.Errorf("%d packets and %d bytes wait, the limit is %+v", packets, bytes, limit)
			}
		}
	}
	s.balance()
	s.setOpen(s.now, true)
	s.until(s.now + time.Hour)
	s.balance()
	if len(s.flight)+len(s.parked) != 0 || s.memory.used != 0 {
		t.Errorf("%d packets and %d bytes are left", len(s.flight)+len(s.parked), s.memory.used)
	}
	if order && !slices.IsSorted(s.numbers()) {
		t.Error("a packet has overtaken")
	}
	return s.arrivals
}

func TestPipeMemoryIsBounded(t *testing.T) {
	s := simulate(t, outLane(Lane{Delay: MaxDelay}))
	const limit = 4 << 20
	s.memory.limit = limit
	data := make([]byte, MaxMTU)
	for range 100 {
		s.offer(0, data)
	}
	if s.memory.used > limit || s.memory.made > limit || s.flow.Overflowed != 100-limit/(64<<10) {
		t.Errorf("%d bytes in use, %d made, %+v", s.memory.used, s.memory.made, s.flow)
	}
	// Another size can take the place of what is spare.
	for k := s.pop(MaxDelay); k != nil; k = s.pop(MaxDelay) {
		s.memory.give(k)
	}
	s.offer(MaxDelay, data[:100])
	if s.memory.used != 128 || s.memory.made != 128 {
		t.Errorf("%d bytes in use, %d made", s.memory.used, s.memory.made)
	}
}

func TestSizeClasses(t *testing.T) {
	for n := 0; n <= MaxMTU; n++ {
		size := 1 << (sizeClass(n) + minShift)
		if size < n || size >= 2*n && n > 64 || sizeClass(size) != sizeClass(n) {
			t.Fatalf("%d bytes in %d", n, size)
		}
	}
}

func BenchmarkPipe(b *testing.B) {
	lane := Lane{Rate: 10 * contact.GigabitPerSecond, Delay: 8 * ms, Jitter: ms, Loss: Loss{Mean: 0.01, Burst: 3}}
	p := newPipe(Config{}, lane, 0)
	data := make([]byte, 1500)
	now := time.Duration(0)
	b.SetBytes(1500)
	b.ReportAllocs()
	for b.Loop() {
		now += 1200
		p.offer(now, data)
		for k := p.pop(now); k != nil; k = p.pop(now) {
			p.memory.give(k)
		}
	}
}
