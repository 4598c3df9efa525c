package bundle

import (
	"bytes"
	"fmt"
	"math"
	"math/rand"
	"testing"
	"time"

	"github.com/dtn7/dtn7-go/pkg/bpv7"

	"perigee/bundle/dtntime"
)

// dtn7Random draws a bundle from what dtn7-go and RFC 9171 agree on.
func dtn7Random(rnd *rand.Rand, now dtntime.Time) (Bundle, []byte) {
	payload := make([]byte, rnd.Intn(300))
	rnd.Read(payload)
	crc := func() CRCType { return CRC16 + CRCType(rnd.Intn(2)) }
	number := func() uint64 { return rnd.Uint64() >> rnd.Intn(64) }
	node := func() EID {
		if rnd.Intn(2) == 0 {
			return DTN(fmt.Sprintf("node-%d", rnd.Intn(1000)), "")
		}
		return IPN(1+uint64(rnd.Uint32()>>rnd.Intn(32)), 1+uint64(rnd.Uint32()>>(1+rnd.Intn(31))))
	}
	b := Bundle{
		Primary: Primary{
			CRC: crc(), Destination: node(), Source: node(), ReportTo: node(),
			Created:  Timestamp{Time: now, Sequence: number()},
			Lifetime: dtntime.Minute + dtntime.Duration(rnd.Int63n(1e12)),
		},
		Payload: PayloadHeader{Flags: BlockFlags(number()), CRC: crc(), Length: uint64(len(payload))},
	}
	p := &b.Primary
	p.Flags = Flags(number()) &^ (FlagFragment | FlagAdminRecord)
	if rnd.Intn(4) == 0 {
		p.Flags = p.Flags&^FlagMustNotFragment | FlagFragment
		p.FragmentOffset = number() >> 1
		p.TotalLength = p.FragmentOffset + uint64(len(payload)) + number()>>2
	}
	if rnd.Intn(5) == 0 {
		p.Source, p.Flags, p.FragmentOffset, p.TotalLength = EID{}, FlagMustNotFragment, 0, 0
		b.Payload.Flags &^= BlockReport
	}
	if rnd.Intn(5) == 0 {
		p.Created.Time = 0
	}
	add := func(blk Block) {
		blk.Number, blk.CRC, blk.Flags = b.FreeNumber(), crc(), BlockFlags(number())
		if p.anonymous() {
			blk.Flags &^= BlockReport
		}
		b.Extensions = append(b.Extensions, blk)
	}
	if p.Created.Time == 0 || rnd.Intn(2) == 0 {
		add(BundleAgeBlock(0, dtntime.Duration(rnd.Intn(1000))))
	}
	if rnd.Intn(2) == 0 {
		add(HopCountBlock(0, HopCount{Limit: 255, Count: uint8(rnd.Intn(256))}))
	}
	if rnd.Intn(2) == 0 {
		add(PreviousNodeBlock(0, node()))
	}
	for kind := BlockType(197); kind < 200; kind++ {
		if rnd.Intn(2) == 0 {
			add(Block{Type: kind, Data: payload[:rnd.Intn(len(payload)+1)]})
		}
	}
	return b, payload
}

