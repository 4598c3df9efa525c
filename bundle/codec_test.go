package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"sync"
	"testing"
	"testing/iotest"

	"perigee/bundle/dtntime"
)

// sample is a bundle with its payload.
type sample struct {
	name    string
	bndl    Bundle
	payload []byte
}

func (s *sample) encode() []byte { return s.bndl.Append(nil, s.payload) }

// sampleBundle returns a bundle of five blocks with the given CRC on all of them.
func sampleBundle(crc CRCType, payload []byte) Bundle {
	b := Bundle{
		Primary: Primary{
			Flags: FlagMustNotFragment | FlagReportDelivered, CRC: crc,
			Destination: IPN(2, 11), Source: IPN(1, 11), ReportTo: IPN(1, 0),
			Created:  Timestamp{Time: 838857600123, Sequence: 5},
			Lifetime: dtntime.Day,
		},
		Extensions: []Block{
			PreviousNodeBlock(2, IPN(7, 0)),
			BundleAgeBlock(3, 1234),
			HopCountBlock(4, HopCount{Limit: 30, Count: 2}),
			CustodyBlock(5, Custody{SeqNum: 7, SeqID: 3, Custodian: IPN(10, 0)}),
		},
		Payload: PayloadHeader{CRC: crc, Length: uint64(len(payload))},
	}
	for i := range b.Extensions {
		b.Extensions[i].CRC = crc
	}
	return b
}

func samples() []sample {
	hello := []byte("Hello, DTN")
	dtn := Bundle{
		Primary: Primary{
			CRC: CRC32C, Destination: DTN("ground", "models/%7Ea"), Source: DTN("sat-17", "agent"), ReportTo: DTN("sat-17", ""),
			Created: Timestamp{Sequence: math.MaxUint64}, Lifetime: math.MaxUint64,
		},
		Extensions: []Block{
			BundleAgeBlock(9, math.MaxUint64),
			PriorityBlock(2, PriorityExpedited),
			{Type: 99, Number: math.MaxUint64, Flags: BlockDiscard | 0x40, Data: []byte{}},
			{Type: 11, Number: 24, Data: []byte{0x81, 0}},
			{Type: 11, Number: 25, Data: []byte{0x81, 1}},
		},
		Payload: PayloadHeader{Flags: BlockReplicate, Length: 10},
	}
	fragment := sampleBundle(CRC32C, hello)
	fragment.Primary.Flags = FlagFragment | 1<<40
	fragment.Primary.FragmentOffset, fragment.Primary.TotalLength = 70000, 1<<33
	anonymous := Bundle{
		Primary: Primary{Flags: FlagMustNotFragment, CRC: CRC16, Destination: IPN(977000<<32|3, 7), Created: Timestamp{Time: 1}},
	}
	long := bytes.Repeat([]byte("0123456789abcdef"), 5000)
	return []sample{
		{"crc-32c", sampleBundle(CRC32C, hello), hello},
		{"crc-16", sampleBundle(CRC16, hello), hello},
		{"dtn", dtn, hello},
		{"fragment", fragment, hello},
		{"anonymous", anonymous, nil},
		{"long", sampleBundle(CRC32C, long), long},
	}
}

