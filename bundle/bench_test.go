package bundle

import (
	"bytes"
	"hash/crc32"
	"testing"
	"time"

	"github.com/dtn7/dtn7-go/pkg/bpv7"

	"perigee/bundle/dtntime"
)

// benchBundle is a bundle of five blocks with a CRC-32C on each and 1 KiB of
// payload, and within what dtn7-go supports.
func benchBundle(eids string) (Bundle, []byte) {
	payload := bytes.Repeat([]byte("01234567"), 128)
	b := sampleBundle(CRC32C, payload)
	b.RemoveExtension(TypeCustody)
	b.SetExtension(PreviousNodeBlock(0, IPN(7, 1)))
	b.Primary.ReportTo, b.Primary.Created.Time = IPN(1, 1), dtntime.FromTime(time.Now())
	if eids == "dtn" {
		b.SetExtension(PreviousNodeBlock(0, DTN("gate", "")))
		b.Primary.Source, b.Primary.Destination, b.Primary.ReportTo = DTN("sat-17", "agent"), DTN("ground", "models"), DTN("sat-17", "reports")
	}
	for i := range b.Extensions {
		b.Extensions[i].CRC = CRC32C
	}
	return b, payload
}

func eachScheme(b *testing.B, run func(b *testing.B, bndl Bundle, payload, raw []byte)) {
	for _, eids := range []string{"ipn", "dtn"} {
		b.Run(eids, func(b *testing.B) {
			bndl, payload := benchBundle(eids)
			raw := bndl.Append(nil, payload)
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			run(b, bndl, payload, raw)
		})
	}
}

func BenchmarkParse(b *testing.B) {
	eachScheme(b, func(b *testing.B, _ Bundle, _, raw []byte) {
		for b.Loop() {
			got, _, err := Parse(raw, DefaultLimits())
			if err != nil || got.Check() != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkDecode decodes into one Bundle again and again.
func BenchmarkDecode(b *testing.B) {
	eachScheme(b, func(b *testing.B, _ Bundle, _, raw []byte) {
		var got Bundle
		for b.Loop() {
			if _, err := got.Decode(raw, DefaultLimits()); err != nil || got.Check() != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	eachScheme(b, func(b *testing.B, bndl Bundle, payload, _ []byte) {
		for b.Loop() {
			bndl.Append(nil, payload)
		}
	})
}

// BenchmarkAppendAgain encodes into one slice again and again.
func BenchmarkAppendAgain(b *testing.B) {
	eachScheme(b, func(b *testing.B, bndl Bundle, payload, _ []byte) {
		buf := make([]byte, 0, 4<<10)
		for b.Loop() {
			buf = bndl.Append(buf[:0], payload)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	eachScheme(b, func(b *testing.B, _ Bundle, _, raw []byte) {
		buf := make([]byte, 2000)
		for b.Loop() {
			r := NewReader(bytes.NewReader(raw), DefaultLimits())
			for {
				if _, err := r.Read(buf); err != nil {
					break
				}
			}
		}
	})
}

func BenchmarkDTN7Parse(b *testing.B) {
	eachScheme(b, func(b *testing.B, _ Bundle, _, raw []byte) {
		for b.Loop() {
			if _, err := bpv7.ParseBundle(bytes.NewReader(raw)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDTN7Encode(b *testing.B) {
	eachScheme(b, func(b *testing.B, _ Bundle, _, raw []byte) {
		parsed, err := bpv7.ParseBundle(bytes.NewReader(raw))
		if err != nil {
			b.Fatal(err)
		}
		var out bytes.Buffer
		for b.Loop() {
			out.Reset()
			if err := parsed.MarshalCbor(&out); err != nil {
				b.Fatal(err)
			}
		}
		if !bytes.Equal(out.Bytes(), raw) {
			b.Fatal("dtn7-go encodes other bytes")
		}
	})
}

// bench10M is a bundle of 10 MB.
func bench10M() []byte {
	payload := bytes.Repeat([]byte("0123456789"), 1_000_000)
	b := sampleBundle(CRC32C, payload)
	return b.Append(nil, payload)
}

func BenchmarkParse10M(b *testing.B) {
	raw := bench10M()
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Parse(raw, DefaultLimits()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCRC10M is what parsing 10 MB costs at least.
func BenchmarkCRC10M(b *testing.B) {
	raw := bench10M()
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		crc32.Checksum(raw, castagnoli)
	}
}

// BenchmarkForward encodes a bundle that was parsed into one slice again and again.
func BenchmarkForward(b *testing.B) {
	eachScheme(b, func(b *testing.B, _ Bundle, _, raw []byte) {
		parsed, payload, err := Parse(raw, DefaultLimits())
		if err != nil {
			b.Fatal(err)
		}
		buf := make([]byte, 0, 4<<10)
		for b.Loop() {
			buf = parsed.Append(buf[:0], payload)
		}
	})
}
