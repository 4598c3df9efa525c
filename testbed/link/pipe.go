package link

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// pipe is one direction of an emulated link, without input and output: packets and
// the time go in, and packets come out when they are due. What happens to a packet is
// decided when it comes: first whether the window is open, then whether the queue has
// room, then when it has been sent at the rate of the lane, then whether it is lost
// and when it arrives. The end of a window can only throw it away or put it off.
//
// Times are since any moment before the first; they do not go back.
type pipe struct {
	lane       Lane
	mtu        int
	keepQueue  bool
	keepFlight bool

	open    bool
	stopped time.Duration // when the last window ended, if not open

	free   time.Duration // when the sender has sent all there is
	queue  queue         // what has not been sent, and what has only just been
	flight flight        // what will arrive
	parked []*packet     // what will be in flight once a window begins
	last   time.Duration // when the last packet arrives that has come so far
	count  uint64        // of packets, to keep their order

	losses     losses
	jitter     *rand.Rand
	duplicates *rand.Rand

	memory memory
	flow   Flow
}

// packet is a packet that will arrive.
type packet struct {
	departs, arrives time.Duration
	order            uint64
	data             []byte
}

// Purposes of random numbers. Each has a stream of its own, so that one does not
// depend on how often another is used.
const (
	drawLoss = iota
	drawJitter
	drawDuplicate
	draws
)

// newPipe returns a pipe of a link that begins at time 0. The direction is 0 or 1.
func newPipe(c Config, l Lane, direction uint64) *pipe {
	stream := func(purpose uint64) *rand.Rand { return rand.New(rand.NewPCG(c.Seed, direction*draws+purpose)) }
	return &pipe{
		lane: l, mtu: c.mtu(), keepQueue: c.KeepQueue, keepFlight: c.KeepFlight, open: !c.Closed,
		losses: losses{rng: stream(drawLoss)}, jitter: stream(drawJitter), duplicates: stream(drawDuplicate),
		memory: memory{limit: MaxHeld},
	}
}

// offer hands a packet to the pipe, which copies it if it keeps it.
func (p *pipe) offer(now time.Duration, data []byte) {
	if !p.open && !p.keepQueue {
		p.flow.Cut++
		return
	}
	clock := p.clock(now)
	p.advance(clock)
	if p.full(len(data)) {
		p.flow.Overflowed++
		return
	}
	took := busy(int64(len(data)), p.lane.Rate)
	p.free = max(p.free, clock) + took
	p.queue.push(sending{p.free, took, len(data)})
	// Everything is drawn for every packet, so that the luck of one in one way
	// does not depend on what other ways there are.
	arrives := p.free + p.delay()
	twice := p.lane.Duplicate > 0 && p.duplicates.Float64() < p.lane.Duplicate
	if p.losses.next(p.lane.Loss) {
		p.flow.Lost++
		return
	}
	p.send(arrives, data)
	if twice {
		p.flow.Duplicated++
		p.send(arrives, data)
	}
}

// clock is the time of the sender, which stands still outside a window.
func (p *pipe) clock(now time.Duration) time.Duration {
	if p.open {
		return now
	}
	return p.stopped
}

// advance takes out of the queue what has been sent.
func (p *pipe) advance(clock time.Duration) {
	for {
		first := p.queue.first()
		if first == nil || first.departs > clock {
			return
		}
		p.flow.Busy += first.took
		p.queue.drop()
	}
}

// full tells whether the queue has no room for so many bytes.
func (p *pipe) full(size int) bool {
	packets, bytes := p.queue.size()
	if packets == 0 {
		return false
	}
	limit := p.lane.queue(p.mtu)
	return limit.Bytes > 0 && bytes+int64(size) > limit.Bytes ||
		limit.Packets > 0 && packets >= limit.Packets
}

// delay is how long the next packet takes from being sent to arriving.
func (p *pipe) delay() time.Duration {
	d := p.lane.Delay
	if p.lane.Jitter > 0 {
		d += time.Duration(p.jitter.Int64N(2*int64(p.lane.Jitter)+1)) - p.lane.Jitter
	}
	return d
}

// send puts a packet that has just been queued on its way.
func (p *pipe) send(arrives time.Duration, data []byte) {
	if !p.lane.Reorder {
		arrives = max(arrives, p.last)
	}
	k := p.memory.take(len(data))
	if k == nil {
		p.flow.Overflowed++
		return
	}
	p.last = max(p.last, arrives)
	p.count++
	k.departs, k.arrives, k.order = p.free, arrives, p.count
	copy(k.data, data)
	if p.open {
		heap.Push(&p.flight, k)
	} else {
		p.parked = append(p.parked, k)
	}
}

// next returns when the next packet arrives, if one does.
func (p *pipe) next() (at time.Duration, ok bool) {
	if len(p.flight) == 0 {
		return 0, false
	}
	return p.flight[0].arrives, true
}

// pop returns the next packet if it has arrived, or nil. It is to be given back to the
// memory of the pipe.
func (p *pipe) pop(now time.Duration) *packet {
	if len(p.flight) == 0 || p.flight[0].arrives > now {
		return nil
	}
	k := heap.Pop(&p.flight).(*packet)
	p.flow.Packets++
	p.flow.Bytes += int64(len(k.data))
	return k
}

// setOpen begins a window, or ends it.
func (p *pipe) setOpen(now time.Duration, open bool) {
	switch {
	case open == p.open:
	case open:
		p.begin(now)
	default:
		p.end(now)
	}
}

// end ends a window.
func (p *pipe) end(now time.Duration) {
	p.advance(now)
	p.open, p.stopped = false, now
	var stay flight
	for _, k := range p.flight {
		queued := k.departs > now
		switch {
		case queued && p.keepQueue:
			p.parked = append(p.parked, k)
		case !queued && p.keepFlight:
			stay = append(stay, k)
		default:
			p.flow.Cut++
			p.memory.give(k)
		}
	}
	p.flight = stay
	heap.Init(&p.flight)
	if !p.keepQueue {
		p.queue, p.free = queue{}, now
	}
}

// begin begins a window: what waited is put off by as long as it had to wait.
func (p *pipe) begin(now time.Duration) {
	wait := now - p.stopped
	p.open = true
	p.free += wait
	p.queue.shift(wait)
	for _, k := range p.parked {
		k.departs += wait
		k.arrives += wait
		heap.Push(&p.flight, k)
	}
	p.parked, p.last = nil, 0
	for _, k := range p.flight {
		p.last = max(p.last, k.arrives)
	}
}

// stats returns what has passed until now.
func (p *pipe) stats(now time.Duration) Flow {
	p.advance(p.clock(now))
	return p.flow
}
