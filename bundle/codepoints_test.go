package bundle

import (
	"encoding/hex"
	"errors"
	"io"
	"math"
	"math/rand"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func sampleReportingSignals() []ReportingSignal {
	var one, many ReportingSignal
	one.Sequences[StatusDelivered] = []Sequence{{SeqID: 3, Ranges: []Range{{7, 1}}}}
	many.Sequences[StatusReceived] = []Sequence{{SeqID: 3, Ranges: []Range{{5, 4}, {11, 9}}, Source: IPN(10, 0)}, {Destination: DTN("g", "x"), Ranges: []Range{{0, 1}}}}
	many.Sequences[StatusForwarded] = []Sequence{{Destination: IPN(2, 0), Ranges: []Range{{0, math.MaxUint64}}, Source: DTN("a", "b")}}
	many.Sequences[StatusDeleted] = []Sequence{{SeqID: math.MaxUint64, Ranges: []Range{{0, 1}, {math.MaxUint64, 1}}}}
	many.Sequences[StatusCustodyAccepted] = []Sequence{{SeqID: 1, Ranges: []Range{{1, 1}}}}
	many.Sequences[StatusCustodyRefused] = []Sequence{{SeqID: 1, Ranges: []Range{{2, 1}}}}
	return []ReportingSignal{one, many}
}

func TestReportingSignalRoundTrip(t *testing.T) {
	cp := StandardCodePoints()
	for _, s := range sampleReportingSignals() {
		records := cp.ReportingRecords(&s)
		if len(records) != 1 {
			t.Fatalf("%+v takes %d records", s, len(records))
		}
		raw := records[0]
		rec, err := ParseAdminRecord(raw)
		if err != nil {
			t.Fatalf("%x: %v", raw, err)
		}
		if rec.Type != RecordReportingSignal || !reflect.DeepEqual(*rec.ReportingSignal, s) {
			t.Errorf("%+v comes back as %+v", s, rec.ReportingSignal)
		}
		truncateRecord(t, raw)
		tagged := append([]byte{0x82, 14, 0xce}, raw[2:]...)
		if rec, err := ParseAdminRecord(tagged); err != nil || !reflect.DeepEqual(*rec.ReportingSignal, s) {
			t.Errorf("behind a tag: %+v, %v", rec.ReportingSignal, err)
		}
	}
	s := sampleReportingSignals()[0]
	if got := hex.EncodeToString(cp.ReportingRecords(&s)[0]); got != "820ea1028183030701" {
		t.Errorf("encoded as %s", got)
	}
	if got := cp.ReportingRecords(&ReportingSignal{}); got != nil {
		t.Errorf("a signal without ranges takes %d records", len(got))
	}
}

func TestHostileReportingSignalsAreRefused(t *testing.T) {
	for _, test := range []struct{ name, hex, reason string }{
		{"empty", "820ea0", "empty"},
		{"tag of the other signal", "820ecda1028183030701", "tag 13"},
		{"status twice", "820ea2028183030701028183030801", "twice"},
		{"status is text", "820ea161618183030701", "expected a 64-bit integer"},
		{"source is a number", "820ea1028184030701 05", "expected array"},
		{"sequence of five items", "820ea1028185030701 82028201 00 00", "too many"},
		{"sequence ID 0", "820ea1028183000701", "reserved"},
		{"count 0", "820ea1028183030700", "run of 0"},
		{"65 sequences", "820ea102" + "9841" + strings.Repeat("83030701", 65), "more than 64"},
		{"17 statuses", "820eb1" + "06000700080009000a000b000c000d000e000f00100011001200130014001500" + "1600", "more than 16"},
	} {
		t.Run(test.name, func(t *testing.T) {
			raw, err := hex.DecodeString(strings.ReplaceAll(test.hex, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			_, err = ParseAdminRecord(raw)
			wantParseError(t, err, len(raw))
			var parse *ParseError
			if errors.As(err, &parse); !strings.Contains(parse.Reason, test.reason) || parse.Section != crsSection {
				t.Fatalf("refused with %v, want %q of %s", err, test.reason, crsSection)
			}
		})
	}
	// {6: anything, 2: ..., -1: anything}
	raw, _ := hex.DecodeString("820ea30681830305010281830307012061" + "61")
	rec, err := ParseAdminRecord(raw)
	if err != nil {
		t.Fatalf("%x: %v", raw, err)
	}
	if want := sampleReportingSignals()[0].Sequences; rec.ReportingSignal.Ignored != 2 || !reflect.DeepEqual(rec.ReportingSignal.Sequences, want) {
		t.Errorf("read as %+v", rec.ReportingSignal)
	}
}

func sampleReportings() []Reporting {
	return []Reporting{
		{},
		{SeqNum: math.MaxUint64, SeqID: math.MaxUint64, Requests: math.MaxUint64},
		{SeqNum: 7, SeqID: 3, Requests: ReportingDelivered | ReportingDeleted, Source: IPN(10, 0)},
		{SeqNum: 7, SeqID: 3, Requests: ReportingReceived, Source: DTN("a", ""), ReportTo: DTN("b", "reports")},
	}
}

func TestReportingBlockRoundTrip(t *testing.T) {
	for _, r := range sampleReportings() {
		blk := ReportingBlock(9, r)
		if got, err := blk.Reporting(); err != nil || got != r {
			t.Fatalf("%+v comes back from %x as %+v, %v", r, blk.Data, got, err)
		}
		if blk.Flags != BlockReplicate || blk.CRC != CRC32C || blk.Number != 9 {
			t.Errorf("block is %+v", blk)
		}
		for i := range blk.Data {
			cut := blk
			cut.Data = blk.Data[:i]
			_, err := cut.Reporting()
			wantParseError(t, err, len(blk.Data))
			if errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatal("more input is asked for, of a block that is whole")
			}
		}
		more := blk
		more.Data = append(slices.Clip(blk.Data), 0)
		if _, err := more.Reporting(); err == nil {
			t.Error("a byte behind the content is not noticed")
		}
	}
	for text, want := range map[string]Reporting{
		"8107":                               {SeqNum: 7},
		"820703":                             {SeqNum: 7, SeqID: 3},
		"83070304":                           {SeqNum: 7, SeqID: 3, Requests: ReportingDelivered},
		"8407030082028 20a00":                {SeqNum: 7, SeqID: 3, Source: IPN(10, 0)},
		"85070300 82 02 820a00 82 02 820b00": {SeqNum: 7, SeqID: 3, Source: IPN(10, 0), ReportTo: IPN(11, 0)},
		"9f0703ff":                           {SeqNum: 7, SeqID: 3},
	} {
		raw, _ := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		blk := Block{Type: TypeReporting, Number: 2, Data: raw}
		if got, err := blk.Reporting(); err != nil || got != want {
			t.Errorf("%s is %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"80", "a0", "00", "8120", "82076161", "8307038100", "840703000 5", "8607030082028 20a0082028 20b0000"} {
		raw, _ := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		blk := Block{Type: TypeReporting, Number: 2, Data: raw}
		if _, err := blk.Reporting(); err == nil {
			t.Errorf("%s was read", text)
		}
	}
}

func TestReportingOfABundle(t *testing.T) {
	b := sampleBundle(CRC32C, nil)
	if _, ok := b.Reporting(); ok {
		t.Error("a bundle without the block asks for reports")
	}
	want := sampleReportings()[3]
	b.SetExtension(ReportingBlock(0, want))
	b, _, err := Parse(b.Append(nil, nil), DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := b.Reporting(); !ok || got != want {
		t.Errorf("reporting is %+v, %v", got, ok)
	}
	if u := b.Unsupported(); u != (Unsupported{}) {
		t.Errorf("a reporting block is unsupported: %+v", u)
	}
	two := b.Clone()
	two.Extensions = append(two.Extensions, ReportingBlock(99, want))
	if _, ok := two.Reporting(); ok {
		t.Error("two reporting blocks were taken for one")
	}
	b.Primary = b.Primary.Editable()
	b.Primary.Flags = 0
	b.RemoveExtension(TypeCustody)
	if err := b.Fragmentable(); !errors.Is(err, ErrNotFragmentable) {
		t.Errorf("a bundle with a reporting block may be fragmented: %v", err)
	}
}

func TestCodePointsOfBplib(t *testing.T) {
	cp := BplibDraftCodePoints()
	s := sampleSignals()[1] // accepted 3: 5-8, 11-19 and 4: 100-111; refused 3: 9-10 and dtn://g/x: 0
	records := cp.CustodyRecords(&s)
	var got []string
	back := CustodySignal{}
	for _, raw := range records {
		got = append(got, hex.EncodeToString(raw))
		rec, err := cp.ParseAdminRecord(raw, EID{})
		if err != nil || rec.Type != 4 {
			t.Fatalf("%x: %+v, %v", raw, rec, err)
		}
		back.Accepted = append(back.Accepted, rec.CustodySignal.Accepted...)
		back.Refused = append(back.Refused, rec.CustodySignal.Refused...)
		for i := range raw {
			if _, err := cp.ParseAdminRecord(raw[:i], EID{}); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%x cut at %d: %v", raw, i, err)
			}
		}
		if rec, err := ParseAdminRecord(raw); err != nil || rec.CustodySignal != nil {
			t.Errorf("record 4 is a custody signal to others: %+v, %v", rec, err)
		}
	}
	if want := []string{"8204a20183030583040209208303" + "0902", "8204a201830418640c20838201652f2f672f780001"}; !slices.Equal(got, want) {
		t.Errorf("encoded as %q", got)
	}
	if !reflect.DeepEqual(back, s) {
		t.Errorf("comes back as %+v, want %+v", back, s)
	}
	long := CustodySignal{Accepted: []Sequence{{SeqID: 1}}}
	for n := range uint64(12) {
		long.Accepted[0].Ranges = append(long.Accepted[0].Ranges, Range{3 * n, 1})
	}
	records = cp.CustodyRecords(&long)
	if len(records) != 3 {
		t.Fatalf("12 ranges take %d records, want 3 of at most 9 runs", len(records))
	}
	for _, raw := range records {
		if rec, err := cp.ParseAdminRecord(raw, EID{}); err != nil || len(rec.CustodySignal.Accepted[0].Ranges) > 5 {
			t.Errorf("%x: %v", raw, err)
		}
	}
	if got := cp.ReportingRecords(&sampleReportingSignals()[0]); got != nil {
		t.Error("bplib is sent a reporting signal")
	}
	wrapped, _ := hex.DecodeString("8204a1018183030701")
	if _, err := cp.ParseAdminRecord(wrapped, EID{}); err == nil {
		t.Error("a list of sequences was read as one sequence")
	}

	b := sampleBundle(CRC32C, nil)
	blk := CustodyBlock(0, Custody{SeqNum: 1, SeqID: 2, Custodian: IPN(10, 0)})
	blk.Type = cp.Custody
	b.SetExtension(blk)
	if c, ok := cp.CustodyOf(&b); !ok || c.SeqNum != 1 {
		t.Errorf("custody under type 15 is %+v, %v", c, ok)
	}
	if c, ok := b.Custody(); !ok || c.SeqNum != 7 {
		t.Errorf("custody under type 13 is %+v, %v", c, ok)
	}
}

func TestCodePointsOfBplibVector(t *testing.T) {
	for _, v := range loadVectors(t, "bpv7_third_party.json") {
		if v.ID != "bplib-2" {
			continue
		}
		b, _, err := Parse(v.bytes(t), DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		cp := BplibDraftCodePoints()
		if c, ok := cp.CustodyOf(&b); !ok || c != (Custody{SeqNum: 10, SeqID: 2, Custodian: IPN(303, 1)}) {
			t.Errorf("custody is %+v, %v", c, ok)
		}
		if r, ok := cp.ReportingOf(&b); !ok || r != (Reporting{SeqNum: 1, SeqID: 4, Source: IPN(303, 1), ReportTo: IPN(305, 2)}) {
			t.Errorf("reporting is %+v, %v", r, ok)
		}
		if _, ok := b.Custody(); ok {
			t.Error("type 15 is custody to others")
		}
		return
	}
	t.Fatal("the sample bplib-2 is gone")
}

func TestIssuerInACustodySignal(t *testing.T) {
	cp := StandardCodePoints()
	raw, _ := hex.DecodeString("820da1018184030701" + "8202820a00")
	want := sampleSignals()[0]
	for own, ok := range map[EID]bool{IPN(10, 0): true, IPN(10, 7): true, IPN(11, 0): false, {}: false} {
		rec, err := cp.ParseAdminRecord(raw, own)
		if (err == nil) != ok {
			t.Errorf("issuer ipn:10.0 at %s: %v", own, err)
			continue
		}
		if err != nil {
			wantParseError(t, err, len(raw))
			continue
		}
		if !reflect.DeepEqual(*rec.CustodySignal, want) {
			t.Errorf("read as %+v", rec.CustodySignal)
		}
	}
	named := want
	named.Accepted = []Sequence{{SeqID: 3, Ranges: []Range{{7, 1}}, Source: IPN(10, 0)}}
	if got := named.Append(nil); !slices.Equal(got, want.Append(nil)) {
		t.Errorf("the issuer was sent: %x", got)
	}
}

func TestLargeSignalsTakeSeveralRecords(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	var s CustodySignal
	for id := range uint64(200) {
		seq := Sequence{SeqID: id + 1}
		for at, n := uint64(0), rnd.Intn(300); n > 0; n-- {
			at += 2 + uint64(rnd.Intn(9))
			seq.Ranges = append(seq.Ranges, Range{at, 1})
		}
		if id%3 == 0 {
			s.Refused = append(s.Refused, seq)
		} else {
			s.Accepted = append(s.Accepted, seq)
		}
	}
	count := func(list []Sequence) (n uint64) {
		for _, seq := range list {
			for _, r := range Normalize(seq.Ranges) {
				n += r.Count
			}
		}
		return n
	}
	for name, cp := range map[string]CodePoints{"standard": StandardCodePoints(), "bplib": BplibDraftCodePoints()} {
		var accepted, refused uint64
		for _, raw := range cp.CustodyRecords(&s) {
			rec, err := cp.ParseAdminRecord(raw, EID{})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			accepted += count(rec.CustodySignal.Accepted)
			refused += count(rec.CustodySignal.Refused)
		}
		if accepted != count(s.Accepted) || refused != count(s.Refused) {
			t.Errorf("%s: %d accepted and %d refused of %d and %d", name, accepted, refused, count(s.Accepted), count(s.Refused))
		}
	}
}

func TestCheckCodePoints(t *testing.T) {
	for _, cp := range []CodePoints{StandardCodePoints(), BplibDraftCodePoints()} {
		if err := cp.Check(); err != nil {
			t.Error(err)
		}
	}
	for name, change := range map[string]func(*CodePoints){
		"payload":          func(cp *CodePoints) { cp.Custody = TypePayload },
		"hop count":        func(cp *CodePoints) { cp.Reporting = TypeHopCount },
		"zero":             func(cp *CodePoints) { *cp = CodePoints{} },
		"one block":        func(cp *CodePoints) { cp.Reporting = cp.Custody },
		"one record":       func(cp *CodePoints) { cp.ReportingSignal = cp.CustodySignal },
		"no signal":        func(cp *CodePoints) { cp.CustodySignal = 0 },
		"status report":    func(cp *CodePoints) { cp.ReportingSignal = RecordStatusReport },
		"no runs":          func(cp *CodePoints) { cp.Extents = 0 },
		"more than others": func(cp *CodePoints) { cp.Extents = MaxExtents + 1 },
	} {
		cp := StandardCodePoints()
		change(&cp)
		if cp.Check() == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// FuzzCustodyBlocks reads anything as the content of the two blocks of CCSDS 734.6-O-1.
func FuzzCustodyBlocks(f *testing.F) {
	for _, r := range sampleReportings() {
		f.Add(ReportingBlock(2, r).Data)
		f.Add(CustodyBlock(2, Custody{r.SeqNum, r.SeqID, r.Source}).Data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		blk := Block{Type: TypeReporting, Number: 2, Data: data}
		if r, err := blk.Reporting(); err != nil {
			wantParseError(t, err, len(data))
		} else {
			again := ReportingBlock(2, r)
			if back, err := again.Reporting(); err != nil || back != r {
				t.Fatalf("%+v comes back as %+v, %v", r, back, err)
			}
		}
		blk.Type = TypeCustody
		if c, err := blk.Custody(); err != nil {
			wantParseError(t, err, len(data))
		} else {
			again := CustodyBlock(2, c)
			if back, err := again.Custody(); err != nil || back != c {
				t.Fatalf("%+v comes back as %+v, %v", c, back, err)
			}
		}
	})
}

// FuzzSignals reads anything as records under both forms of code points.
func FuzzSignals(f *testing.F) {
	for _, cp := range []CodePoints{StandardCodePoints(), BplibDraftCodePoints()} {
		for _, s := range sampleSignals() {
			for _, raw := range cp.CustodyRecords(&s) {
				f.Add(raw)
			}
		}
		for _, s := range sampleReportingSignals() {
			for _, raw := range cp.ReportingRecords(&s) {
				f.Add(raw)
			}
		}
	}
	own := IPN(10, 0)
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, cp := range []CodePoints{StandardCodePoints(), BplibDraftCodePoints()} {
			rec, err := cp.ParseAdminRecord(raw, own)
			if err != nil {
				wantParseError(t, err, len(raw))
				continue
			}
			if s := rec.CustodySignal; s != nil {
				again := CustodySignal{Ignored: s.Ignored}
				for _, raw := range cp.CustodyRecords(s) {
					rec, err := cp.ParseAdminRecord(raw, EID{})
					if err != nil {
						t.Fatal(err)
					}
					again.Accepted = append(again.Accepted, rec.CustodySignal.Accepted...)
					again.Refused = append(again.Refused, rec.CustodySignal.Refused...)
				}
				sameSequences(t, s.Accepted, again.Accepted)
				sameSequences(t, s.Refused, again.Refused)
			}
			if s := rec.ReportingSignal; s != nil {
				var again ReportingSignal
				for _, raw := range cp.ReportingRecords(s) {
					rec, err := cp.ParseAdminRecord(raw, EID{})
					if err != nil {
						t.Fatal(err)
					}
					for i, list := range rec.ReportingSignal.Sequences {
						again.Sequences[i] = append(again.Sequences[i], list...)
					}
				}
				for i := range s.Sequences {
					sameSequences(t, s.Sequences[i], again.Sequences[i])
				}
			}
		}
	})
}

// sameSequences requires that two lists name the same numbers. Long sequences may
// have been split, and excluded runs of nothing joined.
func sameSequences(t *testing.T, a, b []Sequence) {
	t.Helper()
	x, y := splitAll(a, 1), splitAll(b, 1)
	if len(x) != len(y) || len(x) > 0 && !reflect.DeepEqual(x, y) {
		t.Fatalf("sequences differ:\n%+v\n%+v", a, b)
	}
}
