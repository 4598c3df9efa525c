package bundle

import (
	"errors"
	"fmt"
)

// ErrNotFragmentable is wrapped by every error about a bundle that must travel
// whole.
var ErrNotFragmentable = errors.New("bundle must not be fragmented")

// Fragmentable tells whether b may be cut into fragments: nil, or an error that
// wraps ErrNotFragmentable and says why not. Bundles that forbid it may not
// (RFC 9171 section 5.8), nor those under custody or with compressed reporting, whose
// signals speak of whole bundles (CCSDS 734.6-O-1). A bundle whose primary block relies on a
// block integrity block instead of a CRC may not either: no fragment but the
// first would be protected.
func (b *Bundle) Fragmentable() error {
	switch {
	case b.Primary.Flags&FlagMustNotFragment != 0:
		return fmt.Errorf("%w: its flags say so", ErrNotFragmentable)
	case b.Extension(TypeCustody) != nil:
		return fmt.Errorf("%w: it has a %s block", ErrNotFragmentable, TypeCustody)
	case b.Extension(TypeReporting) != nil:
		return fmt.Errorf("%w: it has a %s block", ErrNotFragmentable, TypeReporting)
	case b.Primary.CRC == CRCNone:
		return fmt.Errorf("%w: its primary block has no CRC", ErrNotFragmentable)
	}
	return nil
}

// Fragment returns the header of the fragment of b that carries the length bytes
// of b's payload from offset on (RFC 9171 section 5.8). b may be a fragment itself:
// offset counts from the beginning of its own payload, and what comes out is a
// fragment of the original bundle.
//
// Blocks keep their numbers. All extension blocks go with the first byte of the
// original bundle, and those flagged BlockReplicate with every fragment. So does
// the bundle age of a bundle without a creation time, which could not expire
// without it. The data of the blocks is shared with b.
func (b *Bundle) Fragment(offset, length uint64) (Bundle, error) {
	if err := b.Fragmentable(); err != nil {
		return Bundle{}, fmt.Errorf("fragment bundle %s: %w", b.ID(), err)
	}
	whole := b.Payload.Length
	if length == 0 || offset > whole || length > whole-offset {
		return Bundle{}, fmt.Errorf("fragment bundle %s: %d bytes from byte %d on are not within its %d bytes of payload",
			b.ID(), length, offset, whole)
	}
	out := Bundle{Primary: b.Primary.Editable(), Payload: b.Payload}
	out.Payload.Length, out.Payload.open = length, false
	p := &out.Primary
	if p.Flags&FlagFragment == 0 {
		p.Flags |= FlagFragment
		p.FragmentOffset, p.TotalLength = 0, whole
	}
	p.FragmentOffset += offset
	for i := range b.Extensions {
		blk := &b.Extensions[i]
		ages := blk.Type == TypeBundleAge && p.Created.Time == 0
		if p.FragmentOffset == 0 || blk.Flags&BlockReplicate != 0 || ages {
			out.Extensions = append(out.Extensions, *blk)
		}
	}
	return out, nil
}

// FragmentWithin returns the header of a fragment like Fragment does, from offset
// on and with as much payload as it can have without its encoding becoming longer
// than size bytes. It may stay a few bytes below. When size leaves no room for
// payload that is an error.
func (b *Bundle) FragmentWithin(offset, size uint64) (Bundle, error) {
	if offset >= b.Payload.Length {
		return b.Fragment(offset, 0) // which says what is wrong with it
	}
	out, err := b.Fragment(offset, min(b.Payload.Length-offset, max(size, 1)))
	if err != nil {
		return Bundle{}, err
	}
	around := uint64(out.HeaderLen() + out.Payload.tailLen())
	if size <= around {
		return Bundle{}, fmt.Errorf("fragment bundle %s: %d bytes leave no room for payload; what surrounds it takes %d", b.ID(), size, around)
	}
	out.Payload.Length = min(out.Payload.Length, size-around)
	return out, nil
}

// Whole returns the header of the bundle that b is the first fragment of, once the
// payload has been put together (RFC 9171 section 5.9): with b's blocks, and
// without what marks it as a fragment. b must be a fragment with offset 0.
func (b *Bundle) Whole() (Bundle, error) {
	if b.Primary.Flags&FlagFragment == 0 || b.Primary.FragmentOffset != 0 {
		return Bundle{}, fmt.Errorf("reassemble bundle %s: not a fragment with offset 0", b.ID())
	}
	out := b.Clone()
	out.Primary = b.Primary.Editable()
	p := &out.Primary
	p.Flags &^= FlagFragment
	out.Payload.Length, out.Payload.open = p.TotalLength, false
	p.FragmentOffset, p.TotalLength = 0, 0
	return out, nil
}
