package bpsec

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"slices"

	"perigee/bundle"
	"perigee/bundle/internal/cbor"
)

// Errors that callers branch on.
var (
	// ErrMissing: no integrity block of that source covers what must be covered.
	ErrMissing = errors.New("bundle is not signed by its source")
	// ErrFailed: a signature does not fit what it covers.
	ErrFailed = errors.New("signature does not fit the bundle")
	// ErrKey: a key has no length that a variant of HMAC-SHA2 asks for.
	ErrKey = errors.New("key has not 32, 48 or 64 bytes")
)

// contextHMAC is BIB-HMAC-SHA2 (RFC 9173 section 3), and what follows its parameters
// and results.
const (
	contextHMAC = 1

	paramVariant = 1
	paramWrapped = 2
	paramScope   = 3
	resultMAC    = 1
)

// variant is a SHA variant (RFC 9173 section 3.3.1).
type variant uint64

const (
	sha256Variant variant = 5
	sha384Variant variant = 6 // when none is named
	sha512Variant variant = 7
)

// Scope says what a signature covers beside the data of its target (RFC 9173
// section 3.3.3).
type Scope uint16

// Scope flags. ScopeAll is what holds when none are named.
const (
	ScopePrimary        Scope = 1 << iota // the primary block
	ScopeTargetHeader                     // type, number and flags of the target
	ScopeSecurityHeader                   // type, number and flags of the integrity block
	ScopeAll            = ScopePrimary | ScopeTargetHeader | ScopeSecurityHeader
)

// Block numbers that are the same in every bundle.
const (
	primaryNumber = 0
	payloadNumber = 1
)

// Key is a secret that two nodes share. Its length chooses the variant of HMAC-SHA2
// (RFC 9173 section 3.5).
type Key struct {
	secret  []byte
	variant variant
}

// NewKey makes a key of 32, 48 or 64 bytes, for HMAC with SHA-256, SHA-384 or
// SHA-512. Its error is ErrKey.
func NewKey(secret []byte) (Key, error) {
	for _, v := range []variant{sha256Variant, sha384Variant, sha512Variant} {
		if len(secret) == v.size() {
			return Key{slices.Clone(secret), v}, nil
		}
	}
	return Key{}, fmt.Errorf("%w: it has %d", ErrKey, len(secret))
}

func (v variant) size() int {
	switch v {
	case sha256Variant:
		return sha256.Size
	case sha384Variant:
		return sha512.Size384
	case sha512Variant:
		return sha512.Size
	}
	return 0
}

func (v variant) hash() func() hash.Hash {
	switch v {
	case sha256Variant:
		return sha256.New
	case sha384Variant:
		return sha512.New384
	}
	return sha512.New
}

func mac(v variant, secret, text []byte) []byte {
	h := hmac.New(v.hash(), secret)
	h.Write(text)
	return h.Sum(nil)
}

// header is type, number and flags of a block.
type header struct{ kind, number, flags uint64 }

// knownFlags are the block flags that have a meaning; the others are taken for 0
// (RFC 9172 section 4).
const knownFlags = bundle.BlockReplicate | bundle.BlockReport | bundle.BlockDeleteBundle | bundle.BlockDiscard

func headerOf(kind bundle.BlockType, number uint64, flags bundle.BlockFlags) header {
	return header{uint64(kind), number, uint64(flags & knownFlags)}
}

func (h header) append(dst []byte) []byte {
	return cbor.AppendUint(cbor.AppendUint(cbor.AppendUint(dst, h.kind), h.number), h.flags)
}

// protected returns the integrity-protected plaintext of a target (RFC 9173
// section 3.7). The CRC of a target is no part of it.
func protected(b *bundle.Bundle, payload []byte, own header, target uint64, scope Scope) ([]byte, error) {
	text := cbor.AppendUint(nil, uint64(scope))
	if target == primaryNumber {
		bare := b.Primary.Editable()
		bare.CRC = bundle.CRCNone
		if scope&ScopeSecurityHeader != 0 {
			text = own.append(text)
		}
		return cbor.AppendBytes(text, bare.Wire()), nil
	}
	var head header
	var data []byte
	if target == payloadNumber {
		head, data = headerOf(bundle.TypePayload, payloadNumber, b.Payload.Flags), payload
	} else {
		i := slices.IndexFunc(b.Extensions, func(x bundle.Block) bool { return x.Number == target })
		if i < 0 {
			return nil, fmt.Errorf("%w: there is no block %d", ErrFailed, target)
		}
		blk := &b.Extensions[i]
		head, data = headerOf(blk.Type, blk.Number, blk.Flags), blk.Data
	}
	if scope&ScopePrimary != 0 {
		text = append(text, b.Primary.Wire()...)
	}
	if scope&ScopeTargetHeader != 0 {
		text = head.append(text)
	}
	if scope&ScopeSecurityHeader != 0 {
		text = own.append(text)
	}
	return cbor.AppendBytes(text, data), nil
}

