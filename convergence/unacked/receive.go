package unacked

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"perigee/convergence"
)

// rawReader reads from the transport of a session under its deadlines.
type rawReader struct{ s *session }

func (r rawReader) Read(p []byte) (int, error) {
	s := r.s
	s.mu.Lock()
	s.armRead()
	s.mu.Unlock()
	n, err := s.conn.Read(p)
	s.mu.Lock()
	s.counters.BytesReceived += uint64(n)
	s.mu.Unlock()
	return n, err
}

// armRead sets how long a read may wait. The caller holds the lock.
func (s *session) armRead() {
	inBundle := s.current != nil && !s.current.isRead()
	var deadline time.Time // none
	switch {
	case inBundle:
		deadline = time.Now().Add(s.cfg.Stall)
	case s.closing || s.interrupted:
		deadline = time.Unix(1, 0) // at once
	case !s.dialed:
		deadline = time.Now().Add(s.cfg.Idle)
	}
	s.conn.SetReadDeadline(deadline)
}

// Receive waits for the next bundle. It also notices that the peer has gone, so one
// should always be waiting.
func (s *session) Receive(ctx context.Context) (convergence.Incoming, error) {
	if err := acquire(ctx, s.receiveSlot, s.done); err != nil {
		return nil, s.endedOr(err)
	}
	defer func() { <-s.receiveSlot }()
	if err := s.mayReceive(); err != nil {
		return nil, err
	}
	if err := acquire(ctx, s.undecided, s.done); err != nil {
		return nil, s.endedOr(err)
	}
	in, err := s.next(ctx)
	if err != nil {
		<-s.undecided
		return nil, err
	}
	return in, nil
}

// next waits for the head of the next bundle.
func (s *session) next(ctx context.Context) (*incoming, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	defer s.interruptWith(ctx)()
	if err := s.dropRest(ctx); err != nil {
		return nil, err
	}
	length, err := s.readHead(ctx)
	if err != nil {
		return nil, err
	}
	in := &incoming{s: s, length: length, left: length}
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
	case s.current != nil && s.current.left > 0 && !s.current.decided:
		return errors.New("receive bundle: read the one before to its end, or refuse it")
	}
	return nil
}

// interruptWith ends waiting reads when ctx ends, until the returned function is
// called.
func (s *session) interruptWith(ctx context.Context) func() {
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.interrupted = true
		s.armRead()
	})
	return func() {
		if stop() {
			return
		}
		<-fired
		s.mu.Lock()
		defer s.mu.Unlock()
		s.interrupted = false
	}
}

// dropRest reads what is left of a bundle that was refused.
func (s *session) dropRest(ctx context.Context) error {
	s.mu.Lock()
	in := s.current
	s.mu.Unlock()
	if in == nil {
		return nil
	}
	for in.rest() > 0 {
		n, err := s.in.Discard(int(min(in.rest(), readSize)))
		in.took(int64(n))
		if err != nil {
			return s.waitFailed(ctx, true, err)
		}
	}
	return nil
}

// readHead waits for the next head that is no keepalive.
func (s *session) readHead(ctx context.Context) (int64, error) {
	for size := 1; ; {
		head, err := s.in.Peek(size)
		if err != nil {
			return 0, s.waitFailed(ctx, len(head) > 0, err)
		}
		// More of the head may be there already.
		head, _ = s.in.Peek(min(s.in.Buffered(), MaxHead))
		length, n, err := s.framing.ParseHead(head)
		switch {
		case errors.Is(err, ErrShort) && len(head) < MaxHead:
			size = len(head) + 1
			continue
		case err != nil:
			err = fmt.Errorf("%w: %w", ErrProtocol, err)
			s.end(err)
			return 0, err
		case length > math.MaxInt64:
			err := fmt.Errorf("%w: it announces a bundle of %d bytes", ErrProtocol, length)
			s.end(err)
			return 0, err
		}
		_, _ = s.in.Discard(n) // of what is buffered
		if length > 0 {
			return int64(length), nil
		}
		if err := errors.Join(s.over(), context.Cause(ctx)); err != nil {
			return 0, err // however many keepalives come
		}
		size = 1
	}
}

// waitFailed decides what a failed read within Receive means. Begun tells that it was
// not the first byte of a head that was waited for.
func (s *session) waitFailed(ctx context.Context, begun bool, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if over := s.over(); over != nil {
			return over
		}
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		err = fmt.Errorf("peer was silent for %s", s.cfg.Idle)
		s.end(err)
		return err
	}
	if errors.Is(err, io.EOF) && !begun {
		s.end(convergence.ErrClosed) // it has no other way to end
		return s.Err()
	}
	return s.readFailed(err)
}

// readFailed ends the session after a read that failed within a bundle or a head.
func (s *session) readFailed(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		err = errors.New("peer closed the connection in the middle of a bundle")
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("peer sent nothing of a bundle for %s", s.cfg.Stall)
	default:
		err = fmt.Errorf("connection lost: %w", err)
	}
	s.end(err)
	return s.Err()
}

// An incoming is a bundle from the peer. The session's lock guards what changes.
type incoming struct {
	s       *session
	length  int64
	left    int64 // bytes that were not read yet
	decided bool  // accepted or refused
	refused bool
}

func (in *incoming) Length() int64 { return in.length }

// isRead tells whether nothing more of the bundle will be read before the next
// Receive. The caller holds the lock.
func (in *incoming) isRead() bool { return in.left == 0 || in.refused }

func (in *incoming) rest() int64 {
	in.s.mu.Lock()
	defer in.s.mu.Unlock()
	return in.left
}

func (in *incoming) took(n int64) {
	in.s.mu.Lock()
	defer in.s.mu.Unlock()
	if in.left -= n; in.left == 0 {
		notify(in.s.settled)
	}
}

func (in *incoming) Read(p []byte) (int, error) {
	s := in.s
	if err := in.mayRead(); err != nil {
		return 0, err
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	if err := in.mayRead(); err != nil { // it may have been refused, and the rest dropped
		return 0, err
	}
	n, err := s.in.Read(p[:min(int64(len(p)), in.rest())])
	in.took(int64(n))
	if err != nil {
		return n, fmt.Errorf("bundle did not arrive in full: %w", s.readFailed(err))
	}
	return n, nil
}

// mayRead tells why there is nothing to read.
func (in *incoming) mayRead() error {
	in.s.mu.Lock()
	defer in.s.mu.Unlock()
	switch {
	case in.refused:
		return errors.New("read bundle: it was refused")
	case in.left == 0:
		return io.EOF
	case in.s.err != nil:
		return fmt.Errorf("bundle did not arrive in full: %w", in.s.err)
	}
	return nil
}

// Accept tells nobody. It works after the end of the session too, since the bundle
// is here in full.
func (in *incoming) Accept() error {
	s := in.s
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case in.decided:
		return errors.New("accept bundle: it was accepted or refused before")
	case in.left > 0:
		return errors.New("accept bundle: it has not been read to its end")
	}
	in.decided = true
	s.counters.BundlesReceived++
	<-s.undecided
	return nil
}

// Refuse drops what is left of the bundle. The peer is not told: there is no way.
func (in *incoming) Refuse(convergence.RefuseReason) error {
	s := in.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if in.decided {
		return errors.New("refuse bundle: it was accepted or refused before")
	}
	in.decided, in.refused = true, true
	s.counters.BundlesRefused++
	<-s.undecided
	notify(s.settled)
	return nil
}
