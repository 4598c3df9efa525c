package ltp

import (
	"context"
	"errors"
	"fmt"
	"io"

	"perigee/convergence"
)

// Receive waits for the next bundle. Those that came whole come first, so that what
// was lost of one holds up no other; large ones are returned while they arrive.
func (s *session) Receive(ctx context.Context) (convergence.Incoming, error) {
	select {
	case s.receiveSlot <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-s.receiveSlot }()
	for {
		in, err := s.nextArrival()
		if in != nil || err != nil {
			return in, err
		}
		select {
		case <-s.arrived:
		case <-s.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// nextArrival returns nothing when nothing has come yet.
func (s *session) nextArrival() (convergence.Incoming, error) {
	p := s.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	switch c := s.current; {
	case s.err != nil || s.closing:
		return nil, ended(s.err)
	case c != nil && !c.decided && !c.isRead():
		return nil, errors.New("receive bundle: read the one before to its end, or refuse it")
	}
	unit, length, ok := p.machine.Arrival()
	if !ok {
		return nil, nil
	}
	s.current = &incoming{s: s, unit: unit, length: length}
	return s.current, nil
}

// An incoming is a bundle from the peer. The peer's lock guards it.
type incoming struct {
	s        *session
	unit     Unit
	length   int64
	consumed bool  // io.EOF was returned
	decided  bool  // accepted or refused
	broken   error // why its sender gave it up
}

func (in *incoming) Length() int64 { return in.length }

func (in *incoming) isRead() bool {
	return in.consumed || in.broken != nil || in.s.peer.machine.AtEnd(in.unit)
}

func (in *incoming) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		n, err := in.readSome(b)
		if !errors.Is(err, errWait) {
			return n, err
		}
		select {
		case <-in.s.arrived:
		case <-in.s.done:
		}
	}
}

// readSome returns errWait when nothing has come yet.
func (in *incoming) readSome(b []byte) (int, error) {
	p := in.s.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case in.consumed:
		return 0, io.EOF
	case in.broken != nil:
		return 0, in.broken
	case in.decided:
		return 0, errors.New("read bundle: it was decided on")
	case in.s.err != nil:
		return 0, fmt.Errorf("bundle did not arrive in full: %w", in.s.err)
	}
	n, err := p.machine.Read(in.unit, b)
	switch {
	case err == nil:
		p.wakeSender()
	case errors.Is(err, errWait):
	case errors.Is(err, io.EOF):
		in.consumed = true
	default:
		in.broken = fmt.Errorf("bundle did not arrive in full: %w", err)
	}
	return n, err
}

func (in *incoming) Accept() error {
	s, p := in.s, in.s.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case in.decided:
		return errors.New("accept bundle: it was accepted or refused before")
	case s.err != nil:
		return fmt.Errorf("accept bundle: %w", s.err)
	case !in.isRead():
		return errors.New("accept bundle: it has not been read to its end")
	}
	in.decided = true
	defer p.settled()
	if err := p.machine.Accept(in.unit); err != nil {
		return err
	}
	in.consumed = true
	s.counters.BundlesReceived++
	return nil
}

func (in *incoming) Refuse(reason convergence.RefuseReason) error {
	s, p := in.s, in.s.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case in.decided:
		return errors.New("refuse bundle: it was accepted or refused before")
	case s.err != nil:
		return fmt.Errorf("refuse bundle: %w", s.err)
	}
	in.decided = true
	defer p.settled()
	if err := p.machine.Refuse(in.unit, reason); err != nil {
		if in.broken != nil { // its sender gave it up
			return nil
		}
		return err
	}
	s.counters.BundlesRefused++
	return nil
}

// settled acts on what follows from a decision, under the lock.
func (p *peer) settled() {
	p.listen()
	p.wake()
}
