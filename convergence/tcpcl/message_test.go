package tcpcl

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"perigee/convergence"
)

// A codec is one message as a value, its encoding and its parser.
type codec struct {
	name  string
	value any
	bytes []byte
	parse func([]byte) (any, int, error)
}

func boxed[T any](parse func([]byte) (T, int, error)) func([]byte) (any, int, error) {
	return func(b []byte) (any, int, error) {
		m, n, err := parse(b)
		return m, n, err
	}
}

// codecs are samples of every message, with the extremes of their fields.
func codecs() []codec {
	var all []codec
	add := func(name string, value interface{ append([]byte) []byte }, parse func([]byte) (any, int, error)) {
		all = append(all, codec{name, value, value.append(nil), parse})
	}
	item := extensionItem{flags: flagCritical, kind: 0x8001, value: []byte{1, 2, 3}}
	list := extensionItem{kind: 7, value: []byte{}}.append(item.append(nil))
	length := appendTransferLength(nil, 99)[4:]
	add("contact header", contactHeader{version: 4, flags: flagCanTLS}, boxed(parseContactHeader))
	add("init, no node ID", sessInit{segmentMRU: 1, nodeID: []byte{}, extensions: []byte{}}, boxed(parseSessInit))
	add("init, all", sessInit{
		keepalive: math.MaxUint16, segmentMRU: math.MaxUint64, transferMRU: math.MaxUint64,
		nodeID: []byte("ipn:977000.100.0"), extensions: list,
	}, boxed(parseSessInit))
	add("segment, start", xferSegment{flags: flagStart, id: 5, extensions: length, dataLength: 1 << 63}, boxed(parseXferSegment))
	add("segment, only", xferSegment{flags: flagStart | flagEnd, extensions: []byte{}}, boxed(parseXferSegment))
	add("segment, middle", xferSegment{flags: 0xf0, id: math.MaxUint64, dataLength: 3}, boxed(parseXferSegment))
	add("ack", xferAck{flags: flagEnd, id: 1, total: math.MaxUint64}, boxed(parseXferAck))
	add("refuse", xferRefuse{reason: convergence.RefuseExtensionFailure, id: 2}, boxed(parseXferRefuse))
	add("keepalive", keepalive{}, boxed(parseKeepalive))
	add("term", sessTerm{flags: flagReply, reason: TermBusy}, boxed(parseSessTerm))
	add("reject", msgReject{reason: rejectUnexpected, header: typeXferAck}, boxed(parseMsgReject))
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

func TestExtensionItem(t *testing.T) {
	want := extensionItem{flags: flagCritical, kind: 0x8001, value: []byte{1, 2, 3}}
	list := want.append(nil)
	got, n, err := parseExtensionItem(append(bytes.Clone(list), 9))
	if err != nil || n != len(list) || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %d, %v; want %+v, %d", got, n, err, want, len(list))
	}
	for n := range list { // a list is there in full, so a cut item is an error
		if _, _, err := parseExtensionItem(list[:n]); err != errExtensions {
			t.Errorf("%d of %d bytes: got %v, want %v", n, len(list), err, errExtensions)
		}
	}
}

func TestTransferLength(t *testing.T) {
	length := appendTransferLength(nil, 99)[4:]
	ignored := extensionItem{kind: 0x8000, value: []byte{1}}.append(nil)
	critical := extensionItem{flags: flagCritical, kind: 0x8000}.append(nil)
	short := extensionItem{kind: extensionTransferLength, value: make([]byte, 7)}.append(nil)
	join := func(lists ...[]byte) []byte { return bytes.Join(lists, nil) }
	tests := []struct {
		name  string
		list  []byte
		known bool
		fails bool
	}{
		{"empty", nil, false, false},
		{"length", length, true, false},
		{"length after an unknown item", join(ignored, length), true, false},
		{"length twice", join(length, length), false, true},
		{"length of seven bytes", short, false, true},
		{"unknown and critical", join(length, critical), false, true},
		{"item beyond its list", length[:len(length)-1], false, true},
	}
	for _, tt := range tests {
		got, known, err := transferLength(tt.list)
		if known != tt.known || (err != nil) != tt.fails || known && got != 99 {
			t.Errorf("%s: got %d, %t, %v", tt.name, got, known, err)
		}
	}
}