// Sign adds an integrity block of source that covers the primary block and the
// payload, with all headers. The block must be the last change of the bundle; the
// slice b.Extensions must be the caller's own.
func Sign(b *bundle.Bundle, payload []byte, source bundle.EID, key Key) error {
	if key.variant == 0 {
		return ErrKey
	}
	blk := bundle.Block{Type: bundle.TypeBIB, Number: b.FreeNumber(), CRC: bundle.CRC32C}
	own := headerOf(blk.Type, blk.Number, blk.Flags)
	s := Security{
		Targets: []uint64{primaryNumber, payloadNumber}, Context: contextHMAC, Source: source,
		Parameters: []Item{
			{paramVariant, cbor.AppendUint(nil, uint64(key.variant))},
			{paramScope, cbor.AppendUint(nil, uint64(ScopeAll))},
		},
	}
	for _, target := range s.Targets {
		text, err := protected(b, payload, own, target, ScopeAll)
		if err != nil {
			return err
		}
		s.Results = append(s.Results, []Item{{resultMAC, cbor.AppendBytes(nil, mac(key.variant, key.secret, text))}})
	}
	blk.Data = s.Append(nil)
	b.Extensions = append(b.Extensions, blk)
	return nil
}

// Verify checks that integrity blocks of source cover the primary block and the
// payload with the key, and that the payload is bound to the primary block. Its
// errors wrap ErrMissing or ErrFailed. It takes the same time whatever byte of a
// signature is wrong.
func Verify(b *bundle.Bundle, payload []byte, source bundle.EID, key Key) error {
	covered := map[uint64]bool{}
	for i := range b.Extensions {
		blk := &b.Extensions[i]
		if blk.Type != bundle.TypeBIB || b.Encrypted(blk.Number) {
			continue
		}
		s, err := Parse(blk.Data)
		if err != nil || s.Context != contextHMAC || s.Source.Node() != source.Node() {
			continue
		}
		if err := s.verify(b, payload, blk, key, covered); err != nil {
			return err
		}
	}
	if !covered[primaryNumber] || !covered[payloadNumber] {
		return fmt.Errorf("%w: %s", ErrMissing, source.Node())
	}
	return nil
}

// verify checks every result of an integrity block and notes its targets.
func (s *Security) verify(b *bundle.Bundle, payload []byte, blk *bundle.Block, key Key, covered map[uint64]bool) error {
	v, scope, err := s.choices()
	if err != nil {
		return err
	}
	if v != key.variant || key.variant == 0 {
		return fmt.Errorf("%w: it is made with another variant of HMAC than the key's", ErrFailed)
	}
	own := headerOf(blk.Type, blk.Number, blk.Flags)
	for i, target := range s.Targets {
		if covered[target] {
			return fmt.Errorf("%w: block %d is signed twice", ErrFailed, target)
		}
		text, err := protected(b, payload, own, target, scope)
		if err != nil {
			return err
		}
		if len(s.Results[i]) != 1 || s.Results[i][0].ID != resultMAC {
			return fmt.Errorf("%w: block %d has not one result", ErrFailed, target)
		}
		d := cbor.NewDecoder(s.Results[i][0].Value)
		got, err := d.Bytes()
		if err != nil || !hmac.Equal(got, mac(v, key.secret, text)) {
			return fmt.Errorf("%w: block %d", ErrFailed, target)
		}
		covered[target] = target == primaryNumber || scope&ScopePrimary != 0
	}
	return nil
}

// choices reads the parameters. Wrapped keys are not taken.
func (s *Security) choices() (v variant, scope Scope, err error) {
	v, scope = sha384Variant, ScopeAll
	for _, p := range s.Parameters {
		d := cbor.NewDecoder(p.Value)
		n, bad := d.Uint()
		switch {
		case p.ID == paramWrapped:
			return 0, 0, fmt.Errorf("%w: it is made with a wrapped key", ErrFailed)
		case bad != nil:
			return 0, 0, fmt.Errorf("%w: parameter %d is no number", ErrFailed, p.ID)
		case p.ID == paramVariant:
			v = variant(n)
		case p.ID == paramScope:
			scope = Scope(n & uint64(ScopeAll))
		}
	}
	return v, scope, nil
}
