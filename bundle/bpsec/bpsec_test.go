package bpsec

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// rfc9173 is appendix A of RFC 9173: figures by section, and encodings.
type rfc9173 struct {
	Cfg map[string][][2]string
	Enc [][4]string
}

func loadRFC9173(t *testing.T) rfc9173 {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "vectors", "rfc9173_vectors.json"))
	if err != nil {
		t.Skipf("the shared vectors are not here: %v", err)
	}
	var v rfc9173
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func (v rfc9173) figure(t *testing.T, section, name string) []byte {
	t.Helper()
	for _, pair := range v.Cfg[section] {
		if pair[0] == name {
			return unhex(t, pair[1])
		}
	}
	t.Fatalf("%s has no %s", section, name)
	return nil
}

func (v rfc9173) encoding(t *testing.T, section string) []byte {
	t.Helper()
	for _, e := range v.Enc {
		if e[0] == section {
			return unhex(t, e[3])
		}
	}
	t.Fatalf("%s has no encoding", section)
	return nil
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// The examples of RFC 9173 are signed as they stand there. Their keys of 16 bytes
// break the rule of section 3.5, so they are not made by NewKey.
func TestExamplesOfRFC9173(t *testing.T) {
	v := loadRFC9173(t)
	for _, tt := range []struct {
		section, final string
		variant        variant
		targets        []uint64
	}{
		{"A.1.3.1", "A.1.4", sha512Variant, []uint64{1}},
		{"A.3.3.1", "A.3.5", sha256Variant, []uint64{0, 2}},
	} {
		b, payload, err := bundle.Parse(v.encoding(t, tt.final), bundle.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(b.Extensions, func(x bundle.Block) bool { return x.Type == bundle.TypeBIB })
		s, err := Parse(b.Extensions[i].Data)
		if err != nil || !slices.Equal(s.Targets, tt.targets) {
			t.Fatalf("%s: %+v, %v", tt.final, s, err)
		}
		if again := s.Append(nil); !bytes.Equal(again, b.Extensions[i].Data) {
			t.Errorf("%s: encoded again as %x", tt.final, again)
		}
		key := Key{v.figure(t, tt.section, "Key"), tt.variant}
		if err := s.verify(&b, payload, &b.Extensions[i], key, map[uint64]bool{}); err != nil {
			t.Errorf("%s: %v", tt.final, err)
		}
		key.secret[0]++
		if err := s.verify(&b, payload, &b.Extensions[i], key, map[uint64]bool{}); !errors.Is(err, ErrFailed) {
			t.Errorf("%s with another key: %v", tt.final, err)
		}
	}

	// Example 4: the integrity block is encrypted in the final bundle.
	const section = "A.4.3.1"
	b, payload, err := bundle.Parse(v.encoding(t, "A.4.1.3"), bundle.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	text, err := protected(&b, payload, header{uint64(bundle.TypeBIB), 3, 0}, payloadNumber, ScopeAll)
	if want := v.figure(t, section, "IPPT"); err != nil || !bytes.Equal(text, want) {
		t.Errorf("%s: plaintext %x, %v, want %x", section, text, err, want)
	}
	if got, want := mac(sha384Variant, v.figure(t, section, "Key"), text), v.figure(t, section, "Payload Signature"); !bytes.Equal(got, want) {
		t.Errorf("%s: signature %x, want %x", section, got, want)
	}
}

var us, peer = bundle.IPN(1, 0), bundle.IPN(2, 0)

// sample makes a bundle that node 2 signed, with blocks that change on the way.
func sample(t *testing.T, key Key) (bundle.Bundle, []byte) {
	t.Helper()
	payload := []byte("accepted")
	b := bundle.Bundle{
		Primary: bundle.Primary{
			Flags: bundle.FlagAdminRecord | bundle.FlagMustNotFragment, CRC: bundle.CRC32C, Destination: us, Source: peer,
			Created: bundle.Timestamp{Time: 800_000_000_000, Sequence: 1}, Lifetime: dtntime.Hour,
		},
		Payload: bundle.PayloadHeader{CRC: bundle.CRC32C, Length: uint64(len(payload))},
	}
	b.SetExtension(bundle.HopCountBlock(0, bundle.HopCount{Limit: 9}))
	if err := Sign(&b, payload, peer, key); err != nil {
		t.Fatal(err)
	}
	parsed, payload, err := bundle.Parse(b.Append(nil, payload), bundle.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return parsed, payload
}

func keyOf(t *testing.T, n int) Key {
	t.Helper()
	key, err := NewKey(bytes.Repeat([]byte{7}, n))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestSignAndVerify(t *testing.T) {
	for _, n := range []int{32, 48, 64} {
		key := keyOf(t, n)
		b, payload := sample(t, key)
		if err := b.Check(); err != nil {
			t.Errorf("a signed bundle is refused: %v", err)
		}
		// What changes on the way is not signed.
		way := b.Clone()
		way.SetExtension(bundle.HopCountBlock(0, bundle.HopCount{Limit: 9, Count: 3}))
		way.SetExtension(bundle.PreviousNodeBlock(0, bundle.IPN(5, 0)))
		way.SetExtension(bundle.CustodyBlock(0, bundle.Custody{Custodian: peer}))
		if err := Verify(&way, payload, peer, key); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
		for name, change := range map[string]func(b *bundle.Bundle, payload []byte) []byte{
			"payload":     func(_ *bundle.Bundle, p []byte) []byte { p[0]++; return p },
			"destination": func(b *bundle.Bundle, p []byte) []byte { b.Primary.Destination = bundle.IPN(9, 0); return p },
			"sequence":    func(b *bundle.Bundle, p []byte) []byte { b.Primary.Created.Sequence++; return p },
			"flags":       func(b *bundle.Bundle, p []byte) []byte { b.Payload.Flags |= bundle.BlockDeleteBundle; return p },
		} {
			forged := b.Clone()
			forged.Primary = forged.Primary.Editable()
			if err := Verify(&forged, change(&forged, bytes.Clone(payload)), peer, key); !errors.Is(err, ErrFailed) {
				t.Errorf("%s changed: %v", name, err)
			}
		}
		if err := Verify(&b, payload, us, key); !errors.Is(err, ErrMissing) {
			t.Errorf("signed by another: %v", err)
		}
		other, _ := NewKey(bytes.Repeat([]byte{8}, n))
		if err := Verify(&b, payload, peer, other); !errors.Is(err, ErrFailed) {
			t.Errorf("another key: %v", err)
		}
		if err := Verify(&b, payload, peer, Key{}); !errors.Is(err, ErrFailed) {
			t.Errorf("no key: %v", err)
		}
		bare := b.Clone()
		bare.RemoveExtension(bundle.TypeBIB)
		if err := Verify(&bare, payload, peer, key); !errors.Is(err, ErrMissing) {
			t.Errorf("unsigned: %v", err)
		}
	}
	b, payload := sample(t, keyOf(t, 32))
	if err := Verify(&b, payload, peer, keyOf(t, 64)); !errors.Is(err, ErrFailed) {
		t.Errorf("another variant: %v", err)
	}
}

// A signature of the payload alone would hold under another primary block.
func TestPayloadMustBeBoundToThePrimary(t *testing.T) {
	key := keyOf(t, 32)
	b, payload := sample(t, key)
	b = b.Clone()
	i := slices.IndexFunc(b.Extensions, func(x bundle.Block) bool { return x.Type == bundle.TypeBIB })
	blk := &b.Extensions[i]
	s, _ := Parse(blk.Data)
	s.Parameters[1].Value = []byte{0}
	for k, target := range s.Targets {
		text, _ := protected(&b, payload, headerOf(blk.Type, blk.Number, blk.Flags), target, 0)
		s.Results[k][0].Value = append([]byte{0x58, 32}, mac(sha256Variant, key.secret, text)...)
	}
	blk.Data = s.Append(nil)
	if err := Verify(&b, payload, peer, key); !errors.Is(err, ErrMissing) {
		t.Errorf("a payload that is not bound to the primary block: %v", err)
	}
}

func TestKeys(t *testing.T) {
	for _, n := range []int{0, 16, 31, 33, 65} {
		if _, err := NewKey(make([]byte, n)); !errors.Is(err, ErrKey) {
			t.Errorf("key of %d bytes: %v", n, err)
		}
	}
	if err := Sign(new(bundle.Bundle), nil, us, Key{}); !errors.Is(err, ErrKey) {
		t.Errorf("signing without a key: %v", err)
	}
}

func sampleBlocks() [][]byte {
	full := Security{
		Targets: []uint64{0, 1}, Context: -7, Source: bundle.DTN("a", "b"),
		Parameters: []Item{{1, []byte{0x05}}, {3, []byte{0x82, 0x01, 0x41, 0x00}}}, Results: [][]Item{{{1, []byte{0x40}}}, {}},
	}
	bare := Security{Targets: []uint64{1}, Context: 1, Source: us, Results: [][]Item{{{1, []byte{0x41, 9}}}}}
	return [][]byte{full.Append(nil), bare.Append(nil)}
}

func TestParseAtEveryLength(t *testing.T) {
	for _, raw := range sampleBlocks() {
		for i := range raw {
			if _, err := Parse(raw[:i]); !errors.Is(err, ErrMalformed) {
				t.Errorf("%x cut at %d: %v", raw, i, err)
			}
		}
		if _, err := Parse(append(bytes.Clone(raw), 0)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%x and a byte more: %v", raw, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, raw := range sampleBlocks() {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := Parse(raw)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error is %v", err)
			}
			return
		}
		again, err := Parse(s.Append(nil))
		if err != nil || len(again.Parameters) != len(s.Parameters) || !reflect.DeepEqual(again.Results, s.Results) || !slices.Equal(again.Targets, s.Targets) {
			t.Fatalf("%+v comes back as %+v, %v", s, again, err)
		}
	})
}
