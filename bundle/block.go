package bundle

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
}

// PayloadHeader describes the payload block without its data, which stays a
// stream or a range of a file.
type PayloadHeader struct {
	Flags  BlockFlags
	CRC    CRCType
	Length uint64 // of the data, in bytes
}
