package core

import (
	"fmt"

	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// Forwarding is what changes in a bundle's header when it is sent on (RFC 9171
// section 5.4).
type Forwarding struct {
	Previous bundle.EID // this node
	Custody  *bundle.Custody
	// CustodyAs is the type of the custody block for the neighbour, and
	// CustodyFrom the type under which the bundle may have brought one. 0: the
	// standard type.
	CustodyAs, CustodyFrom bundle.BlockType
	// BareDiscard takes the CRC off blocks that ask to be discarded where they are
	// not known, since ION refuses bundles with both.
	BareDiscard bool
	// ReportingAs and ReportingFrom are the same for the compressed reporting block.
	ReportingAs, ReportingFrom bundle.BlockType
}

// Apply changes the extension blocks of b, the header of the bundle that record
// describes, for a transmission at now: the previous node block is replaced, age
// and hop count grow, blocks that asked to be discarded are, the custody block names
// this node when it is custodian, and a bundle made here gets its block for
// compressed reports. The slice b.Extensions must be the caller's own.
func (f Forwarding) Apply(b *bundle.Bundle, record *store.Record, now dtntime.Time) error {
	b.StripUnsupported()
	if record.Previous.IsNull() {
		b.RemoveExtension(bundle.TypePreviousNode)
	} else {
		b.SetExtension(bundle.PreviousNodeBlock(0, f.Previous))
	}
	if _, ok := b.Age(); ok {
		b.SetExtension(bundle.BundleAgeBlock(0, record.AgeReceived.Add(now.Sub(record.Received))))
	}
	if hops, ok := b.HopCount(); ok && !record.Previous.IsNull() {
		next, more := hops.Next()
		if !more {
			return fmt.Errorf("sending %s on: %w, which is %d", record.ID, ErrHopLimit, hops.Limit)
		}
		b.SetExtension(bundle.HopCountBlock(0, next))
	}
	if f.Custody != nil {
		blk := bundle.CustodyBlock(0, *f.Custody)
		if f.CustodyAs != 0 {
			blk.Type = f.CustodyAs
		}
		for _, old := range [...]bundle.BlockType{bundle.TypeCustody, f.CustodyFrom} {
			if old != 0 && old != blk.Type {
				b.RemoveExtension(old)
			}
		}
		b.SetExtension(blk)
	}
	f.reporting(b, record)
	for i := range b.Extensions {
		if blk := &b.Extensions[i]; f.BareDiscard && blk.Flags&bundle.BlockDiscard != 0 {
			blk.CRC = bundle.CRCNone
		}
	}
	return nil
}

// reporting adds the compressed reporting block of a bundle made here, and gives that
// of another the type that the neighbour knows.
func (f *Forwarding) reporting(b *bundle.Bundle, record *store.Record) {
	if record.Previous.IsNull() {
		if r, ok := reportingIn(record); ok {
			blk := bundle.ReportingBlock(0, r)
			if f.ReportingAs != 0 {
				blk.Type = f.ReportingAs
			}
			b.SetExtension(blk)
		}
		return
	}
	if f.ReportingAs == f.ReportingFrom || b.Extension(f.ReportingAs) != nil {
		return
	}
	if old := b.Extension(f.ReportingFrom); old != nil {
		old.Type = f.ReportingAs
	}
}
