package unacked

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"time"

	"perigee/convergence"
)

// Sizes of the buffers of one session, in bytes. That for writing is allocated on first
// use. A reader that takes more at once goes past its buffer.
const (
	readSize  = 16 << 10
	writeSize = 64 << 10
)

// ErrProtocol is a peer that breaks the protocol. The session ends.
var ErrProtocol = errors.New("peer breaks the protocol")

// A session reads and writes in the goroutines of its callers. One goroutine of its
// own sends keepalives and watches what the peer's TCP acknowledges.
type session struct {
	conn    net.Conn
	queued  func() (int64, bool) // bytes that the peer's TCP has not acknowledged
	framing Framing
	cfg     Config
	dialed  bool
	ended   func() // called once by end

	done       chan struct{} // closed by end
	goroutines sync.WaitGroup
	sendSlot   chan struct{} // held by the one Send, or keepalive, that runs
	pending    chan struct{} // one for each transfer without a fate
	undecided  chan struct{} // one for each bundle that is neither accepted nor refused
	sent       chan struct{} // of capacity 1: wakes tend
	settled    chan struct{} // of capacity 1: wakes Close

	out         []byte        // guarded by sendSlot
	receiveSlot chan struct{} // held by the one Receive that runs
	reading     sync.Mutex    // guards in; never waited for by who holds mu
	in          *bufio.Reader

	mu          sync.Mutex // guards all below
	err         error      // set by end
	closing     bool       // Close was called
	interrupted bool       // the context of the running Receive has ended
	current     *incoming  // the last bundle that Receive returned
	transfers   []*transfer
	written     int64 // bytes handed to the transport
	lastWrite   time.Time
	counters    convergence.Counters
}

// newSession starts a session on conn, which it owns. It must be closed. When it ends
// it calls ended.
func newSession(conn net.Conn, f Framing, cfg Config, dialed bool, ended func()) *session {
	s := &session{
		conn: conn, queued: queueOf(conn), framing: f, cfg: cfg, dialed: dialed, ended: ended,
		done:     make(chan struct{}),
		sendSlot: make(chan struct{}, 1), receiveSlot: make(chan struct{}, 1),
		pending: make(chan struct{}, cfg.MaxUnacked), undecided: make(chan struct{}, cfg.MaxIncoming),
		sent: make(chan struct{}, 1), settled: make(chan struct{}, 1),
		lastWrite: time.Now(),
	}
	s.in = bufio.NewReaderSize(rawReader{s}, readSize)
	s.goroutines.Go(s.tend)
	return s
}

// Client opens a session over an open connection, which it then owns, as the node
// that sends.
func Client(conn net.Conn, f Framing, cfg Config) (convergence.Session, error) {
	return over(conn, f, cfg, true)
}

// Server opens a session over an open connection, which it then owns, as the node
// that receives. Its peer has no name.
func Server(conn net.Conn, f Framing, cfg Config) (convergence.Session, error) {
	return over(conn, f, cfg, false)
}

func over(conn net.Conn, f Framing, cfg Config, dialed bool) (convergence.Session, error) {
	cfg, err := cfg.withDefaults(f)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return newSession(conn, f, cfg, dialed, func() {}), nil
}

// PeerNode is the name that the configuration has for the address that was dialed,
// and empty for a session that was accepted.
func (s *session) PeerNode() string {
	if s.dialed {
		return s.cfg.Peer
	}
	return ""
}

func (s *session) RemoteAddr() string { return s.conn.RemoteAddr().String() }

// MaxTransfer is 2^64-1, or what a head can hold: peers cannot say what they take.
func (s *session) MaxTransfer() uint64 { return s.framing.MaxLength() }

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

// Close waits until what was sent is acknowledged by the peer's TCP and until a
// bundle that is being read has been. No further bundle is received or sent.
func (s *session) Close(ctx context.Context) error {
	s.mu.Lock()
	wasOpen := s.err == nil
	s.closing = true
	s.armRead()
	s.mu.Unlock()
	err := s.drain(ctx)
	if err == nil {
		if half, ok := s.conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite() // the connection closes next, whatever it says
		}
		err = convergence.ErrClosed
	}
	s.end(err)
	s.goroutines.Wait()
	if err := s.Err(); wasOpen && !errors.Is(err, convergence.ErrClosed) {
		return fmt.Errorf("close %s session with %s: %w", s.framing.Name(), s.RemoteAddr(), err)
	}
	return nil
}

// drain waits until nothing is under way.
func (s *session) drain(ctx context.Context) error {
	select {
	case s.sendSlot <- struct{}{}:
		defer func() { <-s.sendSlot }()
	case <-s.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("session was cut: %w", context.Cause(ctx))
	}
	for !s.isQuiet() {
		select {
		case <-s.settled:
		case <-s.done:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("session was cut: %w", context.Cause(ctx))
		}
	}
	return nil
}

// isQuiet tells whether no transfer is without a fate and no bundle is being read.
func (s *session) isQuiet() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.transfers) == 0 && (s.current == nil || s.current.isRead())
}

// end closes the transport and settles everything that waits. The first error stays.
func (s *session) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = err
	s.resolve() // what was acknowledged until now was
	for _, t := range s.transfers {
		t.fate = fmt.Errorf("bundle may not have reached the peer: %w", err)
		close(t.known)
	}
	s.transfers = nil
	close(s.done)
	s.conn.Close()
	s.ended()
}

// over is the error for a call on a session that carries nothing more, nil for one
// that does.
func (s *session) over() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil && s.closing {
		return convergence.ErrClosed
	}
	return s.err
}

func notify(signal chan struct{}) {
	select {
	case signal <- struct{}{}:
	default:
	}
}

// forever is more than any session lasts.
const forever = math.MaxInt64 * time.Nanosecond
