package ltp

import (
	"context"
	"errors"
	"fmt"
	"io"

	"perigee/convergence"
)

// maxGreen bounds a bundle that is sent green: the receiver has to hold all of it.
const maxGreen = 16 << 20

// Send transfers one bundle. It returns early, without an error, when the peer
// refuses the bundle before all of it has been read: Wait then says so. When ctx
// ends in the middle of a bundle, its block is cancelled and the session goes on.
func (s *session) Send(ctx context.Context, length int64, body io.Reader) (convergence.Transfer, error) {
	t, err := s.send(ctx, length, body, false)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// SendGreen implements [GreenSender].
func (s *session) SendGreen(ctx context.Context, length int64, body io.Reader) error {
	if length > maxGreen {
		return fmt.Errorf("%w: %d bytes, at most %d without acknowledgement", ErrTooLarge, length, maxGreen)
	}
	_, err := s.send(ctx, length, body, true)
	return err
}

func (s *session) send(ctx context.Context, length int64, body io.Reader, green bool) (*transfer, error) {
	if length < 0 {
		return nil, fmt.Errorf("send bundle: length %d is negative", length)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	select {
	case s.sendSlot <- struct{}{}:
	case <-s.done:
		return nil, s.Err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-s.sendSlot }()
	t := &transfer{s: s, green: green, length: length}
	for first := true; first || t.left() > 0; first = false {
		switch err := s.sendPage(ctx, t, body); {
		case errors.Is(err, errStopped):
			return t, nil
		case err != nil:
			return nil, s.giveUp(ctx, t, err)
		}
	}
	return t, nil
}

// errBody marks an error of the body of a bundle.
var errBody = errors.New("read its body")

// giveUp ends what cannot go on after an error: a bundle whose context ended, or,
// as the contract has it, the session of a body that failed.
func (s *session) giveUp(ctx context.Context, t *transfer, err error) error {
	p := s.peer
	switch {
	case errors.Is(err, errBody):
		err = fmt.Errorf("send bundle of %d bytes: %w", t.length, err)
		p.failSession(s, err)
	case t.begun && ctx.Err() != nil:
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.session == s {
			p.machine.Cancel(t.block)
			delete(s.transfers, t.block)
			p.wake()
		}
	}
	return err
}

// sendPage waits for room, reads the next page of a bundle and hands it over. The
// block begins only once its first page was read, so that a session may end while a
// body keeps us waiting.
func (s *session) sendPage(ctx context.Context, t *transfer, body io.Reader) error {
	p := s.peer
	n := int(min(t.left(), pageSize))
	if err := s.lockWithRoom(ctx, t, n); err != nil {
		return err
	}
	page := p.machine.Page(n)
	p.mu.Unlock()
	_, err := io.ReadFull(body, page)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil:
		p.machine.Return(page)
		return fmt.Errorf("%w: %w", errBody, err)
	case s.err != nil:
		p.machine.Return(page)
		return s.err
	case t.begun:
		err = p.machine.Continue(t.block, page)
	default:
		err = s.begin(t, page)
	}
	t.sent += int64(n)
	p.wake()
	return err
}

// begin opens the block of a bundle.
func (s *session) begin(t *transfer, page []byte) error {
	unit, err := s.peer.machine.Begin(uint64(t.length), page, t.green)
	if err != nil {
		return err
	}
	t.begun, t.block = true, unit.Block
	if !t.green {
		s.transfers[unit.Block] = append(s.transfers[unit.Block], t) // units come in order
	}
	return nil
}

// lockWithRoom waits until a page of n bytes may be handed over, and returns with the
// lock held. A transfer whose fate is known waits for nothing.
func (s *session) lockWithRoom(ctx context.Context, t *transfer, n int) error {
	p := s.peer
	for {
		p.mu.Lock()
		switch {
		case s.err != nil:
			defer p.mu.Unlock()
			return s.err
		case t.resolved:
			defer p.mu.Unlock()
			return errStopped
		case t.begun && p.machine.HasRoomIn(t.block, n):
			return nil
		case !t.begun:
			if err := p.machine.CanBegin(uint64(t.length)); err != nil {
				defer p.mu.Unlock()
				return err
			}
			if p.machine.HasRoomForBlock(n) {
				return nil
			}
		}
		p.mu.Unlock()
		select {
		case <-s.sendRoom:
		case <-s.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// deliver settles the bundles of a block that the peer has, under the lock.
func (s *session) deliver(block uint64, refused map[int]convergence.RefuseReason) {
	for i, t := range s.transfers[block] {
		if reason, ok := refused[i]; ok {
			s.counters.BundlesRefused++
			t.resolve(&convergence.RefusedError{Reason: reason})
			continue
		}
		s.counters.BundlesSent++
		t.resolve(nil)
	}
	delete(s.transfers, block)
}

// resolve settles all bundles of a block, under the lock.
func (s *session) resolve(block uint64, fate error) {
	var refused *convergence.RefusedError
	for _, t := range s.transfers[block] {
		if errors.As(fate, &refused) {
			s.counters.BundlesRefused++
		}
		t.resolve(fate)
	}
	delete(s.transfers, block)
}

// A transfer is one of our bundles. The peer's lock guards it until it is resolved.
type transfer struct {
	s        *session
	green    bool
	length   int64
	sent     int64 // bytes that were handed over
	begun    bool
	block    uint64
	resolved bool
	fate     error
	waiters  chan struct{} // closed when resolved; made by the first who waits
}

func (t *transfer) left() int64 { return t.length - t.sent }

func (t *transfer) resolve(fate error) {
	t.resolved, t.fate = true, fate
	if t.waiters != nil {
		close(t.waiters)
	}
}

func (t *transfer) Wait(ctx context.Context) error {
	mu := &t.s.peer.mu
	mu.Lock()
	if t.resolved {
		defer mu.Unlock()
		return t.fate
	}
	if t.waiters == nil {
		t.waiters = make(chan struct{})
	}
	waiters := t.waiters
	mu.Unlock()
	select {
	case <-waiters:
		return t.fate
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
