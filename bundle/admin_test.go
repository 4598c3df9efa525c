package bundle

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func sampleReports() []StatusReport {
	id := ID{Source: IPN(1, 7), Created: Timestamp{Time: 838857600123, Sequence: 5}}
	part := id
	part.Fragment, part.Offset, part.Length = true, 60, math.MaxUint64
	return []StatusReport{
		{Received: StatusItem{true, 838857605000}, Bundle: id},
		{Deleted: StatusItem{Asserted: true}, Reason: ReasonHopLimitExceeded, Bundle: part},
		{StatusItem{true, 1}, StatusItem{true, 2}, StatusItem{true, 3}, StatusItem{true, math.MaxUint64}, math.MaxUint64, ID{Source: DTN("a", "b")}},
		{},
	}
}

func sampleSignals() []CustodySignal {
	return []CustodySignal{
		{Accepted: []Sequence{{SeqID: 3, Ranges: []Range{{7, 1}}}}},
		{
			Accepted: []Sequence{{SeqID: 3, Ranges: []Range{{5, 4}, {11, 9}}}, {SeqID: 4, Ranges: []Range{{100, 12}}}},
			Refused:  []Sequence{{SeqID: 3, Ranges: []Range{{9, 2}}}, {Destination: DTN("g", "x"), Ranges: []Range{{0, 1}}}},
		},
		{Refused: []Sequence{{Destination: IPN(2, 0), Ranges: []Range{{0, math.MaxUint64}}}}},
		{Refused: []Sequence{{SeqID: math.MaxUint64, Ranges: []Range{{0, 1}, {math.MaxUint64, 1}}}}},
	}
}

func TestStatusReportRoundTrip(t *testing.T) {
	for _, s := range sampleReports() {
		raw := s.Append(nil)
		rec, err := ParseAdminRecord(raw)
		if err != nil {
			t.Fatalf("%x: %v", raw, err)
		}
		if rec.Type != RecordStatusReport || !reflect.DeepEqual(*rec.Status, s) {
			t.Errorf("%+v comes back as %+v", s, rec.Status)
		}
		if !bytes.Equal(rec.Content, raw[2:]) {
			t.Errorf("content is %x of %x", rec.Content, raw)
		}
		truncateRecord(t, raw)
	}
}

func TestStatusReportBytes(t *testing.T) {
	// The payload of vector own-08.
	s := sampleReports()[0]
	if got := hex.EncodeToString(s.Append(nil)); got != "8201848482f51b000000c34fcf3f8881f481f481f4008202820107821b000000c34fcf2c7b05" {
		t.Errorf("encoded as %s", got)
	}
}

func TestCustodySignalRoundTrip(t *testing.T) {
	for _, s := range sampleSignals() {
		raw := s.Append(nil)
		rec, err := ParseAdminRecord(raw)
		if err != nil {
			t.Fatalf("%x: %v", raw, err)
		}
		if rec.Type != RecordCustodySignal || !reflect.DeepEqual(*rec.CustodySignal, s) {
			t.Errorf("%+v comes back as %+v", s, rec.CustodySignal)
		}
		truncateRecord(t, raw)
		tagged := append([]byte{0x82, 13, 0xcd}, raw[2:]...)
		if rec, err := ParseAdminRecord(tagged); err != nil || !reflect.DeepEqual(*rec.CustodySignal, s) {
			t.Errorf("behind a tag: %+v, %v", rec.CustodySignal, err)
		}
	}
	s := sampleSignals()[1]
	if got := hex.EncodeToString(s.Append(nil)); !strings.HasPrefix(got, "820da20182830305830402098304186") {
		t.Errorf("encoded as %s", got)
	}
}

func truncateRecord(t *testing.T, raw []byte) {
	t.Helper()
	for i := range raw {
		_, err := ParseAdminRecord(raw[:i])
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%x cut at %d: %v, want io.ErrUnexpectedEOF", raw, i, err)
		}
		wantParseError(t, err, len(raw))
	}
	if _, err := ParseAdminRecord(append(slices.Clip(raw), 0)); err == nil {
		t.Fatalf("%x: a byte behind the record is not noticed", raw)
	}
}

