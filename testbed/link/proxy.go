package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Limits of a proxy link.
const (
	// MaxConnections is how many connections a proxy relays, and how many it
	// holds outside a window.
	MaxConnections = 64
	// patience is how long before a window a connection may have been made to
	// be relayed in it. TCP repeats its first segment after a second, so a
	// younger one would come through.
	patience = time.Second
	// readBuffer is the kernel's buffer for what a proxy has not read. A small
	// one lets the sender feel the rate.
	readBuffer  = 32 << 10
	dialTimeout = 10 * time.Second
)

// ProxyBackend makes links that relay TCP connections on this machine. It needs no
// rights. What it cannot do is lose single packets, and a connection to it
// succeeds at once whatever the delay: it answers itself.
//
// Outside a window connections freeze: nothing is read or written, and what was
// under way is lost. When the next window begins they are reset, which is what a
// long outage does to a connection; and so are those made meanwhile, but for the
// ones of the last second, which are relayed.
type ProxyBackend struct{}

// Name implements Backend.
func (ProxyBackend) Name() string { return proxy }

// Probe implements Backend: it listens on loopback.
func (ProxyBackend) Probe(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("%w: proxy: listening on loopback: %w", ErrUnavailable, err)
	}
	return l.Close()
}

// Check implements Backend.
func (ProxyBackend) Check(c Config) error {
	if c.Target == "" {
		return fmt.Errorf("%w: proxy needs the address that it is to relay connections to", ErrUnsupported)
	}
	return c.without(proxy, hasJitter, hasLoss, hasDuplication, hasQueueLimit, hasKeptQueue, hasKeptFlight, hasMTU, hasNames, hasEnds)
}

// Up implements Backend. The link is a *ProxyLink.
func (b ProxyBackend) Up(ctx context.Context, c Config) (Link, error) {
	if err := b.Check(c); err != nil {
		return nil, err
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("making a proxy link to %s: %w", c.Target, err)
	}
	dial := func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", c.Target)
	}
	return newProxyLink(listener, dial, c), nil
}

// ProxyLink relays TCP connections between a left end that connects to it and a
// right end that it connects to.
type ProxyLink struct {
	listener net.Listener
	dial     func(context.Context) (net.Conn, error)
	out      lane
	back     lane

	ctx    context.Context // ends when the link goes down
	cancel context.CancelCauseFunc
	owned  sync.WaitGroup // every goroutine of the link

	mu       sync.Mutex // guards all below
	down     bool
	open     bool
	windows  int
	sessions map[*session]struct{} // being relayed
	frozen   []net.Conn            // of sessions that the end of a window stopped
	held     []heldConn            // made outside a window, oldest first
}

type heldConn struct {
	conn net.Conn
	at   time.Time
}

// session is one connection being relayed.
type session struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	// conns are the ends there are so far, left first. Guarded by the mutex of
	// the link, and nobody's any more once stopped is set.
	conns   []net.Conn
	stopped bool
}

var errWindowOver = errors.New("the window of the link is over")

func newProxyLink(l net.Listener, dial func(context.Context) (net.Conn, error), c Config) *ProxyLink {
	p := &ProxyLink{
		listener: l, dial: dial,
		out: lane{set: c.Shape.Out}, back: lane{set: c.Shape.Back},
		sessions: make(map[*session]struct{}),
	}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	if !c.Closed {
		p.open, p.windows = true, 1
	}
	p.owned.Go(p.accept)
	return p
}

// Addr returns the address at which the link awaits connections.
func (p *ProxyLink) Addr() string { return p.listener.Addr().String() }

// Set implements Link.
func (p *ProxyLink) Set(_ context.Context, s Shape) error {
	if err := (Config{Shape: s}).without(proxy, hasJitter, hasLoss, hasDuplication, hasQueueLimit); err != nil {
		return err
	}
	p.out.reshape(s.Out)
	p.back.reshape(s.Back)
	return nil
}

// Stats implements Link.
func (p *ProxyLink) Stats(context.Context) (Stats, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{Out: p.out.stats(), Back: p.back.stats(), Windows: p.windows}, nil
}

// SetOpen implements Link.
func (p *ProxyLink) SetOpen(_ context.Context, open bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.down:
		return fmt.Errorf("opening or cutting proxy link %s: %w", p.Addr(), ErrDown)
	case open == p.open:
		return nil
	case open:
		p.begin()
	default:
		p.end()
	}
	return nil
}

// begin begins a window. The mutex is held.
func (p *ProxyLink) begin() {
	p.open = true
	p.windows++
	p.out.reset()
	p.back.reset()
	for _, c := range p.frozen {
		reset(c)
	}
	p.frozen = nil
	oldest := time.Now().Add(-patience)
	for _, h := range p.held {
		if h.at.Before(oldest) {
			reset(h.conn)
		} else {
			p.start(h.conn)
		}
	}
	p.held = nil
}

