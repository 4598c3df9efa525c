package node

import (
	"sync"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// stamper gives out creation timestamps, none twice (RFC 9171 section 4.2.7). When
// the clock stands still or goes back, it counts on from the last time.
type stamper struct {
	mu   sync.Mutex // guards last
	last bundle.Timestamp
}

func (s *stamper) next(now dtntime.Time) bundle.Timestamp {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now > s.last.Time {
		s.last = bundle.Timestamp{Time: now}
	} else {
		s.last.Sequence++
	}
	return s.last
}
