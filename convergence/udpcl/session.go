package udpcl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"perigee/convergence"
	"perigee/convergence/unacked"
)

// readBuffer is how much the system is asked to keep of what comes faster than it is
// taken, in bytes. It may give less.
const readBuffer = 1 << 20

// A session reads and writes in the goroutines of its callers and has none of its own.
type session struct {
	conn net.Conn // connected to the peer, if there is one
	cfg  Config
	one  bool // there is one peer, to which it sends

	done        chan struct{} // closed by end
	sendSlot    chan struct{} // held by the one Send that runs
	receiveSlot chan struct{} // held by the one Receive that runs
	undecided   chan struct{} // one for each bundle that is neither accepted nor refused

	pace pace   // guarded by sendSlot
	out  []byte // guarded by sendSlot
	in   []byte // guarded by receiveSlot and by the bundle that is read

	mu       sync.Mutex // guards all below
	err      error      // set by end
	closing  bool
	current  *unacked.Arrived // the last bundle that Receive returned
	counters convergence.Counters
}

func newSession(conn net.Conn, cfg Config, one bool) *session {
	if c, ok := conn.(*net.UDPConn); ok {
		c.SetReadBuffer(readBuffer)
	}
	return &session{
		conn: conn, cfg: cfg, one: one, done: make(chan struct{}), pace: pace{rate: cfg.Rate},
		sendSlot: make(chan struct{}, 1), receiveSlot: make(chan struct{}, 1), undecided: make(chan struct{}, cfg.MaxIncoming),
	}
}

// PeerNode is the name that the configuration has for the address that was dialed,
// and empty for the session of a listener.
func (s *session) PeerNode() string {
	if s.one {
		return s.cfg.Peer
	}
	return ""
}

// RemoteAddr is that of the one peer; else the address at which all arrive.
func (s *session) RemoteAddr() string {
	if s.one {
		return s.conn.RemoteAddr().String()
	}
	return s.conn.LocalAddr().String()
}

// MaxTransfer is what a datagram carries.
func (s *session) MaxTransfer() uint64 { return uint64(s.cfg.MaxDatagram) }

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

// Close waits for the datagram that is being sent.
func (s *session) Close(ctx context.Context) error {
	s.mu.Lock()
	wasOpen := s.err == nil
	s.closing = true
	s.conn.SetReadDeadline(time.Unix(1, 0)) // no Receive waits any more
	s.mu.Unlock()
	select {
	case s.sendSlot <- struct{}{}:
		defer func() { <-s.sendSlot }()
		s.end(convergence.ErrClosed)
	case <-s.done:
	case <-ctx.Done():
		s.end(fmt.Errorf("session was cut: %w", context.Cause(ctx)))
	}
	if err := s.Err(); wasOpen && !errors.Is(err, convergence.ErrClosed) {
		return fmt.Errorf("close UDPCL session with %s: %w", s.RemoteAddr(), err)
	}
	return nil
}

// end closes the socket. The first error stays.
func (s *session) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = err
	close(s.done)
	s.conn.Close()
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

