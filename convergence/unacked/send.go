package unacked

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"perigee/convergence"
)

// Looks at what the peer's TCP has acknowledged: often at first, then less.
const (
	minLook = time.Millisecond
	maxLook = 100 * time.Millisecond
)

// A transfer is a bundle that was written.
type transfer struct {
	end   int64         // in the stream, of its last byte
	known chan struct{} // closed when its fate is
	fate  error
}

func (t *transfer) Wait(ctx context.Context) error {
	select {
	case <-t.known:
		return t.fate
	default:
	}
	select {
	case <-t.known:
		return t.fate
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Send writes one bundle. When ctx ends in the middle of it, or its body fails, the
// session is cut, since a sender cannot take back a head.
func (s *session) Send(ctx context.Context, length int64, body io.Reader) (convergence.Transfer, error) {
	switch {
	case length <= 0:
		return nil, fmt.Errorf("send bundle: %s has no bundles of %d bytes", s.framing.Name(), length)
	case uint64(length) > s.framing.MaxLength():
		return nil, fmt.Errorf("send bundle of %d bytes: %w: %s carries at most %d",
			length, &convergence.RefusedError{Reason: convergence.RefuseNotAcceptable}, s.framing.Name(), s.framing.MaxLength())
	}
	if err := acquire(ctx, s.pending, s.done); err != nil {
		return nil, s.endedOr(err)
	}
	t, err := s.sendWhole(ctx, length, body)
	if err != nil {
		<-s.pending
		return nil, err
	}
	return t, nil
}

// acquire takes a place in slots.
func acquire(ctx context.Context, slots chan struct{}, done <-chan struct{}) error {
	select {
	case slots <- struct{}{}:
		return nil
	case <-done:
		return convergence.ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// endedOr is why the session has ended, and err when it has not.
func (s *session) endedOr(err error) error {
	if ended := s.Err(); ended != nil {
		return ended
	}
	return err
}

func (s *session) sendWhole(ctx context.Context, length int64, body io.Reader) (*transfer, error) {
	if err := acquire(ctx, s.sendSlot, s.done); err != nil {
		return nil, s.endedOr(err)
	}
	defer func() { <-s.sendSlot }()
	if err := s.over(); err != nil {
		return nil, err
	}
	if s.out == nil {
		s.out = make([]byte, 0, writeSize)
	}
	// A write that waits for the peer ends with the context.
	stop := context.AfterFunc(ctx, func() { s.end(fmt.Errorf("session was cut: %w", context.Cause(ctx))) })
	defer stop()
	buf := s.framing.AppendHead(s.out[:0], uint64(length))
	for left := length; ; {
		n := min(left, int64(writeSize-len(buf)))
		at := len(buf)
		buf = buf[:at+int(n)]
		if _, err := io.ReadFull(body, buf[at:]); err != nil {
			return nil, s.abandon(length, fmt.Errorf("read its body: %w", err))
		}
		if err := s.write(buf); err != nil {
			return nil, s.abandon(length, err)
		}
		if left -= n; left == 0 {
			return s.track(), nil
		}
		buf = buf[:0]
	}
}

// abandon ends the session, which cannot go on after half a bundle.
func (s *session) abandon(length int64, err error) error {
	s.end(err)
	return fmt.Errorf("send bundle of %d bytes: %w", length, s.Err()) // it may have been cut before
}

// write writes b in full. However slow the peer is, it goes on while the peer takes
// bytes.
func (s *session) write(b []byte) error {
	for {
		s.conn.SetWriteDeadline(time.Now().Add(s.cfg.Stall))
		n, err := s.conn.Write(b)
		b = b[n:]
		s.mu.Lock()
		s.written += int64(n)
		s.counters.BytesSent += uint64(n)
		s.lastWrite = time.Now()
		s.mu.Unlock()
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("connection lost: %w", err)
		case n == 0:
			return fmt.Errorf("peer took nothing for %s: %w", s.cfg.Stall, err)
		}
	}
}

// track begins to wait for the fate of the bundle that was just written.
func (s *session) track() *transfer {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &transfer{end: s.written, known: make(chan struct{})}
	if s.err != nil { // it ended while the last bytes were written
		t.fate = fmt.Errorf("bundle may not have reached the peer: %w", s.err)
		close(t.known)
		<-s.pending
		return t
	}
	s.transfers = append(s.transfers, t)
	s.resolve()
	notify(s.sent)
	return t
}

// resolve settles the transfers whose last byte the peer's TCP has acknowledged. The
// caller holds the lock.
func (s *session) resolve() (any bool) {
	if len(s.transfers) == 0 {
		return false
	}
	waiting, ok := s.queued()
	if !ok {
		waiting = 0
	}
	for len(s.transfers) > 0 && s.transfers[0].end <= s.written-waiting {
		close(s.transfers[0].known)
		s.transfers[0] = nil
		s.transfers = s.transfers[1:]
		s.counters.BundlesSent++
		<-s.pending
		any = true
	}
	notify(s.settled)
	return any
}

// tend sends keepalives and settles transfers until the session ends.
func (s *session) tend() {
	timer := time.NewTimer(s.cfg.Keepalive)
	defer timer.Stop()
	look := minLook
	for {
		select {
		case <-s.done:
			return
		case <-s.sent:
			look = minLook
		case <-timer.C:
		}
		if err := s.keepAlive(); err != nil {
			s.end(err)
			return
		}
		s.mu.Lock()
		if s.resolve() {
			look = minLook
		}
		wait := s.untilKeepalive()
		if len(s.transfers) > 0 {
			wait = min(wait, look)
			look = min(2*look, maxLook)
		}
		s.mu.Unlock()
		timer.Reset(wait)
	}
}

// untilKeepalive is how long nothing needs to be sent. The caller holds the lock.
func (s *session) untilKeepalive() time.Duration {
	if !s.dialed || s.cfg.Keepalive < 0 {
		return forever
	}
	return max(s.cfg.Keepalive-time.Since(s.lastWrite), 0)
}

// keepAlive writes a keepalive when one is due and nothing is being sent.
func (s *session) keepAlive() error {
	s.mu.Lock()
	due := s.untilKeepalive() == 0 && !s.closing
	s.mu.Unlock()
	if !due {
		return nil
	}
	select {
	case s.sendSlot <- struct{}{}:
		defer func() { <-s.sendSlot }()
	default: // a bundle is, which says more
		s.mu.Lock()
		s.lastWrite = time.Now()
		s.mu.Unlock()
		return nil
	}
	var head [MaxHead]byte
	return s.write(s.framing.AppendHead(head[:0], 0))
}
