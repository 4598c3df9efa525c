package delta

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"reflect"
	"testing"

	"perigee/models"
)

func testKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func public(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

func TestSignatures(t *testing.T) {
	base := smallNetwork(t, 1)
	d, _ := build(t, base, perturbed(t, base, 0.01, 2), Encoding{Bits: 3, Rank: 1})
	d.Use = Use{Version: 7, Threshold: 0.25, MinF1: 0.5}
	d.Expected = []models.Expected{{Picture: models.PictureIDOf(nil), Summary: []float32{1, -0.5, 0.25}}}
	key, other := testKey(1), testKey(2)
	file, err := d.Encode(key)
	if err != nil {
		t.Fatal(err)
	}
	read, err := Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(read.Expected, d.Expected) {
		t.Errorf("decoded %+v, want %+v", read.Expected, d.Expected)
	}
	if read.Use != d.Use || read.Signer != IDOf(public(key)) {
		t.Errorf("decoded %+v", read.Info)
	}
	if err := read.Verify([]ed25519.PublicKey{public(other), public(key)}); err != nil {
		t.Error(err)
	}
	for _, keys := range [][]ed25519.PublicKey{nil, {public(other)}} {
		if err := read.Verify(keys); !errors.Is(err, ErrUntrusted) {
			t.Errorf("with %d other keys: error %v", len(keys), err)
		}
	}
	plain, err := Decode(encode(t, d))
	if err != nil {
		t.Fatal(err)
	}
	if err := plain.Verify([]ed25519.PublicKey{public(key)}); !errors.Is(err, ErrUnsigned) {
		t.Errorf("without a signature: error %v", err)
	}
	if len(file)-len(encode(t, d)) > 80 {
		t.Errorf("a signature takes %d bytes", len(file)-len(encode(t, d)))
	}
}

// TestNothingChangesUnderASignature flips every byte of a signed delta.
func TestNothingChangesUnderASignature(t *testing.T) {
	base := smallNetwork(t, 1)
	d, _ := build(t, base, perturbed(t, base, 0.01, 2), Encoding{Bits: 2, Rank: 1})
	d.Use = Use{Version: 7, Draft: true}
	d.Expected = []models.Expected{{Picture: models.PictureIDOf(nil), Summary: []float32{1, -0.5, 0.25}}}
	key := testKey(1)
	file, err := d.Encode(key)
	if err != nil {
		t.Fatal(err)
	}
	for n := range file {
		bad := bytes.Clone(file)
		bad[n] ^= 1
		read, err := Decode(bad)
		if err == nil {
			err = read.Verify([]ed25519.PublicKey{public(key)})
		}
		if err == nil {
			t.Fatalf("byte %d of %d was changed and the signature holds", n, len(file))
		}
		if _, err := Decode(file[:n]); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d: error %v", n, err)
		}
	}
}

func TestKeys(t *testing.T) {
	key := testKey(3)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if der, err = x509.MarshalPKIXPublicKey(public(key)); err != nil {
		t.Fatal(err)
	}
	open := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	if got, err := ParsePrivateKey(private); err != nil || !got.Equal(key) {
		t.Errorf("private key: %v", err)
	}
	if got, err := ParsePublicKeys(append(bytes.Clone(open), open...)); err != nil || len(got) != 2 || !got[1].Equal(public(key)) {
		t.Errorf("public keys: %v, %v", got, err)
	}
	for name, bad := range map[string][]byte{
		"nothing": nil, "text": []byte("key"), "the other kind": open,
		"no DER": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("abc")}),
	} {
		if _, err := ParsePrivateKey(bad); !errors.Is(err, ErrKey) {
			t.Errorf("private key of %s: error %v", name, err)
		}
	}
	for _, bad := range [][]byte{nil, private, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("abc")})} {
		if _, err := ParsePublicKeys(bad); !errors.Is(err, ErrKey) {
			t.Errorf("public keys: error %v", err)
		}
	}
	_, weak, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d, _ := build(t, smallNetwork(t, 1), smallNetwork(t, 1), Int(8))
	if _, err := d.Encode(weak[:10]); err == nil {
		t.Error("signed with a part of a key")
	}
}
