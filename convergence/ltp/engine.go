package ltp

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"perigee/convergence"
)

// errEngineClosed is what sessions end with when their engine closes.
var errEngineClosed = errors.New("LTP engine was closed")

// readPause is the wait after a failed read, so that the loop does not spin.
const readPause = 10 * time.Millisecond

// An Engine serves peers over one UDP socket: their sessions are dialed with
// [Engine.Dialer], and accepted from [Engine.Listener]. There is at most one with
// each peer. One goroutine of the engine reads for all, one for each peer sends.
type Engine struct {
	cfg   Config
	conn  transport
	epoch time.Time
	peers []*peer // by engine ID

	ctx        context.Context // ends when the engine closes
	cancel     context.CancelFunc
	goroutines sync.WaitGroup
	strangers  atomic.Uint64

	mu        sync.Mutex // guards all below; held after that of a peer
	listening bool
	offers    []*session // not yet accepted
	offered   signal
}

// Listen binds address ("host:port", or "host" alone for port 1113) and starts an
// engine. The context bounds the binding only; Close ends the engine.
func Listen(ctx context.Context, address string, cfg Config) (*Engine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, "udp", withPort(address))
	if err != nil {
		return nil, fmt.Errorf("bind LTP engine %d: %w", cfg.EngineID, err)
	}
	return start(newTransport(pc.(*net.UDPConn)), cfg)
}

// Serve starts an engine over a packet connection whose addresses are those of UDP,
// which it then owns.
func Serve(conn net.PacketConn, cfg Config) (*Engine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return start(packetTransport{conn}, cfg)
}

func start(conn transport, cfg Config) (*Engine, error) {
	e := &Engine{cfg: cfg, conn: conn, epoch: time.Now(), offered: newSignal()}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	for _, peerConfig := range cfg.Peers {
		p, err := newPeer(e, peerConfig)
		if err != nil {
			return nil, errors.Join(err, conn.close())
		}
		e.peers = append(e.peers, p)
	}
	slices.SortFunc(e.peers, func(a, b *peer) int { return cmp.Compare(a.cfg.EngineID, b.cfg.EngineID) })
	e.goroutines.Go(e.readLoop)
	for _, p := range e.peers {
		e.goroutines.Go(p.sendLoop)
	}
	return e, nil
}

// unpredictable returns a source of numbers that nobody else knows.
func unpredictable() *rand.Rand {
	var seed [32]byte
	if _, err := crand.Read(seed[:]); err != nil {
		panic(err) // crypto/rand never fails
	}
	return rand.New(rand.NewChaCha8(seed))
}

func (e *Engine) now() time.Duration { return time.Since(e.epoch) }

// Addr is the address that the engine is bound to.
func (e *Engine) Addr() string { return e.conn.localAddr().String() }

// Dropped is what was received and not acted on. Foreign counts datagrams from
// strangers too.
func (e *Engine) Dropped() Dropped {
	d := Dropped{Foreign: e.strangers.Load()}
	for _, p := range e.peers {
		p.mu.Lock()
		one := p.machine.Dropped()
		p.mu.Unlock()
		d.Malformed, d.Foreign, d.NoRoom = d.Malformed+one.Malformed, d.Foreign+one.Foreign, d.NoRoom+one.NoRoom
	}
	return d
}

// Close cuts the sessions that are open, and waits for the engine's goroutines.
func (e *Engine) Close() error {
	for _, p := range e.peers {
		p.fail(errEngineClosed)
	}
	e.cancel()
	e.mu.Lock()
	e.listening = false
	e.mu.Unlock()
	for _, p := range e.peers {
		<-p.flushed // the peers are told
	}
	err := e.conn.close()
	e.goroutines.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close LTP engine %d: %w", e.cfg.EngineID, err)
	}
	return nil
}

// readLoop gives the datagrams that come to their peers.
func (e *Engine) readLoop() {
	b := make([]byte, readSize)
	for {
		n, size, from, err := e.conn.read(b)
		switch {
		case err == nil:
			e.deliver(b[:n], size, from)
		case e.ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		default: // one datagram that could not be read ends nothing
			select {
			case <-e.ctx.Done():
			case <-time.After(readPause):
			}
		}
	}
}

