package cbor

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestHeadsAreShortest(t *testing.T) {
	for _, v := range []uint64{0, 23, 24, 255, 256, 65535, 65536, math.MaxUint32, math.MaxUint32 + 1, math.MaxUint64} {
		b := AppendUint(nil, v)
		if len(b) != HeadLen(v) {
			t.Errorf("%d takes %d bytes, HeadLen says %d", v, len(b), HeadLen(v))
		}
		d := NewDecoder(b)
		if got, err := d.Uint(); err != nil || got != v || len(d.Rest()) != 0 {
			t.Errorf("%x reads back as %d, %v", b, got, err)
		}
	}
	for _, s := range []string{"1817", "1900ff", "1a0000ffff", "1b00000000ffffffff", "5800", "9800", "b817"} {
		d := NewDecoder(unhex(t, s))
		if _, _, _, err := d.Head(); err == nil || !strings.Contains(err.Error(), "shortest") {
			t.Errorf("%s: %v, want a complaint about its form", s, err)
		}
	}
}

func TestHeadRefuses(t *testing.T) {
	for _, s := range []string{"1c", "1f", "3f", "ff", "dc", "df", "fc", "5d", "9e"} {
		d := NewDecoder(unhex(t, s))
		if _, _, _, err := d.Head(); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v, want a refusal", s, err)
		}
	}
}

func TestInts(t *testing.T) {
	for _, v := range []int64{0, 1, -1, 23, -24, -25, 1000, math.MaxInt64, math.MinInt64} {
		d := NewDecoder(AppendInt(nil, v))
		if got, err := d.Int(); err != nil || got != v {
			t.Errorf("%d reads back as %d, %v", v, got, err)
		}
	}
	for _, s := range []string{"1b8000000000000000", "3b8000000000000000", "40", "f4"} {
		d := NewDecoder(unhex(t, s))
		if _, err := d.Int(); err == nil {
			t.Errorf("%s was taken for an int64", s)
		}
		if d.Offset() != 0 {
			t.Errorf("%s: decoder moved over what it refused", s)
		}
	}
}

func TestText(t *testing.T) {
	tests := []struct{ in, want, fault string }{
		{"63616263", "abc", ""},
		{"7f61616362ff", "", "ends early"}, // the second piece is cut
		{"7f6161626263ff", "abc", ""},
		{"7fff", "", ""},
		{"656162636465", "", "longer than 4"},
		{"7f636162636261 62ff", "", "longer than 4"},
		{"7f4161ff", "", "expected text string"},
		{"7f7f6161ffff", "", "indefinite length"},
		{"43616263", "", "expected text string"},
		{"7bffffffffffffffff", "", "longer than 4"},
	}
	for _, test := range tests {
		d := NewDecoder(unhex(t, strings.ReplaceAll(test.in, " ", "")))
		got, err := d.Text(4)
		if test.fault != "" {
			if err == nil || !strings.Contains(err.Error(), test.fault) {
				t.Errorf("%s: %v, want %q", test.in, err, test.fault)
			}
			continue
		}
		if err != nil || string(got) != test.want || len(d.Rest()) != 0 {
			t.Errorf("%s: %q, %v, want %q", test.in, got, err, test.want)
		}
	}
}

func TestBytes(t *testing.T) {
	in := unhex(t, "42010203")
	d := NewDecoder(in)
	got, err := d.Bytes()
	if err != nil || !bytes.Equal(got, in[1:3]) {
		t.Fatalf("%x, %v", got, err)
	}
	if _ = append(got, 9); in[3] != 3 {
		t.Error("appending to the result wrote into the input")
	}
	for _, s := range []string{"5f4101ff", "6101", "00"} {
		d := NewDecoder(unhex(t, s))
		if _, err := d.Bytes(); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v, want a refusal", s, err)
		}
	}
}

func TestItems(t *testing.T) {
	for _, s := range []string{"820102", "9f0102ff"} {
		d := NewDecoder(unhex(t, s))
		it, err := d.Array()
		if err != nil {
			t.Fatal(err)
		}
		for want := uint64(1); want <= 2; want++ {
			if err := d.Next(&it); err != nil {
				t.Fatal(err)
			}
			if got, err := d.Uint(); err != nil || got != want {
				t.Fatalf("%s: item is %d, %v", s, got, err)
			}
		}
		again := it
		e := d
		if err := e.Next(&again); err == nil {
			t.Errorf("%s: a third item was found", s)
		}
		if err := d.End(&it); err != nil || len(d.Rest()) != 0 {
			t.Errorf("%s: end: %v", s, err)
		}
	}
	d := NewDecoder(unhex(t, "820102"))
	it, _ := d.Array()
	if err := d.End(&it); err == nil {
		t.Error("an array ended with items left")
	}
}

