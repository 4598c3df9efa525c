package tcpcl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"perigee/convergence"
)

// Sizes of the buffers of one session, in bytes. They grow with use and are given
// back when nothing has come or gone for restAfter, so that peers who do little
// take little memory.
const (
	maxSegment   = 256 << 10 // largest segment sent
	leastSegment = 4 << 10   // largest segment on the slowest transport
	readSize     = 256 << 10 // largest read from the transport
	leastRead    = 4 << 10
	maxUnackSegs = 4096 // segments sent and not acknowledged
	restAfter    = time.Second
)

// segmentTime is how long the transport should take for one segment: other messages
// wait for it.
const segmentTime = time.Second / 4

// Bounds on ending a session whose peer may be gone.
const (
	flushTimeout  = 5 * time.Second        // for the last output of a failed session
	cutTimeout    = 200 * time.Millisecond // the same when the session is cut
	lingerTimeout = 2 * time.Second        // for the peer to close its side after an end
)

// A session is a machine on a net.Conn. Two goroutines belong to it: the reader
// feeds the machine, the writer writes its output, keeps its time and is the one
// that ends the session when the machine has.
type session struct {
	conn  net.Conn // the wire, or TLS over it
	wire  *wire
	cfg   Config
	epoch time.Time

	established chan struct{} // closed with EventEstablished
	done        chan struct{} // closed by end
	readerDone  chan struct{}
	goroutines  sync.WaitGroup

	sendSlot    chan struct{} // held by the one Send that runs
	receiveSlot chan struct{} // held by the one Receive that runs
	outputReady signal        // to the writer
	sendRoom    signal        // to Send: output or window has room
	inputRoom   signal        // to the reader: data were read, transfers decided, output written
	arrived     signal        // to Receive and Incoming.Read

	segment []byte // the buffer for the next one; guarded by sendSlot

	mu       sync.Mutex // guards all below
	machine  *Machine
	err      error  // set by end
	onEnd    func() // called by end; may be nil
	closing  bool   // Close was called
	cut      bool   // its context ended
	flushBy  time.Time
	segments int // size of the next segment, as fast as the transport is
	counters convergence.Counters

	transfers ring[*transfer] // ours that are open, by ID; nil when resolved
	sentBase  uint64          // ID of the first

	data     byteRing
	arrivals ring[*incoming] // not yet returned by Receive
	latest   *incoming       // the one whose data arrive
	current  *incoming       // the last that Receive returned
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

// newSession starts a session where a contact ends. It must be ended, by Close or
// end, and its goroutines waited for.
func newSession(c *contact) *session {
	s := &session{
		conn:        c.conn,
		wire:        c.wire,
		cfg:         c.cfg,
		epoch:       c.epoch,
		established: make(chan struct{}),
		done:        make(chan struct{}),
		readerDone:  make(chan struct{}),
		sendSlot:    make(chan struct{}, 1),
		receiveSlot: make(chan struct{}, 1),
		outputReady: newSignal(),
		sendRoom:    newSignal(),
		inputRoom:   newSignal(),
		arrived:     newSignal(),
		machine:     c.machine,
		segments:    maxSegment / 8,
	}
	s.wire.writes = s
	s.goroutines.Go(s.readLoop)
	s.goroutines.Go(s.writeLoop)
	return s
}

// now is the machine's time.
func (s *session) now() time.Duration { return time.Since(s.epoch) }

func (s *session) MaxTransfer() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.machine.MaxTransfer()
}

func (s *session) PeerNode() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.machine.PeerNode()
}

// PeerProven implements [convergence.Prover].
func (s *session) PeerProven() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.machine.PeerProven()
}

func (s *session) RemoteAddr() string { return s.wire.RemoteAddr().String() }

func (s *session) Done() <-chan struct{} { return s.done }

func (s *session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *session) Counters() convergence.Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counters
	c.BytesSent, c.BytesReceived = s.wire.out.Load(), s.wire.in.Load()
	return c
}

// Close ends the session. Bundles that have arrived in full are still returned by
// Receive, and they and those that are being read are waited for; one of which only
// a part has come is refused, unless Receive has returned it or is about to.
func (s *session) Close(ctx context.Context) error {
	s.mu.Lock()
	wasOpen := s.err == nil
	if wasOpen && !s.closing {
		s.closing = true
		s.machine.Terminate(TermUnknown)
		s.refusePartial()
	}
	s.mu.Unlock()
	s.wake()

	select {
	case <-s.done:
	case <-ctx.Done():
		s.cutOff(fmt.Errorf("session was cut: %w", context.Cause(ctx)))
		<-s.done
	}
	s.goroutines.Wait()
	if err := s.Err(); wasOpen && !errors.Is(err, convergence.ErrClosed) {
		return fmt.Errorf("close TCPCL session with %s: %w", s.RemoteAddr(), err)
	}
	return nil
}

// wake lets everybody look again.
func (s *session) wake() {
	s.outputReady.notify()
	s.inputRoom.notify()
	s.sendRoom.notify()
	s.arrived.notify()
}

// terminate ends the session in an orderly way for a reason, without waiting.
func (s *session) terminate(reason TermReason) {
	s.mu.Lock()
	s.machine.Terminate(reason)
	s.mu.Unlock()
	s.wake()
}

// cutOff ends the session at once. What the machine has said by then, such as the
// acknowledgement of a bundle that is safe, still goes out if the peer takes it.
func (s *session) cutOff(err error) {
	s.mu.Lock()
	if s.machine.Err() != nil || s.machine.Finished() { // all is said, or never will be
		s.mu.Unlock()
		s.end(err)
		return
	}
	s.cut = true
	s.machine.fail(err)
	s.flushBy = time.Now().Add(cutTimeout)
	s.wire.SetWriteDeadline(s.flushBy)
	s.mu.Unlock()
	s.wake()
}

// end closes the transport and settles everything that waits. The first error
// stays.
func (s *session) end(err error) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	s.err = err
	for s.transfers.len() > 0 {
		if t := s.transfers.pop(); t != nil {
			t.resolve(fmt.Errorf("bundle was not acknowledged: %w", err))
		}
	}
	onEnd := s.onEnd
	s.mu.Unlock()
	close(s.done)
	s.wire.Close()
	if onEnd != nil {
		onEnd()
	}
}

// whenEnded has f called once the session has ended, or now.
func (s *session) whenEnded(f func()) {
	s.mu.Lock()
	over := s.err != nil
	s.onEnd = f
	s.mu.Unlock()
	if over {
		f()
	}
}

// ended is the error for a call on a session that carries nothing more.
func (s *session) ended() error {
	if s.err != nil {
		return s.err
	}
	return convergence.ErrClosed
}

var _ interface {
	convergence.Session
	convergence.Prover
} = (*session)(nil)
