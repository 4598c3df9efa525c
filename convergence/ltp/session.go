package ltp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"perigee/convergence"
)

// A session is a link with one peer as the contract of package convergence has it.
// It owns no goroutine; those of its engine serve it.
type session struct {
	peer *peer

	up   chan struct{} // closed when the peer was heard
	done chan struct{} // closed by end

	sendSlot    chan struct{} // held by the one Send that runs
	receiveSlot chan struct{} // held by the one Receive that runs
	sendRoom    signal        // to Send
	arrived     signal        // to Receive and Incoming.Read

	// The lock of the peer guards all below.
	err       error // set by end
	closing   bool  // Close was called
	ending    bool  // the peer ends the session
	counters  convergence.Counters
	transfers map[uint64][]*transfer // ours that are open, by block
	current   *incoming              // the last that Receive returned
}

var (
	_ convergence.Session  = (*session)(nil)
	_ io.Reader            = (*incoming)(nil)
	_ convergence.Follower = (*session)(nil)
	_ GreenSender          = (*session)(nil)
)

// A GreenSender sends bundles that may be lost.
type GreenSender interface {
	// SendGreen sends one bundle of exactly length bytes read from body as the
	// green part of a block: once, without anything heard of it. It returns when
	// the bundle was handed to the transport, in which it may wait for its turn.
	// The peer's side gets it like any other bundle, or not at all. Bundles of
	// more than 16 MiB are refused with ErrTooLarge.
	SendGreen(ctx context.Context, length int64, body io.Reader) error
}

func newSession(p *peer) *session {
	return &session{
		peer:        p,
		up:          make(chan struct{}),
		done:        make(chan struct{}),
		sendSlot:    make(chan struct{}, 1),
		receiveSlot: make(chan struct{}, 1),
		sendRoom:    newSignal(),
		arrived:     newSignal(),
		transfers:   make(map[uint64][]*transfer),
	}
}

func (s *session) PeerNode() string    { return s.peer.cfg.Node }
func (s *session) MaxTransfer() uint64 { return math.MaxUint64 }

func (s *session) RemoteAddr() string {
	s.peer.mu.Lock()
	defer s.peer.mu.Unlock()
	return s.peer.address.String()
}

func (s *session) Done() <-chan struct{} { return s.done }

func (s *session) Err() error {
	s.peer.mu.Lock()
	defer s.peer.mu.Unlock()
	return s.err
}

func (s *session) Counters() convergence.Counters {
	s.peer.mu.Lock()
	defer s.peer.mu.Unlock()
	return s.counters
}

// Close ends the session. Bundles that Receive has returned may still be read and
// accepted, and are waited for; those that it has not are refused. A session that
// waits for its next contact is cut.
func (s *session) Close(ctx context.Context) error {
	p := s.peer
	p.mu.Lock()
	wasOpen := s.err == nil
	if wasOpen && !s.closing {
		s.closing = true
		p.machine.Close(p.engine.now())
		p.listen()
		p.ready.notify()
		s.sendRoom.notify()
		s.arrived.notify()
		if p.machine.suspended { // nobody hears of it, and a contact may be far away
			p.machine.Fail(convergence.ErrSuspended, p.engine.now())
			p.listen()
		}
	}
	p.mu.Unlock()
	select {
	case <-s.done:
	case <-ctx.Done():
		p.failSession(s, fmt.Errorf("session was cut: %w", context.Cause(ctx)))
		<-s.done
	}
	if err := s.Err(); wasOpen && !errors.Is(err, convergence.ErrClosed) {
		return fmt.Errorf("close LTP session with %s: %w", s.PeerNode(), err)
	}
	return nil
}

// end settles everything that waits, under the lock.
func (s *session) end(err error) {
	s.err = err
	for block := range s.transfers { // in any order: each has its own waiters
		s.resolve(block, fmt.Errorf("bundle was not acknowledged: %w", err))
	}
	close(s.done)
}

// Follow implements [convergence.Follower]. What is sent in the meantime waits for
// its turn, except for bundles of which nothing was sent: those are given back.
func (s *session) Follow(c convergence.Contact) {
	p := s.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session == s {
		p.follow(c)
		p.ready.notify()
		s.sendRoom.notify()
	}
}