// end ends a window. The mutex is held.
func (p *ProxyLink) end() {
	p.open = false
	for s := range p.sessions {
		p.frozen = append(p.frozen, p.stop(s, errWindowOver)...)
	}
}

// stop stops a session and returns its connections, still open. The mutex is held.
func (p *ProxyLink) stop(s *session, why error) []net.Conn {
	s.cancel(why)
	for _, c := range s.conns {
		interrupt(c)
	}
	s.stopped = true
	delete(p.sessions, s)
	return s.conns
}

// accept takes in connections until the listener is closed.
func (p *ProxyLink) accept() {
	for {
		conn, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of descriptors, or a connection gone before it was
			// taken: neither lasts.
			if sleepUntil(p.ctx, time.Now().Add(10*time.Millisecond)) != nil {
				return
			}
			continue
		}
		p.admit(conn)
	}
}

// admit relays or holds a new connection.
func (p *ProxyLink) admit(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetReadBuffer(readBuffer) // only a hint
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.down || p.open && len(p.sessions) >= MaxConnections:
		reset(conn)
	case p.open:
		p.start(conn)
	default:
		if len(p.held) >= MaxConnections {
			reset(p.held[0].conn)
			p.held = p.held[1:]
		}
		p.held = append(p.held, heldConn{conn, time.Now()})
	}
}

// start relays a connection. The mutex is held.
func (p *ProxyLink) start(left net.Conn) {
	s := &session{conns: []net.Conn{left}}
	s.ctx, s.cancel = context.WithCancelCause(p.ctx)
	p.sessions[s] = struct{}{}
	p.owned.Go(func() { p.relay(s, left) })
}

// relay connects to the right and moves bytes both ways until both sides have
// ended or one fails. A failure resets both.
func (p *ProxyLink) relay(s *session, left net.Conn) {
	defer s.cancel(nil)
	// Not in the session's context: if the window ends now, the right end must
	// find itself in an outage, not refused.
	right, err := p.dial(p.ctx)
	if err == nil {
		if tcp, ok := right.(*net.TCPConn); ok {
			tcp.SetReadBuffer(readBuffer) // only a hint
		}
		if !p.join(s, right) {
			return
		}
		err = p.pump(s, left, right)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.stopped {
		return
	}
	delete(p.sessions, s)
	for _, c := range s.conns {
		if err != nil {
			reset(c)
		} else {
			c.Close() // both ways have ended: nothing can be lost
		}
	}
}

// join adds the right end to a session. If the session has been stopped meanwhile,
// the right end shares the fate of the left, and join returns false.
func (p *ProxyLink) join(s *session, right net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !s.stopped:
		s.conns = append(s.conns, right)
		return true
	case p.open || p.down:
		reset(right)
	default:
		p.frozen = append(p.frozen, right)
	}
	return false
}

func (p *ProxyLink) pump(s *session, left, right net.Conn) error {
	group, ctx := errgroup.WithContext(s.ctx)
	// Whatever waits on a connection is woken when the session ends. Wait
	// ends ctx in any case, so woken is closed in any case.
	woken := make(chan struct{})
	context.AfterFunc(ctx, func() {
		interrupt(left)
		interrupt(right)
		close(woken)
	})
	for _, way := range []*stream{newStream(&p.out, left, right), newStream(&p.back, right, left)} {
		group.Go(func() error { return way.read(ctx) })
		group.Go(func() error { return way.write(ctx) })
	}
	err := group.Wait()
	<-woken
	return err
}

// Down implements Link.
func (p *ProxyLink) Down(context.Context) error {
	p.mu.Lock()
	first := !p.down
	p.down = true
	p.cancel(ErrDown)
	for s := range p.sessions {
		p.frozen = append(p.frozen, p.stop(s, ErrDown)...)
	}
	for _, h := range p.held {
		p.frozen = append(p.frozen, h.conn)
	}
	for _, c := range p.frozen {
		reset(c)
	}
	p.frozen, p.held = nil, nil
	p.mu.Unlock()
	var err error
	if first {
		err = p.listener.Close()
	}
	p.owned.Wait()
	if err != nil {
		return fmt.Errorf("taking down proxy link: %w", err)
	}
	return nil
}

// interrupt wakes whoever reads from or writes to c, for good.
func interrupt(c net.Conn) { c.SetDeadline(time.Unix(1, 0)) }

// reset closes c without sending what is left, so that the other end sees a
// failure and no orderly end.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.Close()
}
