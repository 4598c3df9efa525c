package bundle

import (
	"fmt"
	"io"

	"perigee/bundle/internal/cbor"
)

// extensionsGuess is how many extension blocks memory is taken for at first.
const extensionsGuess = 4

// Limits bound what a reader takes. A bundle beyond them is refused with an error
// that wraps ErrLimit. The zero Limits refuse everything.
type Limits struct {
	Header  int    // bytes before the first byte of payload
	Blocks  int    // canonical blocks, the payload block included
	Payload uint64 // bytes of payload
}

// DefaultLimits are the limits that suit most nodes: 64 KiB of header, 64 blocks
// and 2^40 bytes of payload.
func DefaultLimits() Limits { return Limits{Header: 64 << 10, Blocks: 64, Payload: 1 << 40} }

// Parse reads the bundle in b, which must hold it and nothing else, and returns
// it and its payload. Both alias b.
//
// It enforces all that RFC 9171 demands of a bundle's form: deterministic
// encoding, block numbers, flags, CRCs and the content of the blocks it defines.
// Items other than byte strings may have indefinite length. What makes a node
// refuse a well-formed bundle is left to Check, and lifetime to Expiry.
//
// Its error is a *ParseError.
func Parse(b []byte, lim Limits) (Bundle, []byte, error) {
	var out Bundle
	payload, err := out.Decode(b, lim)
	if err != nil {
		return Bundle{}, nil, err
	}
	return out, payload, nil
}

// Decode is Parse into b, whose former content is overwritten. It uses the memory
// of b.Extensions again, so that one Bundle can take many bundles one after the
// other. After an error b is of no use but for that.
func (b *Bundle) Decode(raw []byte, lim Limits) ([]byte, error) {
	n, err := b.DecodeHeader(raw, lim)
	if err != nil {
		return nil, err
	}
	p := &b.Payload
	if p.Length > uint64(len(raw)-n) {
		return nil, tooShort(len(raw), "payload")
	}
	start, end := n-p.encodedLen(), n+int(p.Length)
	payload := raw[n:end:end]
	if p.quickTail(raw, start, end) {
		return payload, nil
	}
	sum := newChecksum(p.CRC)
	sum.add(raw[start:end])
	if err := p.checkTail(raw[end:], end, &sum); err != nil {
		return nil, err
	}
	return payload, nil
}

// tooShort is the error about input that ends at offset at.
func tooShort(at int, what string) *ParseError {
	err := malformed(at, "4.1", "input ends early, in the %s", what)
	err.Err = io.ErrUnexpectedEOF
	return err
}

// overLimit is the error about a bundle that exceeds a limit.
func overLimit(at int, format string, args ...any) *ParseError {
	return &ParseError{Offset: int64(at), Reason: fmt.Sprintf(format, args...), Err: ErrLimit}
}

// DecodeHeader is Decode for bytes that begin with a bundle's header, whatever is
// behind it. It returns the offset of the first byte of payload. An error that
// wraps io.ErrUnexpectedEOF may go away with more input; others do not.
func (b *Bundle) DecodeHeader(raw []byte, lim Limits) (int, error) {
	if n := b.quickHeader(raw, lim); n < gaveUp {
		return n, nil
	}
	return b.thoroughHeader(raw, lim)
}

// thoroughHeader is DecodeHeader for every form a bundle may have.
func (b *Bundle) thoroughHeader(raw []byte, lim Limits) (int, error) {
	*b = Bundle{Extensions: b.Extensions[:0]}
	d := cbor.NewDecoder(raw)
	if err := parseStart(&d); err != nil {
		return 0, err
	}
	var err error
	if b.Primary, err = parsePrimary(&d); err != nil {
		return 0, err
	}
	first := d.Offset()
	for {
		if end, err := d.Break(); err != nil {
			return 0, asParseError(err, 0, "4.1")
		} else if end {
			return 0, malformed(d.Offset()-1, "4.1", "bundle has no payload block")
		}
		if len(b.Extensions) >= lim.Blocks {
			return 0, overLimit(d.Offset(), "bundle has more than %d blocks", lim.Blocks)
		}
		done, err := b.parseBlock(&d, lim)
		if err != nil {
			return 0, err
		}
		if done {
			break
		}
	}
	if d.Offset() > lim.Header {
		return 0, overLimit(lim.Header, "header is longer than %d bytes", lim.Header)
	}
	if i, err := b.checkContents(); err != nil {
		return 0, asParseError(err, dataOffset(raw, first, i), "4.4")
	}
	return d.Offset(), nil
}

