package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"perigee/bundle"
	"perigee/bundle/core"
	"perigee/bundle/store"
	"perigee/convergence"
)

// maxTransmits is how many bundles may wait in a session; the core keeps to less.
const maxTransmits = 2048

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
	grace time.Duration // for what is being transferred; read after quit
	meter meter         // guarded by Node.mu once the session is in linkState
}

// serve runs a session until it ends, the core gives it up or ctx ends.
func (n *Node) serve(ctx context.Context, sess convergence.Session, layer string, dialed bool) {
	peer, err := bundle.ParseEID(sess.PeerNode())
	if err != nil || peer.IsNull() {
		n.log.Warn("ended a session with a neighbour that gave no usable node ID", "address", sess.RemoteAddr(), "node", sess.PeerNode(), "error", err)
		n.closeSession(ctx, sess, closeGrace)
		return
	}
	s := &session{
		Session: sess, id: core.LinkID(n.lastLink.Add(1)), peer: peer.Node(),
		out: newQueue[core.Transmit](maxTransmits), quit: make(chan struct{}),
	}
	n.joined(s, layer)
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
	grace := closeGrace
	select {
	case <-s.Done():
	case <-s.quit:
		grace = max(grace, s.grace)
	case <-ctx.Done():
	}
	n.closeSession(ctx, sess, grace)
	cancel()
	parts.Wait()

	n.post(input{call: func(*core.Core) { delete(n.live, s.id) }})
	n.post(input{event: core.LinkDown{Link: s.id, Err: s.Err()}})
	if err := s.Err(); err != nil && !errors.Is(err, convergence.ErrClosed) {
		n.failed(s.peer, err)
	}
	n.parted(s)
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
	n.closeSession(ctx, sess, closeGrace)
	cancel()
	receiving.Wait()
	n.log.Info("a neighbour without a name is gone", "address", sess.RemoteAddr(), "why", s.Err())
}

// isProven tells whether the neighbour has proven that it is the node that it says.
func isProven(sess convergence.Session) bool {
	p, ok := sess.(convergence.Prover)
	return ok && p.PeerProven()
}

// closeSession ends a session in an orderly way, or cuts it after a while, which is
// closeGrace at most once ctx has ended.
func (n *Node) closeSession(ctx context.Context, sess convergence.Session, grace time.Duration) {
	inner, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(closeGrace, cancel) })
	defer stop()
	if err := sess.Close(inner); err != nil {
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
		s.quits.Do(func() {
			s.grace = x.Grace.Std()
			close(s.quit)
		})
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