func TestHostileRecordsAreRefused(t *testing.T) {
	many := func(n int, item string) string { return strings.Repeat(item, n) }
	tests := []struct{ name, hex, reason string }{
		{"not an array", "a1010d", "expected array"},
		{"one item", "810d", "too few"},
		{"three items", "830da101818303070100", "too many"},
		{"type is text", "826161a0", "expected unsigned"},
		{"signal is an array", "820d80", "expected map"},
		{"signal is empty", "820da0", "empty"},
		{"open signal is empty", "820dbfff", "empty"},
		{"other tag", "820dcea101818303070 1", "tag 14"},
		{"list is a map", "820da101a0", "expected array"},
		{"list is empty", "820da10180", "no sequences"},
		{"disposition twice", "820da2018183030701018183030801", "twice"},
		{"disposition is text", "820da1616181830307 01", "expected a 64-bit integer"},
		{"sequence ID 0", "820da10181830007 01", "reserved"},
		{"sequence of two items", "820da10181820307", "too few"},
		{"sequence of four items", "820da101818403070 1820100", "too many"},
		{"count 0", "820da10181830307 00", "run of 0"},
		{"run 0", "820da1018183030783010001", "run of 0"},
		{"no runs", "820da1018183030780", "0 runs"},
		{"even runs", "820da101818303078201 01", "2 runs"},
		{"count beyond the end", "820da1018183030a1bffffffffffffffff", "beyond 2^64-1"},
		{"count one beyond the end", "820da10181830301 1bffffffffffffffff 00", "follow"},
		{"sum beyond the end", "820da101818303018301 1bfffffffffffffff0 1bfffffffffffffff0", "beyond 2^64-1"},
		{"run behind the end", "820da10181830301 831bffffffffffffffff0101", "beyond 2^64-1"},
		{"65 sequences", "820da101" + "9841" + many(65, "83030701"), "more than 64"},
		{"65 sequences, open", "820da1019f" + many(65, "83030701") + "ff", "more than 64"},
		{"256 runs", "820da10181830307" + "990100" + many(256, "01"), "more than 255"},
		{"2^63 sequences", "820da1019b8000000000000000" + many(65, "83030701"), "more than 64"},
		{"17 dispositions", "820db1" + "0a000b000c000d000e000f0010001100120013001400150016001700181800181900181a00", "more than 16"},
		{"report of three items", "8201838481f481f481f481f400820100", "too few"},
		{"report of five items", "8201858481f481f481f481f40082010082000000", "too few"},
		{"report with three statuses", "8201848381f481f481f400820100820000", "too few"},
		{"status is a number", "820184848100 81f481f481f400820100820000", "expected true or false"},
		{"time without status", "82018484 82f401 81f481f481f400820100820000", "has a time"},
		{"content nested deeply", "82181f" + many(40, "81") + "00", "nested"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			raw, err := hex.DecodeString(strings.ReplaceAll(test.hex, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			_, err = ParseAdminRecord(raw)
			wantParseError(t, err, len(raw))
			if !strings.Contains(err.Error(), test.reason) {
				t.Fatalf("refused with %v, want %q", err, test.reason)
			}
		})
	}
}

func TestReservedDispositionsAreReadOver(t *testing.T) {
	// {0: anything, 1: ..., -2: anything}
	raw, _ := hex.DecodeString("820da3008183030501018183030701216161")
	rec, err := ParseAdminRecord(raw)
	if err != nil {
		t.Fatalf("%x: %v", raw, err)
	}
	want := CustodySignal{Accepted: []Sequence{{SeqID: 3, Ranges: []Range{{7, 1}}}}, Ignored: 2}
	if !reflect.DeepEqual(*rec.CustodySignal, want) {
		t.Errorf("read as %+v, want %+v", rec.CustodySignal, want)
	}
}

func TestUnknownRecordsAreKept(t *testing.T) {
	rec, err := ParseAdminRecord([]byte{0x82, 0x18, 99, 0x82, 1, 2})
	if err != nil || rec.Type != 99 || !bytes.Equal(rec.Content, []byte{0x82, 1, 2}) || rec.Status != nil || rec.CustodySignal != nil {
		t.Errorf("read as %+v, %v", rec, err)
	}
}

func TestMoreStatusesThanFourAreReadOver(t *testing.T) {
	raw, _ := hex.DecodeString("8201848581f581f481f481f4826361626300" + "00" + "820100" + "820000")
	if _, err := ParseAdminRecord(raw); err != nil {
		t.Errorf("%x: %v", raw, err)
	}
}

func TestNormalize(t *testing.T) {
	const top = math.MaxUint64
	tests := []struct{ in, want []Range }{
		{nil, nil},
		{[]Range{{5, 0}}, nil},
		{[]Range{{9, 2}, {5, 4}}, []Range{{5, 6}}},
		{[]Range{{5, 4}, {6, 1}, {20, 1}}, []Range{{5, 4}, {20, 1}}},
		{[]Range{{top, 1}, {top - 1, 1}}, []Range{{top - 1, 2}}},
		{[]Range{{top - 1, 99}, {3, 1}}, []Range{{3, 1}, {top - 1, 2}}},
		{[]Range{{1, top}, {5, 1}, {top, 1}}, []Range{{1, top}}},
		{[]Range{{0, top}, {top, 1}}, []Range{{0, top}}}, // 2^64 numbers are one too many to count
	}
	for _, test := range tests {
		before := slices.Clone(test.in)
		got := Normalize(test.in)
		if !slices.Equal(got, test.want) {
			t.Errorf("%v gives %v, want %v", test.in, got, test.want)
		}
		if !slices.Equal(before, test.in) {
			t.Errorf("argument was changed to %v", test.in)
		}
	}
}

func TestLongSequencesAreSplit(t *testing.T) {
	var seq Sequence
	seq.SeqID = 3
	for n := range uint64(300) {
		seq.Ranges = append(seq.Ranges, Range{3 * n, 1})
	}
	s := CustodySignal{Accepted: []Sequence{seq}}
	rec, err := ParseAdminRecord(s.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	var all []Range
	for _, part := range rec.CustodySignal.Accepted {
		all = append(all, part.Ranges...)
	}
	if len(rec.CustodySignal.Accepted) != 3 || !slices.Equal(all, seq.Ranges) {
		t.Errorf("%d parts with %d ranges", len(rec.CustodySignal.Accepted), len(all))
	}
	empty := CustodySignal{Accepted: []Sequence{{SeqID: 1}}, Refused: []Sequence{{SeqID: 2, Ranges: []Range{{1, 1}}}}}
	if rec, err := ParseAdminRecord(empty.Append(nil)); err != nil || len(rec.CustodySignal.Refused) != 1 || len(rec.CustodySignal.Accepted) != 0 {
		t.Errorf("a sequence without ranges spoils the signal: %v", err)
	}
}

func TestReasonsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for r := ReasonNone; r <= ReasonSecurityConflicting+1; r++ {
		if name := r.String(); name == "" || seen[name] {
			t.Errorf("reason %d is called %q", r, name)
		} else {
			seen[name] = true
		}
	}
	if got := fmt.Sprint(ReasonSecurityConflicting + 1); got != "reason(17)" {
		t.Errorf("an unknown reason is %s", got)
	}
}