func TestSkip(t *testing.T) {
	good := []string{
		"00", "3863", "4401020304", "5f42010243030405ff", "63616263", "7f6161ff", "8301820203820405",
		"9f018202039f0405ffff", "a201020304", "bf6346756ef5ff", "c11a514b67b0", "f4", "f6", "f90000", "fb3ff199999999999a", "f8ff",
	}
	for _, s := range good {
		in := unhex(t, s)
		d := NewDecoder(append(bytes.Clone(in), 0))
		if err := d.Skip(); err != nil || d.Offset() != len(in) {
			t.Errorf("%s: skipped %d bytes, %v", s, d.Offset(), err)
		}
		for i := range in {
			d := NewDecoder(in[:i])
			if err := d.Skip(); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s cut at %d: %v, want io.ErrUnexpectedEOF", s, i, err)
			}
		}
	}
	bad := []string{"ff", "81ff", "a101ff", "5f6161ff", "5f00ff", "f81f", "c0ff", "bf00ff", strings.Repeat("81", MaxDepth) + "00", strings.Repeat("c1", MaxDepth) + "00"}
	for _, s := range bad {
		d := NewDecoder(unhex(t, s))
		if err := d.Skip(); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v, want a refusal", s, err)
		}
	}
	// Counts that nothing backs cost nothing.
	for _, s := range []string{"9bffffffffffffffff00", "bbffffffffffffffff00", "5bffffffffffffffff00"} {
		d := NewDecoder(unhex(t, s))
		if err := d.Skip(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestBoolAndTag(t *testing.T) {
	d := NewDecoder(unhex(t, "f4f5cd0100"))
	if v, err := d.Bool(); err != nil || v {
		t.Errorf("false is %v, %v", v, err)
	}
	if v, err := d.Bool(); err != nil || !v {
		t.Errorf("true is %v, %v", v, err)
	}
	if n, ok, err := d.Tag(); err != nil || !ok || n != 13 {
		t.Errorf("tag is %d, %v, %v", n, ok, err)
	}
	if _, ok, err := d.Tag(); err != nil || ok {
		t.Errorf("an integer is a tag: %v", err)
	}
	if _, err := d.Bool(); err == nil {
		t.Error("an integer is a bool")
	}
}

func FuzzSkip(f *testing.F) {
	for _, s := range []string{"9f018202039f0405ffff", "bf6346756ef5ff", "c11a514b67b0", "5f42010243030405ff"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d := NewDecoder(b)
		if err := d.Skip(); err != nil {
			return
		}
		used := b[:d.Offset()]
		if d = NewDecoder(used); d.Skip() != nil || len(d.Rest()) != 0 {
			t.Fatalf("%x is one item alone, but not in front of more", used)
		}
	})
}

// item reads one item with the decoder made for it and appends what it read.
func item(d *Decoder, dst []byte) ([]byte, error) {
	first, err := d.Peek()
	if err != nil {
		return nil, err
	}
	switch m := Major(first >> 5); m {
	case MajorUint:
		v, err := d.Uint()
		return AppendUint(dst, v), err
	case MajorNegInt:
		v, err := d.Int()
		return AppendInt(dst, v), err
	case MajorBytes:
		b, err := d.Bytes()
		return AppendBytes(dst, b), err
	case MajorText:
		b, err := d.Text(64)
		return AppendText(dst, string(b)), err
	case MajorTag:
		n, _, err := d.Tag()
		return AppendHead(dst, MajorTag, n), err
	case MajorArray, MajorMap:
		read := d.Array
		if m == MajorMap {
			read = d.Map
		}
		it, err := read()
		if it.Open() {
			return append(dst, first), err
		}
		return AppendHead(dst, m, it.Left()), err
	}
	if first == BreakByte {
		_, err := d.Break()
		return append(dst, first), err
	}
	v, err := d.Bool()
	return AppendBool(dst, v), err
}

// FuzzItems reads anything with the decoder made for each item: what it takes is
// what the encoder makes, but for text in pieces.
func FuzzItems(f *testing.F) {
	var seed []byte
	for _, v := range []uint64{0, 24, 256, 65536, math.MaxUint64} {
		seed = AppendInt(AppendUint(seed, v), -1-int64(v>>1))
	}
	seed = AppendBool(AppendText(AppendBytes(AppendArray(seed, 3), []byte{1, 2}), "abc"), true)
	f.Add(append(AppendHead(seed, MajorTag, 13), IndefiniteArray, False, BreakByte))
	f.Add([]byte{0x7f, 0x61, 'a', 0x60, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		d := NewDecoder(b)
		for {
			at := d.Offset()
			got, err := item(&d, nil)
			if err != nil {
				var fault *Error
				if !errors.As(err, &fault) || fault.Offset < at || fault.Offset > len(b) || fault.Reason == "" {
					t.Fatalf("%x: %v (%T)", b[at:], err, err)
				}
				return
			}
			if used := b[at:d.Offset()]; !bytes.Equal(got, used) && used[0] != 0x7f {
				t.Fatalf("%x is encoded as %x", used, got)
			}
		}
	})
}
