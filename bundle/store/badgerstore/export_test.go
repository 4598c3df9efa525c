package badgerstore

// Waiting is the number of commits that the committer has not taken yet.
func (s *Store) Waiting() int { return len(s.queue) }

// LogDir is the folder of the log of bundles.
func (s *Store) LogDir() string { return s.logDir() }

// How many files wait to be used again, at rest and at most.
const (
	LeastSpares = leastSpares
	MostSpares  = mostSpares
)

// Spares is how many files wait.
func (s *Store) Spares() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.spares)
}

// RestSpares is what the janitor does from time to time.
func (s *Store) RestSpares() { s.restSpares() }
