// Package bundletest builds sample bundles for the tests of other packages.
//
// It refuses to check anything: what a bundle must be is tested in package bundle.
package bundletest

import (
	"math/rand"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// Created is the creation time of the samples: 2026-06-01T00:00:00Z.
const Created dtntime.Time = 833587200000

// An Option changes a sample bundle.
type Option func(*bundle.Bundle)

// EID parses an endpoint ID and panics when it is malformed.
func EID(s string) bundle.EID {
	e, err := bundle.ParseEID(s)
	if err != nil {
		panic(err)
	}
	return e
}

// New returns the header of a bundle from ipn:1.10 to ipn:2.10, created at
// Created with sequence number 1, that lives an hour and has a CRC-32C on both
// blocks, as changed by opts. Its payload is announced empty; Encode sets its
// length.
func New(opts ...Option) bundle.Bundle {
	b := bundle.Bundle{
		Primary: bundle.Primary{
			CRC:         bundle.CRC32C,
			Source:      bundle.IPN(1, 10),
			Destination: bundle.IPN(2, 10),
			Created:     bundle.Timestamp{Time: Created, Sequence: 1},
			Lifetime:    dtntime.Hour,
		},
		Payload: bundle.PayloadHeader{CRC: bundle.CRC32C},
	}
	for _, opt := range opts {
		opt(&b)
	}
	return b
}

// Encode returns the bytes of b with the given payload.
func Encode(b bundle.Bundle, payload []byte) []byte {
	b.Payload.Length = uint64(len(payload))
	return b.Append(nil, payload)
}

// Bytes returns the bytes of the sample that New makes of opts, with n bytes of
// payload drawn from seed.
func Bytes(seed int64, n int, opts ...Option) []byte { return Encode(New(opts...), Payload(seed, n)) }

// Payload returns n bytes drawn from seed, which no compression shortens.
func Payload(seed int64, n int) []byte {
	p := make([]byte, n)
	rand.New(rand.NewSource(seed)).Read(p)
	return p
}

// From sets the source.
func From(e bundle.EID) Option { return func(b *bundle.Bundle) { b.Primary.Source = e } }

// To sets the destination.
func To(e bundle.EID) Option { return func(b *bundle.Bundle) { b.Primary.Destination = e } }

// ReportTo sets where reports go, and which are asked for.
func ReportTo(e bundle.EID, reports bundle.Flags) Option {
	return func(b *bundle.Bundle) {
		b.Primary.ReportTo = e
		b.Primary.Flags |= reports
	}
}

// At sets the creation timestamp.
func At(t dtntime.Time, sequence uint64) Option {
	return func(b *bundle.Bundle) { b.Primary.Created = bundle.Timestamp{Time: t, Sequence: sequence} }
}

// Sequence sets the sequence number of the creation timestamp, so that bundles
// differ.
func Sequence(n uint64) Option { return func(b *bundle.Bundle) { b.Primary.Created.Sequence = n } }

// Lifetime sets the lifetime.
func Lifetime(d dtntime.Duration) Option { return func(b *bundle.Bundle) { b.Primary.Lifetime = d } }

// Flags adds bundle processing control flags.
func Flags(f bundle.Flags) Option { return func(b *bundle.Bundle) { b.Primary.Flags |= f } }

// CRC sets the CRC of the primary and the payload block.
func CRC(t bundle.CRCType) Option {
	return func(b *bundle.Bundle) { b.Primary.CRC, b.Payload.CRC = t, t }
}

// Fragment makes the bundle a fragment at offset of a unit of total bytes.
func Fragment(offset, total uint64) Option {
	return func(b *bundle.Bundle) {
		b.Primary.Flags |= bundle.FlagFragment
		b.Primary.FragmentOffset, b.Primary.TotalLength = offset, total
	}
}

// Custody adds a custody transfer block and forbids fragmentation.
func Custody(custodian bundle.EID, seqID, seqNum uint64) Option {
	return func(b *bundle.Bundle) {
		b.Primary.Flags |= bundle.FlagMustNotFragment
		b.SetExtension(bundle.CustodyBlock(0, bundle.Custody{SeqNum: seqNum, SeqID: seqID, Custodian: custodian}))
	}
}

// Priority adds a priority block.
func Priority(p bundle.Priority) Option {
	return func(b *bundle.Bundle) { b.SetExtension(bundle.PriorityBlock(0, p)) }
}

// Age adds a bundle age block.
func Age(d dtntime.Duration) Option {
	return func(b *bundle.Bundle) { b.SetExtension(bundle.BundleAgeBlock(0, d)) }
}

// Hops adds a hop count block.
func Hops(limit, count uint8) Option {
	return func(b *bundle.Bundle) {
		b.SetExtension(bundle.HopCountBlock(0, bundle.HopCount{Limit: limit, Count: count}))
	}
}

// PreviousNode adds a previous node block.
func PreviousNode(e bundle.EID) Option {
	return func(b *bundle.Bundle) { b.SetExtension(bundle.PreviousNodeBlock(0, e)) }
}

// Block adds any extension block.
func Block(blk bundle.Block) Option {
	return func(b *bundle.Bundle) { b.Extensions = append(b.Extensions, blk) }
}
