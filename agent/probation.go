package agent

import (
	"errors"
	"fmt"

	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/golden"
)

// probation is what a network has shown since it became active, as far as it
// decides whether the network stays. It is in the pointer file, so that it outlives
// the process as the swap does.
type probation struct {
	Since    dtntime.Time `json:"since"`
	Pictures int          `json:"pictures"` // looked at
	Objects  int          `json:"objects"`  // seen in them
	// Begun counts the self-tests and pictures that were begun since a picture was
	// last finished and whose end this process, or one before it, did not live to see.
	Begun int `json:"begun,omitempty"`
	// Test is the self-test that the network passes again whenever the process starts.
	Test golden.Criteria `json:"test"`
}

// rateAfter is how many pictures an excess of objects must last for.
const rateAfter = 5

// strange says why what the network sees cannot be right, or "".
func (p *probation) strange(w *WatchdogConfig, ended bool) string {
	rate := float32(p.Objects) / float32(max(1, p.Pictures))
	switch {
	case (ended || p.Pictures >= rateAfter) && rate > w.MostObjects:
		return fmt.Sprintf("probation: %.1f objects a picture in %d pictures, limit %g", rate, p.Pictures, w.MostObjects)
	case ended && rate < w.LeastObjects:
		return fmt.Sprintf("probation: %.2f objects a picture in %d pictures, want at least %g", rate, p.Pictures, w.LeastObjects)
	}
	return ""
}

// ended tells whether the network has been looked at for long enough. Time alone
// proves nothing: there must be a picture.
func (p *probation) ended(w *WatchdogConfig, now dtntime.Time) bool {
	return p.Pictures >= w.Pictures || p.Pictures > 0 && now.Sub(p.Since) >= w.Time
}

// onProbation tells whether the active network has yet to prove itself.
func (s *slots) onProbation() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now.Probation != nil
}

// criteria returns the self-test of the active network if it is on probation.
func (s *slots) criteria() golden.Criteria {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.Probation == nil {
		return golden.Criteria{}
	}
	return s.now.Probation.Test
}

// picturesLeft returns how many pictures the active network has yet to look at before
// it has proved itself, 0 when it has.
func (s *slots) picturesLeft() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.Probation == nil {
		return 0
	}
	return uint64(max(1, s.cfg.Updates.Watchdog.Pictures-s.now.Probation.Pictures))
}

// changeProbation changes the probation of the active network durably, if there is
// one. It ends when how says so.
func (s *slots) changeProbation(how func(*probation) (ended bool)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.Probation == nil {
		return nil
	}
	next, p := s.now, *s.now.Probation
	next.Probation = &p
	if how(&p) {
		next.Probation = nil
	}
	return s.commit(next)
}

// begin counts something that the network on probation begins. When as much was
// begun before and nothing finished, it returns the reason for which the network
// must go, and counts nothing.
func (s *slots) begin() (reason string, err error) {
	err = s.changeProbation(func(p *probation) bool {
		if limit := s.cfg.Updates.Watchdog.Tries; p.Begun >= limit {
			reason = fmt.Sprintf("probation: the satellite went down %d times before the network finished a picture", p.Begun)
		} else {
			p.Begun++
		}
		return false
	})
	return reason, err
}

// finish takes back what begin counted: the self-test passed, or what was begun
// was called off in an orderly way.
func (s *slots) finish() error {
	return s.changeProbation(func(p *probation) bool {
		p.Begun = max(0, p.Begun-1)
		return false
	})
}

// finishPicture counts a picture that the network on probation has looked at. It
// returns the reason for which the network must go, if there is one, and ends the
// probation when it is passed.
func (s *slots) finishPicture(now dtntime.Time, objects int) (reason string, err error) {
	w := &s.cfg.Updates.Watchdog
	err = s.changeProbation(func(p *probation) bool {
		p.Begun = 0
		p.Pictures++
		p.Objects += objects
		ended := p.ended(w, now)
		reason = p.strange(w, ended)
		if ended && reason == "" {
			s.log.Info("active network has proved itself", "model", s.now.Active.Hash, "version", s.now.Active.Version, "pictures", p.Pictures)
			return true
		}
		return false
	})
	return reason, err
}

// goBack reverts to the network before, which is on no probation. When there is
// none, the active one stays and is on none either: nil is returned.
func (s *slots) goBack(reason string) (*models.Network, error) {
	n, err := s.revert(reason)
	if errors.Is(err, errNoOther) {
		s.log.Error("active network should be taken out of use, but there is no other", "reason", reason, "err", err)
		return nil, s.changeProbation(func(*probation) bool { return true })
	}
	return n, err
}
