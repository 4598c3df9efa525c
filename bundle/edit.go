package bundle

import "slices"

// Clone returns a copy of b whose Extensions slice is its own, so that blocks can
// be set and removed. The data of the blocks is shared.
func (b *Bundle) Clone() Bundle {
	out := *b
	out.Extensions = slices.Clone(b.Extensions)
	return out
}

// readable returns the first extension block of type t unless it is encrypted.
func (b *Bundle) readable(t BlockType) *Block {
	blk := b.Extension(t)
	if blk == nil || b.Encrypted(blk.Number) {
		return nil
	}
	return blk
}

// SetExtension puts blk in the place of the first block of its type, under that
// block's number and whatever number blk has, so that security blocks keep their
// targets. Without such a block it adds blk, under a free number when its own is
// 0. The Extensions slice must be the caller's own: see Clone.
func (b *Bundle) SetExtension(blk Block) {
	if old := b.Extension(blk.Type); old != nil {
		blk.Number = old.Number
		*old = blk
		return
	}
	if blk.Number == 0 {
		blk.Number = b.FreeNumber()
	}
	b.Extensions = append(b.Extensions, blk)
}

// RemoveExtension removes all blocks of type t and tells whether there were any.
// The Extensions slice must be the caller's own: see Clone.
func (b *Bundle) RemoveExtension(t BlockType) bool {
	before := len(b.Extensions)
	b.Extensions = slices.DeleteFunc(b.Extensions, func(blk Block) bool { return blk.Type == t })
	return len(b.Extensions) < before
}

// FreeNumber returns the smallest number that no block has.
func (b *Bundle) FreeNumber() uint64 {
	for n := uint64(payloadNumber + 1); ; n++ {
		if !slices.ContainsFunc(b.Extensions, func(blk Block) bool { return blk.Number == n }) {
			return n
		}
	}
}

// Unsupported is what becomes of a bundle because of the blocks in it that nodes
// of this kind do not process (RFC 9171 section 5.6 step 4).
type Unsupported struct {
	Report bool // a status report is asked for, reason ReasonBlockUnsupported
	Delete bool // the bundle is deleted
	Strip  bool // blocks are removed; StripUnsupported does it
}

// Unsupported looks for blocks of unknown types.
func (b *Bundle) Unsupported() Unsupported {
	var u Unsupported
	for i := range b.Extensions {
		blk := &b.Extensions[i]
		if blk.Type.Known() {
			continue
		}
		u.Report = u.Report || blk.Flags&BlockReport != 0
		u.Delete = u.Delete || blk.Flags&BlockDeleteBundle != 0
		u.Strip = u.Strip || blk.Flags&(BlockDeleteBundle|BlockDiscard) == BlockDiscard
	}
	return u
}

// StripUnsupported removes the blocks of unknown types that ask to be discarded.
// The Extensions slice must be the caller's own: see Clone.
func (b *Bundle) StripUnsupported() {
	b.Extensions = slices.DeleteFunc(b.Extensions, func(blk Block) bool {
		return !blk.Type.Known() && blk.Flags&BlockDiscard != 0
	})
}
