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

// readLoop feeds the machine until the transport ends.
func (s *session) readLoop() {
	defer close(s.readerDone)
	var err error
	buf, kept := make([]byte, leastRead), 0
	for err == nil {
		if buf, kept, err = s.readOnce(buf, kept); errors.Is(err, os.ErrDeadlineExceeded) {
			buf, err = s.restReading(buf, kept), nil
		}
	}
	s.readEnded(err)
}

// readOnce reads and feeds once. The first kept bytes of buf are there already; it
// returns how many are then. The buffer grows while the peer fills it, and a large
// one is kept for a while only.
func (s *session) readOnce(buf []byte, kept int) ([]byte, int, error) {
	if len(buf) > leastRead {
		s.wire.SetReadDeadline(time.Now().Add(restAfter))
	}
	n, err := s.conn.Read(buf[kept:])
	full := kept+n == len(buf)
	if n > 0 {
		kept = s.feed(buf[:kept+n])
	}
	if full && len(buf) < readSize {
		larger := make([]byte, 2*len(buf))
		copy(larger, buf[:kept])
		buf = larger
	}
	return buf, kept, err
}

// restReading gives back the memory of a session to which nothing comes.
func (s *session) restReading(buf []byte, kept int) []byte {
	s.wire.SetReadDeadline(time.Time{})
	s.mu.Lock()
	s.data.rest()
	s.mu.Unlock()
	smaller := make([]byte, max(leastRead, kept+1))
	copy(smaller, buf[:kept])
	return smaller
}

// feed gives the machine what has come, and returns how many bytes it moved to the
// front of in because their message is incomplete.
func (s *session) feed(in []byte) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0
	}
	buf := in
	if s.data.free() < len(in) && !s.pauseInput(func() bool { return s.data.free() >= len(in) }) {
		return 0
	}
	now := s.now()
	for {
		n, ev := s.machine.Feed(in, now)
		in = in[n:]
		switch ev.Kind {
		case EventNone:
			s.wakeAll()
			return copy(buf, in)
		case EventBlocked:
			s.wakeAll()
			if !s.pauseInput(nil) {
				return 0
			}
			now = s.now()
		default:
			s.handle(ev)
		}
	}
}

// wakeAll wakes whoever may have something to do after input.
func (s *session) wakeAll() {
	if s.machine.Output() > 0 || s.machine.Err() != nil || s.machine.Finished() {
		s.outputReady.notify()
	}
	s.sendRoom.notify()
	s.arrived.notify()
}

// pauseInput waits, without the lock, until something made room (and ready, when
// given, agrees). It returns false when the session has ended. The peer is held
// up by TCP meanwhile, and is not blamed for being silent.
func (s *session) pauseInput(ready func() bool) bool {
	s.machine.Listening(false, s.now())
	defer func() { s.machine.Listening(true, s.now()) }()
	for s.err == nil {
		s.mu.Unlock()
		select {
		case <-s.inputRoom:
		case <-s.done:
		}
		s.mu.Lock()
		if ready == nil || ready() {
			break
		}
	}
	return s.err == nil
}

// handle acts on one event, under the lock.
func (s *session) handle(ev Event) {
	switch ev.Kind {
	case EventEstablished:
		close(s.established)
		s.outputReady.notify() // keepalives are due from now on
	case EventStart:
		s.latest = &incoming{s: s, number: ev.Transfer, length: ev.Length}
		s.arrivals.push(s.latest)
	case EventData:
		rest := s.latest.take(ev.Data)
		s.data.write(rest)
		s.latest.unread += len(rest)
		s.latest.complete = ev.End
	case EventBroken:
		s.latest.broken = fmt.Errorf("%w: transfer is refused: %s", ErrProtocol, ev.Reason)
		s.latest.decided = true
		s.counters.BundlesRefused++
	case EventDelivered:
		s.counters.BundlesSent++
		s.resolve(ev.Transfer, nil)
	case EventRefused:
		s.counters.BundlesRefused++
		s.resolve(ev.Transfer, &convergence.RefusedError{Reason: ev.Reason})
	case EventEnding: // Send fails from now on, by the machine
	case EventFailed:
		s.hurry()
	}
}

// readEnded decides what the end of the transport means.
func (s *session) readEnded(err error) {
	s.mu.Lock()
	m := s.machine
	byWriter := m.Finished() || m.Err() != nil
	orderly := m.termReceived && m.tx.open.len() == 0 && m.rx.open.len() == 0
	farewell := m.Farewell()
	s.mu.Unlock()
	switch {
	case byWriter: // it writes what is left, then ends the session
		s.outputReady.notify()
	case orderly:
		s.end(farewell)
	case errors.Is(err, io.EOF):
		s.end(errors.New("peer closed the connection without ending the session"))
	default:
		s.end(fmt.Errorf("connection lost: %w", err))
	}
}