// same compares what two bundles say, not how they were made.
func same(t testing.TB, a, b *Bundle) {
	t.Helper()
	x, y := a.Clone(), b.Clone()
	x.Primary.wire, y.Primary.wire = nil, nil
	for _, blocks := range [][]Block{x.Extensions, y.Extensions} { // clones
		for i := range blocks {
			blocks[i].wire = nil
		}
	}
	if len(x.Extensions) == 0 {
		x.Extensions, y.Extensions = nil, y.Extensions[:len(y.Extensions):len(y.Extensions)]
		if len(y.Extensions) == 0 {
			y.Extensions = nil
		}
	}
	if !reflect.DeepEqual(x, y) {
		t.Fatalf("bundles differ:\n%+v\n%+v", x, y)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			raw := s.encode()
			if len(raw) != int(s.bndl.EncodedLen()) || len(s.bndl.AppendHeader(nil)) != s.bndl.HeaderLen() {
				t.Fatalf("%d bytes, EncodedLen %d; header %d, HeaderLen %d",
					len(raw), s.bndl.EncodedLen(), len(s.bndl.AppendHeader(nil)), s.bndl.HeaderLen())
			}
			got, payload, err := Parse(raw, DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			same(t, &s.bndl, &got)
			if !bytes.Equal(payload, s.payload) {
				t.Fatal("payload differs")
			}
			if again := got.Append([]byte("x"), payload); !bytes.Equal(again[1:], raw) {
				t.Fatal("encoding what was parsed gives other bytes")
			}
			plain := got.Clone()
			plain.Primary = got.Primary.Editable()
			if again := plain.Append(nil, payload); !bytes.Equal(again, raw) {
				t.Fatal("encoding the primary block from its fields gives other bytes")
			}
			if !bytes.Equal(plain.Primary.Wire(), got.Primary.Wire()) {
				t.Fatal("Wire differs between parsed and built")
			}
			var out bytes.Buffer
			n, err := got.Encode(&out, iotest.OneByteReader(bytes.NewReader(payload)))
			if err != nil || n != int64(len(raw)) || !bytes.Equal(out.Bytes(), raw) {
				t.Fatalf("Encode wrote %d bytes, %v", n, err)
			}
			agree(t, raw, got, payload, nil)
		})
	}
}

func TestTruncatedEverywhere(t *testing.T) {
	for _, s := range samples() {
		raw := s.encode()
		step := 1
		if len(raw) > 10_000 {
			step = 997
		}
		for i := 0; i < len(raw); i += step {
			_, _, err := Parse(raw[:i], DefaultLimits())
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%s cut at %d of %d: %v, want io.ErrUnexpectedEOF", s.name, i, len(raw), err)
			}
			wantParseError(t, err, len(raw))
			agree(t, raw[:i], Bundle{}, nil, err)
		}
	}
}

func TestEveryFlippedBitOfProtectedBlocksIsNoticed(t *testing.T) {
	for _, crc := range []CRCType{CRC16, CRC32C} {
		payload := []byte("Hello, DTN")
		b := sampleBundle(crc, payload)
		raw := b.Append(nil, payload)
		for i := range raw {
			for bit := range 8 {
				raw[i] ^= 1 << bit
				if _, _, err := Parse(raw, DefaultLimits()); err == nil {
					t.Fatalf("%s: bit %d of byte %d flipped unnoticed", crc, bit, i)
				}
				raw[i] ^= 1 << bit
			}
		}
	}
}

func TestKnownCRCs(t *testing.T) {
	for crc, want := range map[CRCType]uint32{CRC16: 0x906e, CRC32C: 0xe3069283} {
		c := newChecksum(crc)
		c.add([]byte("12345"))
		c.add([]byte("6789"))
		if c.sum() != want {
			t.Errorf("%s of 123456789 is %x, want %x", crc, c.sum(), want)
		}
	}
}