// acquire takes a place in slots.
func (s *session) acquire(ctx context.Context, slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		return nil
	case <-s.done:
		return s.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sent is the fate of every bundle whose datagram was handed to the network.
type sent struct{}

func (sent) Wait(context.Context) error { return nil }

// Send sends one bundle as one datagram, as soon as the rate allows. A bundle that
// does not fit is an error of its own; the session goes on.
func (s *session) Send(ctx context.Context, length int64, body io.Reader) (convergence.Transfer, error) {
	switch {
	case !s.one:
		return nil, errors.New("send bundle: this session has no one peer and only receives")
	case length <= 0:
		return nil, fmt.Errorf("send bundle: UDPCL has no bundles of %d bytes", length)
	case length > int64(s.cfg.MaxDatagram):
		return nil, fmt.Errorf("send bundle of %d bytes: %w: a datagram carries at most %d; "+
			"cut it into smaller bundles, allow larger datagrams, or use another layer", length, notAcceptable(), s.cfg.MaxDatagram)
	}
	if err := s.acquire(ctx, s.sendSlot); err != nil {
		return nil, err
	}
	defer func() { <-s.sendSlot }()
	if err := s.over(); err != nil {
		return nil, err
	}
	if s.out == nil {
		s.out = make([]byte, s.cfg.MaxDatagram)
	}
	datagram := s.out[:length]
	if _, err := io.ReadFull(body, datagram); err != nil {
		return nil, fmt.Errorf("send bundle of %d bytes: read its body: %w", length, err) // nothing was sent
	}
	if !isBundle(datagram) {
		return nil, fmt.Errorf("send bundle of %d bytes: %w: it begins with 0x%02x and is none of version 7", length, notAcceptable(), datagram[0])
	}
	if err := s.wait(ctx, s.pace.take(len(datagram), time.Now())); err != nil {
		return nil, err
	}
	if _, err := s.conn.Write(datagram); err != nil {
		s.end(fmt.Errorf("peer cannot be reached: %w", err))
		return nil, fmt.Errorf("send bundle of %d bytes: %w", length, s.Err())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counters.BundlesSent++
	s.counters.BytesSent += uint64(length)
	return sent{}, nil
}

// notAcceptable is the fate of a bundle that can never go this way.
func notAcceptable() error {
	return &convergence.RefusedError{Reason: convergence.RefuseNotAcceptable}
}

// wait lets a time pass, unless ctx or the session ends first.
func (s *session) wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.done:
		return s.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Receive waits for the next datagram with a bundle. On a session with one peer it
// also notices that nobody listens there, so one should always be waiting.
func (s *session) Receive(ctx context.Context) (convergence.Incoming, error) {
	if err := s.acquire(ctx, s.receiveSlot); err != nil {
		return nil, err
	}
	defer func() { <-s.receiveSlot }()
	if err := s.mayReceive(); err != nil {
		return nil, err
	}
	if err := s.acquire(ctx, s.undecided); err != nil {
		return nil, err
	}
	datagram, err := s.read(ctx)
	if err != nil {
		<-s.undecided
		return nil, err
	}
	in := unacked.NewArrived(datagram, s.settled)
	s.mu.Lock()
	s.current = in
	s.mu.Unlock()
	return in, nil
}

func (s *session) mayReceive() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return s.err
	case s.closing:
		return convergence.ErrClosed
	case s.current != nil && !s.current.IsRead():
		return errors.New("receive bundle: read the one before to its end, or refuse it")
	}
	s.conn.SetReadDeadline(time.Time{})
	return nil
}

// read waits for a datagram that holds a bundle.
func (s *session) read(ctx context.Context) ([]byte, error) {
	if s.in == nil {
		s.in = make([]byte, MaxDatagram+1)
	}
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		s.conn.SetReadDeadline(time.Unix(1, 0))
	})
	defer func() {
		if !stop() {
			<-fired // before the next Receive takes the deadline back
		}
	}()
	for {
		n, err := s.conn.Read(s.in)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, errors.Join(s.over(), context.Cause(ctx))
		case err != nil:
			s.end(fmt.Errorf("peer cannot be reached: %w", err))
			return nil, s.Err()
		}
		s.mu.Lock()
		s.counters.BytesReceived += uint64(n)
		s.mu.Unlock()
		if isBundle(s.in[:n]) {
			return s.in[:n], nil
		}
		if err := errors.Join(s.over(), context.Cause(ctx)); err != nil {
			return nil, err // however much comes that is no bundle
		}
	}
}

// settled counts what became of a bundle.
func (s *session) settled(accepted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if accepted {
		s.counters.BundlesReceived++
	} else {
		s.counters.BundlesRefused++
	}
	<-s.undecided
}