// Receive waits for the next bundle. Bundles that came in full before the
// session was lost are still returned, though they cannot be accepted any more.
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
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.current; c != nil && !c.decided && !c.consumed && s.err == nil {
		return nil, errors.New("receive bundle: read the one before to its end, or refuse it")
	}
	if s.arrivals.len() > 0 && (s.err == nil || (*s.arrivals.at(0)).complete) {
		s.dropUnread()
		s.current = s.arrivals.pop()
		return s.current, nil
	}
	if s.err != nil || s.closing {
		return nil, s.ended()
	}
	return nil, nil
}

// dropUnread discards what is left of the bundle that Receive returned last.
func (s *session) dropUnread() {
	if s.current == nil || s.current.unread == 0 {
		return
	}
	s.data.discard(s.current.unread)
	s.current.unread = 0
	s.inputRoom.notify()
}

// refusePartial refuses, for Close, the bundle of which only a part has come, unless
// Receive has returned it. A Receive that waits returns the first that came.
func (s *session) refusePartial() {
	if s.arrivals.len() == 0 || s.arrivals.len() == 1 && len(s.receiveSlot) > 0 {
		return
	}
	in := *s.arrivals.at(s.arrivals.len() - 1)
	if in.complete || in.decided {
		return
	}
	s.arrivals.popLast()
	s.data.truncate(in.unread)
	in.unread, in.decided = 0, true
	if s.machine.Refuse(in.number, convergence.RefuseSessionTerminating) == nil {
		s.counters.BundlesRefused++
	}
}

// An incoming is a bundle from the peer. The session's lock guards it.
type incoming struct {
	s        *session
	number   uint64
	length   int64
	into     []byte // where a Read that waits wants its bytes
	got      int    // bytes that were put there
	unread   int    // bytes in the session's data
	complete bool   // its last byte is among them
	consumed bool   // io.EOF was returned
	decided  bool   // accepted or refused
	broken   error  // why the machine refused it
}

func (in *incoming) Length() int64 { return in.length }

func (in *incoming) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := in.readSome(p)
		if n > 0 || err != nil {
			return n, err
		}
		select {
		case <-in.s.arrived:
		case <-in.s.done:
		}
	}
}

// take gives fresh data to a Read that waits for them, past the session's memory, and
// returns what is left.
func (in *incoming) take(data []byte) []byte {
	if in.unread > 0 {
		return data
	}
	n := copy(in.into[in.got:], data)
	in.got += n
	return data[n:]
}

// readSome returns nothing when nothing has come yet; what comes then is put into p.
func (in *incoming) readSome(p []byte) (int, error) {
	s := in.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := in.got; n > 0 {
		in.got, in.into = 0, nil
		return n, nil
	}
	in.into = nil
	switch {
	case in.unread > 0:
		n := min(len(p), in.unread)
		s.data.read(p[:n])
		in.unread -= n
		s.inputRoom.notify()
		return n, nil
	case in.complete && (!in.decided || in.consumed):
		in.consumed = true
		return 0, io.EOF
	case in.broken != nil:
		return 0, in.broken
	case in.decided:
		return 0, errors.New("read bundle: it was refused")
	case s.err != nil:
		return 0, fmt.Errorf("bundle did not arrive in full: %w", s.err)
	}
	in.into = p
	return 0, nil
}

func (in *incoming) Accept() error {
	s := in.s
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return fmt.Errorf("accept bundle: %w", s.err)
	case in.broken != nil:
		return fmt.Errorf("accept bundle: %w", in.broken)
	case in.decided:
		return errors.New("accept bundle: it was accepted or refused before")
	case !in.consumed && (in.unread > 0 || !in.complete):
		return errors.New("accept bundle: it has not been read to its end")
	}
	if err := s.machine.Accept(in.number); err != nil {
		return err
	}
	in.decided, in.consumed = true, true
	s.counters.BundlesReceived++
	s.outputReady.notify()
	s.inputRoom.notify()
	return nil
}

func (in *incoming) Refuse(reason convergence.RefuseReason) error {
	s := in.s
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case in.broken != nil: // the peer has been told
		return nil
	case s.err != nil:
		return fmt.Errorf("refuse bundle: %w", s.err)
	case in.decided:
		return errors.New("refuse bundle: it was accepted or refused before")
	}
	if err := s.machine.Refuse(in.number, reason); err != nil {
		return err
	}
	in.decided = true
	s.counters.BundlesRefused++
	if in == s.current {
		s.dropUnread()
	}
	s.outputReady.notify()
	s.inputRoom.notify()
	return nil
}
