package bundle

import (
	"encoding/binary"
	"hash/crc32"
	"math"

	"perigee/bundle/dtntime"
	"perigee/bundle/internal/cbor"
)

// Nearly all bundles have one form: definite lengths, two-number ipn or dtn
// EIDs, blocks without faults. The functions of this file read that form and no
// other, without errors and without calls through pointers, in a fraction of the
// time. They give up on everything else, faults included, and leave it to the
// parser that knows all forms and says what is wrong. They must take nothing that
// it would not take the same way; a fuzz test compares the two.
//
// Each takes the bytes and an offset and returns the offset behind what it read.
// gaveUp stands for having given up, and is an offset that nothing can be read at.
const gaveUp = math.MaxInt / 2

// quickUint reads an unsigned integer.
func quickUint(b []byte, at int) (uint64, int) {
	if at < len(b) && b[at] < 24 {
		return uint64(b[at]), at + 1
	}
	return quickHead(b, at, cbor.MajorUint)
}

// quickHead reads the head of an item of major type m.
func quickHead(b []byte, at int, m cbor.Major) (uint64, int) {
	if at >= len(b) || cbor.Major(b[at]>>5) != m {
		return 0, gaveUp
	}
	info := b[at] & 0x1f
	rest := b[at+1:]
	switch {
	case info < 24:
		return uint64(info), at + 1
	case info == 24 && len(rest) >= 1 && rest[0] >= 24:
		return uint64(rest[0]), at + 2
	case info == 25 && len(rest) >= 2:
		if v := binary.BigEndian.Uint16(rest); v > math.MaxUint8 {
			return uint64(v), at + 3
		}
	case info == 26 && len(rest) >= 4:
		if v := binary.BigEndian.Uint32(rest); v > math.MaxUint16 {
			return uint64(v), at + 5
		}
	case info == 27 && len(rest) >= 8:
		if v := binary.BigEndian.Uint64(rest); v > math.MaxUint32 {
			return v, at + 9
		}
	}
	return 0, gaveUp
}

// quickSpan is where the text of a dtn EID stands. That of dtn:none and of an ipn
// EID is empty.
type quickSpan struct{ from, to int }

// quickEID reads an EID into e: dtn:none or an ipn EID of two numbers. The text of
// another dtn EID is checked and left to the caller, in span.
func quickEID(e *EID, span *quickSpan, b []byte, at int) int {
	if at > len(b)-3 || b[at] != 0x82 {
		return gaveUp
	}
	scheme, first := Scheme(b[at+1]), b[at+2]
	switch {
	case scheme == SchemeIPN && first == 0x82:
		node, at := quickUint(b, at+3)
		service, at := quickUint(b, at)
		if service > math.MaxUint32 || node == 0 && service != 0 {
			return gaveUp
		}
		*e = EID{ipn: node != 0, node: node, service: service}
		return at
	case scheme == SchemeDTN && first == 0:
		*e = EID{}
		return at + 3
	case scheme == SchemeDTN:
		n, at := quickHead(b, at+2, cbor.MajorText)
		if at > len(b) || n > uint64(len(b)-at) {
			return gaveUp
		}
		*e, *span = EID{}, quickSpan{at, at + int(n)}
		if checkDTN(b[at:span.to]) != nil {
			return gaveUp
		}
		return span.to
	}
	return gaveUp
}

// quickCRC verifies the CRC of the block that begins at offset start, whose CRC
// field is next.
func quickCRC(b []byte, start, at int, t CRCType) int {
	switch {
	case t == CRCNone:
		return at
	case t == CRC32C && at <= len(b)-5 && b[at] == 0x44:
		if crcZeros(crc32.Update(0, castagnoli, b[start:at+1])) == binary.BigEndian.Uint32(b[at+1:]) {
			return at + 5
		}
	case t == CRC16 && at <= len(b)-3 && b[at] == 0x42:
		c := newChecksum(CRC16)
		c.add(b[start:at])
		c.addField()
		if c.sum() == uint32(binary.BigEndian.Uint16(b[at+1:])) {
			return at + 3
		}
	}
	return gaveUp
}

// quick reads the primary block.
func (p *Primary) quick(b []byte, at int) int {
	start := at
	if at > len(b)-3 || b[at+1] != version {
		return gaveUp
	}
	flags, at := quickUint(b, at+2)
	if at >= len(b) || b[at] > byte(CRC32C) {
		return gaveUp
	}
	p.Flags, p.CRC = Flags(flags), CRCType(b[at])
	if b[start] != 0x80|byte(p.items()) {
		return gaveUp
	}
	if at = p.quickEIDs(b, at+1); at >= len(b) || b[at] != 0x82 {
		return gaveUp
	}
	var created, lifetime uint64
	created, at = quickUint(b, at+1)
	p.Created.Sequence, at = quickUint(b, at)
	lifetime, at = quickUint(b, at)
	p.Created.Time, p.Lifetime = dtntime.Time(created), dtntime.Duration(lifetime)
	p.FragmentOffset, p.TotalLength = 0, 0
	if p.Flags&FlagFragment != 0 {
		p.FragmentOffset, at = quickUint(b, at)
		p.TotalLength, at = quickUint(b, at)
	}
	at = quickCRC(b, start, at, p.CRC)
	if at > len(b) || p.contradiction() != "" {
		return gaveUp
	}
	p.wire = b[start:at:at]
	return at
}

