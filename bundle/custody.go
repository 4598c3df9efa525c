package bundle

import (
	"errors"

	"perigee/bundle/internal/cbor"
)

const ctebSection = "CCSDS 734.6-O-1 section 4.1"

// Custody is the content of a custody transfer extension block (CCSDS 734.6-O-1
// section 4.1): the custodian that asks the next node to take over, and the
// number under which it wants to hear about it.
type Custody struct {
	SeqNum    uint64
	SeqID     uint64 // 0 stands for one sequence for each destination
	Custodian EID
}

// CustodyBlock returns a custody transfer extension block with block number n.
// It is replicated in fragments, survives nodes that do not know it, and has a
// CRC, since custody hangs on it.
func CustodyBlock(n uint64, c Custody) Block {
	data := append(make([]byte, 0, 19+c.Custodian.cborLen()), 0x83)
	data = cbor.AppendUint(cbor.AppendUint(data, c.SeqNum), c.SeqID)
	return Block{Type: TypeCustody, Number: n, Flags: BlockReplicate, CRC: CRC32C, Data: c.Custodian.AppendCBOR(data)}
}

// Custody reads the content of a custody transfer extension block.
func (blk *Block) Custody() (Custody, error) {
	d := cbor.NewDecoder(blk.Data)
	f := openFields(&d, "4.4")
	c := Custody{SeqNum: f.uint(), SeqID: f.uint(), Custodian: f.eid()}
	err := f.end()
	if err == nil {
		err = trailing(&d, "4.4")
	}
	if err = blk.Type.content(err, "4.4"); err != nil {
		var fault *ParseError
		if errors.As(err, &fault) {
			fault.Section = ctebSection
		}
		return Custody{}, err
	}
	return c, nil
}

// Custody returns the custody that b asks for; false when it asks for none. A
// bundle with two custody blocks, or with one that cannot be read, asks for none:
// RFC 9171 does not know the block, so it is carried along.
func (b *Bundle) Custody() (Custody, bool) { return StandardCodePoints().CustodyOf(b) }

// CustodyOf returns the custody that b, which came from a neighbour with these code
// points, asks for; false when it asks for none. For a neighbour that is to be
// asked, the block that CustodyBlock returns takes the type cp.Custody.
func (cp CodePoints) CustodyOf(b *Bundle) (Custody, bool) {
	blk := b.only(cp.Custody)
	if blk == nil {
		return Custody{}, false
	}
	c, err := blk.Custody()
	return c, err == nil
}
