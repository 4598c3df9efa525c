package bundle

import (
	"math"

	"perigee/bundle/internal/cbor"
)

// HopCount is the content of a hop count block (RFC 9171 section 4.4.3).
type HopCount struct {
	Limit uint8 // 1 to 255
	Count uint8
}

// Next is h after one more hop. It returns false when the bundle has then made
// more hops than it may, and must be deleted.
func (h HopCount) Next() (HopCount, bool) {
	if h.Count >= h.Limit {
		return h, false
	}
	h.Count++
	return h, true
}

// HopCountBlock returns a hop count block with block number n.
func HopCountBlock(n uint64, h HopCount) Block {
	data := append(make([]byte, 0, 5), 0x82)
	data = cbor.AppendUint(data, uint64(h.Limit))
	return Block{Type: TypeHopCount, Number: n, Data: cbor.AppendUint(data, uint64(h.Count))}
}

// HopCount reads the content of a hop count block. A count above 255 is beyond
// every limit and an error.
func (blk *Block) HopCount() (HopCount, error) {
	d := cbor.NewDecoder(blk.Data)
	f := openFields(&d, "4.4.3")
	at := d.Offset()
	limit := f.uint()
	if limit < 1 || limit > math.MaxUint8 {
		f.fail(at, "4.4.3", "hop limit %d is not in 1 to 255", limit)
	}
	at = d.Offset()
	count := f.uint()
	if count > math.MaxUint8 {
		f.fail(at, "4.4.3", "hop count %d is above 255", count)
	}
	err := f.end()
	if err == nil {
		err = trailing(&d, "4.4.3")
	}
	return HopCount{Limit: uint8(limit), Count: uint8(count)}, blk.Type.content(err, "4.4.3")
}

// HopCount returns the hops that b has made and may make; false when its blocks
// do not tell.
func (b *Bundle) HopCount() (HopCount, bool) {
	blk := b.readable(TypeHopCount)
	if blk == nil {
		return HopCount{}, false
	}
	h, err := blk.HopCount()
	return h, err == nil
}
