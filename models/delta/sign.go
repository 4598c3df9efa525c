package delta

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
)

// Errors of signatures.
var (
	ErrUnsigned  = errors.New("delta is not signed")
	ErrUntrusted = errors.New("delta is not signed by a trusted key")
	ErrKey       = errors.New("unusable key")
)

// KeyID names a public key: the first bytes of its SHA-256.
type KeyID [8]byte

// IDOf returns the name of a public key.
func IDOf(key ed25519.PublicKey) KeyID {
	sum := sha256.Sum256(key)
	return KeyID(sum[:len(KeyID{})])
}

// String returns the hexadecimal digits of id.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// signedText is what a signature is made of: everything that a file says. The
// body counts by its digest, whose length is fixed, so nothing can be moved
// between the two.
func signedText(header, packed []byte) []byte {
	sum := sha256.Sum256(packed)
	return slices.Concat([]byte("perigee delta signature\n"), header, sum[:])
}

// Verify checks that a decoded delta is signed by one of the keys. Errors wrap
// ErrUnsigned or ErrUntrusted.
func (d *Delta) Verify(keys []ed25519.PublicKey) error {
	if d.signature == nil {
		return fmt.Errorf("verify delta: %w", ErrUnsigned)
	}
	for _, key := range keys {
		if IDOf(key) != d.Signer {
			continue
		}
		if !ed25519.Verify(key, signedText(d.header, d.packed), d.signature) {
			return fmt.Errorf("verify delta: %w: the signature by key %v does not hold", ErrUntrusted, d.Signer)
		}
		return nil
	}
	return fmt.Errorf("verify delta: %w: key %v is not among the %d that are", ErrUntrusted, d.Signer, len(keys))
}

// ParsePrivateKey reads an Ed25519 key in PKCS #8 PEM, as "openssl genpkey
// -algorithm ed25519" writes it. Errors wrap ErrKey.
func ParsePrivateKey(text []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%w: no PEM block of a private key; make one with openssl genpkey -algorithm ed25519", ErrKey)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%w: a %T, want Ed25519", ErrKey, parsed)
	}
	return key, nil
}

// ParsePublicKeys reads one or more Ed25519 keys in PKIX PEM, as "openssl pkey
// -pubout" writes them. Errors wrap ErrKey.
func ParsePublicKeys(text []byte) ([]ed25519.PublicKey, error) {
	var keys []ed25519.PublicKey
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("%w: a PEM block of a %q, want PUBLIC KEY", ErrKey, block.Type)
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKey, err)
		}
		key, ok := parsed.(ed25519.PublicKey)
		if !ok {
			return nil, fmt.Errorf("%w: a %T, want Ed25519", ErrKey, parsed)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: no PEM block of a public key; make one with openssl pkey -pubout", ErrKey)
	}
	return keys, nil
}
