package node

import (
	"context"
	"fmt"
	"sync"

	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// The counter of the store that reserves sequence numbers of a node without a clock,
// and how many are reserved at a time.
const (
	stampCounter = "creation-sequence"
	stampBlock   = 1024
)

// stamper gives out creation timestamps, none twice (RFC 9171 section 4.2.7). When
// the clock stands still or goes back, it counts on from the last time.
//
// Without a clock the time is 0 and the sequence number is never reset, not by a
// restart either: numbers are reserved in the store in blocks.
type stamper struct {
	store store.Store // nil: the clock is used

	mu       sync.Mutex // guards the rest
	last     bundle.Timestamp
	reserved uint64 // numbers below may be given out
}

// withoutClock makes the stamper do without a clock.
func (s *stamper) withoutClock(at store.Store) error {
	next, err := at.Counter(stampCounter)
	if err != nil {
		return fmt.Errorf("reading the counter %s: %w", stampCounter, err)
	}
	s.store, s.last.Sequence, s.reserved = at, next, next
	return s.reserve()
}

func (s *stamper) next(now dtntime.Time) bundle.Timestamp {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.store != nil:
		if s.last.Sequence+1 >= s.reserved {
			// When this fails, the bundle cannot be stored either.
			_ = s.reserve()
		}
		s.last.Sequence++
	case now > s.last.Time:
		s.last = bundle.Timestamp{Time: now}
	default:
		s.last.Sequence++
	}
	return s.last
}

// reserve reserves the next block of numbers.
func (s *stamper) reserve() error {
	to := s.last.Sequence + stampBlock
	if err := s.store.Commit(context.Background(), []store.Op{store.SetCounter{Name: stampCounter, Value: to}}); err != nil {
		return fmt.Errorf("reserving sequence numbers of bundles: %w", err)
	}
	s.reserved = to
	return nil
}
