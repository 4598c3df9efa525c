package core

import (
	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
	"perigee/bundle/route"
	"perigee/bundle/schedule"
	"perigee/bundle/store"
)

// Config is what a node is. Node, NextHandle, Counter and Stamp are required.
type Config struct {
	// Node is the node ID, an administrative endpoint.
	Node bundle.EID
	// Neighbours are the nodes that this one has links with.
	Neighbours []Neighbour
	// Routes are the static routes, and Plan the contact plan, nil for none.
	Routes *route.Table
	Plan   *contact.Plan

	// AcceptCustody lets this node become custodian of others' bundles.
	AcceptCustody bool
	// Custody says which of them.
	Custody CustodyPolicy
	// Peers says how custody travels with other nodes, by node ID.
	Peers map[bundle.EID]CustodyPeer
	// Aggregate is how long custody signals are gathered before they are sent, and
	// PeerAggregate how long other nodes are taken to gather theirs. 0:
	// route.DefaultAggregation.
	Aggregate, PeerAggregate dtntime.Duration
	// ClockError is by how much the clocks of two nodes may differ.
	ClockError dtntime.Duration
	// RetransmitShare is the part of a contact, in percent, that retransmissions
	// may use while first transmissions wait. 0: schedule.DefaultShare.
	RetransmitShare int
	// Shares says how links are shared among sources and classes of bundles.
	Shares schedule.Shares
	// Flood sends bundles that are not under custody, and that neither routes nor the
	// plan have a way for, to every neighbour.
	Flood bool
	// StatusReports lets this node send the status reports that bundles ask for.
	StatusReports bool
	// NoClock tells that the time given to Step measures spans only: bundles are
	// made without a time of creation and expire by their age.
	NoClock bool
	// MaxLifetime is how long a bundle of others that goes on from here is kept,
	// however long it lives, unless it is in custody here; 0 for no limit.
	MaxLifetime dtntime.Duration
	// MaxBundle is the largest bundle taken, in bytes.
	MaxBundle int64
	// MaxAssembling is how many bytes of fragments may wait for the rest of
	// their bundles; 0 for no limit.
	MaxAssembling int64
	// MaxGroup is how many bytes of bundles for non-singleton endpoints may wait;
	// 0 for no limit.
	MaxGroup int64
	// Registrations are the applications that are registered at non-singleton
	// endpoints.
	Registrations []Registration

	// NextHandle reserves a handle of the store.
	NextHandle func() store.Handle
	// MaxResident is the most bundles that are kept in memory, in round numbers;
	// the others are read from the store when their turn comes. At least 8;
	// 0: DefaultMaxResident.
	MaxResident int
	// Counter reads a counter of the store.
	Counter func(name string) (uint64, error)
	// Stamp returns a creation timestamp that was never used before.
	Stamp func(now dtntime.Time) bundle.Timestamp
}

// Neighbour is a node that this one has a link with.
type Neighbour struct {
	Peer bundle.EID
	// Always keeps the link up at all times. Otherwise it is up during the
	// contacts that the plan has between the two nodes, in either direction.
	Always bool
	// Dial lets this node open the session; otherwise it waits for the peer.
	Dial bool
}

// Guard is how long before the end of a contact the last byte must have left, for
// clocks that differ.
const Guard = 200 * dtntime.Millisecond

// hangupLead is how long before the end of its last contact a session is ended, so
// that its orderly end still fits into the contact.
const hangupLead = Guard / 2
