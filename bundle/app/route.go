package app

import (
	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

// RouteQuery asks which way a bundle would go from here now.
type RouteQuery struct {
	To       bundle.EID
	Size     int64 // of the whole bundle, in bytes
	Priority bundle.Priority
	Lifetime dtntime.Duration // that is left; 0: 24 hours
	Critical bool             // the bundle goes over every neighbour
}

// RouteExplanation tells how a node decides about a bundle.
type RouteExplanation struct {
	Node bundle.EID   `json:"node"` // that decides
	To   bundle.EID   `json:"to"`
	Now  dtntime.Time `json:"now"`
	// Candidates are the ways that were looked at, until one could be taken.
	Candidates []RouteCandidate `json:"candidates"`
	// Failure says why nothing is taken, and is empty when something is.
	Failure string `json:"failure,omitempty"`
}

// RouteCandidate is a way that was looked at. Verdict and Detail say why it was taken or
// left; the verdicts are those of package route.
type RouteCandidate struct {
	Next       bundle.EID   `json:"next"`
	Via        string       `json:"via"` // "direct", "static", "plan", "flood"
	Hops       []RouteHop   `json:"hops"`
	Arrival    dtntime.Time `json:"arrival"` // 0 when it is not known
	Confidence float64      `json:"confidence"`
	Verdict    string       `json:"verdict"`
	Detail     string       `json:"detail"`
}

// RouteHop is one step of a way. Start and what follows are of its contact, and 0 over a
// link that is up at all times.
type RouteHop struct {
	To      bundle.EID   `json:"to"`
	Start   dtntime.Time `json:"start,omitempty"`
	End     dtntime.Time `json:"end,omitempty"`
	RateBPS uint64       `json:"rate_bps,omitempty"`
	LightMS uint64       `json:"owlt_ms,omitempty"`
}

// HopOver returns the step to a node in a contact, which is nil over a link that is up
// at all times.
func HopOver(to bundle.EID, c *contact.Contact) RouteHop {
	if c == nil {
		return RouteHop{To: to}
	}
	return RouteHop{To: to, Start: c.Start, End: c.End, RateBPS: uint64(c.Rate), LightMS: uint64(c.Light)}
}
