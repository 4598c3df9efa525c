package bundle

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"math/rand"
	"reflect"
	"testing"

	"perigee/bundle/internal/cbor"
)

// quickSamples are bundles of the form that is read quickly.
func quickSamples() []sample {
	var out []sample
	for _, s := range samples() {
		if s.name != "dtn" { // has a block number above 63
			out = append(out, s)
		}
	}
	for _, eids := range []string{"ipn", "dtn"} {
		b, payload := benchBundle(eids)
		out = append(out, sample{eids, b, payload})
	}
	return out
}

func TestUsualBundlesAreReadQuickly(t *testing.T) {
	for _, s := range quickSamples() {
		raw := s.encode()
		var b Bundle
		n := b.quickHeader(raw, DefaultLimits())
		if n != s.bndl.HeaderLen() {
			t.Errorf("%s: header of %d bytes, want %d", s.name, n, s.bndl.HeaderLen())
			continue
		}
		same(t, &s.bndl, &b)
		if !b.Payload.quickTail(raw, n-b.Payload.encodedLen(), n+len(s.payload)) {
			t.Errorf("%s: the end is not read quickly", s.name)
		}
	}
}

func TestDecodeUsesMemoryAgain(t *testing.T) {
	var b Bundle
	for range 2 {
		for _, s := range samples() {
			payload, err := b.Decode(s.encode(), DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			same(t, &s.bndl, &b)
			if !bytes.Equal(payload, s.payload) {
				t.Fatalf("%s: payload differs", s.name)
			}
			if _, err := b.Decode([]byte("x"), DefaultLimits()); err == nil {
				t.Fatal("x is a bundle")
			}
		}
	}
	bndl, payload := benchBundle("ipn")
	raw := bndl.Append(nil, payload)
	if got := testing.AllocsPerRun(100, func() {
		if _, err := b.Decode(raw, DefaultLimits()); err != nil {
			t.Fatal(err)
		}
	}); got != 0 {
		t.Errorf("Decode allocates %v times although there is memory", got)
	}
}

func TestDecodeHeader(t *testing.T) {
	for _, s := range samples() {
		raw := s.encode()
		var b Bundle
		n, err := b.DecodeHeader(raw[:s.bndl.HeaderLen()], DefaultLimits())
		if err != nil || n != s.bndl.HeaderLen() {
			t.Fatalf("%s: %d bytes, %v", s.name, n, err)
		}
		same(t, &s.bndl, &b)
	}
}

func TestCRCZeros(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	for range 1000 {
		var b [8]byte
		binary.BigEndian.PutUint32(b[:], rnd.Uint32())
		if got, want := crcZeros(crc32.Checksum(b[:4], castagnoli)), crc32.Checksum(b[:], castagnoli); got != want {
			t.Fatalf("CRC of %x is %x, want %x", b, got, want)
		}
	}
}

func TestAtMostIsABound(t *testing.T) {
	const top = math.MaxUint64
	b := Bundle{
		Primary: Primary{
			Flags: top, CRC: CRC32C, Destination: IPN(top, top), Source: IPN(top, top), ReportTo: IPN(top, top),
			Created: Timestamp{top, top}, Lifetime: top, FragmentOffset: top, TotalLength: top,
		},
		Extensions: []Block{{Type: top, Number: top, Flags: top, CRC: CRC32C, Data: make([]byte, 1<<17)}},
		Payload:    PayloadHeader{Flags: top, CRC: CRC32C, Length: top},
	}
	for i, e := range []EID{b.Primary.Source, {}, DTN("a", string(make([]byte, 1<<17)))} {
		b.Primary.Source, b.Primary.Destination, b.Primary.ReportTo = e, e, e
		for range 40 {
			if b.HeaderLen() > b.atMost() {
				t.Fatalf("case %d: %d bytes, bound %d", i, b.HeaderLen(), b.atMost())
			}
			b.Extensions = append(b.Extensions, b.Extensions[0])
		}
	}
}

// FuzzQuick requires that what is read quickly is what the thorough parser reads.
func FuzzQuick(f *testing.F) {
	for _, s := range append(quickSamples(), samples()...) {
		if len(s.payload) < 2000 {
			f.Add(s.encode(), 64<<10)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, header int) {
		lim := DefaultLimits()
		lim.Header = min(lim.Header, header)
		mend(raw)
		var quick, thorough Bundle
		n := quick.quickHeader(raw, lim)
		if n >= gaveUp {
			return
		}
		m, err := thorough.thoroughHeader(raw, lim)
		if err != nil || m != n {
			t.Fatalf("%x: %d bytes read quickly, but %d thoroughly, %v", raw, n, m, err)
		}
		if len(quick.Extensions) == 0 {
			quick.Extensions, thorough.Extensions = nil, nil
		}
		if !reflect.DeepEqual(quick, thorough) {
			t.Fatalf("%x:\n%+v read quickly, but\n%+v thoroughly", raw, quick, thorough)
		}
		if end := uint64(n) + quick.Payload.Length; quick.Payload.Length < 1<<20 && end <= uint64(len(raw)) {
			start := n - quick.Payload.encodedLen()
			sum := newChecksum(quick.Payload.CRC)
			sum.add(raw[start:end])
			err := quick.Payload.checkTail(raw[end:], int(end), &sum)
			if quick.Payload.quickTail(raw, start, int(end)) != (err == nil) {
				t.Fatalf("%x: the end is judged otherwise: %v", raw, err)
			}
		}
	})
}

// mend puts right the CRC-32C of each block of raw, as far as blocks can be told
// apart, so that a fuzzer gets past the CRCs.
func mend(raw []byte) {
	for at := 1; at < len(raw); {
		d := cbor.NewDecoder(raw[at:])
		if d.Skip() != nil {
			return
		}
		end := at + d.Offset()
		if end-at > 5 && raw[end-5] == 0x44 {
			crc := crc32.Checksum(raw[at:end-4], castagnoli)
			binary.BigEndian.PutUint32(raw[end-4:], crcZeros(crc))
		}
		at = end
	}
}
