package ltp

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"

	"perigee/convergence"
)

// A codec is one segment as a value, its encoding and its parser.
type codec struct {
	name  string
	value any
	bytes []byte
	parse func([]byte) (any, int, error)
}

func boxed[T any](parse func([]byte) (T, int, error)) func([]byte) (any, int, error) {
	return func(b []byte) (any, int, error) {
		s, n, err := parse(b)
		return s, n, err
	}
}

func parseReport(b []byte) (reportSegment, int, error) { return parseReportSegment(b, nil) }

func extended(tag byte, value string) extensions {
	var e extensions
	e.add(tag, []byte(value))
	return e
}

// codecs are samples of every segment, with the extremes of their fields.
func codecs() []codec {
	var all []codec
	add := func(name string, value any, encoded []byte, parse func([]byte) (any, int, error)) {
		all = append(all, codec{name, value, encoded, parse})
	}
	front := func(kind uint8) header { return header{kind: kind, originator: 1, session: 2} }
	data := func(name string, s dataSegment) { add(name, s, s.append(nil), boxed(parseDataSegment)) }
	data("red", dataSegment{header: front(typeRed), service: 1, offset: 300, data: []byte("abc")})
	data("red, empty", dataSegment{header: front(typeRed), data: []byte{}})
	data("checkpoint", dataSegment{
		header: front(typeRedCheckpoint), service: math.MaxUint64, offset: maxBlockLength,
		checkpoint: math.MaxUint64, report: math.MaxUint64, data: []byte{7},
	})
	data("end of red part", dataSegment{header: front(typeRedEnd), service: 2, checkpoint: 1, data: []byte("x")})
	data("end of block", dataSegment{header: front(typeRedBlockEnd), service: 1, checkpoint: 128, data: bytes.Repeat([]byte("y"), 200)})
	data("green", dataSegment{header: front(typeGreen), service: 1, offset: 127, data: []byte("z")})
	data("green end of block", dataSegment{header: front(typeGreenBlockEnd), service: 1, offset: 128, data: []byte("z")})
	wide := header{kind: typeRed, originator: math.MaxUint64, session: math.MaxUint64, extensions: extended(0xff, "extension")}
	data("red, extended", dataSegment{header: wide, service: 1, data: []byte("abc")})

	report := func(name string, s reportSegment) { add(name, s, s.append(nil), boxed(parseReport)) }
	report("report", reportSegment{header: front(typeReport), serial: 1, upper: 6000, claims: []span{{0, 6000}}})
	report("report, gaps", reportSegment{
		header: front(typeReport), serial: math.MaxUint64, checkpoint: math.MaxUint64, lower: 1000, upper: maxBlockLength,
		claims: []span{{1000, 3000}, {4000, 4001}, {maxBlockLength - 1, maxBlockLength}},
	})
	ack := reportAck{header: front(typeReportAck), serial: 300}
	add("report ack", ack, ack.append(nil), boxed(parseReportAck))
	for _, kind := range []uint8{typeCancelBySender, typeCancelByReceiver} {
		s := cancelSegment{header: front(kind), reason: CancelCycles}
		s.extensions = extended(tagRefusal, "ab")
		add("cancel", s, s.append(nil), boxed(parseCancel))
	}
	for _, kind := range []uint8{typeCancelAckSender, typeCancelAckReceiver} {
		s := cancelAck{header: front(kind)}
		add("cancel ack", s, s.append(nil), boxed(parseCancelAck))
	}
	state := linkState{flags: flagEnding, link: math.MaxUint64, peer: 1}
	add("link state", state, state.append(nil), boxed(parseLinkState))
	refused := refusal{unit: 1 << 40, reason: convergence.RefuseNotAcceptable}
	add("refusal", refused, refused.append(nil), boxed(parseRefusal))
	return all
}

func TestRoundTrip(t *testing.T) {
	for _, c := range codecs() {
		got, n, err := c.parse(append(bytes.Clone(c.bytes), 0xff))
		if err != nil || n != len(c.bytes) {
			t.Errorf("%s: parse used %d of %d bytes: %v", c.name, n, len(c.bytes), err)
		}
		if !reflect.DeepEqual(got, c.value) {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.value)
		}
	}
}

func TestTruncated(t *testing.T) {
	for _, c := range codecs() {
		for n := range c.bytes {
			if _, used, err := c.parse(c.bytes[:n:n]); err != errShort || used != 0 {
				t.Errorf("%s: %d of %d bytes: used %d, %v; want %v", c.name, n, len(c.bytes), used, err, errShort)
			}
		}
	}
}

