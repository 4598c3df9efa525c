package app

import (
	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// Scheduled is what the configuration and the contact plan say of a link.
type Scheduled string

// What a link is meant to be.
const (
	LinkAlways      Scheduled = "always"  // up at all times
	LinkInContact   Scheduled = "contact" // a contact is open, in either direction
	LinkWaiting     Scheduled = "waiting" // for the next contact
	LinkUnscheduled Scheduled = "none"    // there is no contact to come
)

// Physical is what there is of a link.
type Physical string

// What a link is.
const (
	LinkUp         Physical = "up"
	LinkSuspended  Physical = "suspended"   // the session waits for the next contact
	LinkClosing    Physical = "closing"     // the session ends, and what is being transferred may finish
	LinkConnecting Physical = "connecting"  // a session is being opened, or awaited
	LinkBackingOff Physical = "backing-off" // until the next attempt to open one
	LinkDown       Physical = "down"
)

// Link is the state of the link with one neighbour: what is meant to be, what is there
// and what the operator wants, apart from each other. Of counters, all count since the
// daemon started.
type Link struct {
	Peer    bundle.EID `json:"peer"`
	Layer   string     `json:"layer"` // empty for neighbours that never connected
	Address string     `json:"address,omitempty"`

	Scheduled Scheduled    `json:"scheduled"`
	Until     dtntime.Time `json:"until,omitempty"` // the pass that is open ends; 0: there is none
	Next      dtntime.Time `json:"next,omitempty"`  // the next contact starts; 0: there is none

	Physical Physical     `json:"physical"`
	Since    dtntime.Time `json:"since,omitempty"`    // the last session began or ended; 0: there was none
	RetryAt  dtntime.Time `json:"retry_at,omitempty"` // the next attempt of LinkBackingOff
	Sessions uint64       `json:"sessions"`           // that there were

	Held      bool         `json:"held"`                 // the operator holds the link down
	HeldSince dtntime.Time `json:"held_since,omitempty"` // Held has changed; 0: never

	// RateBPS is the rate at which may be sent, in bits per second: that of the open
	// contact or the next one, and 0 when none is known.
	RateBPS uint64 `json:"rate_bps"`
	// SentBPS and ReceivedBPS were measured over up to the last ten seconds, in bits per
	// second on the wire.
	SentBPS     uint64 `json:"sent_bps"`
	ReceivedBPS uint64 `json:"received_bps"`

	BundlesSent     uint64 `json:"bundles_sent"` // that the neighbour acknowledged
	BundlesReceived uint64 `json:"bundles_received"`
	BundlesRefused  uint64 `json:"bundles_refused"` // in either direction
	BytesSent       uint64 `json:"bytes_sent"`      // on the wire
	BytesReceived   uint64 `json:"bytes_received"`  // on the wire
	Queued          int64  `json:"queued_bundles"`
	QueuedBytes     int64  `json:"queued_bytes"`

	LastError   string       `json:"last_error,omitempty"`
	LastErrorAt dtntime.Time `json:"last_error_at,omitempty"`
}

// IsOfLink tells whether events of the kind are about a link or a contact.
func (k EventKind) IsOfLink() bool {
	switch k {
	case EventLinkUp, EventLinkDown, EventLinkHeld, EventLinkReleased, EventContactStart, EventContactEnd:
		return true
	}
	return false
}
