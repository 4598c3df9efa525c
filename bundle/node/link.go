package node

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"perigee/bundle"
	"perigee/bundle/core"
	"perigee/bundle/store"
	"perigee/convergence"
)

// Pauses from one attempt to open a session to the next, which double.
const (
	firstPause  = 200 * time.Millisecond
	maxPause    = 5 * time.Second
	dialTimeout = 10 * time.Second
)

// maxTransmits is how many bundles may wait in a session; the core keeps to less.
const maxTransmits = 2048

// linkState is what the node knows of the link with a neighbour.
type linkState struct {
	layer, address string
	lastError      string
	past           convergence.Counters // of sessions that have ended
	current        []*session           // two for a while when both nodes dial
}

// link changes the state of the link with peer.
func (n *Node) link(peer bundle.EID, change func(*linkState)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.links[peer]
	if l == nil {
		l = new(linkState)
		n.links[peer] = l
	}
	change(l)
}

// dialer opens sessions with one neighbour while the core wants one.
type dialer struct {
	node   *Node
	link   Link
	change chan struct{} // of capacity 1

	mu     sync.Mutex // guards wanted
	wanted bool
}

func newDialer(n *Node, l Link) *dialer {
	return &dialer{node: n, link: l, change: make(chan struct{}, 1)}
}

// want starts or stops the dialer. It never blocks.
func (d *dialer) want(on bool) {
	d.mu.Lock()
	d.wanted = on
	d.mu.Unlock()
	select {
	case d.change <- struct{}{}:
	default:
	}
}

func (d *dialer) isWanted() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.wanted
}

// run keeps a session open while one is wanted, until ctx ends.
func (d *dialer) run(ctx context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		if !d.isWanted() {
			pause = firstPause
			select {
			case <-d.change:
			case <-ctx.Done():
			}
			continue
		}
		began := time.Now()
		sess, err := d.dial(ctx)
		if err == nil {
			pause = firstPause
			d.node.serve(ctx, sess, d.link.Layer, true)
			continue
		}
		if !errors.Is(err, convergence.ErrOpen) {
			d.node.link(d.link.Peer, func(l *linkState) { l.lastError = err.Error() })
		}
		d.node.log.Debug("could not open a session", "peer", d.link.Peer, "address", d.link.Address, "error", err)
		select {
		case <-time.After(pause - time.Since(began)):
		case <-d.change:
		case <-ctx.Done():
		}
		pause = min(2*pause, maxPause)
	}
}

// dial tries once, for as long as the session is wanted.
func (d *dialer) dial(ctx context.Context) (convergence.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	watched := make(chan struct{})
	defer func() { <-watched }()
	done := make(chan struct{})
	defer close(done)
	go func() {
		defer close(watched)
		for {
			select {
			case <-d.change:
				if !d.isWanted() {
					cancel()
					return
				}
			case <-done:
				return
			}
		}
	}()
	return d.link.Dialer.Dial(ctx, d.link.Address)
}

// listen accepts sessions until ctx ends.
func (n *Node) listen(ctx context.Context, l Listener) {
	for {
		sess, err := l.Accept(ctx)
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, convergence.ErrClosed) {
				n.log.Error("listening for neighbours ended", "address", l.Addr(), "error", err)
			}
			return
		}
		n.sessions.Go(func() {
			if l.Unnamed {
				n.serveUnnamed(ctx, sess)
				return
			}
			n.serve(ctx, sess, l.Layer, false)
		})
	}
}

// session is one session with a neighbour.
type session struct {
	convergence.Session
	id    core.LinkID
	peer  bundle.EID
	out   *queue[core.Transmit]
	quit  chan struct{} // closed when the core has given the session up
	quits sync.Once
}

// serve runs a session until it ends, the core gives it up or ctx ends.
func (n *Node) serve(ctx context.Context, sess convergence.Session, layer string, dialed bool) {
	peer, err := bundle.ParseEID(sess.PeerNode())
	if err != nil || peer.IsNull() {
		n.log.Warn("ended a session with a neighbour that gave no usable node ID", "address", sess.RemoteAddr(), "node", sess.PeerNode(), "error", err)
		n.closeSession(ctx, sess)
		return
	}
	s := &session{
		Session: sess, id: core.LinkID(n.lastLink.Add(1)), peer: peer.Node(),
		out: newQueue[core.Transmit](maxTransmits), quit: make(chan struct{}),
	}
	n.link(s.peer, func(l *linkState) {
		l.current, l.lastError = append(l.current, s), ""
		if l.layer == "" {
			l.layer, l.address = layer, sess.RemoteAddr()
		}
	})
	n.log.Info("link is up", "peer", s.peer, "address", sess.RemoteAddr(), "proven", isProven(sess))
	n.post(input{call: func(*core.Core) { n.live[s.id] = s }})
	_, lasting := sess.(convergence.Follower)
	n.post(input{event: core.LinkUp{
		Link: s.id, Peer: s.peer, Dialed: dialed, MaxTransfer: sess.MaxTransfer(), Lasting: lasting,
	}})

	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var parts sync.WaitGroup
	waits := newQueue[flight](maxTransmits)
	parts.Go(func() { n.receiveAll(inner, s) })
	parts.Go(func() { defer waits.close(); n.sendAll(inner, s, waits) })
	parts.Go(func() { n.awaitAll(inner, s, waits) })
	select {
	case <-s.Done():
	case <-s.quit:
	case <-ctx.Done():
	}
	n.closeSession(ctx, sess)
	cancel()
	parts.Wait()

	n.post(input{call: func(*core.Core) { delete(n.live, s.id) }})
	n.post(input{event: core.LinkDown{Link: s.id}})
	n.link(s.peer, func(l *linkState) {
		l.past = add(l.past, s.Counters())
		l.current = slices.DeleteFunc(l.current, func(o *session) bool { return o == s })
		if err := s.Err(); err != nil && !errors.Is(err, convergence.ErrClosed) {
			l.lastError = err.Error()
		}
	})
	n.log.Info("link is down", "peer", s.peer, "why", s.Err())
}