// The examples of RFC 5326 section 2.
func TestSDNV(t *testing.T) {
	tests := map[uint64][]byte{
		0xabc: {0x95, 0x3c}, 0x1234: {0xa4, 0x34}, 0x4234: {0x81, 0x84, 0x34}, 0x7f: {0x7f}, 0: {0}, 0x80: {0x81, 0},
		math.MaxUint64: {0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
	}
	for v, want := range tests {
		got := appendSDNV(nil, v)
		if !bytes.Equal(got, want) || len(got) != sdnvLen(v) {
			t.Errorf("%#x encodes as %x, of length %d; want %x", v, got, sdnvLen(v), want)
		}
		if back, n, err := parseSDNV(want); back != v || n != len(want) || err != nil {
			t.Errorf("%x is %#x, %d, %v; want %#x", want, back, n, err, v)
		}
	}
	long := [][]byte{
		{0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0},    // 2^64
		{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80}, // goes on
	}
	for _, b := range long {
		if v, _, err := parseSDNV(append(b, 1)); err != errMalformed {
			t.Errorf("%x is %#x, %v; want %v", b, v, err, errMalformed)
		}
	}
	if v, n, err := parseSDNV([]byte{0x80, 0x80, 5}); v != 5 || n != 3 || err != nil {
		t.Errorf("leading zeros: got %d, %d, %v; want 5", v, n, err)
	}
}

func TestMalformed(t *testing.T) {
	tests := []struct {
		name string
		in   []byte
	}{
		{"version 1", []byte{0x10, 1, 2, 0, 1, 0, 0}},
		{"undefined green type", []byte{0x05, 1, 2, 0, 1, 0, 0}},
		{"undefined control type", []byte{0x0a, 1, 2, 0}},
		{"checkpoint 0", []byte{0x01, 1, 2, 0, 1, 0, 0, 0, 0}},
		{"offset beyond any block", append(appendSDNV([]byte{0x00, 1, 2, 0, 1}, maxBlockLength+1), 0)},
		{"extension too long", appendSDNV([]byte{0x0d, 1, 2, 0x10, 0xc0}, maxExtension+1)},
		{"report 0", []byte{0x08, 1, 2, 0, 0, 0, 9, 0, 1, 0, 9}},
		{"bounds the wrong way", []byte{0x08, 1, 2, 0, 1, 0, 9, 9, 1, 0, 9}},
		{"no claim", []byte{0x08, 1, 2, 0, 1, 0, 9, 0, 0}},
		{"claim of nothing", []byte{0x08, 1, 2, 0, 1, 0, 9, 0, 1, 0, 0}},
		{"claim beyond the bound", []byte{0x08, 1, 2, 0, 1, 0, 9, 0, 1, 5, 5}},
		{"claims that touch", []byte{0x08, 1, 2, 0, 1, 0, 9, 0, 2, 0, 5, 5, 1}},
		{"claims out of order", []byte{0x08, 1, 2, 0, 1, 0, 9, 0, 2, 5, 1, 0, 1}},
		{"cancel ack where a cancel is", []byte{0x0d, 1, 2, 0}},
	}
	for _, tt := range tests {
		m := newTestMachine(2, 1, nil)
		m.Feed(tt.in, 0)
		if m.Dropped().Malformed == 0 && tt.in[0] != 0x0d {
			t.Errorf("%s: was not dropped as malformed", tt.name)
		}
	}
	if _, _, err := parseCancel([]byte{0x0d, 1, 2, 0, 0}); err != errMalformed {
		t.Errorf("cancel of an acknowledgement's type: got %v, want %v", err, errMalformed)
	}
	// A count that the segment cannot hold must not be trusted.
	claims := appendSDNV([]byte{0x08, 1, 2, 0, 1, 0, 9, 0}, 1<<60)
	if _, _, err := parseReportSegment(append(claims, 0, 9), nil); err != errShort {
		t.Errorf("2^60 claims: got %v, want %v", err, errShort)
	}
}

// Header and trailer extensions are passed over wherever they stand.
func TestExtensionsSkipped(t *testing.T) {
	for _, c := range codecs() {
		if c.name == "link state" || c.name == "refusal" {
			continue
		}
		r := reader{in: c.bytes}
		var h header
		h.parse(&r, 0, 15)
		content := c.bytes[r.at:]
		counts := 2 + len(c.bytes) - len(content) - len(h.extensions.list) - 3
		in := bytes.Clone(c.bytes[:counts])
		in = append(in, (h.extensions.count+2)<<4|1)
		in = append(in, 0x00, 0x03, 1, 2, 3, 0xc0, 0x80, 0x00) // two more in front, the second of length 0 in two bytes
		in = append(in, h.extensions.list...)
		in = append(append(in, content...), 0x01, 0x02, 9, 9)
		_, n, err := c.parse(in)
		if err != nil || n != len(in) {
			t.Errorf("%s with extensions: used %d of %d bytes: %v", c.name, n, len(in), err)
		}
		for n := range in {
			if _, _, err := c.parse(in[:n:n]); err != errShort {
				t.Errorf("%s with extensions, %d of %d bytes: got %v, want %v", c.name, n, len(in), err, errShort)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	want := []refusal{{0, convergence.RefuseNoResources}, {700, convergence.RefuseCompleted}}
	var e extensions
	e.add(0xc0, []byte("other"))
	if !e.addRefusals(want) {
		t.Fatal("two refusals do not fit")
	}
	if got := e.refusals(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if e.addRefusals(make([]refusal, maxExtension)) {
		t.Error("refusals beyond the limit of an extension fit")
	}
	e = extended(tagRefusal, "\x01\x02\x81")
	if got := e.refusals(); len(got) != 1 || got[0].reason != convergence.RefuseNoResources {
		t.Errorf("cut list: got %v, want one", got)
	}
}

func TestReasons(t *testing.T) {
	for r := convergence.RefuseReason(0); r < 7; r++ {
		if back := refuseReason(cancelReason(r)); back == convergence.RefuseNotAcceptable || back == convergence.RefuseCompleted {
			t.Errorf("a peer that knows RFC 5326 alone turns %q into %q", r, back)
		}
	}
	if CancelReason(9).String() != "unknown reason" || errors.Is(ErrCut, ErrSilent) {
		t.Error("reasons are mixed up")
	}
}
