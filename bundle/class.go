package bundle

import (
	"fmt"

	"perigee/bundle/internal/cbor"
)

// Class is what a priority block says: how a bundle is to be treated among others.
type Class struct {
	Priority Priority
	// Value is what the bundle is worth to its application, in any unit that all of the
	// bundles that compete share; 0 when nobody said. Of equal priority, what is worth
	// more a byte goes first.
	Value uint64
	// Critical asks for a copy over every neighbour that leads to the destination in time
	// (CCSDS 734.3-B-1).
	Critical bool
}

// String is the priority, and what else is said, such as "normal, value 12, critical".
func (c Class) String() string {
	text := c.Priority.String()
	if c.Value != 0 {
		text += fmt.Sprintf(", value %d", c.Value)
	}
	if c.Critical {
		text += ", critical"
	}
	return text
}

// ClassBlock returns a priority block with block number n. Its content is the priority
// as one unsigned integer, or, when there is more to say, an array of the priority, the
// value and whether the bundle is critical.
func ClassBlock(n uint64, c Class) Block {
	blk := Block{Type: TypePriority, Number: n, Flags: BlockReplicate}
	if c.Value == 0 && !c.Critical {
		blk.Data = cbor.AppendUint(nil, uint64(c.Priority))
		return blk
	}
	blk.Data = cbor.AppendUint(cbor.AppendArray(nil, 3), uint64(c.Priority))
	blk.Data = cbor.AppendBool(cbor.AppendUint(blk.Data, c.Value), c.Critical)
	return blk
}

// Class reads the content of a priority block.
func (blk *Block) Class() (Class, error) {
	d := cbor.NewDecoder(blk.Data)
	c, err := readClass(&d)
	if err == nil {
		err = trailing(&d, "4.4")
	}
	return c, blk.Type.content(err, "4.4")
}

func readClass(d *cbor.Decoder) (Class, error) {
	if first, err := d.Peek(); err != nil || cbor.Major(first>>5) != cbor.MajorArray {
		v, err := d.Uint()
		return checkClass(Class{}, v, err)
	}
	f := openFields(d, "4.4")
	priority, value := f.uint(), f.uint()
	critical := false
	if f.next() {
		var err error
		critical, err = d.Bool()
		f.keep(err)
	}
	return checkClass(Class{Value: value, Critical: critical}, priority, f.end())
}

// checkClass adds the priority that was read to c.
func checkClass(c Class, priority uint64, err error) (Class, error) {
	if err != nil {
		return Class{}, err
	}
	if priority > uint64(PriorityExpedited) {
		return Class{}, malformed(0, "4.4", "class %d is none of 0, 1, 2", priority)
	}
	c.Priority = Priority(priority)
	return c, nil
}

// Class returns what the priority block of b says. A bundle that does not say, or not in
// a way that can be read, is PriorityNormal.
func (b *Bundle) Class() Class {
	if blk := b.readable(TypePriority); blk != nil {
		if c, err := blk.Class(); err == nil {
			return c
		}
	}
	return Class{Priority: PriorityNormal}
}
