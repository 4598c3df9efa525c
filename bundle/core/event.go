package core

import (
	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// Token ties what the node was asked to what became of it. The runner chooses
// tokens for its own events below FirstOwnToken; the core uses those above.
type Token uint64

// FirstOwnToken is the first token that the core uses itself.
const FirstOwnToken Token = 1 << 63

// LinkID names one session with a neighbour. It is never used again. Zero stands
// for the applications of this node. Bundles may also come over a session that no
// LinkUp told of: one with a neighbour that does not say who it is, which only
// receives.
type LinkID uint64

// Event is something that happened. The events are Arrival, Malformed, Committed,
// Loaded, LinkUp, LinkDown, HoldLink, Sent, Receive, Cancel, Ack, Release, Register,
// Unregister, Remove, Assembled, PlanChanged, ClockStepped, Tick and Shutdown.
type Event interface{ isEvent() }

// Arrival is a bundle whose bytes are staged under Token: one that came over a
// link, or one that an application of this node sends. It is answered by a Reply
// with the same token.
type Arrival struct {
	Token     Token
	Link      LinkID
	Bundle    *bundle.Bundle
	HeaderLen int64 // bytes before the first byte of payload
	Size      int64 // bytes of the whole bundle

	// Known is what the store knows of the bundle's ID.
	Known store.Trace
	// Whole is what it knows of the whole bundle when this is a fragment for
	// an endpoint of this node.
	Whole store.Trace
	// Admin is the payload when the bundle is an administrative record for
	// this node, and nil otherwise.
	Admin []byte

	// Custody, Priority and Reporting, which are the compressed reports asked for,
	// are the wishes of an application.
	Custody   bool
	Priority  bundle.Priority
	Reporting bundle.ReportingFlags
}

// Malformed tells of a bundle from a link that was refused because it cannot be read
// but for its primary block.
type Malformed struct {
	Link    LinkID
	Primary bundle.Primary
	ID      bundle.ID // with the length of a fragment 0 when that is not known
	Err     error
}

// Committed tells that the ops of a Persist are durable, or why not.
type Committed struct {
	Token Token
	Err   error
}

// Loaded answers a Load: the records, in order of handle, and whether the lane ends
// with them; or why it could not be read.
type Loaded struct {
	Token   Token
	Records []store.Record
	End     bool
	Err     error
}

// LinkUp tells that a session with a neighbour is established. Dialed tells that
// this node opened it.
type LinkUp struct {
	Link   LinkID
	Peer   bundle.EID
	Dialed bool
	// MaxTransfer is the largest bundle that the neighbour takes, in bytes; 0
	// for any.
	MaxTransfer uint64
	// Lasting tells that the session stays from one contact to the next, and has to
	// be told of both by Follow.
	Lasting bool
}

// LinkDown tells that a session has ended, and why. Every Transmit on it has been
// answered by a Sent before.
type LinkDown struct {
	Link LinkID
	Err  error // nil when nobody says
}

// HoldLink is the operator's wish that the link with a neighbour be down, whatever the
// plan says, or that it be so no longer. It is answered by a Reply, with ErrNoNeighbour
// when there is none of that node ID.
type HoldLink struct {
	Token Token
	Peer  bundle.EID
	Held  bool
}

// Sent is the fate of a Transmit: nil when the neighbour acknowledged the whole
// bundle.
type Sent struct {
	Link   LinkID
	Handle store.Handle
	Err    error
}

// Receive asks for one bundle for a local endpoint, or for a non-singleton endpoint
// under the number of a registration there. It is answered by a Deliver, unless Cancel
// comes first, or by a Reply with ErrNotRegistered.
type Receive struct {
	Token        Token
	Endpoint     bundle.EID
	Registration uint64 // 0 at a local endpoint
}

// Cancel withdraws a Receive.
type Cancel struct{ Token Token }

// Ack tells that an application has made a delivered bundle its own. It is
// answered by a Reply.
type Ack struct {
	Token        Token
	Handle       store.Handle
	Registration uint64 // that of the Deliver
}

// Release gives a delivered bundle back, to be delivered again.
type Release struct {
	Handle       store.Handle
	Registration uint64 // that of the Deliver
}

// Register tells of a registration that is durable.
type Register struct{ Registration Registration }

// Unregister ends a registration, which is durably gone. Who waits under it is
// answered by a Reply with ErrNotRegistered.
type Unregister struct{ Number uint64 }

// Remove deletes a bundle at the operator's wish, custody or not. It is answered
// by a Reply. Record is that of the bundle as the store has it now.
type Remove struct {
	Token  Token
	Record store.Record
}

// Assembled tells that a bundle was put together and is staged under Token, or why
// not. It is answered by a Reply.
type Assembled struct {
	Token Token
	Whole bundle.ID
	// Known is what the store knows of the whole bundle.
	Known store.Trace

	HeaderLen, PayloadLen, Size int64
	Err                         error
}

// PlanChanged replaces the contact plan.
type PlanChanged struct{ Plan *contact.Plan }

// ClockStepped tells that the clock was set. Was is what it would show now
// otherwise; Step gets the new time with it.
type ClockStepped struct{ Was dtntime.Time }

// Tick tells that time has passed.
type Tick struct{}

// Shutdown tells that the node is about to stop: what is owed is sent now.
type Shutdown struct{}

func (Arrival) isEvent()      {}
func (Malformed) isEvent()    {}
func (Committed) isEvent()    {}
func (Loaded) isEvent()       {}
func (LinkUp) isEvent()       {}
func (LinkDown) isEvent()     {}
func (HoldLink) isEvent()     {}
func (Sent) isEvent()         {}
func (Receive) isEvent()      {}
func (Cancel) isEvent()       {}
func (Ack) isEvent()          {}
func (Release) isEvent()      {}
func (Register) isEvent()     {}
func (Unregister) isEvent()   {}
func (Remove) isEvent()       {}
func (Assembled) isEvent()    {}
func (PlanChanged) isEvent()  {}
func (ClockStepped) isEvent() {}
func (Tick) isEvent()         {}
func (Shutdown) isEvent()     {}
