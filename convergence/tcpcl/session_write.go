package tcpcl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"perigee/convergence"
)

// writeLoop writes the machine's output and keeps its time until the session
// ends.
func (s *session) writeLoop() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var buf []byte
	for {
		out, wait, over := s.nextOutput(buf)
		switch {
		case len(out) > 0:
			if err := s.write(out); err != nil {
				s.writeFailed(err)
				return
			}
			buf = out
			continue
		case over != nil:
			s.finish(over)
			return
		}
		large := cap(buf) > leastSegment
		if large {
			wait = min(wait, restAfter)
		}
		timer.Reset(wait)
		select {
		case <-s.outputReady:
		case <-timer.C:
			if large {
				s.restWriting()
				buf = nil
			}
		case <-s.done:
			return
		}
	}
}

// restWriting gives back the memory of a session that sends nothing.
func (s *session) restWriting() {
	s.mu.Lock()
	if s.machine.Output() == 0 {
		s.machine.TakeOutput(nil)
	}
	s.mu.Unlock()
	select {
	case s.sendSlot <- struct{}{}:
		s.segment = nil
		<-s.sendSlot
	default:
	}
}

// nextOutput takes what is to be written, else how long the machine can wait,
// else the error that the session has ended with.
func (s *session) nextOutput(buf []byte) (out []byte, wait time.Duration, over error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.machine
	now := s.now()
	m.Tick(now)
	if m.Err() != nil {
		s.hurry()
	}
	switch {
	case m.Output() > 0:
		out = m.TakeOutput(buf)
		s.sendRoom.notify()
		s.inputRoom.notify()
		return out, 0, nil
	case m.Err() != nil:
		return nil, 0, m.Err()
	case m.Finished():
		return nil, 0, m.Farewell()
	}
	if at, ok := m.NextTick(); ok {
		return nil, max(at-now, 0), nil
	}
	return nil, time.Hour, nil
}

// finish ends a session whose last output was written. The peer gets a moment
// to read it and to close its side: closing with unread input would reset the
// connection, and could take the last messages with it.
func (s *session) finish(err error) {
	s.mu.Lock()
	cut := s.cut
	s.hurry()
	s.mu.Unlock()
	if half, ok := s.conn.(interface{ CloseWrite() error }); ok && !cut && half.CloseWrite() == nil {
		linger := time.NewTimer(lingerTimeout)
		defer linger.Stop()
		select {
		case <-s.readerDone:
		case <-s.done:
		case <-linger.C:
		}
	}
	s.end(err)
}

// writeFailed ends the session with the machine's reason when it has one: then
// the peer has gone before it heard the last words.
func (s *session) writeFailed(err error) {
	s.mu.Lock()
	m := s.machine
	switch {
	case m.Err() != nil:
		err = m.Err()
	case m.Finished():
		err = m.Farewell()
	default:
		err = fmt.Errorf("connection lost: %w", err)
	}
	s.mu.Unlock()
	s.end(err)
}

// write writes b in full, and measures how fast the transport takes it.
func (s *session) write(b []byte) error {
	before := s.now()
	if _, err := s.conn.Write(b); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.machine.Sent(now, true)
	if len(b) >= leastSegment {
		rate := float64(len(b)) / max(now-before, time.Microsecond).Seconds()
		s.segments = int(min(max(rate*segmentTime.Seconds(), leastSegment), maxSegment))
	}
	return nil
}

// beforeWrite bounds one attempt to write, for the wire. The deadline is set under
// the lock so that hurry is not undone.
func (s *session) beforeWrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	deadline := s.flushBy
	if deadline.IsZero() {
		patience := s.cfg.StallTimeout
		if k := s.machine.Keepalive(); k > 0 {
			patience = k
		}
		deadline = time.Now().Add(patience)
	}
	return s.wire.SetWriteDeadline(deadline)
}

// wrote judges one attempt to write, for the wire. However slow the peer is, writing
// goes on while it takes bytes or is heard.
func (s *session) wrote(n int, err error) (again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if n > 0 {
		s.machine.Sent(now, false)
	}
	hurried := !s.flushBy.IsZero() && !time.Now().Before(s.flushBy)
	if !errors.Is(err, os.ErrDeadlineExceeded) || hurried {
		return false
	}
	return n > 0 || s.peerAlive(now)
}

// peerAlive judges a peer that has taken nothing for one write deadline.
func (s *session) peerAlive(now time.Duration) bool {
	m := s.machine
	if m.Keepalive() == 0 {
		return now-m.Heard() < s.cfg.StallTimeout
	}
	m.Tick(now)
	if m.Err() != nil {
		s.hurry()
	}
	return m.Err() == nil
}

// hurry bounds what is left to write once the machine has failed.
func (s *session) hurry() {
	if s.flushBy.IsZero() {
		s.flushBy = time.Now().Add(flushTimeout)
		s.wire.SetWriteDeadline(s.flushBy)
	}
}