// parseStart reads the head of the bundle's array.
func parseStart(d *cbor.Decoder) error {
	c, err := d.Peek()
	if err != nil {
		return asParseError(err, 0, "4.1")
	}
	if c != cbor.IndefiniteArray {
		return malformed(0, "4.1", "bundle begins with byte 0x%02x, not with an array of indefinite length", c)
	}
	_, err = d.Array()
	return err
}

// parseBlock reads the next canonical block into b. It stops within the payload
// block, in front of its data, and then returns true.
func (b *Bundle) parseBlock(d *cbor.Decoder, lim Limits) (bool, error) {
	start := d.Offset()
	f, head := parseBlockHead(d, &b.Primary)
	if err := f.result(); err != nil {
		return false, err
	}
	if head.Type == TypePayload {
		var err error
		at := d.Offset()
		if b.Payload, err = parsePayloadHead(&f, head); err != nil {
			return false, err
		}
		if b.Payload.Length > lim.Payload {
			return false, overLimit(at, "payload of %d bytes is longer than %d", b.Payload.Length, lim.Payload)
		}
		return true, nil
	}
	blk, err := parseExtension(&f, head)
	if err != nil {
		return false, err
	}
	for i := range b.Extensions {
		other := &b.Extensions[i]
		if other.Number == blk.Number {
			return false, malformed(start, "4.1", "two blocks have number %d", blk.Number)
		}
		if other.Type == blk.Type && blk.Type.single() {
			return false, malformed(start, blk.Type.section(), "bundle has more than one %s block", blk.Type)
		}
	}
	if b.Extensions == nil {
		b.Extensions = make([]Block, 0, extensionsGuess)
	}
	b.Extensions = append(b.Extensions, blk)
	return false, nil
}

// single tells that a bundle has at most one block of type t.
func (t BlockType) single() bool {
	return t == TypePreviousNode || t == TypeBundleAge || t == TypeHopCount
}

// section is the section of RFC 9171 that defines blocks of type t.
func (t BlockType) section() string {
	switch t {
	case TypePreviousNode:
		return "4.4.1"
	case TypeBundleAge:
		return "4.4.2"
	case TypeHopCount:
		return "4.4.3"
	}
	return "4.4"
}

// checkContents checks the content of the blocks that RFC 9171 defines, unless
// it is encrypted. It returns the index of the block at fault.
func (b *Bundle) checkContents() (int, error) {
	for i := range b.Extensions {
		blk := &b.Extensions[i]
		if !blk.Type.single() || b.Encrypted(blk.Number) {
			continue
		}
		var err error
		switch blk.Type {
		case TypePreviousNode:
			err = blk.checkPreviousNode()
		case TypeBundleAge:
			_, err = blk.BundleAge()
		case TypeHopCount:
			_, err = blk.HopCount()
		}
		if err != nil {
			return i, err
		}
	}
	return 0, nil
}

// dataOffset finds the offset of the data of block i, given that of the first
// extension block. The blocks are known to be well-formed.
func dataOffset(b []byte, first, i int) int {
	d := cbor.NewDecoder(b[first:])
	for range i {
		_ = d.Skip()
	}
	_, _ = d.Array()
	for range 4 {
		_, _ = d.Uint()
	}
	_, _ = d.BytesHead()
	return first + d.Offset()
}

// Encrypted tells whether the data of the block with that number is the
// ciphertext of a block confidentiality block (RFC 9172 section 3.8).
func (b *Bundle) Encrypted(number uint64) bool { return b.secured(TypeBCB, number) }

// secured tells whether a security block of type t targets the block number.
func (b *Bundle) secured(t BlockType, number uint64) bool {
	for i := range b.Extensions {
		if b.Extensions[i].Type == t && b.Extensions[i].targets(number) {
			return true
		}
	}
	return false
}

// targets tells whether the security block lists number among its targets, the
// first item of its data (RFC 9172 section 3.6).
func (blk *Block) targets(number uint64) bool {
	d := cbor.NewDecoder(blk.Data)
	items, err := d.Array()
	for err == nil {
		more, err := d.More(&items)
		if err != nil || !more {
			return false
		}
		n, err := d.Uint()
		if err != nil {
			return false
		}
		if n == number {
			return true
		}
	}
	return false
}
