package badgerstore

// Waiting is the number of commits that the committer has not taken yet.
func (s *Store) Waiting() int { return len(s.queue) }
