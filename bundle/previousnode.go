package bundle

import "perigee/bundle/internal/cbor"

// PreviousNodeBlock returns a previous node block (RFC 9171 section 4.4.1) with
// block number n: the bundle comes from node e.
func PreviousNodeBlock(n uint64, e EID) Block {
	return Block{Type: TypePreviousNode, Number: n, Data: e.AppendCBOR(make([]byte, 0, e.cborLen()))}
}

// PreviousNode reads the content of a previous node block.
func (blk *Block) PreviousNode() (EID, error) {
	d := cbor.NewDecoder(blk.Data)
	e, err := decodeEID(&d)
	if err == nil {
		err = trailing(&d, "4.4.1")
	}
	return e, blk.Type.content(err, "4.4.1")
}

// checkPreviousNode is PreviousNode without allocating.
func (blk *Block) checkPreviousNode() error {
	d := cbor.NewDecoder(blk.Data)
	_, _, err := scanEID(&d)
	if err == nil {
		err = trailing(&d, "4.4.1")
	}
	return blk.Type.content(err, "4.4.1")
}

// PreviousNode returns the node that b came from; false when its blocks do not
// tell.
func (b *Bundle) PreviousNode() (EID, bool) {
	blk := b.readable(TypePreviousNode)
	if blk == nil {
		return EID{}, false
	}
	e, err := blk.PreviousNode()
	return e, err == nil
}