func TestAnnouncedTooLong(t *testing.T) {
	long := make([]byte, maxNodeIDLength+1)
	init := sessInit{segmentMRU: 1, nodeID: long}.append(nil)
	if _, _, err := parseSessInit(init[:sessInitFixed]); !errors.Is(err, errTooLong) {
		t.Errorf("node ID of %d bytes: got %v, want %v", len(long), err, errTooLong)
	}
	segment := []byte{typeXferSegment, flagStart, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}
	if _, _, err := parseXferSegment(segment); !errors.Is(err, errTooLong) {
		t.Errorf("extension list of 4 GiB: got %v, want %v", err, errTooLong)
	}
}

// A vector is one message of a recorded exchange.
type vector struct {
	Direction, What, Hex string
}

// vectors reads the shared test vectors, and skips when they are not there.
func vectors(t testing.TB) []vector {
	t.Helper()
	root, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			t.Skip("module root not found, so the shared vectors are not either")
		}
		root = filepath.Dir(root)
	}
	data, err := os.ReadFile(filepath.Join(root, "..", "shared", "vectors", "tcpclv4.json"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("shared vectors are absent")
	}
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Direction+" "+v.What, func(t *testing.T) {
			b, err := hex.DecodeString(v.Hex)
			if err != nil {
				t.Fatal(err)
			}
			text, n := describe(b)
			if n != len(b) {
				t.Fatalf("%d of %d bytes make %q", n, len(b), text)
			}
			if again, err := compose(text); err != nil || !bytes.Equal(again, b) {
				t.Fatalf("%q encodes as\n%x (%v), want\n%x", text, again, err, b)
			}
		})
	}
}

// TestVectorSession plays the recorded exchange, up to its refusal, against a
// machine in the part of the passive side.
func TestVectorSession(t *testing.T) {
	m := NewMachine(Params{
		NodeID: "dtn://gs/", Keepalive: 60, SegmentMRU: 48, TransferMRU: 1 << 40, MaxIncoming: 4,
	}, 0)
	var got []byte
	bundles := 0
	for _, v := range vectors(t) {
		b, err := hex.DecodeString(v.Hex)
		if err != nil {
			t.Fatal(err)
		}
		if v.Direction == "B>A" {
			got = append(got, m.TakeOutput(nil)...)
			if len(got) < len(b) || !bytes.Equal(got[:len(b)], b) {
				t.Fatalf("%s: sent\n%x, want\n%x", v.What, got, b)
			}
			got = got[len(b):]
			continue
		}
		if b[0] == typeXferSegment && bytes.Contains([]byte(v.What), []byte("middle")) {
			// The record acknowledges this transfer's first segment, then
			// refuses it: the middle segment meets the refusal.
			if err := m.Refuse(1, convergence.RefuseNoResources); err != nil {
				t.Fatal(err)
			}
			ack := xferAck{flags: flagStart, id: 1, total: 40}.append(nil)
			out := m.TakeOutput(nil)
			want := xferRefuse{reason: convergence.RefuseNoResources, id: 1}.append(ack)
			if !bytes.Equal(out, want) || bundles != 1 {
				t.Fatalf("%d bundles arrived; refused transfer 1: sent\n%x, want\n%x", bundles, out, want)
			}
			return
		}
		for {
			n, ev := m.Feed(b, 0)
			b = b[n:]
			if ev.Kind == EventNone {
				break
			}
			if ev.Kind == EventData && ev.End {
				bundles++
				if err := m.Accept(ev.Transfer); err != nil {
					t.Fatal(err)
				}
			}
		}
		if m.Err() != nil || len(b) > 0 {
			t.Fatalf("%s: %d bytes left, error %v", v.What, len(b), m.Err())
		}
	}
	t.Fatal("the record holds no middle segment")
}
