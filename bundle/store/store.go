// Package store holds the contract of a bundle store: what the node keeps of
// every bundle, and what a store promises about it.
//
// It refuses to decide anything: which bundles to keep, forward or delete is the
// node's business. Implementations pass the suite in storetest.
package store

import (
	"context"
	"errors"
	"io"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// Errors that callers branch on.
var (
	// ErrNotFound: the store holds no such bundle.
	ErrNotFound = errors.New("bundle not in store")
	// ErrExists: the store already holds the bundle, under another handle.
	ErrExists = errors.New("bundle is already in store")
	// ErrQuota: the store's quota, or the share of it that the bundle may use,
	// is used up; nothing was written.
	ErrQuota = errors.New("store quota is used up")
	// ErrFull: the disk is full; nothing was written.
	ErrFull = errors.New("disk is full")
	// ErrCorrupt: a stored record does not match its checksum.
	ErrCorrupt = errors.New("stored record is corrupt")
	// ErrFailed: an earlier write or sync failed, so the store takes no more
	// writes until it is opened again. What was durable before still is.
	ErrFailed = errors.New("store has failed and is read-only")
)

// Handle is the local number of a stored bundle. Handles grow in the order of
// acceptance and are never used again, not even after a restart.
type Handle uint64

// Duty says why a bundle is kept: its retention constraint (RFC 9171 section 5).
type Duty uint8

// Duties.
const (
	DutyForward Duty = 1 // to be sent to another node
	DutyDeliver Duty = 2 // to be handed to a local application
	// DutyAssemble: a fragment to be kept until its bundle is whole (RFC 9171
	// section 5.9).
	DutyAssemble Duty = 3
	// DutyGroup: to be handed to every application that is registered at a
	// non-singleton endpoint, and sent to every neighbour (RFC 9171 sections 5.3
	// and 5.7).
	DutyGroup Duty = 4
)

// String names the duty.
func (d Duty) String() string {
	switch d {
	case DutyForward:
		return "forward"
	case DutyDeliver:
		return "deliver"
	case DutyAssemble:
		return "assemble"
	case DutyGroup:
		return "group"
	}
	return "none"
}

// Lane is one queue of stored bundles: those that wait for the same thing.
type Lane struct {
	Duty        Duty
	Destination bundle.EID
	Priority    bundle.Priority // 0 (bulk) unless Duty is DutyForward
}

// Episode names one custody of one bundle: the custodian that asked for it and the
// number under which it did (custody transfer extension block, CCSDS
// 734.6-O-1). The zero Episode is no custody.
type Episode struct {
	Custodian bundle.EID
	SeqID     uint64
	SeqNum    uint64
}

// String names the lane, as in "forward ipn:3.11 normal".
func (l Lane) String() string {
	if l.Duty == DutyForward {
		return l.Duty.String() + " " + l.Destination.String() + " " + l.Priority.String()
	}
	return l.Duty.String() + " " + l.Destination.String()
}

// Record is what the store keeps of a bundle beside its bytes. All times are DTN
// times.
type Record struct {
	Handle      Handle
	ID          bundle.ID
	Destination bundle.EID
	ReportTo    bundle.EID
	Flags       bundle.Flags
	Priority    bundle.Priority
	Duty        Duty

	Received dtntime.Time // when the bundle was accepted here
	Expiry   dtntime.Time // when its lifetime is over
	Pared    bool         // Expiry is sooner, because this node keeps it no longer
	// AgeReceived is the bundle's age at Received. HasAge tells that it
	// carries an age block, which must grow before it is sent on.
	AgeReceived dtntime.Duration
	HasAge      bool

	// Total is the length in bytes of the application data unit that a
	// fragment is of; 0 for whole bundles.
	Total uint64

	HeaderLen  int64 // bytes before the first byte of payload
	PayloadLen int64 // bytes of payload
	// Forwarded is how many bytes of the payload, from its beginning, other
	// nodes have taken as fragments.
	Forwarded int64
	Size      int64 // bytes of the whole bundle as stored

	// Previous is the node that the bundle came from; null when it was made
	// here.
	Previous bundle.EID
	// Astray tells that the bundle has gone round instead of coming nearer.
	Astray bool

	// Custodial tells that this node is the bundle's custodian and may not
	// drop it for space. From is the episode it took over, Own the one under
	// which it asks the next custodian; Own is zero until the bundle is first
	// sent.
	Custodial bool
	From, Own Episode
	// Attempts counts the transmissions under Own.
	Attempts uint32

	// Value is what the bundle is worth, as its priority block says.
	Value uint64

	// Spread is what is left to be done under DutyGroup.
	Spread Spread

	// Reporting is the compressed reports that are owed, if any. For a bundle made
	// here it is the block that it leaves with.
	Reporting Reporting
}

// Lane is the queue that the bundle stands in.
func (r *Record) Lane() Lane {
	l := Lane{Duty: r.Duty, Destination: r.Destination}
	if r.Duty == DutyForward {
		l.Priority = r.Priority
	}
	return l
}

// Gone is what is left of a bundle that the store no longer holds: enough to know
// it again until it cannot come back any more.
type Gone struct {
	ID     bundle.ID
	From   Episode      // the episode under which it was accepted, if any
	Reason GoneReason   // why it left
	At     dtntime.Time // when it left
	Until  dtntime.Time // when this entry may be forgotten
}

// DefaultMaxGone is how many bundles a store remembers after they left. When there
// are more, those are forgotten first that may be forgotten first.
const DefaultMaxGone = 1_000_000

// GoneReason says why a bundle left the store.
type GoneReason uint8

// Reasons for leaving.
const (
	GoneDelivered GoneReason = 1 // an application acknowledged it
	GoneForwarded GoneReason = 2 // sent on without custody
	GoneReleased  GoneReason = 3 // another custodian accepted it
	GoneExpired   GoneReason = 4
	GoneRemoved   GoneReason = 5 // by the operator
)

// String names the reason.
func (r GoneReason) String() string {
	switch r {
	case GoneDelivered:
		return "delivered"
	case GoneForwarded:
		return "forwarded"
	case GoneReleased:
		return "released"
	case GoneExpired:
		return "expired"
	case GoneRemoved:
		return "removed"
	}
	return "unknown"
}

// Trace is what a store knows of a bundle ID: at most one of Live and Gone.
type Trace struct {
	Live *Record
	Gone *Gone
}

// Op is one change of the store: Put, Update, Delete or SetCounter.
type Op interface{ isOp() }

// Put stores a new bundle. Record.Handle must be a handle from NextHandle and
// Staged the bundle's bytes. Whatever becomes of the commit, Staged is spent.
type Put struct {
	Record Record
	Staged Staged
}

// Update replaces the record of a stored bundle. Its ID, size and lane stay what
// they are.
type Update struct{ Record Record }

// Delete removes a bundle and leaves Gone behind. A Gone whose Until is zero
// leaves nothing.
type Delete struct {
	Handle Handle
	Gone   Gone
}

// SetCounter keeps a named number, such as a block of reserved custody numbers.
type SetCounter struct {
	Name  string
	Value uint64
}

func (Put) isOp()        {}
func (Update) isOp()     {}
func (Delete) isOp()     {}
func (SetCounter) isOp() {}

// Staged is the bytes of a bundle on their way into the store. It is written by
// one goroutine, and then either handed over in a Put or discarded.
type Staged interface {
	// Write adds bytes. It returns ErrQuota or ErrFull when they do not fit.
	io.Writer
	// Size is the number of bytes written.
	Size() int64
	// Discard gives the space back. It does nothing after a Put.
	Discard()
}

// Buffered is a Staged that can be filled in the store's own memory, without copying.
type Buffered interface {
	Staged
	// Buffer returns an empty slice with room for n bytes, or nil when so large a
	// bundle does not stay in memory. Nothing may have been written before.
	Buffer(n int64) []byte
	// Fill stages b, which is what Buffer returned with the bundle appended. It
	// belongs to the store from then on.
	Fill(b []byte) error
}

// Content is the stored bytes of a bundle. It stays readable until it is closed,
// even when the bundle is deleted meanwhile. Reads check nothing; the bundle's own
// CRCs and Verify do.
type Content interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Store keeps bundles. Its methods may be called concurrently.
type Store interface {
	// NextHandle reserves a handle.
	NextHandle() Handle

	// Stage begins a bundle of about size bytes, or of unknown size when size
	// is negative. Small bundles are held in memory, large ones go to disk as
	// they are written. The size is a hint; a wrong one costs the space that it
	// announces at most.
	Stage(size int64) (Staged, error)

	// Commit applies ops in order, all or none, and returns once they are
	// durable. Concurrent commits share one sync. Ops whose Put found no space
	// fail with ErrQuota or ErrFull and change nothing, and so do those whose
	// Update takes custody beyond the share for it. Deletes never need space. A
	// Put of an ID that is live fails with ErrExists, one of an ID that
	// is Gone takes its place; Update and Delete of an unknown handle fail with
	// ErrNotFound. When ctx ends first, nothing is changed.
	Commit(ctx context.Context, ops []Op) error

	// CommitEach commits several lists of ops, in order, each as Commit does:
	// one that fails changes nothing and keeps none of the others back. They
	// share one sync where that is possible. The errors are in the order of the
	// lists.
	CommitEach(ctx context.Context, lists [][]Op) []error

	// Open returns the bytes of a bundle, or ErrNotFound.
	Open(h Handle) (Content, error)

	// Get returns the record of a bundle, or ErrNotFound.
	Get(h Handle) (Record, error)

	// Find tells what is known of a bundle ID. An unknown ID is no error.
	Find(id bundle.ID) (Trace, error)

	// Scan returns up to limit records with handles above after, in order of
	// handle.
	Scan(after Handle, limit int) ([]Record, error)

	// Lanes returns up to limit lanes that hold bundles, in a fixed order, those
	// behind after; the zero Lane begins.
	Lanes(after Lane, limit int) ([]Lane, error)

	// ScanLane returns up to limit records of a lane with handles above after,
	// in order of handle.
	ScanLane(lane Lane, after Handle, limit int) ([]Record, error)

	// Counter returns a number kept by SetCounter, 0 when there is none.
	Counter(name string) (uint64, error)

	// Forget drops what is Gone and whose Until is before now.
	Forget(ctx context.Context, now dtntime.Time) error

	// Stats is a snapshot of what the store holds.
	Stats() Stats

	// Verify reads everything that is stored and checks it.
	Verify(ctx context.Context, progress func(done, total int64)) (Report, error)

	// Close waits for commits under way and closes the files.
	Close() error
}

// Stats describes what a store holds.
type Stats struct {
	Bundles      int64  `json:"bundles"`
	Bytes        int64  `json:"bytes"` // of the bundles stored
	Quota        int64  `json:"quota_bytes"`
	Custodial    int64  `json:"custodial_bundles"`
	CustodyBytes int64  `json:"custodial_bytes"`
	CustodyQuota int64  `json:"custodial_quota_bytes"` // the share of Quota for custody
	Gone         int64  `json:"remembered"`            // entries about bundles that left
	Segments     int64  `json:"segments"`
	DiskBytes    int64  `json:"disk_bytes"` // of all segment files
	Commits      int64  `json:"commits"`    // synced groups since the store was opened
	Quarantined  int64  `json:"quarantined"`
	FailedReason string `json:"failed_reason,omitempty"`

	// PriorityBytes are the bytes of the bundles of each priority, bulk first.
	PriorityBytes [Classes]int64 `json:"priority_bytes"`
}

// Report is the outcome of Verify.
type Report struct {
	Records int64    `json:"records"`
	Bytes   int64    `json:"bytes"`
	Corrupt []string `json:"corrupt"` // one line for each bad record, bounded
}
