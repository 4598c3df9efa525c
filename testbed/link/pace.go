package link

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// quantumTime is about how long one piece takes at the lane's rate, within
	// minQuantum and maxQuantum bytes.
	quantumTime = 10 * time.Millisecond
	minQuantum  = 256
	maxQuantum  = 64 << 10
	// ahead is how early the next piece is read, so that the lane does not
	// fall idle when the machine wakes a goroutine late.
	ahead = 5 * time.Millisecond
	// maxPieces and maxFlight (bytes) bound what one connection has under way
	// in one direction. Rate times delay beyond that is not reached.
	maxPieces = 4096
	minFlight = 256 << 10
	maxFlight = 64 << 20
)

// lane paces one direction of a proxy link: all connections share its rate. It
// reckons in virtual time: each piece takes the lane from when it is free for as
// long as the piece takes at the lane's rate.
type lane struct {
	mu   sync.Mutex // guards all below
	set  Lane
	free time.Time // when all that was sent has left
	flow Flow
}

// piece is some bytes under way.
type piece struct {
	data []byte
	due  time.Time // when they arrive
}

func (l *lane) reshape(s Lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set = s
}

func (l *lane) stats() Flow {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flow
}

// send books n bytes that are there at now. It returns when they arrive and when
// to come back with more.
func (l *lane) send(n int, now time.Time) (due, next time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	took := busy(int64(n), l.set.Rate)
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(took)
	l.flow.Bytes += int64(n)
	l.flow.Busy += took
	return l.free.Add(l.set.Delay), l.free.Add(-ahead)
}

// reset forgets what has not left yet.
func (l *lane) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = time.Time{}
}

// flight returns how many bytes one connection may have under way: enough to keep
// the lane busy, within bounds.
func (l *lane) flight() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.set.Rate == 0 {
		return maxFlight
	}
	bytes := float64(l.set.Rate) / 8 * (l.set.Delay + time.Second/4).Seconds()
	return max(minFlight, int64(min(bytes, maxFlight)))
}

// quantum returns how many bytes to read at a time.
func (l *lane) quantum() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.set.Rate == 0 {
		return maxQuantum
	}
	// Long delays need larger pieces, or their number would bound the rate.
	span := max(quantumTime, l.set.Delay/(maxPieces/2))
	return max(minQuantum, int(min(float64(l.set.Rate)/8*span.Seconds(), maxQuantum)))
}

// stream is one direction of one connection.
type stream struct {
	lane  *lane
	src   net.Conn
	dst   net.Conn
	queue chan piece
	room  *semaphore.Weighted
}

func newStream(l *lane, src, dst net.Conn) *stream {
	return &stream{
		lane: l, src: src, dst: dst,
		queue: make(chan piece, maxPieces), room: semaphore.NewWeighted(l.flight()),
	}
}

// read takes bytes in at the lane's rate until src ends.
func (s *stream) read(ctx context.Context) error {
	defer close(s.queue)
	buffer := make([]byte, maxQuantum)
	for {
		size := int64(s.lane.quantum())
		if err := s.room.Acquire(ctx, size); err != nil {
			return err
		}
		n, err := s.src.Read(buffer[:size])
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.room.Release(size - int64(n))
		if n > 0 {
			due, next := s.lane.send(n, time.Now())
			select {
			case s.queue <- piece{bytes.Clone(buffer[:n]), due}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			if err := sleepUntil(ctx, next); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// write hands bytes out when they are due.
func (s *stream) write(ctx context.Context) error {
	for p := range s.queue {
		if err := sleepUntil(ctx, p.due); err != nil {
			return err
		}
		if _, err := s.dst.Write(p.data); err != nil {
			return err
		}
		s.room.Release(int64(len(p.data)))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if half, ok := s.dst.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return s.dst.Close()
}
