// Package route decides which neighbour a bundle goes to next.
//
// It owns the table of static routes, the search over the contact plan and what bundles
// are reckoned to take of contacts. It refuses to know which bundles there are and
// whether a link is up; it is told the time.
package route

import (
	"errors"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

// Errors that callers branch on.
var (
	// ErrNoRoute: no way to the destination is known.
	ErrNoRoute = errors.New("no route")
	// ErrTooLate: there is a way, but the bundle expires before it arrives.
	ErrTooLate = errors.New("no route arrives before the bundle expires")
	// ErrTooLarge: there is a way, but no contact on it can carry the bundle
	// whole. It comes along with ErrNoRoute.
	ErrTooLarge = errors.New("bundle does not fit into any contact on the way")
	// ErrHeld: there is a way, over a neighbour whose link is held down. It comes
	// along with ErrNoRoute.
	ErrHeld = errors.New("the link is held down")
)

// Via says what a decision rests on.
type Via string

// Reasons for a decision.
const (
	ViaDirect Via = "direct" // a standing link to the destination itself
	ViaStatic Via = "static" // a static route
	ViaPlan   Via = "plan"   // the search over the contact plan
)

// MinConfidence is the least likelihood of a way, the product of those of its contacts,
// whose first one is certain. A way that is less likely, or begins with a contact that
// may not come to pass, is taken when no other arrives in time.
const MinConfidence = 0.8

// Query is a bundle in search of its next hop.
type Query struct {
	Dest bundle.EID
	Size int64 // of the whole bundle, in bytes
	// Least is for a bundle that may be cut: the fewest bytes that are worth
	// sending. 0: it goes whole.
	Least    int64
	Priority bundle.Priority
	Expiry   dtntime.Time // dtntime.Forever for never
	// Previous is the node that the bundle came from, or null. The way does not
	// touch it, unless it is the destination.
	Previous bundle.EID
	// Astray is for a bundle that has gone round: nodes whose contacts are full send it
	// from one to the other, each in the belief that the next one has room. It takes the
	// way with the fewest hops that arrives in time, since with those it comes nearer each
	// time, whatever the next node knows.
	Astray bool
	// Exclude are neighbours that are no next hop for now.
	Exclude []bundle.EID
	// Empty asks for the way that would be taken if nothing else were sent.
	Empty bool
	// Critical tells Explain that the bundle goes over every neighbour, as Each says.
	Critical bool

	released bool // as if no link were held down
}

// Decision is the next hop of a bundle.
type Decision struct {
	Next bundle.EID // a node ID
	// Contact is the contact to send the bundle in. It is nil when Next is
	// reached over a standing link or is in no plan.
	Contact *contact.Contact
	// Arrival is when the bundle reaches its destination if nothing delays
	// it, or 0 when that is unknown because a static route decided.
	Arrival dtntime.Time
	Via     Via
	// Confidence is the likelihood of the whole way, 1 when it is not known.
	Confidence float64
	// Standby tells that contacts on the way are spoken for, with no other way that
	// arrives in time: the bundle goes if there is room after all.
	Standby bool

	hops     []hop // not to be changed
	volume   int64
	priority bundle.Priority
	cut      bool // the way has room for a piece of the bundle alone
}

// Hop is one step of a way: over a contact, or over a standing link if Contact is nil.
type Hop struct {
	To      bundle.EID
	Contact *contact.Contact
}

// volume returns how much of a contact a bundle of size bytes is reckoned to take,
// with the framing of the layers below (CCSDS 734.3-B-1, estimated volume
// consumption).
func volume(size int64) int64 {
	size = max(size, 0)
	return plus(size, max(100, size/100*3))
}
