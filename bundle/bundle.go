// Package bundle holds the values of the Bundle Protocol version 7 (RFC 9171)
// and their encoding: endpoint IDs, bundles and their blocks, administrative
// records.
//
// It refuses to know time, storage, links and routes. A bundle's payload is never
// part of a value: it stays the stream or file range it came from.
package bundle

// Bundle is a bundle without the data of its payload.
type Bundle struct {
	Primary    Primary
	Extensions []Block // in the order of the wire
	Payload    PayloadHeader
}

// ID returns the identity of the bundle.
func (b *Bundle) ID() ID {
	id := ID{Source: b.Primary.Source, Created: b.Primary.Created}
	if b.Primary.Flags&FlagFragment != 0 {
		id.Fragment = true
		id.Offset = b.Primary.FragmentOffset
		id.Length = b.Payload.Length
	}
	return id
}

// Extension returns the first extension block of type t, or nil.
func (b *Bundle) Extension(t BlockType) *Block {
	for i := range b.Extensions {
		if b.Extensions[i].Type == t {
			return &b.Extensions[i]
		}
	}
	return nil
}
