package tcpcl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"perigee/convergence"
)

// Sizes of the buffers of one session, in bytes. Each is allocated on first use.
const (
	segmentSize  = 64 << 10  // largest segment sent
	outputRoom   = 128 << 10 // output that may wait before Send blocks
	readSize     = 64 << 10  // one read from the transport
	dataRoom     = 256 << 10 // data that may wait for Incoming.Read
	maxUnackSegs = 4096      // segments sent and not acknowledged
)

// Bounds on ending a session whose peer may be gone.
const (
	flushTimeout  = 5 * time.Second // for the last output of a failed session
	lingerTimeout = 2 * time.Second // for the peer to close its side after an end
)

// A session is a machine on a net.Conn. Two goroutines belong to it: the reader
// feeds the machine, the writer writes its output, keeps its time and is the one
// that ends the session when the machine has.
type session struct {
	conn  net.Conn
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

	segment []byte // guarded by sendSlot

	mu       sync.Mutex // guards all below
	machine  *Machine
	err      error // set by end
	closing  bool  // Close was called
	flushBy  time.Time
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

// newSession starts a session on conn. It must be ended, by Close or end, and
// its goroutines waited for.
func newSession(conn net.Conn, cfg Config, active bool) *session {
	s := &session{
		conn:        conn,
		cfg:         cfg,
		epoch:       time.Now(),
		established: make(chan struct{}),
		done:        make(chan struct{}),
		readerDone:  make(chan struct{}),
		sendSlot:    make(chan struct{}, 1),
		receiveSlot: make(chan struct{}, 1),
		outputReady: newSignal(),
		sendRoom:    newSignal(),
		inputRoom:   newSignal(),
		arrived:     newSignal(),
		machine:     NewMachine(cfg.params(active), 0),
	}
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

func (s *session) RemoteAddr() string { return s.conn.RemoteAddr().String() }

func (s *session) Done() <-chan struct{} { return s.done }

func (s *session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *session) Counters() convergence.Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counters
}

// Close ends the session. Transfers that Receive has returned may still be read
// and accepted, and are waited for; those that it has not are refused.
func (s *session) Close(ctx context.Context) error {
	s.mu.Lock()
	wasOpen := s.err == nil
	if wasOpen && !s.closing {
		s.closing = true
		s.machine.Terminate(TermUnknown)
		s.refuseArrivals()
	}
	s.mu.Unlock()
	s.outputReady.notify()
	s.inputRoom.notify()
	s.arrived.notify()

	select {
	case <-s.done:
	case <-ctx.Done():
		s.end(fmt.Errorf("session was cut: %w", context.Cause(ctx)))
	}
	s.goroutines.Wait()
	if err := s.Err(); wasOpen && !errors.Is(err, convergence.ErrClosed) {
		return fmt.Errorf("close TCPCL session with %s: %w", s.RemoteAddr(), err)
	}
	return nil
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
	s.mu.Unlock()
	close(s.done)
	s.conn.Close()
}

// ended is the error for a call on a session that carries nothing more.
func (s *session) ended() error {
	if s.err != nil {
		return s.err
	}
	return convergence.ErrClosed
}

// byteRing is a bounded queue of bytes.
type byteRing struct {
	buf         []byte
	head, count int
}

func (r *byteRing) free() int { return dataRoom - r.count }

// write appends p, which must fit.
func (r *byteRing) write(p []byte) {
	if r.buf == nil {
		r.buf = make([]byte, dataRoom)
	}
	tail := (r.head + r.count) % dataRoom
	n := copy(r.buf[tail:], p)
	copy(r.buf, p[n:])
	r.count += len(p)
}

// read takes len(p) bytes, which must be there.
func (r *byteRing) read(p []byte) {
	n := copy(p, r.buf[r.head:])
	copy(p[n:], r.buf)
	r.discard(len(p))
}

// discard drops the first n bytes.
func (r *byteRing) discard(n int) {
	r.head = (r.head + n) % dataRoom
	r.count -= n
}

// truncate drops the last n bytes.
func (r *byteRing) truncate(n int) { r.count -= n }

var _ io.Reader = (*incoming)(nil)
