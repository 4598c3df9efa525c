package bundle

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"

	"perigee/bundle/dtntime"
)

// minimal is a bundle that breaks no rule and has no CRC, so that its bytes can be
// written to: 9f, primary of 34 bytes, payload of 9 bytes, ff.
func minimal() Bundle {
	return Bundle{
		Primary: Primary{
			Flags: FlagMustNotFragment, Destination: IPN(2, 1), Source: IPN(1, 1), ReportTo: IPN(1, 0),
			Created: Timestamp{Time: 1, Sequence: 1}, Lifetime: 1,
		},
		Payload: PayloadHeader{Length: 3},
	}
}

func TestParseRefusesContradictions(t *testing.T) {
	tests := []struct {
		name    string
		section string
		reason  string
		change  func(b *Bundle)
	}{
		{"fragment that must not be fragmented", "4.2.3", "must not be fragmented", func(b *Bundle) { b.Primary.Flags |= FlagFragment }},
		{"admin record asks for reports", "4.2.3", "asks for status reports", func(b *Bundle) { b.Primary.Flags |= FlagAdminRecord | FlagReportDeleted }},
		{"anonymous may be fragmented", "4.2.3", "may be fragmented", func(b *Bundle) { b.Primary.Source, b.Primary.Flags = EID{}, 0 }},
		{"anonymous asks for reports", "4.2.3", "asks for status reports", func(b *Bundle) { b.Primary.Source = EID{}; b.Primary.Flags |= FlagReportForwarded }},
		{"anonymous block asks for reports", "4.2.4", "asks for a status report", func(b *Bundle) { b.Primary.Source = EID{}; b.Payload.Flags = BlockReport }},
		{"admin block asks for reports", "4.2.4", "asks for a status report", func(b *Bundle) {
			b.Primary.Flags |= FlagAdminRecord
			b.Extensions = []Block{{Type: 99, Number: 2, Flags: BlockReport}}
		}},
		{"block type 0", "9.1", "reserved", func(b *Bundle) { b.Extensions = []Block{{Number: 2}} }},
		{"block number 0", "4.1", "number 0", func(b *Bundle) { b.Extensions = []Block{{Type: 99}} }},
		{"block number 1", "4.1", "has number 1", func(b *Bundle) { b.Extensions = []Block{{Type: 99, Number: 1}} }},
		{"payload number 2", "4.1", "payload block has number 2", func(b *Bundle) { b.Extensions = []Block{{Type: TypePayload, Number: 2}} }},
		{"number twice", "4.1", "two blocks have number 9", func(b *Bundle) { b.Extensions = []Block{{Type: 99, Number: 9}, {Type: 98, Number: 9}} }},
		{"two previous nodes", "4.4.1", "more than one", func(b *Bundle) {
			b.Extensions = []Block{PreviousNodeBlock(2, IPN(1, 0)), PreviousNodeBlock(3, IPN(1, 0))}
		}},
		{"two ages", "4.4.2", "more than one", func(b *Bundle) { b.Extensions = []Block{BundleAgeBlock(2, 1), BundleAgeBlock(3, 1)} }},
		{"two hop counts", "4.4.3", "more than one", func(b *Bundle) {
			b.Extensions = []Block{HopCountBlock(2, HopCount{1, 0}), HopCountBlock(3, HopCount{1, 0})}
		}},
		{"hop limit 0", "4.4.3", "hop limit 0", func(b *Bundle) { b.Extensions = []Block{HopCountBlock(2, HopCount{})} }},
		{"hop limit 256", "4.4.3", "hop limit 256", func(b *Bundle) {
			b.Extensions = []Block{{Type: TypeHopCount, Number: 2, Data: []byte{0x82, 0x19, 1, 0, 0}}}
		}},
		{"hop count of one item", "4.4.3", "too few", func(b *Bundle) { b.Extensions = []Block{{Type: TypeHopCount, Number: 2, Data: []byte{0x81, 1}}} }},
		{"hop count and more", "4.4.3", "follow", func(b *Bundle) { b.Extensions = []Block{{Type: TypeHopCount, Number: 2, Data: []byte{0x82, 1, 1, 0}}} }},
		{"age is text", "4.4.2", "expected unsigned", func(b *Bundle) { b.Extensions = []Block{{Type: TypeBundleAge, Number: 2, Data: []byte{0x61, 'a'}}} }},
		{"age is empty", "4.4.2", "ends early", func(b *Bundle) { b.Extensions = []Block{{Type: TypeBundleAge, Number: 2}} }},
		{"age and more", "4.4.2", "follow", func(b *Bundle) { b.Extensions = []Block{{Type: TypeBundleAge, Number: 2, Data: []byte{1, 1}}} }},
		{"age not shortest", "4.4.2", "shortest", func(b *Bundle) { b.Extensions = []Block{{Type: TypeBundleAge, Number: 2, Data: []byte{0x18, 1}}} }},
		{"previous node is no EID", "4.2.5.1", "expected array", func(b *Bundle) { b.Extensions = []Block{{Type: TypePreviousNode, Number: 2, Data: []byte{1}}} }},
		{"previous node and more", "4.4.1", "follow", func(b *Bundle) {
			b.Extensions = []Block{{Type: TypePreviousNode, Number: 2, Data: []byte{0x82, 1, 0, 0}}}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := minimal()
			test.change(&b)
			raw := b.Append(nil, []byte("abc"))
			wantRefusal(t, raw, test.section, test.reason)
		})
	}
}