// serveUnnamed takes what comes over a session whose other end does not say who it is,
// until the session or ctx ends. The core is told of no link, since nothing can be
// sent over it.
func (n *Node) serveUnnamed(ctx context.Context, sess convergence.Session) {
	s := &session{Session: sess, id: core.LinkID(n.lastLink.Add(1))}
	n.log.Info("a neighbour without a name is connected", "address", sess.RemoteAddr())
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var receiving sync.WaitGroup
	receiving.Go(func() { n.receiveAll(inner, s) })
	select {
	case <-s.Done():
	case <-ctx.Done():
	}
	n.closeSession(ctx, sess)
	cancel()
	receiving.Wait()
	n.log.Info("a neighbour without a name is gone", "address", sess.RemoteAddr(), "why", s.Err())
}

// isProven tells whether the neighbour has proven that it is the node that it says.
func isProven(sess convergence.Session) bool {
	p, ok := sess.(convergence.Prover)
	return ok && p.PeerProven()
}

// closeSession ends a session in an orderly way, or cuts it after a while.
func (n *Node) closeSession(ctx context.Context, sess convergence.Session) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeGrace)
	defer cancel()
	if err := sess.Close(ctx); err != nil {
		n.log.Debug("session did not end in an orderly way", "error", err)
	}
}

// hangup carries out the core's wish.
func (n *Node) hangup(x core.Hangup) {
	if x.Link == 0 {
		if d := n.dialers[x.Peer]; d != nil {
			d.want(false)
		}
		return
	}
	if s := n.live[x.Link]; s != nil {
		s.quits.Do(func() { close(s.quit) })
	}
}

// follow tells a session of its contact.
func (n *Node) follow(x core.Follow) {
	s := n.live[x.Link]
	if s == nil {
		return
	}
	if f, ok := s.Session.(convergence.Follower); ok {
		f.Follow(convergence.Contact{Open: x.Open, Rate: uint64(x.Rate), LightTime: x.Light.Std()})
	}
}

// transmit hands a bundle to its session. It returns false when that has ended.
func (n *Node) transmit(x core.Transmit) bool {
	s := n.live[x.Link]
	return s != nil && s.out.offer(x)
}

// flight is a bundle that was handed to the transport.
type flight struct {
	handle   store.Handle
	transfer convergence.Transfer
}

// sendAll sends what the core asks for, in order.
func (n *Node) sendAll(ctx context.Context, s *session, waits *queue[flight]) {
	for {
		x, ok := s.out.take(ctx.Done())
		if !ok {
			return
		}
		transfer, err := n.send(ctx, s, x)
		if err != nil && isDone(s) {
			return // the core takes back what was under way with LinkDown
		}
		if err != nil {
			n.post(input{event: core.Sent{Link: s.id, Handle: x.Record.Handle, Err: err}})
			continue
		}
		waits.put(flight{x.Record.Handle, transfer}, nil) // awaitAll takes until it is closed
	}
}

func isDone(s *session) bool {
	select {
	case <-s.Done():
		return true
	default:
		return false
	}
}

// awaitAll tells the core what became of each bundle, in order.
func (n *Node) awaitAll(ctx context.Context, s *session, waits *queue[flight]) {
	for {
		f, ok := waits.take(nil)
		if !ok {
			return
		}
		err := f.transfer.Wait(ctx)
		n.post(input{event: core.Sent{Link: s.id, Handle: f.handle, Err: err}})
	}
}

// receiveAll takes what the neighbour sends.
func (n *Node) receiveAll(ctx context.Context, s *session) {
	for {
		in, err := s.Receive(ctx)
		if err != nil {
			return // the session has ended; its Err says why
		}
		buf := n.buffers.Get().(*[copyBuffer]byte) // sessions that wait need none
		if err := n.receive(s, in, buf[:]); err != nil {
			n.log.Info("did not take a bundle", "peer", s.peer, "error", err)
		}
		n.buffers.Put(buf)
	}
}

func add(a, b convergence.Counters) convergence.Counters {
	return convergence.Counters{
		BundlesSent: a.BundlesSent + b.BundlesSent, BundlesReceived: a.BundlesReceived + b.BundlesReceived,
		BundlesRefused: a.BundlesRefused + b.BundlesRefused,
		BytesSent:      a.BytesSent + b.BytesSent, BytesReceived: a.BytesReceived + b.BytesReceived,
	}
}
