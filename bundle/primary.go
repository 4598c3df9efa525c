package bundle

import (
	"perigee/bundle/dtntime"
	"perigee/bundle/internal/cbor"
)

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

// version is the version of the bundle protocol that primary blocks name.
const version = 7

// Primary is the primary block (RFC 9171 section 4.3.1). It never changes on
// the way: a parsed Primary is appended byte for byte as it came, so its
// fields must not be written to; Editable gives a copy whose fields may be.
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

// Editable returns a copy of p that is encoded from its fields, not from the
// bytes it was parsed from: the beginning of another bundle's primary block.
func (p *Primary) Editable() Primary {
	out := *p
	out.wire = nil
	return out
}

// Wire returns the bytes of the block as they stand in the bundle: as received,
// or encoded anew. They must not be written to.
func (p *Primary) Wire() []byte {
	if p.wire != nil {
		return p.wire
	}
	return p.append(make([]byte, 0, p.encodedLen()))
}

// anonymous tells that nothing about the bundle may rely on its identity.
func (p *Primary) anonymous() bool { return p.Source.IsNull() }

// parsePrimary reads the primary block. The result aliases the input.
func parsePrimary(d *cbor.Decoder) (Primary, error) {
	f := openFields(d, "4.3.1")
	var p Primary
	at := d.Offset()
	if v := f.uint(); v != version {
		f.fail(at, "4.3.1", "bundle protocol version is %d, not %d", v, version)
	}
	flagsAt := d.Offset()
	p.Flags = Flags(f.uint())
	p.CRC = f.crcType()
	p.Destination = f.eid()
	p.Source = f.eid()
	p.ReportTo = f.eid()
	p.Created = f.timestamp()
	p.Lifetime = dtntime.Duration(f.uint())
	if p.Flags&FlagFragment != 0 {
		p.FragmentOffset = f.uint()
		p.TotalLength = f.uint()
	}
	f.crc(p.CRC)
	if reason := p.contradiction(); reason != "" {
		f.fail(flagsAt, "4.2.3", "%s", reason)
	}
	if err := f.result(); err != nil {
		return Primary{}, err
	}
	p.wire = d.Slice(f.start)
	return p, nil
}

// contradiction tells which flags contradict each other; "" when none do.
func (p *Primary) contradiction() string {
	flags, anonymous := p.Flags, p.anonymous()
	switch {
	case flags&FlagFragment != 0 && flags&FlagMustNotFragment != 0:
		return "bundle is a fragment and must not be fragmented"
	case flags&FlagAdminRecord != 0 && flags&ReportFlags != 0:
		return "administrative record asks for status reports"
	case anonymous && flags&FlagMustNotFragment == 0:
		return "bundle of an anonymous source may be fragmented"
	case anonymous && flags&ReportFlags != 0:
		return "bundle of an anonymous source asks for status reports"
	}
	return ""
}

// append appends the block.
func (p *Primary) append(dst []byte) []byte {
	if p.wire != nil {
		return append(dst, p.wire...)
	}
	start := len(dst)
	dst = append(dst, 0x80|byte(p.items()), version)
	dst = cbor.AppendUint(dst, uint64(p.Flags))
	dst = append(dst, byte(p.CRC))
	dst = p.Destination.AppendCBOR(dst)
	dst = p.Source.AppendCBOR(dst)
	dst = p.ReportTo.AppendCBOR(dst)
	dst = p.Created.appendCBOR(dst)
	dst = cbor.AppendUint(dst, uint64(p.Lifetime))
	if p.Flags&FlagFragment != 0 {
		dst = cbor.AppendUint(dst, p.FragmentOffset)
		dst = cbor.AppendUint(dst, p.TotalLength)
	}
	return appendCRC(dst, start, p.CRC)
}

// items is the number of items of the block's array.
func (p *Primary) items() int {
	n := 8
	if p.Flags&FlagFragment != 0 {
		n += 2
	}
	if p.CRC != CRCNone {
		n++
	}
	return n
}

// encodedLen is the length of what append appends.
func (p *Primary) encodedLen() int {
	if p.wire != nil {
		return len(p.wire)
	}
	n := 3 + cbor.HeadLen(uint64(p.Flags)) + p.Destination.cborLen() + p.Source.cborLen() +
		p.ReportTo.cborLen() + p.Created.cborLen() + cbor.HeadLen(uint64(p.Lifetime)) + p.CRC.fieldLen()
	if p.Flags&FlagFragment != 0 {
		n += cbor.HeadLen(p.FragmentOffset) + cbor.HeadLen(p.TotalLength)
	}
	return n
}