func TestForwardedTailStaysValid(t *testing.T) {
	for _, s := range samples() {
		raw := s.encode()
		got, _, err := Parse(raw, DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		tail := raw[got.HeaderLen():]
		next := got.Clone()
		next.RemoveExtension(TypePreviousNode)
		next.SetExtension(PreviousNodeBlock(0, IPN(8, 0)))
		next.SetExtension(BundleAgeBlock(0, 99999))
		forwarded := append(next.AppendHeader(nil), tail...)
		back, payload, err := Parse(forwarded, DefaultLimits())
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		same(t, &next, &back)
		if !bytes.Equal(payload, s.payload) || !bytes.Equal(back.Primary.Wire(), got.Primary.Wire()) {
			t.Fatalf("%s: payload or primary block changed", s.name)
		}
		if from, ok := back.PreviousNode(); !ok || from != IPN(8, 0) {
			t.Fatalf("%s: previous node is %s", s.name, from)
		}
		if !bytes.Equal(raw, s.encode()) {
			t.Fatal("editing a clone changed the bundle")
		}
	}
}

func TestConcurrentEncode(t *testing.T) {
	payload := []byte("Hello, DTN")
	origin := sampleBundle(CRC32C, payload)
	raw := origin.Append(nil, payload)
	b, _, err := Parse(raw, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if !bytes.Equal(b.Append(nil, payload), raw) {
					t.Error("bytes differ")
				}
				if _, err := b.Encode(io.Discard, bytes.NewReader(payload)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestAllocations(t *testing.T) {
	payload := make([]byte, 1000)
	b := sampleBundle(CRC32C, payload)
	b.Primary.Source, b.Primary.Destination, b.Primary.ReportTo = DTN("a", "b"), DTN("c", "d"), DTN("e", "f")
	raw := b.Append(nil, payload)
	if got := testing.AllocsPerRun(100, func() {
		if _, _, err := Parse(raw, DefaultLimits()); err != nil {
			t.Fatal(err)
		}
	}); got > 6 {
		t.Errorf("Parse allocates %v times for 5 blocks, want at most 6", got)
	}
	if got := testing.AllocsPerRun(100, func() { b.Append(nil, payload) }); got > 1 {
		t.Errorf("Append allocates %v times, want 1", got)
	}
	buf := make([]byte, 0, len(raw))
	if got := testing.AllocsPerRun(100, func() { b.Append(buf, payload) }); got > 0 {
		t.Errorf("Append into a slice that is large enough allocates %v times", got)
	}
}

func TestEncodeWantsTheAnnouncedLength(t *testing.T) {
	for _, length := range []int{0, 10, copySize - 1, copySize, 3 * copySize} {
		b := sampleBundle(CRC32C, make([]byte, length))
		for _, off := range []int{-1, 0, 1} {
			if length+off < 0 {
				continue
			}
			_, err := b.Encode(io.Discard, bytes.NewReader(make([]byte, length+off)))
			if (err == nil) != (off == 0) {
				t.Errorf("%d bytes announced, %d given: %v", length, length+off, err)
			}
			if off < 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("short payload: %v, want io.ErrUnexpectedEOF", err)
			}
		}
	}
	b := sampleBundle(CRC32C, make([]byte, 10))
	broken := errors.New("broken")
	if _, err := b.Encode(io.Discard, iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("payload fails: %v", err)
	}
	size := int(b.EncodedLen())
	for limit := range size {
		n, err := b.Encode(&shortWriter{left: limit}, bytes.NewReader(make([]byte, 10)))
		if !errors.Is(err, errShort) || n != int64(limit) {
			t.Fatalf("writer that takes %d bytes: wrote %d, %v", limit, n, err)
		}
	}
	b.Payload.Length = math.MaxUint64
	if b.EncodedLen() != math.MaxUint64 {
		t.Error("EncodedLen wraps")
	}
	if _, err := b.Encode(io.Discard, bytes.NewReader(nil)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("2^64-1 bytes announced, none given: %v", err)
	}
}

var errShort = errors.New("short")

type shortWriter struct{ left int }

func (w *shortWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		n := w.left
		w.left = 0
		return n, errShort
	}
	w.left -= len(p)
	return len(p), nil
}

func TestIndefiniteLengthItems(t *testing.T) {
	payload := []byte("Hello, DTN")
	for _, crc := range []CRCType{CRCNone, CRC16, CRC32C} {
		t.Run(crc.String(), func(t *testing.T) {
			// Every array and text string that may be open is open.
			primary := []byte{0x9f, 7, 4, byte(crc)}
			primary = append(primary, 0x9f, 1, 0x7f, 0x64, '/', '/', 'g', '/', 0x61, 'm', 0xff, 0xff)
			primary = append(primary, 0x9f, 2, 0x9f, 0, 1, 7, 0xff, 0xff, 0x82, 1, 0)
			primary = append(primary, 0x9f, 1, 2, 0xff, 0x18, 60)
			primary = closeOpenBlock(primary, crc)
			hops := []byte{0x9f, 10, 2, 0, byte(crc), 0x44, 0x9f, 3, 1, 0xff}
			hops = closeOpenBlock(hops, crc)
			body := append([]byte{0x9f, 1, 1, 0, byte(crc), 0x4a}, payload...)
			body = closeOpenBlock(body, crc)
			raw := append([]byte{0x9f}, primary...)
			raw = append(append(append(raw, hops...), body...), 0xff)

			b, got, err := Parse(raw, DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			agree(t, raw, b, got, nil)
			if !bytes.Equal(got, payload) || b.Primary.Destination != DTN("g", "m") || b.Primary.Source != IPN(1, 7) {
				t.Fatalf("read as %+v", b)
			}
			tail := raw[bytes.Index(raw, payload):]
			for _, again := range [][]byte{b.Append(nil, got), append(b.AppendHeader(nil), tail...)} {
				if len(again) != int(b.EncodedLen()) {
					t.Errorf("%d bytes, EncodedLen %d", len(again), b.EncodedLen())
				}
				back, p, err := Parse(again, DefaultLimits())
				if err != nil {
					t.Fatalf("encoded again as %x: %v", again, err)
				}
				same(t, &b, &back)
				if !bytes.Equal(p, payload) || !bytes.Contains(again, primary) {
					t.Fatal("payload or primary block changed")
				}
			}
			for i := range raw {
				if _, _, err := Parse(raw[:i], DefaultLimits()); !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("cut at %d: %v", i, err)
				}
			}
		})
	}
}

// closeOpenBlock ends a block that is an array of indefinite length.
func closeOpenBlock(block []byte, crc CRCType) []byte {
	c := newChecksum(crc)
	c.add(block)
	c.addField()
	c.add([]byte{0xff})
	return append(c.appendField(block), 0xff)
}

func TestEditing(t *testing.T) {
	b := sampleBundle(CRC32C, nil)
	b.SetExtension(HopCountBlock(77, HopCount{Limit: 9, Count: 1}))
	if h, ok := b.HopCount(); !ok || h != (HopCount{Limit: 9, Count: 1}) || b.Extension(TypeHopCount).Number != 4 || len(b.Extensions) != 4 {
		t.Errorf("replaced hop count is %+v", b.Extensions)
	}
	b.SetExtension(PriorityBlock(0, PriorityBulk))
	if blk := b.Extension(TypePriority); blk == nil || blk.Number != 6 || b.Priority() != PriorityBulk {
		t.Errorf("added priority is %+v", b.Extensions)
	}
	if !b.RemoveExtension(TypeBundleAge) || b.RemoveExtension(TypeBundleAge) {
		t.Error("RemoveExtension does not tell what it did")
	}
	if got := b.FreeNumber(); got != 3 {
		t.Errorf("free number is %d, want 3", got)
	}
	if _, ok := b.Age(); ok {
		t.Error("a removed block is still read")
	}
}

func TestHopCountNext(t *testing.T) {
	for _, test := range []struct {
		in   HopCount
		want uint8
		ok   bool
	}{{HopCount{3, 0}, 1, true}, {HopCount{3, 2}, 3, true}, {HopCount{3, 3}, 3, false}, {HopCount{255, 254}, 255, true}, {HopCount{255, 255}, 255, false}, {HopCount{1, 9}, 9, false}} {
		got, ok := test.in.Next()
		if got.Count != test.want || ok != test.ok {
			t.Errorf("%+v: %+v, %v", test.in, got, ok)
		}
	}
}

func TestCustodyOfABundle(t *testing.T) {
	b := sampleBundle(CRC32C, nil)
	want := Custody{SeqNum: 7, SeqID: 3, Custodian: IPN(10, 0)}
	if got, ok := b.Custody(); !ok || got != want {
		t.Fatalf("custody is %+v, %v", got, ok)
	}
	if blk := b.Extension(TypeCustody); blk.Flags != BlockReplicate || fmt.Sprintf("%x", blk.Data) != "8307038202820a00" {
		t.Errorf("block is %+v", blk)
	}
	two := b.Clone()
	two.Extensions = append(two.Extensions, CustodyBlock(9, want))
	if _, ok := two.Custody(); ok {
		t.Error("two custody blocks were taken for custody")
	}
	raw := two.Append(nil, nil)
	if _, _, err := Parse(raw, DefaultLimits()); err != nil {
		t.Errorf("a bundle with two custody blocks was refused: %v", err)
	}
	bad := b.Clone()
	bad.Extension(TypeCustody).Data = []byte{0x82, 1, 2}
	if _, ok := bad.Custody(); ok {
		t.Error("an unreadable custody block was taken for custody")
	}
	if _, _, err := Parse(bad.Append(nil, nil), DefaultLimits()); err != nil {
		t.Errorf("a bundle with an unreadable custody block was refused: %v", err)
	}
	hidden := b.Clone()
	hidden.Extensions = append(hidden.Extensions, Block{Type: TypeBCB, Number: 12, Data: []byte{0x81, 5}})
	if _, ok := hidden.Custody(); ok {
		t.Error("an encrypted custody block was read")
	}
	for i := range b.Extension(TypeCustody).Data {
		cut := CustodyBlock(1, want)
		cut.Data = cut.Data[:i]
		if _, err := cut.Custody(); err == nil {
			t.Fatalf("custody block cut at %d was read", i)
		}
	}
}

func TestPriority(t *testing.T) {
	var none Bundle
	if none.Priority() != PriorityNormal {
		t.Error("a bundle that says nothing is not normal")
	}
	for _, data := range [][]byte{{3}, {0x18, 0xff}, {1, 1}, {}, {0x41, 1}, {0x82, 1, 2}, {0x83, 3, 0, 0xf5}, {0x83, 1, 0, 1}, {0x84, 1, 0, 0xf5, 0}} {
		b := Bundle{Extensions: []Block{{Type: TypePriority, Number: 2, Data: data}}}
		if b.Priority() != PriorityNormal {
			t.Errorf("data %x is %s", data, b.Priority())
		}
	}
	for _, p := range []Priority{PriorityBulk, PriorityNormal, PriorityExpedited} {
		blk := PriorityBlock(2, p)
		if got, err := blk.Class(); err != nil || got != (Class{Priority: p}) {
			t.Errorf("%s comes back as %+v, %v", p, got, err)
		}
		for _, c := range []Class{{Priority: p}, {p, 7, false}, {p, 0, true}, {p, math.MaxUint64, true}} {
			blk := ClassBlock(2, c)
			if got, err := blk.Class(); err != nil || got != c {
				t.Errorf("%+v comes back as %+v, %v", c, got, err)
			}
			for cut := range blk.Data {
				b := Bundle{Extensions: []Block{{Type: TypePriority, Number: 2, Data: blk.Data[:cut]}}}
				if got := b.Class(); got != (Class{Priority: PriorityNormal}) {
					t.Errorf("%x cut to %d is %+v", blk.Data, cut, got)
				}
			}
		}
		var back Priority
		if text, _ := p.MarshalText(); back.UnmarshalText(text) != nil || back != p {
			t.Errorf("%s comes back from text as %s", p, back)
		}
	}
	if err := new(Priority).UnmarshalText([]byte("urgent")); err == nil {
		t.Error("an unknown class was read")
	}
}

// TestChangedBlocksGetNewCRCs changes parsed blocks in every way: what is appended
// parses as what they say now.
func TestChangedBlocksGetNewCRCs(t *testing.T) {
	payload := []byte("payload")
	for _, crc := range []CRCType{CRCNone, CRC16, CRC32C} {
		for name, change := range map[string]func(*Block){
			"nothing": func(*Block) {},
			"type":    func(b *Block) { b.Type = 200 },
			"number":  func(b *Block) { b.Number = 20 },
			"flags":   func(b *Block) { b.Flags ^= BlockReplicate },
			"crc":     func(b *Block) { b.CRC = CRC16 + CRC32C - b.CRC },
			"no crc":  func(b *Block) { b.CRC = CRCNone },
			"data":    func(b *Block) { b.Data = []byte("other") },
			"shorter": func(b *Block) { b.Data = b.Data[:3] },
			"none":    func(b *Block) { b.Data = []byte{} },
		} {
			b := sampleBundle(CRC32C, payload)
			b.SetExtension(Block{Type: 99, Number: 9, CRC: crc, Data: []byte("block")})
			parsed, _, err := Parse(b.Append(nil, payload), DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			changed := parsed.Clone()
			if blk := changed.Extension(99); crc != CRCNone || name != "crc" {
				change(blk)
			}
			again, _, err := Parse(changed.Append(nil, payload), DefaultLimits())
			if err != nil {
				t.Fatalf("CRC type %s, %s changed: %v", crc, name, err)
			}
			same(t, &changed, &again)
		}
	}
}
