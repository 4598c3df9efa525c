package bundle

import (
	"perigee/bundle/dtntime"
	"perigee/bundle/internal/cbor"
)

// BundleAgeBlock returns a bundle age block (RFC 9171 section 4.4.2) with block
// number n.
func BundleAgeBlock(n uint64, age dtntime.Duration) Block {
	return Block{Type: TypeBundleAge, Number: n, Data: cbor.AppendUint(nil, uint64(age))}
}

// BundleAge reads the content of a bundle age block.
func (blk *Block) BundleAge() (dtntime.Duration, error) {
	d := cbor.NewDecoder(blk.Data)
	age, err := d.Uint()
	if err == nil {
		err = trailing(&d, "4.4.2")
	}
	return dtntime.Duration(age), blk.Type.content(err, "4.4.2")
}

// Age returns the age of b when it was last forwarded; false when its blocks do
// not tell.
func (b *Bundle) Age() (dtntime.Duration, bool) {
	blk := b.readable(TypeBundleAge)
	if blk == nil {
		return 0, false
	}
	age, err := blk.BundleAge()
	return age, err == nil
}
