package badgerstore

// Waiting is the number of commits that the committer has not taken yet.
func (s *Store) Waiting() int { return len(s.queue) }

// LogDir is the folder of the log of bundles.
func (s *Store) LogDir() string { return s.logDir() }

// MaxSpares is how many files wait to be used again.
const MaxSpares = maxSpares