func TestDTN7AgreesOnRandomBundles(t *testing.T) {
	now := dtntime.FromTime(time.Now())
	for seed := range int64(500) {
		b, payload := dtn7Random(rand.New(rand.NewSource(seed)), now)
		raw := b.Append(nil, payload)
		theirs, err := bpv7.ParseBundle(bytes.NewReader(raw))
		if err != nil {
			t.Fatalf("seed %d: dtn7-go refuses %x: %v", seed, raw, err)
		}
		p := theirs.PrimaryBlock
		if p.CreationTimestamp != (bpv7.CreationTimestamp{uint64(b.Primary.Created.Time), b.Primary.Created.Sequence}) ||
			p.Lifetime != uint64(b.Primary.Lifetime) || uint64(p.BundleControlFlags) != uint64(b.Primary.Flags) ||
			p.SourceNode.String() != b.Primary.Source.String() || p.Destination.String() != b.Primary.Destination.String() ||
			p.FragmentOffset != b.Primary.FragmentOffset || p.TotalDataLength != b.Primary.TotalLength {
			t.Fatalf("seed %d: dtn7-go reads %+v of %+v", seed, p, b.Primary)
		}
		var out bytes.Buffer
		if err := theirs.MarshalCbor(&out); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		got, data, err := Parse(out.Bytes(), DefaultLimits())
		if err != nil {
			t.Fatalf("seed %d: %x of dtn7-go: %v", seed, out.Bytes(), err)
		}
		if err := got.Check(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		same(t, &b, &got)
		if !bytes.Equal(data, payload) {
			t.Fatalf("seed %d: payload differs", seed)
		}
		got.Primary = got.Primary.Editable()
		if again := got.Append(nil, data); !bytes.Equal(again, out.Bytes()) {
			t.Fatalf("seed %d: encoded as\n%x, by dtn7-go as\n%x", seed, again, out.Bytes())
		}
	}
}

// TestDTN7Differs holds what docs/interop.md says about where dtn7-go leaves RFC
// 9171.
func TestDTN7Differs(t *testing.T) {
	now := dtntime.FromTime(time.Now())
	payload := []byte("Hello, DTN")
	base := func() Bundle {
		return Bundle{
			Primary: Primary{
				CRC: CRC32C, Destination: DTN("ground", "models"), Source: DTN("sat-17", "agent"),
				Created: Timestamp{Time: now, Sequence: 1}, Lifetime: dtntime.Hour,
			},
			Payload: PayloadHeader{CRC: CRC32C, Length: uint64(len(payload))},
		}
	}
	with := func(change func(*Bundle)) []byte {
		b := base()
		change(&b)
		return b.Append(nil, payload)
	}
	whole := with(func(*Bundle) {})
	plain := with(func(b *Bundle) { b.Payload.CRC = CRCNone })
	noCRC := bytes.Replace(plain, []byte{0x85, 1, 1, 0, 0}, []byte{0x85, 1, 1, 0, 2}, 1)
	for _, test := range []struct {
		name         string
		raw          []byte
		ours, theirs bool // taken
	}{
		{"whole", whole, true, true},
		{"administrative endpoint", with(func(b *Bundle) { b.Primary.Source = IPN(1, 0) }), true, false},
		{"null endpoint of ipn", bytes.Replace(with(func(b *Bundle) { b.Primary.CRC = CRCNone }), []byte{0x82, 1, 0}, []byte{0x82, 2, 0x82, 0, 0}, 1), true, false},
		{"expired", with(func(b *Bundle) { b.Primary.Created.Time = 1 }), true, false},
		{"lifetime of 2^64-1 ms", with(func(b *Bundle) { b.Primary.Lifetime = math.MaxUint64 }), true, false},
		{"last hop made", with(func(b *Bundle) { b.SetExtension(HopCountBlock(0, HopCount{Limit: 3, Count: 4})) }), true, false},
		{"two blocks of one type", with(func(b *Bundle) {
			b.Extensions = []Block{{Type: TypeBIB, Number: 2, Data: []byte{0x81, 0}}, {Type: TypeBIB, Number: 3, Data: []byte{0x81, 1}}}
		}), true, false},
		{"node name of a reg-name", with(func(b *Bundle) { b.Primary.Destination = DTN("a%20b", "c") }), true, false},
		{"CRC announced but missing", noCRC, false, true},
		{"bytes behind the end", append(bytes.Clone(whole), 0), false, true},
		{"hop limit 0", with(func(b *Bundle) { b.SetExtension(HopCountBlock(0, HopCount{})) }), false, true},
		{"age not in its shortest form", with(func(b *Bundle) {
			b.Extensions = []Block{{Type: TypeBundleAge, Number: 2, Data: []byte{0x18, 1}}}
		}), false, true},
		{"garbage behind a block's content", with(func(b *Bundle) {
			b.Extensions = []Block{{Type: TypeBundleAge, Number: 2, Data: []byte{1, 0}}}
		}), false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, _, err := Parse(test.raw, DefaultLimits()); (err == nil) != test.ours {
				t.Errorf("%x: %v, want taken: %v", test.raw, err, test.ours)
			}
			if _, err := bpv7.ParseBundle(bytes.NewReader(test.raw)); (err == nil) != test.theirs {
				t.Errorf("dtn7-go: %x: %v, want taken: %v", test.raw, err, test.theirs)
			}
		})
	}
}

// FuzzDTN7 requires that a bundle which both take is still that bundle when dtn7-go
// has written it.
func FuzzDTN7(f *testing.F) {
	now := dtntime.FromTime(time.Now())
	for seed := range int64(20) {
		b, payload := dtn7Random(rand.New(rand.NewSource(seed)), now)
		f.Add(b.Append(nil, payload))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		mend(raw)
		b, payload, err := Parse(raw, DefaultLimits())
		if err != nil || b.Check() != nil {
			return
		}
		theirs, err := bpv7.ParseBundle(bytes.NewReader(raw))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := theirs.MarshalCbor(&out); err != nil {
			return
		}
		got, data, err := Parse(out.Bytes(), DefaultLimits())
		if err != nil {
			t.Fatalf("%x becomes %x: %v", raw, out.Bytes(), err)
		}
		if got.ID() != b.ID() || got.Primary.Destination != b.Primary.Destination || !bytes.Equal(data, payload) {
			t.Fatalf("%x becomes %x", raw, out.Bytes())
		}
	})
}
