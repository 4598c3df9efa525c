package bundle

import (
	"perigee/bundle/internal/cbor"
)

// payloadNumber is the number of the payload block (RFC 9171 section 4.1).
const payloadNumber = 1

// PayloadHeader describes the payload block without its data, which stays a
// stream or a range of a file.
type PayloadHeader struct {
	Flags  BlockFlags
	CRC    CRCType
	Length uint64 // of the data, in bytes

	// open tells that the block came as an array of indefinite length. It is
	// kept so that the bytes behind the data remain valid.
	open bool
}

// parsePayloadHead reads the payload block up to the first byte of its data.
func parsePayloadHead(f *fields, h blockHead) (PayloadHeader, error) {
	p := PayloadHeader{Flags: h.Flags, CRC: h.CRC, open: f.items.Open()}
	if f.next() {
		n, err := f.d.BytesHead()
		if err != nil {
			f.err = asParseError(err, 0, "4.3.2")
		}
		p.Length = n
	}
	return p, f.result()
}

// append appends the payload block up to the first byte of its data.
func (p *PayloadHeader) append(dst []byte) []byte {
	dst = appendBlockHead(dst, blockHead{TypePayload, payloadNumber, p.Flags, p.CRC}, p.open)
	return cbor.AppendHead(dst, cbor.MajorBytes, p.Length)
}

// encodedLen is the length of what append appends.
func (p *PayloadHeader) encodedLen() int {
	return 4 + cbor.HeadLen(uint64(p.Flags)) + cbor.HeadLen(p.Length)
}

// tailLen is the number of bytes behind the data: the CRC, the end of the block
// and the end of the bundle.
func (p *PayloadHeader) tailLen() int {
	n := p.CRC.fieldLen() + 1
	if p.open {
		n++
	}
	return n
}

// checksum begins the CRC of the block, given a header of a bundle, which ends
// with the block's head.
func (p *PayloadHeader) checksum(header []byte) checksum {
	c := newChecksum(p.CRC)
	c.add(header[len(header)-p.encodedLen():])
	return c
}

// breakByte ends an array of indefinite length.
var breakByte = []byte{cbor.BreakByte}

// appendTail appends what follows the data, given the CRC up to there.
func (p *PayloadHeader) appendTail(dst []byte, c *checksum) []byte {
	c.addField()
	if p.open {
		c.add(breakByte)
	}
	dst = c.appendField(dst)
	if p.open {
		dst = append(dst, cbor.BreakByte)
	}
	return append(dst, cbor.BreakByte)
}

// checkTail verifies what follows the data, which begins at offset at of the
// bundle. It wants exactly the tail; c is the CRC up to there.
func (p *PayloadHeader) checkTail(tail []byte, at int, c *checksum) error {
	d := cbor.NewDecoder(tail)
	if p.CRC != CRCNone {
		value, err := d.Bytes()
		if err != nil {
			return asParseError(err, at, "4.2.2")
		}
		if len(value) != p.CRC.size() {
			return malformed(at, "4.2.2", "CRC has %d bytes instead of %d", len(value), p.CRC.size())
		}
		c.addField()
		if p.open {
			c.add(breakByte)
		}
		if got := crcValue(value); got != c.sum() {
			return malformed(at, "4.2.2", "payload CRC is %0*x but the block's bytes give %0*x",
				2*p.CRC.size(), got, 2*p.CRC.size(), c.sum())
		}
	}
	if p.open {
		if err := wantBreak(&d, at, "4.3.2", "payload block has more items than its CRC type allows"); err != nil {
			return err
		}
	}
	if err := wantBreak(&d, at, "4.1", "bundle does not end behind its payload block"); err != nil {
		return err
	}
	if n := len(d.Rest()); n > 0 {
		return malformed(at+d.Offset(), "4.1", "bytes follow the end of the bundle")
	}
	return nil
}

func wantBreak(d *cbor.Decoder, base int, sect, reason string) error {
	end, err := d.Break()
	if err != nil {
		return asParseError(err, base, sect)
	}
	if !end {
		return malformed(base+d.Offset(), sect, "%s", reason)
	}
	return nil
}
