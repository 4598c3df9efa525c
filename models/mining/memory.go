package mining

import (
	"maps"
	"slices"

	"perigee/models"
)

// Limits of a Memory.
const (
	MaxMemory   = 4096 // pictures
	fewMemories = 8    // pictures that must be remembered before any can be novel
	usualOver   = 100  // pictures whose distances make the usual one
)

// seen is a picture that is remembered.
type seen struct {
	Sketch Sketch      `json:"sketch"`
	Counts map[int]int `json:"counts,omitempty"` // objects that the network saw, by class
	Sent   bool        `json:"sent,omitempty"`
}

// Memory is the last pictures that differed from each other. It is bounded: the
// one not seen for longest goes first. It can be kept as JSON, and is then of use
// to the same backbone only.
type Memory struct {
	Backbone models.Hash `json:"backbone"`
	Seen     []seen      `json:"seen"` // the longest ago first
	// Usual is the mean distance from a picture that differed to the nearest of
	// those before it, and Distances is from how many it is.
	Usual     float64 `json:"usual"`
	Distances int     `json:"distances"`
}

// nearest returns the number of the remembered picture that is closest to s, and
// how far it is. Without any the number is negative.
func (m *Memory) nearest(s Sketch) (at int, distance float64) {
	at, distance = -1, 1
	for i := range m.Seen {
		if d := s.Distance(m.Seen[i].Sketch); at < 0 || d < distance {
			at, distance = i, d
		}
	}
	return at, distance
}

// novelty is how new a picture is whose nearest is that far away: 0 for one that
// was there, 0.5 at the usual distance, and towards 1 beyond it. As long as little
// is remembered nothing is unusual.
func (m *Memory) novelty(distance float64) float64 {
	if len(m.Seen) < fewMemories || m.Usual <= 0 {
		return 0.5
	}
	return distance / (distance + m.Usual)
}

// keep remembers a picture, in place of number at if that is not negative.
func (m *Memory) keep(p seen, at int, distance float64, most int) {
	if at >= 0 {
		m.Seen = slices.Delete(m.Seen, at, at+1)
	} else if len(m.Seen) > 0 {
		m.Distances = min(m.Distances+1, usualOver)
		m.Usual += (distance - m.Usual) / float64(m.Distances)
	}
	m.Seen = append(m.Seen, p)
	if over := len(m.Seen) - most; over > 0 {
		m.Seen = slices.Delete(m.Seen, 0, over)
	}
}

// countClasses counts detections by class.
func countClasses(found []models.Detection) map[int]int {
	counts := map[int]int{}
	for _, d := range found {
		counts[d.Class]++
	}
	return counts
}

// disagreement is the share of objects, of those seen in either of two pictures,
// that were seen in one alone. It counts them by class, so that a ship may move.
func disagreement(a, b map[int]int) float64 {
	apart, all := 0, 0
	for class, n := range a {
		apart += max(n-b[class], b[class]-n)
		all += max(n, b[class])
	}
	for class, n := range b {
		if a[class] == 0 {
			apart += n
			all += n
		}
	}
	if all == 0 {
		return 0
	}
	return float64(apart) / float64(all)
}

// classesOf returns the classes of detections in order.
func classesOf(found []models.Detection) []int { return slices.Sorted(maps.Keys(countClasses(found))) }