// Send transfers one bundle. It returns early, without an error, when the peer
// refuses the bundle before all of it has been read: Wait then says so. When ctx
// ends in the middle of a bundle the session is cut, as RFC 9174 knows no way
// for a sender to abandon a transfer.
func (s *session) Send(ctx context.Context, length int64, body io.Reader) (convergence.Transfer, error) {
	if length < 0 {
		return nil, fmt.Errorf("send bundle: length %d is negative", length)
	}
	select {
	case s.sendSlot <- struct{}{}:
	case <-s.done:
		return nil, s.Err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-s.sendSlot }()
	t, sent, err := s.sendFirst(ctx, length, body)
	if err != nil {
		return nil, err
	}
	for sent < length {
		n, err := s.sendNext(ctx, t, length-sent, body)
		if errors.Is(err, errStopped) {
			break
		}
		if err != nil {
			return nil, s.abandon(length, err)
		}
		sent += n
	}
	return t, nil
}

// abandon ends the session, which cannot go on after half a bundle.
func (s *session) abandon(length int64, err error) error {
	err = fmt.Errorf("send bundle of %d bytes: %w", length, err)
	s.end(err)
	return err
}

// nextSegment is a buffer for the next segment when left bytes are to come. The
// caller holds sendSlot.
func (s *session) nextSegment(left int64) []byte {
	s.mu.Lock()
	size := int(min(left, int64(s.machine.SegmentSize(s.segments))))
	s.mu.Unlock()
	if len(s.segment) < size {
		s.segment = make([]byte, max(size, min(2*len(s.segment), maxSegment), leastSegment))
	}
	return s.segment[:size]
}

// sendFirst waits for room and sends the first segment. The transfer begins only
// once that is read, so that a session may end while a body keeps us waiting.
func (s *session) sendFirst(ctx context.Context, length int64, body io.Reader) (t *transfer, sent int64, err error) {
	if err := s.lockWithRoom(ctx, nil); err != nil {
		return nil, 0, err
	}
	err = s.machine.CanBegin(uint64(length))
	s.mu.Unlock()
	if err != nil {
		return nil, 0, err
	}
	segment := s.nextSegment(length)
	if _, err := io.ReadFull(body, segment); err != nil {
		return nil, 0, s.abandon(length, fmt.Errorf("read its body: %w", err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, 0, s.err
	}
	if _, err := s.machine.Begin(uint64(length)); err != nil {
		return nil, 0, err
	}
	t = &transfer{s: s}
	s.transfers.push(t)
	s.outputReady.notify()
	return t, int64(len(segment)), s.machine.Segment(segment)
}

// sendNext sends a further segment when left bytes are to come, and returns its
// length. It returns errStopped once the peer has refused the transfer.
func (s *session) sendNext(ctx context.Context, t *transfer, left int64, body io.Reader) (int64, error) {
	if t.isResolved() {
		return 0, errStopped
	}
	segment := s.nextSegment(left)
	if _, err := io.ReadFull(body, segment); err != nil {
		return 0, fmt.Errorf("read its body: %w", err)
	}
	if err := s.lockWithRoom(ctx, t); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	s.outputReady.notify()
	return int64(len(segment)), s.machine.Segment(segment)
}

// lockWithRoom waits until a segment may be sent, of transfer t or of a new one
// when t is nil, and returns with the lock held. A transfer whose fate is known
// waits for nothing.
func (s *session) lockWithRoom(ctx context.Context, t *transfer) error {
	for {
		s.mu.Lock()
		if s.err != nil {
			defer s.mu.Unlock()
			return s.err
		}
		ending := t == nil && s.machine.Ending() // CanBegin says so
		if ending || t != nil && t.resolved || s.hasRoom(t == nil) {
			return nil
		}
		s.mu.Unlock()
		select {
		case <-s.sendRoom:
		case <-s.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *session) hasRoom(newTransfer bool) bool {
	transfers, segments, bytes := s.machine.Unacked()
	switch {
	case s.machine.Output() >= 2*s.segments, segments >= maxUnackSegs:
		return false
	case newTransfer && transfers >= s.cfg.MaxUnackedTransfers:
		return false
	}
	return bytes == 0 || bytes < uint64(s.cfg.MaxUnackedBytes)
}

// resolve settles one of our transfers, under the lock.
func (s *session) resolve(id uint64, fate error) {
	slot := s.transfers.at(int(id - s.sentBase))
	(*slot).resolve(fate)
	*slot = nil
	for s.transfers.len() > 0 && *s.transfers.at(0) == nil {
		s.transfers.pop()
		s.sentBase++
	}
}

// A transfer is one of our bundles. The session's lock guards it until it is
// resolved.
type transfer struct {
	s        *session
	resolved bool
	fate     error
	waiters  chan struct{} // closed when resolved; made by the first who waits
}

func (t *transfer) resolve(fate error) {
	t.resolved, t.fate = true, fate
	if t.waiters != nil {
		close(t.waiters)
	}
}

func (t *transfer) isResolved() bool {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	return t.resolved
}

func (t *transfer) Wait(ctx context.Context) error {
	t.s.mu.Lock()
	if t.resolved {
		defer t.s.mu.Unlock()
		return t.fate
	}
	if t.waiters == nil {
		t.waiters = make(chan struct{})
	}
	waiters := t.waiters
	t.s.mu.Unlock()
	select {
	case <-waiters:
		return t.fate
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
