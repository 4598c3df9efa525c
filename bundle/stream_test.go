package bundle_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"perigee/bundle"
	"perigee/bundle/bundletest"
)

func TestStreamIsTheEncoding(t *testing.T) {
	for _, size := range []int{0, 1, 23, 24, 300, 70_000} {
		for _, crc := range []bundle.CRCType{bundle.CRCNone, bundle.CRC16, bundle.CRC32C} {
			payload := bundletest.Payload(1, size)
			b := bundletest.New(bundletest.Hops(30, 2))
			b.Payload.CRC, b.Payload.Length = crc, uint64(size)
			want := b.Append(nil, payload)
			for name, r := range map[string]io.Reader{
				"whole":     bytes.NewReader(payload),
				"in bits":   iotest.HalfReader(bytes.NewReader(payload)),
				"early EOF": iotest.DataErrReader(bytes.NewReader(payload)),
			} {
				got, err := io.ReadAll(b.Stream(r))
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes, CRC type %d, read %s: %d bytes instead of %d, %v", size, crc, name, len(got), len(want), err)
				}
			}
		}
	}
}

func TestStreamHoldsThePayloadToItsLength(t *testing.T) {
	b := bundletest.New()
	b.Payload.Length = 100
	if _, err := io.ReadAll(b.Stream(bytes.NewReader(make([]byte, 99)))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("one byte less: %v", err)
	}
	if _, err := io.ReadAll(b.Stream(bytes.NewReader(make([]byte, 101)))); err == nil {
		t.Error("one byte more passed")
	}
	broken := errors.New("broken")
	if _, err := io.ReadAll(b.Stream(iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("a payload that cannot be read: %v", err)
	}
}

// Of a bundle that cannot be read the primary block may still tell whom to report to.
func TestReaderPrimary(t *testing.T) {
	good := bundletest.Bytes(1, 50, bundletest.Hops(30, 2))
	want := bundletest.New()
	for name, c := range map[string]struct {
		input []byte
		ok    bool
	}{
		"cut behind it":      {good[:len(good)-60], true},
		"payload CRC broken": {append(slices.Clone(good[:len(good)-2]), good[len(good)-2]^1, good[len(good)-1]), true},
		"cut within it":      {good[:20], false},
		"empty":              {nil, false},
		"primary broken":     {append([]byte{good[0], good[1], good[2], good[3] ^ 1}, good[4:]...), false},
	} {
		r := bundle.NewReader(bytes.NewReader(c.input), bundle.DefaultLimits())
		if _, err := io.Copy(io.Discard, r); err == nil {
			t.Errorf("%s: read as a bundle", name)
		}
		p, ok := r.Primary()
		if ok != c.ok || ok && (p.Source != want.Primary.Source || p.Created != want.Primary.Created) {
			t.Errorf("%s: primary block of %s, %v", name, p.Source, ok)
		}
	}
}