// wantRefusal requires that raw is refused for that reason, and the offset inside it.
func wantRefusal(t *testing.T, raw []byte, sect, reason string) {
	t.Helper()
	_, _, err := Parse(raw, DefaultLimits())
	wantParseError(t, err, len(raw))
	agree(t, raw, Bundle{}, nil, err)
	var parse *ParseError
	errors.As(err, &parse)
	if parse.Section != "RFC 9171 section "+sect || !strings.Contains(parse.Reason, reason) {
		t.Fatalf("refused with %v, want %q of section %s", err, reason, sect)
	}
}

func TestParseRefusesMalformedBytes(t *testing.T) {
	b := minimal()
	good := hex.EncodeToString(b.Append(nil, []byte("abc")))
	const primary = "8807040082028202018202820101820282010082010101"
	const payload = "850101000043616263"
	if good != "9f"+primary+payload+"ff" {
		t.Fatalf("the bundle to break is %s", good)
	}
	tests := []struct{ name, old, new, section, reason string }{
		{"definite outer array", "9f", "82", "4.1", "begins with byte 0x82"},
		{"version 6", "8807", "8806", "4.3.1", "version is 6"},
		{"version not shortest", "8807", "881807", "4.3.1", "shortest"},
		{"primary too short", primary, "8707040082028202018202820101820282010082010101"[:44], "4.3.1", "too few"},
		{"primary too long", primary, "89" + primary[2:] + "00", "4.3.1", "too many"},
		{"CRC type 3", "880704008202", "880704038202", "4.2.1", "CRC type 3"},
		{"CRC missing", "880704008202", "880704018202", "4.3.1", "too few"},
		{"CRC too short", primary, "89070401" + primary[8:] + "4100", "4.2.2", "1 bytes instead of 2"},
		{"CRC of the other type", primary, "89070401" + primary[8:] + "4400000000", "4.2.2", "4 bytes instead of 2"},
		{"CRC is a number", primary, "89070401" + primary[8:] + "00", "4.3.1", "expected byte string"},
		{"CRC of indefinite length", primary, "89070401" + primary[8:] + "5f420000ff", "4.3.1", "indefinite"},
		{"CRC wrong", primary, "89070401" + primary[8:] + "42abcd", "4.2.2", "CRC is abcd but"},
		{"primary is a map", "9f88", "9fa8", "4.3.1", "expected array, found map"},
		{"EID is a number", "8202820201", "02", "4.2.5.1", "expected array"},
		{"EID of three items", "8202820201", "830282020100", "4.2.5.1.2", "too many"},
		{"EID of one item", "8202820201", "8102", "4.2.5.1.2", "too few"},
		{"scheme 3", "8202820201", "8203820201", "4.2.5.1", "URI scheme 3"},
		{"ipn of one number", "8202820201", "82028102", "4.2.5.1.2", "1 numbers"},
		{"ipn of four numbers", "8202820201", "82028402010101", "4.2.5.1.2", "more than three"},
		{"ipn service 2^32", "8202820201", "820282021b0000000100000000", "4.2.5.1.2", "below 2^32"},
		{"ipn allocator 2^32", "8202820201", "8202831b00000001000000000101", "4.2.5.1.2", "below 2^32"},
		{"ipn:0.1", "8202820201", "8202820001", "4.2.5.1.2", "node 0"},
		{"ipn negative", "8202820201", "8202822001", "4.2.5.1.2", "expected unsigned"},
		{"dtn:1", "8202820201", "820101", "4.2.5.1.1", "not 1"},
		{"dtn text none", "8202820201", "8201646e6f6e65", "4.2.5.1.1", "//"},
		{"dtn bytes", "8202820201", "8201462f2f612f6262", "4.2.5.1.1", "expected text"},
		{"dtn without name", "8202820201", "8201632f2f2f", "4.2.5.1.1", "empty node name"},
		{"dtn space in name", "8202820201", "8201652f2f20612f", "4.2.5.1.1", "not allowed in a node name"},
		{"dtn half an escape", "8202820201", "8201652f2f25612f", "4.2.5.1.1", "hexadecimal"},
		{"dtn control in demux", "8202820201", "8201652f2f612f07", "4.2.5.1.1", "not allowed in a demux"},
		{"dtn too long", "8202820201", "82017904012f2f", "4.2.5.1.1", "longer than 1024"},
		{"timestamp of one item", "82010101", "810101", "4.2.7", "too few"},
		{"timestamp of three items", "82010101", "8301010101", "4.2.7", "too many"},
		{"block of four items", payload, "84010100" + "00", "4.3.2", "items behind it"},
		{"block of seven items", payload, "8701010000436162630000", "4.3.2", "items behind it"},
		{"block has a CRC it does not announce", payload, "8601010000436162634100", "4.3.2", "items behind it"},
		{"block lacks its CRC", payload, "850101000143616263", "4.3.2", "items behind it"},
		{"payload of indefinite length", payload, "85010100005f43616263ff", "4.3.2", "indefinite"},
		{"extension of indefinite length", payload, "85186302000" + "05f43616263ff" + payload, "4.2.8", "indefinite"},
		{"payload is text", payload, "850101000063616263", "4.3.2", "expected byte string"},
		{"payload not last", "ff", payload + "ff", "4.1", "does not end behind its payload"},
		{"garbage behind the payload", "ff", "00ff", "4.1", "does not end behind its payload"},
		{"bytes behind the bundle", "ff", "ff00", "4.1", "follow the end"},
		{"two bundles", "ff", "ff" + good, "4.1", "follow the end"},
		{"no payload", payload, "", "4.1", "no payload block"},
		{"block is a number", payload, "00" + payload, "4.3.2", "expected array"},
		{"reserved initial byte", payload, "1c" + payload, "4.3.2", "begins no CBOR item"},
		{"open block too long", payload, "9f01010000436162630000ffff", "4.3.2", "more items"},
		{"open block too short", payload, "9f010100ff", "4.3.2", "too few"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			at := strings.LastIndex(good, test.old)
			if test.old != "ff" {
				at = strings.Index(good, test.old)
			}
			raw, err := hex.DecodeString(good[:at] + test.new + good[at+len(test.old):])
			if err != nil {
				t.Fatal(err)
			}
			wantRefusal(t, raw, test.section, test.reason)
		})
	}
}

