package bundle

import (
	"fmt"

	"perigee/bundle/internal/cbor"
)

// BlockType is the type code of a canonical block (RFC 9171 section 9.1).
type BlockType uint64

// Block types.
const (
	TypePayload      BlockType = 1
	TypePreviousNode BlockType = 6
	TypeBundleAge    BlockType = 7
	TypeHopCount     BlockType = 10
	TypeBIB          BlockType = 11  // block integrity (RFC 9172)
	TypeBCB          BlockType = 12  // block confidentiality (RFC 9172)
	TypeCustody      BlockType = 13  // custody transfer extension block (CCSDS 734.6-O-1)
	TypeReporting    BlockType = 14  // compressed reporting extension block (CCSDS 734.6-O-1)
	TypePriority     BlockType = 224 // private: class of service, see Priority
)

// BlockFlags are the block processing control flags (RFC 9171 section 4.2.4).
type BlockFlags uint64

// Block processing control flags.
const (
	BlockReplicate    BlockFlags = 0x01 // replicate in every fragment
	BlockReport       BlockFlags = 0x02 // report status if it cannot be processed
	BlockDeleteBundle BlockFlags = 0x04 // delete the bundle if it cannot be processed
	BlockDiscard      BlockFlags = 0x10 // discard the block if it cannot be processed
)

// Block is an extension block: any canonical block but the payload (RFC 9171
// section 4.3.2). Data is the block-type-specific data; blocks of unknown types
// pass through unchanged.
type Block struct {
	Type   BlockType
	Number uint64
	Flags  BlockFlags
	CRC    CRCType
	Data   []byte

	// wire is the block as it was parsed. A block that goes out as it came needs
	// no new CRC.
	wire []byte
}

// String names the type.
func (t BlockType) String() string {
	switch t {
	case TypePayload:
		return "payload"
	case TypePreviousNode:
		return "previous-node"
	case TypeBundleAge:
		return "bundle-age"
	case TypeHopCount:
		return "hop-count"
	case TypeBIB:
		return "block-integrity"
	case TypeBCB:
		return "block-confidentiality"
	case TypeCustody:
		return "custody-transfer"
	case TypeReporting:
		return "compressed-reporting"
	case TypePriority:
		return "priority"
	}
	return fmt.Sprintf("type(%d)", uint64(t))
}

// Known tells whether nodes of this kind process blocks of type t. What becomes
// of others is in their flags.
func (t BlockType) Known() bool {
	switch t {
	case TypePayload, TypePreviousNode, TypeBundleAge, TypeHopCount, TypeBIB, TypeBCB, TypeCustody, TypeReporting, TypePriority:
		return true
	}
	return false
}

// blockHead is what canonical blocks have in front of their data.
type blockHead struct {
	Type   BlockType
	Number uint64
	Flags  BlockFlags
	CRC    CRCType
}

// parseBlockHead reads the head of a canonical block up to its data, and checks
// it against the primary block.
func parseBlockHead(d *cbor.Decoder, p *Primary) (fields, blockHead) {
	f := openFields(d, "4.3.2")
	var h blockHead
	at := d.Offset()
	h.Type = BlockType(f.uint())
	if h.Type == 0 {
		f.fail(at, "9.1", "block type 0 is reserved")
	}
	at = d.Offset()
	h.Number = f.uint()
	switch {
	case h.Number == 0:
		f.fail(at, "4.1", "block number 0 belongs to the primary block")
	case (h.Number == payloadNumber) != (h.Type == TypePayload):
		f.fail(at, "4.1", "%s block has number %d; the payload block alone has number 1", h.Type, h.Number)
	}
	at = d.Offset()
	h.Flags = BlockFlags(f.uint())
	if h.Flags&BlockReport != 0 && (p.Flags&FlagAdminRecord != 0 || p.anonymous()) {
		f.fail(at, "4.2.4", "block of an administrative record or of an anonymous source asks for a status report")
	}
	at = d.Offset()
	h.CRC = f.crcType()
	want := uint64(1)
	if h.CRC != CRCNone {
		want = 2
	}
	if !f.items.Open() && f.items.Left() != want {
		f.fail(at, "4.3.2", "block with CRC type %d has %d items behind it instead of %d", h.CRC, f.items.Left(), want)
	}
	return f, h
}

// parseExtension reads the rest of an extension block. The result aliases the
// input.
func parseExtension(f *fields, h blockHead) (Block, error) {
	blk := Block{Type: h.Type, Number: h.Number, Flags: h.Flags, CRC: h.CRC}
	if f.next() {
		data, err := f.d.Bytes()
		if err != nil {
			f.err = asParseError(err, 0, "4.2.8")
		}
		blk.Data = data
	}
	f.crc(h.CRC)
	blk.wire = f.d.Slice(f.start)
	return blk, f.result()
}

// append appends the block.
func (blk *Block) append(dst []byte) []byte {
	start := len(dst)
	dst = appendBlockHead(dst, blockHead{blk.Type, blk.Number, blk.Flags, blk.CRC}, false)
	if len(blk.Data) < 24 {
		dst = append(dst, byte(cbor.MajorBytes)<<5|byte(len(blk.Data)))
	} else {
		dst = cbor.AppendHead(dst, cbor.MajorBytes, uint64(len(blk.Data)))
	}
	dst = append(dst, blk.Data...)
	if n := len(dst) - start; blk.CRC != CRCNone && len(blk.wire) == n+blk.CRC.fieldLen() && string(blk.wire[:n]) == string(dst[start:]) {
		return append(dst, blk.wire[n:]...)
	}
	return appendCRC(dst, start, blk.CRC)
}

// appendBlockHead appends a block up to its data. open asks for an array of
// indefinite length.
func appendBlockHead(dst []byte, h blockHead, open bool) []byte {
	first := byte(0x86)
	switch {
	case open:
		first = cbor.IndefiniteArray
	case h.CRC == CRCNone:
		first = 0x85
	}
	if h.Type < 24 && h.Number < 24 && h.Flags < 24 { // nearly always
		return append(dst, first, byte(h.Type), byte(h.Number), byte(h.Flags), byte(h.CRC))
	}
	dst = append(dst, first)
	dst = cbor.AppendUint(dst, uint64(h.Type))
	dst = cbor.AppendUint(dst, h.Number)
	dst = cbor.AppendUint(dst, uint64(h.Flags))
	return append(dst, byte(h.CRC))
}

// encodedLen is the length of what append appends.
func (blk *Block) encodedLen() int {
	n := uint64(len(blk.Data))
	return 2 + cbor.HeadLen(uint64(blk.Type)) + cbor.HeadLen(blk.Number) + cbor.HeadLen(uint64(blk.Flags)) +
		cbor.HeadLen(n) + len(blk.Data) + blk.CRC.fieldLen()
}

// content returns an error about data that is not what blocks of type t hold.
func (t BlockType) content(err error, sect string) error {
	if err == nil {
		return nil
	}
	parse := asParseError(err, 0, sect)
	parse.Reason = t.String() + " block: " + parse.Reason
	if endsEarly(parse.Err) {
		parse.Err = nil // the block is whole: more input would not help
	}
	return parse
}

// trailing returns an error unless d is at its end.
func trailing(d *cbor.Decoder, sect string) error {
	if n := len(d.Rest()); n > 0 {
		return malformed(d.Offset(), sect, "%d bytes follow the content", n)
	}
	return nil
}
