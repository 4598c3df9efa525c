package bundle

import (
	"fmt"

	"perigee/bundle/internal/cbor"
)

// Priority is a bundle's class of service, the higher the more urgent. It
// travels in a private extension block that nodes without it pass through.
type Priority uint8

// Classes of service.
const (
	PriorityBulk      Priority = 0
	PriorityNormal    Priority = 1
	PriorityExpedited Priority = 2
)

// String names the class.
func (p Priority) String() string {
	switch p {
	case PriorityBulk:
		return "bulk"
	case PriorityNormal:
		return "normal"
	case PriorityExpedited:
		return "expedited"
	}
	return fmt.Sprintf("priority(%d)", uint8(p))
}

// MarshalText implements encoding.TextMarshaler.
func (p Priority) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Priority) UnmarshalText(text []byte) error {
	for _, known := range []Priority{PriorityBulk, PriorityNormal, PriorityExpedited} {
		if string(text) == known.String() {
			*p = known
			return nil
		}
	}
	return fmt.Errorf("priority %q is none of bulk, normal, expedited", text)
}

// PriorityBlock returns a priority block with block number n. Its content is one
// unsigned integer.
func PriorityBlock(n uint64, p Priority) Block {
	return Block{Type: TypePriority, Number: n, Flags: BlockReplicate, Data: cbor.AppendUint(nil, uint64(p))}
}

// Priority reads the content of a priority block.
func (blk *Block) Priority() (Priority, error) {
	d := cbor.NewDecoder(blk.Data)
	v, err := d.Uint()
	if err == nil && v > uint64(PriorityExpedited) {
		err = malformed(0, "4.4", "class %d is none of 0, 1, 2", v)
	}
	if err == nil {
		err = trailing(&d, "4.4")
	}
	return Priority(v), blk.Type.content(err, "4.4")
}

// Priority returns the class of service that b asks for. A bundle that does not
// say, or not in a way that can be read, is PriorityNormal.
func (b *Bundle) Priority() Priority {
	blk := b.readable(TypePriority)
	if blk == nil {
		return PriorityNormal
	}
	p, err := blk.Priority()
	if err != nil {
		return PriorityNormal
	}
	return p
}
