package link

import "math/rand/v2"

// gilbert returns the probabilities, for each packet, that a burst of losses begins in
// the good state and that it ends in the bad one. Burst must not be zero.
func (l Loss) gilbert() (begin, end float64) {
	end = 1 / l.Burst
	return l.Mean * end / (1 - l.Mean), end
}

// losses decides, packet by packet, which are lost.
type losses struct {
	rng   *rand.Rand
	begun bool
	bad   bool // the state of the last packet
}

// next tells whether the next packet is lost.
func (s *losses) next(l Loss) bool {
	if l.Mean == 0 {
		s.begun = false
		return false
	}
	draw := s.rng.Float64()
	if l.Burst == 0 {
		s.begun = false
		return draw < l.Mean
	}
	begin, end := l.gilbert()
	switch {
	case !s.begun: // as if it had run for ever
		s.begun, s.bad = true, draw < l.Mean
	case s.bad:
		s.bad = draw >= end
	default:
		s.bad = draw < begin
	}
	return s.bad
}