// deliver gives datagrams to the peers that they are from, several at a time where
// they follow each other.
func (e *Engine) deliver(b []byte, size int, from netip.AddrPort) {
	var to *peer
	run := 0
	for at := 0; at < len(b); at += size {
		p := e.peerOf(b[at:min(at+size, len(b))], from)
		if p == nil {
			e.strangers.Add(1)
		}
		if p != to {
			if to != nil {
				to.feed(b[run:at], size, from)
			}
			to, run = p, at
		}
	}
	if to != nil {
		to.feed(b[run:], size, from)
	}
}

// peerOf finds the peer that a datagram is from. Segments about blocks of ours do
// not name it; then it is the one at that address.
func (e *Engine) peerOf(datagram []byte, from netip.AddrPort) *peer {
	r := reader{in: datagram}
	var h header
	if h.parse(&r, typeRed, typeCancelAckReceiver); r.err != nil {
		return nil
	}
	switch h.kind {
	case typeReport, typeCancelAckSender, typeCancelByReceiver:
		return e.peerAt(h.session, from)
	}
	p := e.peer(h.originator)
	if p == nil || !p.isAt(from.Addr()) {
		return nil
	}
	return p
}

// peer finds a peer by its engine ID.
func (e *Engine) peer(id uint64) *peer {
	i, ok := slices.BinarySearchFunc(e.peers, id, func(p *peer, id uint64) int { return cmp.Compare(p.cfg.EngineID, id) })
	if !ok {
		return nil
	}
	return e.peers[i]
}

// peerAt finds the peer that answers for a session of ours. Several may be at one
// host, and send from ports that nobody told.
func (e *Engine) peerAt(session uint64, from netip.AddrPort) *peer {
	for _, p := range e.peers {
		if p.isExactlyAt(from) {
			return p
		}
	}
	for _, p := range e.peers {
		if p.isAt(from.Addr()) && p.owns(session) {
			return p
		}
	}
	return nil
}

// Listener takes the sessions that peers open. There is one for the engine.
func (e *Engine) Listener() convergence.Listener {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.listening = true
	return &listener{e}
}

type listener struct{ e *Engine }

func (l *listener) Addr() string { return l.e.Addr() }

func (l *listener) Accept(ctx context.Context) (convergence.Session, error) {
	for {
		s, open := l.e.takeOffer()
		switch {
		case s != nil:
			return s, nil
		case !open:
			return nil, convergence.ErrClosed
		}
		select {
		case <-l.e.offered:
		case <-l.e.ctx.Done():
			return nil, convergence.ErrClosed
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Close ends the sessions that were not accepted. The engine goes on; peers that
// open a session from now on are told that it is cut.
func (l *listener) Close() error {
	l.e.mu.Lock()
	l.e.listening = false
	offers := l.e.offers
	l.e.offers = nil
	l.e.mu.Unlock()
	for _, s := range offers {
		s.peer.failSession(s, convergence.ErrClosed)
	}
	l.e.offered.notify()
	return nil
}

// offer puts a session before Accept; it returns false when nobody listens.
func (e *Engine) offer(s *session) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.listening {
		return false
	}
	e.offers = append(e.offers, s)
	e.offered.notify()
	return true
}

// takeOffer returns a session that nobody has, and whether one may still come.
func (e *Engine) takeOffer() (s *session, open bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.offers) > 0 {
		s, e.offers = e.offers[0], e.offers[1:]
		if !isClosed(s.done) {
			return s, true
		}
	}
	return nil, e.listening
}

// withdraw takes a session back from Accept; it returns false when it is not there.
func (e *Engine) withdraw(s *session) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.Index(e.offers, s)
	if i < 0 {
		return false
	}
	e.offers = slices.Delete(e.offers, i, i+1)
	return true
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// A signal wakes one waiter; signals before the wait are not lost but merged.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (c signal) notify() {
	select {
	case c <- struct{}{}:
	default:
	}
}
