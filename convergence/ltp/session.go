package ltp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

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
	_ convergence.Session = (*session)(nil)
	_ io.Reader           = (*incoming)(nil)
	_ Contact             = (*session)(nil)
	_ GreenSender         = (*session)(nil)
)

// A Contact is what a session of this package offers besides the contract: it
// follows the contacts of a plan. Its methods may be called at any time.
type Contact interface {
	// Suspend stops sending and all timers until Resume: the contact is over, or
	// the peer does not send. Nothing is given up for it.
	Suspend()

	// Resume goes on where Suspend stopped.
	Resume()

	// SetRate sets how fast is sent, in bits per second with the headers of UDP
	// and IP, 0 for no limit. It stays for later sessions with the peer.
	SetRate(bitsPerSecond uint64)

	// SetLightTime sets how far away the peer is, one way. It stays for later
	// sessions with the peer.
	SetLightTime(d time.Duration)
}

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
// accepted, and are waited for; those that it has not are refused. A session that is
// suspended ends when it is resumed, or with ctx.
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

// control has the machine do something, unless the session has ended.
func (s *session) control(do func(m *Machine, now time.Duration)) {
	p := s.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session == s {
		do(p.machine, p.engine.now())
		p.ready.notify()
		s.sendRoom.notify()
	}
}

func (s *session) Suspend() { s.control((*Machine).Suspend) }
func (s *session) Resume()  { s.control((*Machine).Resume) }

func (s *session) SetRate(bitsPerSecond uint64) {
	s.control(func(m *Machine, now time.Duration) {
		m.SetRate(bitsPerSecond)
		s.peer.pace.setRate(bitsPerSecond, now)
	})
}

func (s *session) SetLightTime(d time.Duration) {
	s.control(func(m *Machine, _ time.Duration) { m.SetLightTime(d) })
}
