package ltp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"perigee/convergence"
)

// resolveTimeout bounds the look-up of a configured address when an engine starts.
const resolveTimeout = 10 * time.Second

// A peer is another engine, whether a session with it is open or not.
type peer struct {
	engine  *Engine
	cfg     Peer
	ready   signal        // to sendLoop: there is something to send, or to wait for anew
	flushed chan struct{} // closed when sendLoop has sent its last

	mu      sync.Mutex // guards all below
	machine *Machine
	pace    pacer
	session *session // the one that is open, or nil
	address netip.AddrPort
	learned bool          // the address is where it spoke from
	wakeAt  time.Duration // when sendLoop looks again
	sendErr error         // of the last datagram, nil when it went out
}

func newPeer(e *Engine, cfg Peer) (*peer, error) {
	p := &peer{engine: e, cfg: cfg, ready: newSignal(), flushed: make(chan struct{}), learned: cfg.Address == ""}
	params := e.cfg.params(cfg)
	params.Random = unpredictable()
	p.machine = NewMachine(params, 0)
	p.pace.rate = cfg.Rate
	if cfg.Address == "" {
		return p, nil
	}
	ctx, cancel := context.WithTimeout(e.ctx, resolveTimeout)
	defer cancel()
	at, err := resolve(ctx, cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("LTP engine %d: %w", cfg.EngineID, err)
	}
	p.address = at
	return p, nil
}

// isAt says whether a datagram from a host may be the peer's.
func (p *peer) isAt(host netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.learned || p.address.Addr() == host
}

func (p *peer) isExactlyAt(from netip.AddrPort) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.address == from
}

// owns says whether a session of ours is with this peer.
func (p *peer) owns(session uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.machine
	return m.tx.blocks[session] != nil || m.link.session == session
}

// moveTo sets the address of the peer.
func (p *peer) moveTo(at netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.address, p.learned = at, false
}

// feed gives datagrams to the machine.
func (p *peer) feed(b []byte, size int, from netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.learned && p.session == nil {
		p.address = from
	}
	now := p.engine.now()
	received := uint64(len(b))
	for len(b) > 0 {
		n := min(size, len(b))
		p.machine.Feed(b[:n], now)
		b = b[n:]
	}
	p.listen()
	if s := p.session; s != nil {
		s.counters.BytesReceived += received
	}
	p.wake()
}

// wakeSender lets sendLoop look when it may have something to do. It is called under
// the lock, as is wake.
func (p *peer) wakeSender() {
	if at, ok := p.machine.NextTick(); p.machine.HasOutput() || ok && at < p.wakeAt {
		p.ready.notify()
	}
}

// wake lets everyone look who may have something to do after input.
func (p *peer) wake() {
	p.wakeSender()
	if s := p.session; s != nil {
		s.sendRoom.notify()
		s.arrived.notify()
	}
}

// listen acts on the events of the machine, under the lock.
func (p *peer) listen() {
	for ev, ok := p.machine.Next(); ok; ev, ok = p.machine.Next() {
		s := p.session
		switch ev.Kind {
		case EventOpened:
			s = newSession(p)
			p.session = s
			if !p.engine.offer(s) {
				p.machine.Fail(errors.New("nobody accepts sessions here"), p.engine.now())
			}
		case EventUp:
			close(s.up)
		case EventDelivered:
			s.deliver(ev.Block, ev.Refused)
		case EventCancelled:
			s.resolve(ev.Block, ev.Err)
		case EventEnding:
			s.ending = true
		case EventEnded, EventFailed:
			p.session = nil
			p.follow(p.configured())
			s.end(p.explain(ev.Err))
		}
	}
}

// configured is what the link is like as far as no plan says more.
func (p *peer) configured() convergence.Contact {
	return convergence.Contact{Open: true, Rate: p.cfg.Rate, LightTime: p.cfg.LightTime}
}

// follow makes the machine heed a contact, under the lock.
func (p *peer) follow(c convergence.Contact) {
	now := p.engine.now()
	if c.Rate == 0 {
		c.Rate = p.cfg.Rate
	}
	p.machine.SetRate(c.Rate)
	p.pace.setRate(c.Rate, now)
	p.machine.SetLightTime(c.LightTime)
	if c.Open {
		p.machine.Resume(now)
	} else {
		p.machine.Suspend(now)
	}
}

// explain adds what the operating system said when a peer is not heard.
func (p *peer) explain(err error) error {
	if errors.Is(err, ErrSilent) && p.sendErr != nil {
		return fmt.Errorf("%w; sending to it: %w", err, p.sendErr)
	}
	return err
}

// fail gives up whatever session is open.
func (p *peer) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.machine.Fail(err, p.engine.now())
	p.listen()
	p.ready.notify()
}

// failSession gives a session up, unless it has ended.
func (p *peer) failSession(s *session, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session == s {
		p.machine.Fail(err, p.engine.now())
		p.listen()
		p.ready.notify()
	}
}

// ended is the error for a call on a session that carries nothing more.
func ended(err error) error {
	if err != nil {
		return err
	}
	return convergence.ErrClosed
}
