package custody

import (
	"maps"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// Limits on the signals of nodes that are not known: how many at once, and one
// every so often thereafter; from each and from all together.
const (
	strangerBurst    = 16
	strangerInterval = 500 * dtntime.Millisecond
	crowdBurst       = 64
	crowdInterval    = 62 * dtntime.Millisecond
	maxStrangers     = 256
)

// Allowance bounds how many signals of nodes that are not known are looked at. What
// goes beyond is as if it were lost on the way.
type Allowance struct {
	spent map[bundle.EID]dtntime.Time
	crowd dtntime.Time
}

// NewAllowance returns an Allowance of which nothing is spent.
func NewAllowance() *Allowance { return &Allowance{spent: make(map[bundle.EID]dtntime.Time)} }

// Take tells whether another signal of a node is to be looked at, and books it.
func (a *Allowance) Take(node bundle.EID, now dtntime.Time) bool {
	if len(a.spent) >= maxStrangers {
		maps.DeleteFunc(a.spent, func(_ bundle.EID, till dtntime.Time) bool { return till <= now })
	}
	till, known := a.spent[node]
	till = max(till, now)
	crowd := max(a.crowd, now)
	switch {
	case !known && len(a.spent) >= maxStrangers,
		till.Sub(now) >= strangerBurst*strangerInterval,
		crowd.Sub(now) >= crowdBurst*crowdInterval:
		return false
	}
	a.spent[node] = till.Add(strangerInterval)
	a.crowd = crowd.Add(crowdInterval)
	return true
}
