package ltp

import (
	"net/netip"
	"time"
)

// longWait is a wait that only a signal ends.
const longWait = time.Hour

// goTimers is from where on Go's timers are exact enough.
const goTimers = 2 * time.Millisecond

// A batch of datagrams, one after the other.
type outgoing struct {
	b     []byte
	sizes []int
}

func (o *outgoing) reset() { o.b, o.sizes = o.b[:0], o.sizes[:0] }

// next takes the datagrams from the front that go out in one write: they are of one
// size, but for the last, which may be shorter. It moves the others up.
func (o *outgoing) next(at, first int) (end, last int) {
	size := o.sizes[first]
	end, last = at, first
	for last < len(o.sizes) && last-first < batchCount && o.sizes[last] <= size && end-at+o.sizes[last] <= max(batchSize, size) {
		end += o.sizes[last]
		last++
		if o.sizes[last-1] < size {
			break
		}
	}
	return end, last
}

// sendLoop sends what the machine puts out, no faster than the rate, and keeps its
// time, until the engine closes.
func (p *peer) sendLoop() {
	defer close(p.flushed)
	timer := time.NewTimer(longWait)
	defer timer.Stop()
	out := outgoing{b: make([]byte, 0, batchSize+maxMTU)}
	for {
		to, wait := p.fill(&out)
		switch {
		case len(out.sizes) > 0:
			p.write(&out, to)
			continue
		case p.engine.ctx.Err() != nil:
			return
		case wait < goTimers:
			shortSleep(wait)
			continue
		}
		timer.Reset(wait)
		select {
		case <-p.ready:
		case <-timer.C:
		case <-p.engine.ctx.Done():
		}
	}
}

// fill takes what may go out now, else how long to wait. When the engine closes, the
// last words go out without a wait.
func (p *peer) fill(out *outgoing) (to netip.AddrPort, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out.reset()
	now := p.engine.now()
	p.machine.Tick(now)
	p.listen()
	closing := p.engine.ctx.Err() != nil
	if wait := p.pace.wait(now); wait > 0 && !closing && p.machine.HasOutput() {
		p.wakeAt = 0 // it looks again in any case
		return p.address, wait
	}
	limit := p.pace.burst()
	for len(out.sizes) == 0 || len(out.b) < limit {
		before := len(out.b)
		if out.b = p.machine.Output(out.b, now); len(out.b) == before {
			break
		}
		out.sizes = append(out.sizes, len(out.b)-before)
	}
	if n := len(out.sizes); n > 0 {
		p.pace.sent(now, len(out.b)+n*p.headers())
		if s := p.session; s != nil {
			s.counters.BytesSent += uint64(len(out.b))
		}
		p.wake()
		return p.address, 0
	}
	p.wakeAt = now + longWait
	if at, ok := p.machine.NextTick(); ok {
		p.wakeAt = at
	}
	return p.address, max(p.wakeAt-now, 0)
}

// headers are what UDP and IP add to a datagram, in bytes.
func (p *peer) headers() int {
	if p.address.Addr().Is4() {
		return 28
	}
	return 48
}

// write sends datagrams. One that cannot be sent is lost, as others are.
func (p *peer) write(out *outgoing, to netip.AddrPort) {
	var failed error
	for at, first := 0, 0; first < len(out.sizes); {
		end, last := out.next(at, first)
		if err := p.engine.conn.write(out.b[at:end], out.sizes[first], to); err != nil {
			failed = err
		}
		at, first = end, last
	}
	p.mu.Lock()
	p.sendErr = failed
	p.mu.Unlock()
}
