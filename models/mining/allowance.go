package mining

import (
	"fmt"
	"maps"
	"slices"

	"perigee/bundle/dtntime"
)

// Allowance bounds what mining may use in a period, such as an orbit or a day. What
// is 0 has no bound.
type Allowance struct {
	Period dtntime.Duration // periods begin at multiples of it since 2000
	Bytes  int64            // of samples
	Joule  float64          // of looking at pictures and of sending samples
	// PerClass is how many samples there may be in which a class was found, and
	// Empty how many in which nothing was.
	PerClass, Empty int
}

// Spent is what a period has used. It can be kept as JSON.
type Spent struct {
	Period  uint64      `json:"period"` // number of it
	Bytes   int64       `json:"bytes"`
	Worth   uint64      `json:"worth"` // of the samples
	Joule   float64     `json:"joule"`
	Classes map[int]int `json:"classes,omitempty"`
	Empty   int         `json:"empty,omitempty"`
}

// Item is a sample that asks for its share.
type Item struct {
	Bytes   int64
	Worth   uint32
	Joule   float64 // that sending it takes
	Classes []int   // that were found in it
}

// Renew returns what the period of now has used, given the last state.
func (a Allowance) Renew(s Spent, now dtntime.Time) Spent {
	if period := uint64(now) / uint64(a.Period); period != s.Period {
		return Spent{Period: period}
	}
	return s
}

// IsDrained tells that the energy of the period is used up.
func (a Allowance) IsDrained(s Spent) bool { return a.Joule > 0 && s.Joule >= a.Joule }

// Objection says why a sample may not have its share now, or "". Bytes are spread
// over the period: while more of them are used than of the time, only samples pass
// that are worth at least as much a byte as the mean of those before them.
func (a Allowance) Objection(s Spent, i Item, now dtntime.Time) string {
	switch {
	case a.IsDrained(s):
		return "the period's energy is used up"
	case len(i.Classes) == 0 && a.Empty > 0 && s.Empty >= a.Empty:
		return fmt.Sprintf("%d pictures without objects are the period's quota", a.Empty)
	case len(i.Classes) > 0 && a.PerClass > 0 && !slices.ContainsFunc(i.Classes, func(c int) bool { return s.Classes[c] < a.PerClass }):
		return fmt.Sprintf("each of its classes has its quota of %d", a.PerClass)
	case a.Bytes > 0 && s.Bytes+i.Bytes > a.Bytes:
		return fmt.Sprintf("%d of the period's %d bytes are used", s.Bytes, a.Bytes)
	}
	passed := float64(uint64(now)%uint64(a.Period)) / float64(a.Period)
	if ahead := a.Bytes > 0 && float64(s.Bytes) > passed*float64(a.Bytes); ahead && float64(i.Worth)*float64(s.Bytes) < float64(s.Worth)*float64(i.Bytes) {
		return "it is worth less a byte than others, and bytes are running short"
	}
	return ""
}

// Take returns what is used once a sample has its share.
func (s Spent) Take(i Item) Spent {
	s.Bytes += i.Bytes
	s.Worth += uint64(i.Worth)
	s.Joule += i.Joule
	if len(i.Classes) == 0 {
		s.Empty++
		return s
	}
	classes := maps.Clone(s.Classes)
	if classes == nil {
		classes = map[int]int{}
	}
	for _, c := range i.Classes {
		classes[c]++
	}
	s.Classes = classes
	return s
}
