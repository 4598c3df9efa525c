package core

import (
	"errors"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
	"perigee/convergence"
)

// Effect is something to be done. The effects are Persist, Load, Reply,
// Transmit, Deliver, Assemble, Connect, Hangup, Follow and Notify.
//
// Effects of one Step are carried out in their order, which is: persist, then
// acknowledge, then transmit or deliver. What must wait for the disk is not
// returned before Committed has come, so the runner needs no order of its own
// between steps, except that Persists are committed in the order they came.
type Effect interface{ isEffect() }

// Persist asks for ops to be made durable and answered by Committed. A Put among
// them takes the bytes staged under Token, or Inline when that is not nil.
type Persist struct {
	Token  Token
	Ops    []store.Op
	Inline []byte
}

// Load asks for up to Limit records of a lane with handles above After, in order of
// handle. It is answered by Loaded. At most five are open at a time.
type Load struct {
	Token Token
	Lane  store.Lane
	After store.Handle
	Limit int
}

// Reply answers the event with that token. After an Arrival, nil acknowledges the
// bundle; a *RefusedError or another error refuses it. Staged bytes that were not
// put are discarded then.
type Reply struct {
	Token Token
	Err   error
}

// Transmit sends a stored bundle over a link, or the fragment of it that carries
// Piece, with the changes of Forwarding in its header. It is answered by Sent; an
// error that wraps bundle.ErrNotFragmentable has the bundle sent whole.
type Transmit struct {
	Link    LinkID
	Record  store.Record
	Piece   Piece
	Changes Forwarding
}

// Deliver answers a Receive with a bundle.
type Deliver struct {
	Token        Token
	Record       store.Record
	Registration uint64 // that of the Receive
}

// Assemble asks for a bundle to be put together from stored fragments: the header
// of the first, made that of a whole bundle, and then the parts. It is answered by
// Assembled.
type Assemble struct {
	Whole bundle.ID
	Parts []Part // in the order of the payload
}

// Part is Length bytes of the payload of a stored fragment, from byte From of it
// on.
type Part struct {
	Record       store.Record
	From, Length int64
}

// Connect asks for a session with a neighbour, tried at once, and again until it is up
// or Hangup is asked for.
type Connect struct{ Peer bundle.EID }

// Hangup asks for the orderly end of a session. When Link is zero, it asks for an
// end of what Connect asked for.
type Hangup struct {
	Peer bundle.EID
	Link LinkID
	// Grace is how long what is just being transferred may take to end; 0 for a moment.
	Grace dtntime.Duration
}

// Follow tells a lasting session what its link is like from now on: whether a contact
// is open, its rate, 0 when that is not known, and its light time.
type Follow struct {
	Link  LinkID
	Open  bool
	Rate  contact.BitRate
	Light dtntime.Duration
}

// Notify is news for whoever watches.
type Notify struct{ Event app.Event }

func (Persist) isEffect()  {}
func (Load) isEffect()     {}
func (Reply) isEffect()    {}
func (Transmit) isEffect() {}
func (Deliver) isEffect()  {}
func (Assemble) isEffect() {}
func (Connect) isEffect()  {}
func (Hangup) isEffect()   {}
func (Follow) isEffect()   {}
func (Notify) isEffect()   {}

// Reasons why a bundle is not taken, wrapped by RefusedError.
var (
	// ErrNoSpace: the store cannot take the bundle now.
	ErrNoSpace = errors.New("no space in the store")
	// ErrUnacceptable: the bundle will never be taken as it is.
	ErrUnacceptable = errors.New("bundle is not acceptable")
	// ErrStopped: the node has ended.
	ErrStopped = errors.New("node has ended")
	// ErrBusy: the same bundle is just being stored.
	ErrBusy = errors.New("bundle is being stored already")
)

// ErrNoNeighbour says that the node has no link with the node of that ID.
var ErrNoNeighbour = errors.New("no such neighbour")

// RefusedError says why a bundle was not taken and what the neighbour is told.
type RefusedError struct {
	Reason convergence.RefuseReason
	Err    error
}

func (e *RefusedError) Error() string { return e.Err.Error() }
func (e *RefusedError) Unwrap() error { return e.Err }