// quickEIDs reads the three EIDs of the primary block. Their texts share memory.
func (p *Primary) quickEIDs(b []byte, at int) int {
	var spans [3]quickSpan
	start := at
	at = quickEID(&p.Destination, &spans[0], b, at)
	at = quickEID(&p.Source, &spans[1], b, at)
	at = quickEID(&p.ReportTo, &spans[2], b, at)
	if at > len(b) || spans == [3]quickSpan{} {
		return at
	}
	text := string(b[start:at])
	for i, e := range [...]*EID{&p.Destination, &p.Source, &p.ReportTo} {
		if s := spans[i]; s.to > 0 {
			e.ssp = text[s.from-start : s.to-start]
		}
	}
	return at
}

// quickSeen knows which blocks of a bundle were read: a bit for each number and for
// each type of which there may be one.
type quickSeen struct{ numbers, types uint64 }

// first tells whether a block with that head may follow those before it.
func (s *quickSeen) first(h *blockHead) bool {
	number, kind := uint64(1)<<h.Number, uint64(0)
	if h.Type.single() {
		kind = 1 << h.Type
	}
	if h.Number <= payloadNumber || h.Number > 63 || s.numbers&number != 0 || s.types&kind != 0 {
		return false
	}
	s.numbers |= number
	s.types |= kind
	return true
}

// quickContent tells whether data is what a block of type t holds, as far as RFC
// 9171 defines it. Blocks that say what is encrypted are not of the one form.
func (t BlockType) quickContent(data []byte) bool {
	at := len(data)
	switch t {
	case TypePreviousNode:
		at = quickEID(new(EID), new(quickSpan), data, 0)
	case TypeBundleAge:
		_, at = quickUint(data, 0)
	case TypeHopCount:
		if len(data) == 0 || data[0] != 0x82 {
			return false
		}
		var limit, count uint64
		limit, at = quickUint(data, 1)
		count, at = quickUint(data, at)
		if limit == 0 || limit > math.MaxUint8 || count > math.MaxUint8 {
			return false
		}
	case TypeBCB, 0:
		return false
	}
	return at == len(data)
}

// quickBlock reads the head of a canonical block up to the bytes of its data, and
// their number.
func quickBlock(b []byte, at int) (h blockHead, length uint64, next int) {
	if at > len(b)-6 {
		return h, 0, gaveUp
	}
	items, kind, number, flags := b[at], uint64(b[at+1]), uint64(b[at+2]), uint64(b[at+3])
	next = at + 4
	if kind >= 24 || number >= 24 || flags >= 24 {
		kind, next = quickUint(b, at+1)
		number, next = quickUint(b, next)
		if flags, next = quickUint(b, next); next >= len(b) {
			return h, 0, gaveUp
		}
	}
	h = blockHead{BlockType(kind), number, BlockFlags(flags), CRCType(b[next])}
	want := byte(0x86)
	if h.CRC == CRCNone {
		want = 0x85
	}
	if items != want || h.CRC > CRC32C {
		return h, 0, gaveUp
	}
	length, next = quickHead(b, next+1, cbor.MajorBytes)
	return h, length, next
}

// quickHeader reads a bundle up to the first byte of its payload, like DecodeHeader.
func (b *Bundle) quickHeader(raw []byte, lim Limits) int {
	if len(raw) > lim.Header {
		raw = raw[:max(lim.Header, 0)]
	}
	if len(raw) == 0 || raw[0] != cbor.IndefiniteArray {
		return gaveUp
	}
	at := b.Primary.quick(raw, 1)
	if at >= len(raw) {
		return gaveUp
	}
	noReports := b.Primary.Flags&FlagAdminRecord != 0 || b.Primary.anonymous()
	blocks := b.Extensions[:0]
	var seen quickSeen
	for {
		start := at
		h, n, next := quickBlock(raw, at)
		if next > len(raw) || h.Flags&BlockReport != 0 && noReports || len(blocks) >= lim.Blocks {
			return gaveUp
		}
		if h.Type == TypePayload {
			if h.Number != payloadNumber || n > lim.Payload {
				return gaveUp
			}
			b.Payload = PayloadHeader{Flags: h.Flags, CRC: h.CRC, Length: n}
			b.Extensions = blocks
			return next
		}
		if n > uint64(len(raw)-next) || !seen.first(&h) {
			return gaveUp
		}
		end := next + int(n)
		data := raw[next:end:end]
		if at = quickCRC(raw, start, end, h.CRC); at > len(raw) || !h.Type.quickContent(data) {
			return gaveUp
		}
		if blocks == nil {
			blocks = make([]Block, 0, extensionsGuess)
		}
		blocks = append(blocks, Block{Type: h.Type, Number: h.Number, Flags: h.Flags, CRC: h.CRC, Data: data, wire: raw[start:at:at]})
	}
}

// quickTail verifies what follows the payload of a bundle whose payload block
// begins at offset start, and whose payload ends at offset at.
func (p *PayloadHeader) quickTail(b []byte, start, at int) bool {
	return !p.open && quickCRC(b, start, at, p.CRC) == len(b)-1 && b[len(b)-1] == cbor.BreakByte
}
