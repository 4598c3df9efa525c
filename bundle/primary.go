package bundle

import "perigee/bundle/dtntime"

// Flags are the bundle processing control flags (RFC 9171 section 4.2.3).
// Unknown bits are carried and ignored.
type Flags uint64

// Bundle processing control flags.
const (
	FlagFragment        Flags = 0x000001
	FlagAdminRecord     Flags = 0x000002
	FlagMustNotFragment Flags = 0x000004
	FlagAckRequested    Flags = 0x000020
	FlagStatusTime      Flags = 0x000040
	FlagReportReception Flags = 0x004000
	FlagReportForwarded Flags = 0x010000
	FlagReportDelivered Flags = 0x020000
	FlagReportDeleted   Flags = 0x040000

	// ReportFlags is the set of flags that ask for status reports.
	ReportFlags = FlagReportReception | FlagReportForwarded | FlagReportDelivered | FlagReportDeleted
)

// CRCType says which CRC protects a block (RFC 9171 section 4.2.1).
type CRCType uint8

// CRC types.
const (
	CRCNone CRCType = 0
	CRC16   CRCType = 1 // X-25 CRC-16
	CRC32C  CRCType = 2 // Castagnoli CRC-32
)

// Primary is the primary block (RFC 9171 section 4.3.1). It never changes on
// the way: a parsed Primary is appended byte for byte as it came, so its
// fields must not be written to.
type Primary struct {
	Flags       Flags
	CRC         CRCType
	Destination EID
	Source      EID
	ReportTo    EID
	Created     Timestamp
	Lifetime    dtntime.Duration

	// FragmentOffset and TotalLength are the fragment's place in the
	// application data unit and that unit's length, in bytes. They are
	// meaningful only under FlagFragment.
	FragmentOffset, TotalLength uint64

	wire []byte // the block as it was received, or nil
}
