package dtn7

import (
	"sync"

	"perigee/convergence"
)

// state is what every session has.
type state struct {
	done chan struct{} // closed by end

	mu       sync.Mutex // guards all below
	err      error
	counters convergence.Counters
}

func newState() *state { return &state{done: make(chan struct{})} }

func (s *state) Done() <-chan struct{} { return s.done }

func (s *state) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *state) Counters() convergence.Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counters
}

// count changes the counters.
func (s *state) count(change func(*convergence.Counters)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.counters)
}

// end notes why the session carries nothing more. The first error stays.
func (s *state) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		close(s.done)
	}
}
