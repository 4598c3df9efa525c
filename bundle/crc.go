package bundle

import (
	"encoding/binary"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// x25 is the table of the X-25 CRC-16: polynomial x^16+x^12+x^5+1, bits reflected.
var x25 = makeX25()

func makeX25() *[256]uint16 {
	var table [256]uint16
	for i := range table {
		v := uint16(i)
		for range 8 {
			if v&1 != 0 {
				v = v>>1 ^ 0x8408
			} else {
				v >>= 1
			}
		}
		table[i] = v
	}
	return &table
}

// afterZeros says what becomes of the bytes of a CRC-32C when four zero bytes
// follow: entry [i][v] is the share of byte i when it is v.
var afterZeros = makeAfterZeros()

func makeAfterZeros() *[4][256]uint32 {
	var table [4][256]uint32
	for i := range 256 {
		v := castagnoli[i]
		for place := 3; place >= 0; place-- {
			table[place][i] = v
			v = castagnoli[byte(v)] ^ v>>8
		}
	}
	return &table
}

// crcZeros runs a CRC-32C over four zero bytes: the value of a CRC field, which a
// block's CRC is computed with.
func crcZeros(crc uint32) uint32 {
	crc = ^crc
	return ^(afterZeros[0][byte(crc)] ^ afterZeros[1][byte(crc>>8)] ^ afterZeros[2][byte(crc>>16)] ^ afterZeros[3][crc>>24])
}

// CRC fields with the value zero, over which CRCs are computed.
var (
	zeroField16  = []byte{0x42, 0, 0}
	zeroField32C = []byte{0x44, 0, 0, 0, 0}
)

// zeroField is the CRC field of type t with the value zero.
func (t CRCType) zeroField() []byte {
	switch t {
	case CRC16:
		return zeroField16
	case CRC32C:
		return zeroField32C
	}
	return nil
}

// size is the length of a CRC of type t in bytes.
func (t CRCType) size() int {
	switch t {
	case CRC16:
		return 2
	case CRC32C:
		return 4
	}
	return 0
}

// fieldLen is the length of the CRC field of a block: the head of a byte string
// and its bytes, or nothing.
func (t CRCType) fieldLen() int {
	if t == CRCNone {
		return 0
	}
	return 1 + t.size()
}

// String names the type.
func (t CRCType) String() string {
	switch t {
	case CRCNone:
		return "none"
	case CRC16:
		return "crc-16"
	case CRC32C:
		return "crc-32c"
	}
	return "unknown"
}

// checksum is a running CRC over the bytes of a block. Of type CRCNone it does
// nothing.
type checksum struct {
	kind  CRCType
	state uint32
}

func newChecksum(t CRCType) checksum {
	if t == CRC16 {
		return checksum{kind: t, state: 0xffff}
	}
	return checksum{kind: t}
}

// add runs the CRC over p.
func (c *checksum) add(p []byte) {
	switch c.kind {
	case CRC16:
		v := uint16(c.state)
		for _, b := range p {
			v = v>>8 ^ x25[byte(v)^b]
		}
		c.state = uint32(v)
	case CRC32C:
		c.state = crc32.Update(c.state, castagnoli, p)
	}
}

// addField runs the CRC over the CRC field itself, its value taken as zero.
func (c *checksum) addField() { c.add(c.kind.zeroField()) }

// sum is the value as it stands in the block.
func (c *checksum) sum() uint32 {
	if c.kind == CRC16 {
		return c.state ^ 0xffff
	}
	return c.state
}

// appendField appends the CRC field.
func (c *checksum) appendField(dst []byte) []byte {
	switch c.kind {
	case CRC16:
		return binary.BigEndian.AppendUint16(append(dst, 0x42), uint16(c.sum()))
	case CRC32C:
		return binary.BigEndian.AppendUint32(append(dst, 0x44), c.sum())
	}
	return dst
}

// appendCRC ends the block that begins at dst[start] with its CRC.
func appendCRC(dst []byte, start int, t CRCType) []byte {
	switch t {
	case CRCNone:
		return dst
	case CRC32C:
		dst = append(dst, 0x44)
		return binary.BigEndian.AppendUint32(dst, crcZeros(crc32.Update(0, castagnoli, dst[start:])))
	}
	c := newChecksum(t)
	c.add(dst[start:])
	c.addField()
	return c.appendField(dst)
}

// crcValue reads the value of a CRC of 2 or 4 bytes.
func crcValue(b []byte) uint32 {
	if len(b) == 2 {
		return uint32(binary.BigEndian.Uint16(b))
	}
	return binary.BigEndian.Uint32(b)
}
