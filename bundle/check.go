package bundle

import "perigee/bundle/dtntime"

// Check tells whether a node should take the bundle, which is well-formed: nil,
// or a *RuleError with the first rule that it breaks. Expired and encrypted
// bundles pass, and what cannot be read because it is encrypted gets the benefit
// of the doubt.
func (b *Bundle) Check() error {
	p := &b.Primary
	if p.Created.Time == 0 && b.Extension(TypeBundleAge) == nil {
		return &RuleError{Section: section("4.4.2"), Reason: "creation time is 0 and there is no bundle age block, so it would never expire"}
	}
	if p.Flags&FlagFragment != 0 && (p.FragmentOffset > p.TotalLength || b.Payload.Length > p.TotalLength-p.FragmentOffset) {
		return &RuleError{Section: section("5.8"), Reason: "fragment reaches beyond the end of the application data unit"}
	}
	if !p.Source.IsSingleton() {
		return &RuleError{Section: section("4.2.5.2"), Reason: "source " + p.Source.String() + " is not the ID of one node"}
	}
	for _, e := range [...]*EID{&p.Source, &p.Destination, &p.ReportTo} {
		if e.ipn && e.node == LocalNode {
			return &RuleError{Section: "RFC 9758 section 3.4.2", Reason: "endpoint " + e.String() + " must not leave its node; use the node's number"}
		}
	}
	if p.CRC == CRCNone && !b.integrity() {
		return &RuleError{Section: section("4.3.1"), Reason: "primary block has neither a CRC nor a block integrity block", Tolerated: true}
	}
	return nil
}

// integrity tells whether a block integrity block protects the primary block, or
// may do so behind encryption.
func (b *Bundle) integrity() bool {
	for i := range b.Extensions {
		blk := &b.Extensions[i]
		if blk.Type == TypeBIB && (blk.targets(0) || b.Encrypted(blk.Number)) {
			return true
		}
	}
	return false
}

// Expiry returns when the lifetime of b is over: counted from its creation, or,
// when that time is unknown, from its age at received, the time it was received.
// It saturates at dtntime.Forever.
func (b *Bundle) Expiry(received dtntime.Time) dtntime.Time {
	p := &b.Primary
	if p.Created.Time != 0 {
		return p.Created.Time.Add(p.Lifetime)
	}
	age, _ := b.Age()
	if age >= p.Lifetime {
		return received
	}
	return received.Add(p.Lifetime - age)
}
