// Package app is the application interface of a node, in five verbs: send,
// receive with acknowledgement, watch events, ask for status, close. The
// satellite and ground applications, the command line and the dashboard have no
// other door, and it is the same in the process and over a socket.
package app

import (
	"context"
	"errors"
	"io"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// Errors that callers branch on.
var (
	// ErrUnreachable: no daemon answers.
	ErrUnreachable = errors.New("daemon unreachable")
	// ErrTryAgain: the node cannot take the bundle now, but may later, for
	// example because its store is full.
	ErrTryAgain = errors.New("try again later")
	// ErrRejected: the node will never take the bundle as it is.
	ErrRejected = errors.New("rejected by the node")
	// ErrNotFound: the node knows no such bundle.
	ErrNotFound = errors.New("not found")
	// ErrClosed: the node or the client is shutting down.
	ErrClosed = errors.New("closed")
)

// Outgoing asks for a bundle.
type Outgoing struct {
	To       bundle.EID
	From     bundle.EID // null: the administrative endpoint of the node
	ReportTo bundle.EID // null: no reports
	Reports  bundle.Flags
	// Compressed are the reports asked for in compressed form (CCSDS 734.6-O-1
	// section 5), which also go to ReportTo: many in one signal, without times and
	// reasons. The bundle then cannot be fragmented.
	Compressed bundle.ReportingFlags
	Custody    bool
	Lifetime   dtntime.Duration // 0: 24 hours
	Priority   bundle.Priority
	// Value is what the bundle is worth, in any unit that all bundles of the node's
	// applications share: of equal priority, what is worth more a byte goes first.
	Value uint64
	// Critical sends a copy over every neighbour that leads to the destination in
	// time. It cannot be under custody.
	Critical bool

	// Payload is read to its end. Length is its length in bytes, or negative
	// when it is not known; a known length saves a copy.
	Payload io.Reader
	Length  int64
}

// Delivery is a bundle handed to an application. The application closes Payload
// and then calls Ack once it has made the payload its own, or Release to have it
// delivered again. What is neither is delivered again when the client goes away.
type Delivery struct {
	ID          bundle.ID
	Source      bundle.EID
	Destination bundle.EID
	Received    dtntime.Time
	Size        int64 // of the payload, in bytes
	Payload     io.ReadCloser

	Ack     func(ctx context.Context) error
	Release func(ctx context.Context) error
}

// Client is the application interface. Its methods may be called concurrently.
type Client interface {
	// Send returns the ID of the new bundle once it is durable. It fails with
	// ErrTryAgain or ErrRejected.
	Send(ctx context.Context, out Outgoing) (bundle.ID, error)

	// Receive waits for the next bundle for a local endpoint. At a non-singleton
	// endpoint it is ReceiveAs without a name.
	Receive(ctx context.Context, endpoint bundle.EID) (*Delivery, error)

	// ReceiveAs waits for the next bundle for a registration, which is made if
	// there is none.
	ReceiveAs(ctx context.Context, r Registration) (*Delivery, error)

	// Register returns once a registration is durable; one that there is already
	// stays. It fails with ErrTryAgain or ErrRejected.
	Register(ctx context.Context, r Registration) error

	// Unregister ends a registration, durably. What it has not acknowledged is not
	// kept for it any more. It fails with ErrNotFound or ErrTryAgain.
	Unregister(ctx context.Context, r Registration) error

	// Watch calls see for every event from now on until ctx ends or see
	// returns an error, which it then returns. A watcher that falls behind
	// loses events and is told how many by an event of kind EventLost.
	Watch(ctx context.Context, see func(Event) error) error

	// WatchLinks is Watch for the events of links and contacts alone. However many
	// there are of others, none of these is lost for them.
	WatchLinks(ctx context.Context, see func(Event) error) error

	// HoldLink takes the link with a neighbour down until it is called with false or
	// the node ends, or gives it back to its plan; then it tries at once to open a
	// session that is wanted. A session ends when what is being transferred has
	// finished, which is given a while. What holds already stays so. It fails with
	// ErrNotFound where there is no such neighbour.
	HoldLink(ctx context.Context, peer bundle.EID, held bool) error

	// Status is a snapshot of the node.
	Status(ctx context.Context) (Status, error)

	// Bundles lists up to limit stored bundles with handles above after.
	Bundles(ctx context.Context, after store.Handle, limit int) ([]store.Record, error)

	// Bundle tells what the node knows of a bundle: its record or what is left
	// of it, and its recent events. ErrNotFound when it knows nothing.
	Bundle(ctx context.Context, id bundle.ID) (Trace, error)

	// Export opens the stored bytes of a bundle.
	Export(ctx context.Context, id bundle.ID) (io.ReadCloser, error)

	// Remove deletes a stored bundle, giving up its custody.
	Remove(ctx context.Context, id bundle.ID) error

	// Verify checks the node's store.
	Verify(ctx context.Context) (store.Report, error)

	// Plan returns the contact plan that is in force; nil stands for an empty one.
	Plan(ctx context.Context) (*contact.Plan, error)

	// SetPlan puts plan in the place of the one with the generation was. It
	// returns once the new one is durable and in force. It fails with ErrTryAgain
	// when the plan was changed meanwhile, and with ErrRejected when the node has
	// no place to keep one.
	SetPlan(ctx context.Context, plan *contact.Plan, was uint64) error

	// ExplainRoute tells which way a bundle would go now, and why no other.
	ExplainRoute(ctx context.Context, q RouteQuery) (RouteExplanation, error)

	// Close releases what the client holds.
	Close() error
}

// Trace is what a node knows of one bundle.
type Trace struct {
	Record *store.Record `json:"record,omitempty"`
	Gone   *store.Gone   `json:"gone,omitempty"`
	Events []Event       `json:"events"`
}

// EventKind names what happened.
type EventKind string

// Kinds of events.
const (
	EventReceived        EventKind = "received"         // a bundle was accepted and is durable
	EventDuplicate       EventKind = "duplicate"        // a bundle came again and was discarded
	EventRefused         EventKind = "refused"          // a bundle was not taken
	EventSent            EventKind = "sent"             // a neighbour acknowledged the whole bundle
	EventSendFailed      EventKind = "send-failed"      // a transmission did not complete
	EventReassembled     EventKind = "reassembled"      // a bundle was put together from its fragments
	EventDelivered       EventKind = "delivered"        // an application acknowledged it
	EventCustodyAccepted EventKind = "custody-accepted" // this node became custodian
	EventCustodyReleased EventKind = "custody-released" // the next custodian accepted
	EventCustodyRefused  EventKind = "custody-refused"  // the next custodian refused
	EventCustodyDeclined EventKind = "custody-declined" // this node did not become custodian
	EventAlarm           EventKind = "alarm"            // somebody should look at a bundle in custody
	EventRetransmit      EventKind = "retransmit"       // no signal came in time
	EventDeleted         EventKind = "deleted"          // expired, removed or unprocessable
	EventReported        EventKind = "reported"         // a report came about a bundle
	EventLinkUp          EventKind = "link-up"          // a session with a neighbour is there
	EventLinkDown        EventKind = "link-down"        // it has ended
	EventLinkHeld        EventKind = "link-held"        // the operator holds the link down
	EventLinkReleased    EventKind = "link-released"    // and does so no longer
	EventContactStart    EventKind = "contact-start"    // a contact of the plan towards a neighbour
	EventContactEnd      EventKind = "contact-end"
	EventLost            EventKind = "lost" // the watcher missed Count events
)

// Event is one thing that happened on a node.
type Event struct {
	At     dtntime.Time `json:"at"`
	Kind   EventKind    `json:"kind"`
	Bundle *bundle.ID   `json:"bundle,omitempty"`
	Peer   *bundle.EID  `json:"peer,omitempty"`
	Size   int64        `json:"size,omitempty"`
	Count  int64        `json:"count,omitempty"`
	Detail string       `json:"detail,omitempty"`
}

// Status is a snapshot of a node.
type Status struct {
	Node     bundle.EID   `json:"node"`
	Version  string       `json:"version"`
	Started  dtntime.Time `json:"started"`
	Now      dtntime.Time `json:"now"`
	Links    []Link       `json:"links"`
	Contacts []Contact    `json:"contacts"` // present and coming, soonest first
	Store    store.Stats  `json:"store"`
	Custody  Custody      `json:"custody"`
	Counters Counters     `json:"counters"`
	// Registrations are those at non-singleton endpoints, in order.
	Registrations []Registered `json:"registrations"`
	// OnBoard and OnGround are those of the applications that run in the daemon; nil
	// where there is none.
	OnBoard  *OnBoard  `json:"on_board,omitempty"`
	OnGround *OnGround `json:"on_ground,omitempty"`
}

// Contact is one window of the contact plan that concerns the node.
type Contact struct {
	From    bundle.EID   `json:"from"`
	To      bundle.EID   `json:"to"`
	Start   dtntime.Time `json:"start"`
	End     dtntime.Time `json:"end"`
	RateBPS uint64       `json:"rate_bps"`
	Open    bool         `json:"open"`
}

// Custody counts the node's custody. Outstanding lists what it waits for, up to
// a limit.
type Custody struct {
	Held        int64         `json:"held"`      // bundles in custody here
	InFlight    int64         `json:"in_flight"` // of these, sent and not yet signalled
	Outstanding []Outstanding `json:"outstanding"`
	// Declined counts by reason how often this node did not take custody that
	// it was asked to take.
	Declined map[string]uint64 `json:"declined"`
	// Rejected counts by reason the custody signals, or parts of them, that
	// were not honoured.
	Rejected map[string]uint64 `json:"rejected_signals"`
}

// Outstanding is one custody that the node waits to be relieved of.
type Outstanding struct {
	Bundle   bundle.ID    `json:"bundle"`
	Next     bundle.EID   `json:"next"`
	SeqID    uint64       `json:"seq_id"`
	SeqNum   uint64       `json:"seq_num"`
	Attempts uint32       `json:"attempts"`
	Deadline dtntime.Time `json:"deadline"`
	State    string       `json:"state"` // "held", "in-flight"
}

// Counters count what happened since the daemon started.
type Counters struct {
	BundlesCreated    uint64 `json:"bundles_created"`
	BundlesReceived   uint64 `json:"bundles_received"`
	BundlesSent       uint64 `json:"bundles_sent"`
	BundlesDelivered  uint64 `json:"bundles_delivered"`
	BundlesDeleted    uint64 `json:"bundles_deleted"`
	Duplicates        uint64 `json:"duplicates"`
	FragmentsSent     uint64 `json:"fragments_sent"`      // bundles that went on in pieces count once for each
	Reassembled       uint64 `json:"bundles_reassembled"` // from their fragments, at this node
	CustodyAccepted   uint64 `json:"custody_accepted"`
	CustodyReleased   uint64 `json:"custody_released"`
	CustodyRefused    uint64 `json:"custody_refused"`
	Retransmissions   uint64 `json:"retransmissions"`
	SignalsSent       uint64 `json:"signals_sent"`
	SignalsReceived   uint64 `json:"signals_received"`
	CustodyAlarms     uint64 `json:"custody_alarms"`     // events of kind alarm
	ReportsSent       uint64 `json:"reports_sent"`       // status reports, and signals of compressed ones
	ReportsSuppressed uint64 `json:"reports_suppressed"` // that were asked for, beyond what is sent at once
	ReportsIgnored    uint64 `json:"reports_ignored"`    // compressed ones that came, not honoured or only in part
	CustodyMalformed  uint64 `json:"custody_malformed"`  // bundles whose custody blocks break the rules
}