func TestFlagsOfTheFutureAreCarried(t *testing.T) {
	b := minimal()
	b.Primary.Flags |= 1<<63 | 1<<3
	b.Extensions = []Block{{Type: 99, Number: 2, Flags: 1<<63 | 0x68, Data: []byte{1}}}
	b.Payload.Flags = 1 << 62
	got, _, err := Parse(b.Append(nil, []byte("abc")), DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	same(t, &b, &got)
}

func TestFormsOfOneEndpointAreEqual(t *testing.T) {
	for _, test := range []struct{ a, b, want string }{
		{"8202821b000ee8680000000307", "8202831a000ee8680307", "ipn:977000.3.7"},
		{"820282031866", "82028300031866", "ipn:3.102"},
		{"820100", "8202820000", "dtn:none"},
		{"820100", "820283000000", "dtn:none"},
		{"8202821affffffff07", "820283001affffffff07", "ipn:!.7"},
		{"8201642f2f612f", "8201632f2f61", "dtn://a/"},
	} {
		var got [2]EID
		for i, s := range []string{test.a, test.b} {
			raw, _ := hex.DecodeString(s)
			e, n, err := DecodeEID(raw)
			if err != nil || n != len(raw) {
				t.Fatalf("%s: %d bytes, %v", s, n, err)
			}
			got[i] = e
		}
		if got[0] != got[1] || got[0].String() != test.want {
			t.Errorf("%s is %s and %s is %s, want %s", test.a, got[0], test.b, got[1], test.want)
		}
	}
}

func TestEncryptedBlocksAreNotRead(t *testing.T) {
	b := minimal()
	b.Primary.Created.Time = 0
	b.Extensions = []Block{
		{Type: TypeBundleAge, Number: 2, Data: []byte{0xff, 0xfe}},
		{Type: TypeHopCount, Number: 3, Data: []byte{0xff, 0xfe}},
		{Type: TypePreviousNode, Number: 4, Data: []byte{0xff, 0xfe}},
		{Type: TypeBCB, Number: 5, Data: []byte{0x83, 2, 3, 4, 0}},
		{Type: TypeBIB, Number: 6, Data: []byte{0x81, 0}},
	}
	got, _, err := Parse(b.Append(nil, []byte("abc")), DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Check(); err != nil {
		t.Error(err)
	}
	if _, ok := got.Age(); ok {
		t.Error("ciphertext was read as an age")
	}
	if _, ok := got.HopCount(); ok {
		t.Error("ciphertext was read as a hop count")
	}
	if _, ok := got.PreviousNode(); ok {
		t.Error("ciphertext was read as a node")
	}
	if !got.Encrypted(2) || got.Encrypted(5) || got.Encrypted(1) {
		t.Error("Encrypted is wrong about which blocks are")
	}
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name      string
		want      string // section, or "" for a bundle to take
		tolerated bool
		change    func(b *Bundle)
	}{
		{"whole", "", false, func(*Bundle) {}},
		{"no CRC", "RFC 9171 section 4.3.1", true, func(b *Bundle) { b.Primary.CRC = CRCNone }},
		{"integrity block instead of a CRC", "", false, func(b *Bundle) {
			b.Primary.CRC = CRCNone
			b.Extensions = append(b.Extensions, Block{Type: TypeBIB, Number: 9, Data: []byte{0x82, 3, 0}})
		}},
		{"integrity block for others", "RFC 9171 section 4.3.1", true, func(b *Bundle) {
			b.Primary.CRC = CRCNone
			b.Extensions = append(b.Extensions, Block{Type: TypeBIB, Number: 9, Data: []byte{0x81, 3}})
		}},
		{"encrypted integrity block", "", false, func(b *Bundle) {
			b.Primary.CRC = CRCNone
			b.Extensions = append(b.Extensions, Block{Type: TypeBIB, Number: 9, Data: []byte{9}}, Block{Type: TypeBCB, Number: 10, Data: []byte{0x81, 9}})
		}},
		{"no clock, age", "", false, func(b *Bundle) { b.Primary.Created.Time = 0 }},
		{"no clock, no age", "RFC 9171 section 4.4.2", false, func(b *Bundle) { b.Primary.Created.Time = 0; b.RemoveExtension(TypeBundleAge) }},
		{"fragment", "", false, func(b *Bundle) {
			b.Primary.Flags, b.Primary.FragmentOffset, b.Primary.TotalLength = FlagFragment, 90, 100
		}},
		{"fragment beyond the end", "RFC 9171 section 5.8", false, func(b *Bundle) {
			b.Primary.Flags, b.Primary.FragmentOffset, b.Primary.TotalLength = FlagFragment, 91, 100
		}},
		{"fragment behind the end", "RFC 9171 section 5.8", false, func(b *Bundle) {
			b.Primary.Flags, b.Primary.FragmentOffset, b.Primary.TotalLength = FlagFragment, math.MaxUint64, 100
		}},
		{"source of many", "RFC 9171 section 4.2.5.2", false, func(b *Bundle) { b.Primary.Source = DTN("a", "~all") }},
		{"destination of many", "", false, func(b *Bundle) { b.Primary.Destination = DTN("a", "~all") }},
		{"local source", "RFC 9758 section 3.4.2", false, func(b *Bundle) { b.Primary.Source = IPN(LocalNode, 1) }},
		{"local report-to", "RFC 9758 section 3.4.2", false, func(b *Bundle) { b.Primary.ReportTo = IPN(LocalNode, 1) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			payload := []byte("0123456789")
			b := sampleBundle(CRC32C, payload)
			test.change(&b)
			b, _, err := Parse(b.Append(nil, payload), DefaultLimits())
			if err != nil {
				t.Fatalf("Parse: %v", err)
			}
			err = b.Check()
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var rule *RuleError
			if !errors.As(err, &rule) || rule.Section != test.want || rule.Tolerated != test.tolerated {
				t.Fatalf("Check: %v, want a refusal by %s", err, test.want)
			}
		})
	}
}

func TestExpiry(t *testing.T) {
	const now dtntime.Time = 1_000_000
	tests := []struct {
		name                string
		created             dtntime.Time
		lifetime, age, want uint64
	}{
		{"by clock", 500, 100, 999_999, 600},
		{"by clock, forever", 500, math.MaxUint64, 0, math.MaxUint64},
		{"by age", 0, 5000, 2000, 1_003_000},
		{"by age, over", 0, 5000, 5000, 1_000_000},
		{"by age, long over", 0, 5000, math.MaxUint64, 1_000_000},
		{"by age, forever", 0, math.MaxUint64, 0, math.MaxUint64},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := minimal()
			b.Primary.Created.Time = test.created
			b.Primary.Lifetime = dtntime.Duration(test.lifetime)
			b.Extensions = []Block{BundleAgeBlock(2, dtntime.Duration(test.age))}
			if got := b.Expiry(now); got != dtntime.Time(test.want) {
				t.Errorf("expires at %d, want %d", uint64(got), test.want)
			}
		})
	}
}

func TestUnsupported(t *testing.T) {
	for flags, want := range map[BlockFlags]Unsupported{
		0:                                {},
		BlockReport:                      {Report: true},
		BlockDiscard:                     {Strip: true},
		BlockDeleteBundle:                {Delete: true},
		BlockDeleteBundle | BlockDiscard: {Delete: true},
		BlockReport | BlockDiscard:       {Report: true, Strip: true},
	} {
		b := minimal()
		b.Extensions = []Block{{Type: 99, Number: 2, Flags: flags}, {Type: TypePriority, Number: 3, Flags: BlockDeleteBundle | BlockReport | BlockDiscard}}
		if got := b.Unsupported(); got != want {
			t.Errorf("flags %x: %+v, want %+v", flags, got, want)
		}
		b.StripUnsupported()
		if stripped := len(b.Extensions) == 1; stripped != (flags&BlockDiscard != 0) {
			t.Errorf("flags %x: stripped %v", flags, stripped)
		}
	}
}

func TestLimits(t *testing.T) {
	payload := bytes.Repeat([]byte("x"), 100)
	b := sampleBundle(CRC32C, payload)
	raw := b.Append(nil, payload)
	exact := Limits{Header: b.HeaderLen(), Blocks: 5, Payload: 100}
	if _, _, err := Parse(raw, exact); err != nil {
		t.Fatalf("a bundle just within its limits was refused: %v", err)
	}
	for name, lim := range map[string]Limits{
		"header":  {exact.Header - 1, 5, 100},
		"blocks":  {exact.Header, 4, 100},
		"payload": {exact.Header, 5, 99},
		"zero":    {},
	} {
		if _, _, err := Parse(raw, lim); !errors.Is(err, ErrLimit) {
			t.Errorf("%s: Parse: %v, want ErrLimit", name, err)
		}
		if _, err := NewReader(bytes.NewReader(raw), lim).Header(); !errors.Is(err, ErrLimit) {
			t.Errorf("%s: Reader: %v, want ErrLimit", name, err)
		}
	}
}
