package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"perigee/bundle/dtntime"
)

func TestParseEID(t *testing.T) {
	for text, want := range map[string]EID{
		"dtn:none":             {},
		"ipn:0.0":              {},
		"ipn:0.0.0":            {},
		"ipn:3.11":             IPN(3, 11),
		"ipn:0.3.11":           IPN(3, 11),
		"ipn:977000.3.11":      IPN(977000<<32|3, 11),
		"ipn:!.7":              IPN(LocalNode, 7),
		"ipn:4294967295.7":     IPN(LocalNode, 7),
		"ipn:1.4294967295":     IPN(1, math.MaxUint32),
		"dtn://sat-17/models":  DTN("sat-17", "models"),
		"dtn://sat-17/":        DTN("sat-17", ""),
		"dtn://a/~all/b/c?d=e": DTN("a", "~all/b/c?d=e"),
		"dtn://a%2Fb/c":        DTN("a%2Fb", "c"),
	} {
		got, err := ParseEID(text)
		if err != nil || got != want {
			t.Errorf("%s is %#v, %v, want %#v", text, got, err, want)
			continue
		}
		back, err := ParseEID(got.String())
		if err != nil || back != got {
			t.Errorf("%s prints as %s, which is %#v, %v", text, got, back, err)
		}
		raw := got.AppendCBOR(nil)
		if len(raw) != got.cborLen() {
			t.Errorf("%s takes %d bytes, cborLen says %d", text, len(raw), got.cborLen())
		}
		wire, n, err := DecodeEID(append(raw, 0))
		if err != nil || n != len(raw) || wire != got {
			t.Errorf("%s comes back from %x as %s, %v", text, raw, wire, err)
		}
		for i := range raw {
			if _, _, err := DecodeEID(raw[:i]); err == nil {
				t.Errorf("%s cut at %d was read", text, i)
			}
		}
	}
}

func TestParseEIDRefuses(t *testing.T) {
	for _, text := range []string{
		"", "ipn", "ipn:", "ipn:1", "ipn:1.", "ipn:.1", "ipn:1.2.3.4", "ipn:01.2", "ipn:+1.2", "ipn:-1.2", "ipn:1.2 ",
		"ipn:4294967296.1", "ipn:1.4294967296", "ipn:4294967296.1.1", "ipn:0.1", "ipn:0.0.1", "ipn:!.", "ipn:!.x", "ipn:0x1.2",
		"dtn:", "dtn:foo", "dtn:/a/b", "dtn:///b", "dtn://a", "dtn://a b/c", "dtn://a/b c", "dtn://a/\x7f", "dtn://ä/b", "dtn://a%2/b", "dtn://a%zz/b",
		"dtn:none/", "DTN:none", "http://a/b", "dtn://a/" + strings.Repeat("x", MaxEIDText),
	} {
		if e, err := ParseEID(text); !errors.Is(err, ErrEID) {
			t.Errorf("%q was read as %s, %v", text, e, err)
		}
		var e EID
		if err := e.UnmarshalText([]byte(text)); err == nil || !e.IsNull() {
			t.Errorf("%q was read as text", text)
		}
	}
}

func TestEIDParts(t *testing.T) {
	tests := []struct {
		eid, node, demux, service7 string
		null, singleton            bool
	}{
		{"dtn:none", "dtn:none", "", "", true, true},
		{"ipn:3.11", "ipn:3.0", "", "ipn:3.7", false, true},
		{"ipn:9.3.0", "ipn:9.3.0", "", "ipn:9.3.7", false, true},
		{"dtn://a/b/c", "dtn://a/", "b/c", "dtn://a/7", false, true},
		{"dtn://a/~b", "dtn://a/", "~b", "dtn://a/7", false, false},
		{"dtn://a/", "dtn://a/", "", "dtn://a/7", false, true},
	}
	for _, test := range tests {
		e, err := ParseEID(test.eid)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Node().String(); got != test.node {
			t.Errorf("%s: node is %s", e, got)
		}
		if e.Demux() != test.demux || e.IsNull() != test.null || e.IsSingleton() != test.singleton {
			t.Errorf("%s: demux %q, null %v, singleton %v", e, e.Demux(), e.IsNull(), e.IsSingleton())
		}
		if test.service7 != "" && e.WithService(7).String() != test.service7 {
			t.Errorf("%s: service 7 is %s", e, e.WithService(7))
		}
	}
}

func TestIDText(t *testing.T) {
	for _, id := range []ID{
		{},
		{Source: IPN(3, 11), Created: Timestamp{Time: 838857600123, Sequence: 5}},
		{Source: DTN("a", "b@c.d+e"), Created: Timestamp{Time: dtntime.Forever, Sequence: math.MaxUint64}},
		{Source: DTN("a", "x@1.2"), Fragment: true, Offset: math.MaxUint64, Length: 0},
	} {
		got, err := ParseID(id.String())
		if err != nil || got != id {
			t.Errorf("%s comes back as %+v, %v", id, got, err)
		}
	}
	for _, text := range []string{"", "@", "ipn:3.11", "ipn:3.11@", "ipn:3.11@1", "ipn:3.11@1.", "ipn:3.11@1.2+", "ipn:3.11@1.2+3", "ipn:3.11@1.2+3/", "ipn:3.11@-1.2", "ipn:3.11@1.2.3", "ipn:3@1.2", "ipn:3.11@18446744073709551616.0", "ipn:3.11@+1.2"} {
		if id, err := ParseID(text); err == nil {
			t.Errorf("%q was read as %s", text, id)
		}
	}
}

func TestBundleID(t *testing.T) {
	b := sampleBundle(CRC32C, []byte("Hello, DTN"))
	if got := b.ID().String(); got != "ipn:1.11@838857600123.5" {
		t.Errorf("ID is %s", got)
	}
	b.Primary.Flags, b.Primary.FragmentOffset = FlagFragment, 60
	if got := b.ID().String(); got != "ipn:1.11@838857600123.5+60/10" {
		t.Errorf("ID of a fragment is %s", got)
	}
}

func FuzzParseEID(f *testing.F) {
	for _, s := range samples() {
		f.Add(s.bndl.Primary.Source.String())
		f.Add(s.bndl.Primary.Destination.String())
	}
	f.Add("ipn:!.7")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := ParseEID(text)
		if err != nil {
			if !errors.Is(err, ErrEID) {
				t.Fatalf("%v does not wrap ErrEID", err)
			}
			return
		}
		if back, err := ParseEID(e.String()); err != nil || back != e {
			t.Fatalf("%q prints as %s, which is %#v, %v", text, e, back, err)
		}
		raw := e.AppendCBOR(nil)
		if back, n, err := DecodeEID(raw); err != nil || n != len(raw) || back != e {
			t.Fatalf("%s comes back from %x as %s, %v", e, raw, back, err)
		}
		_, _, _ = e.Node().String(), e.Demux(), e.IsSingleton()
	})
}

func FuzzParseID(f *testing.F) {
	for _, s := range samples() {
		f.Add(s.bndl.ID().String())
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseID(text)
		if err != nil {
			return
		}
		if back, err := ParseID(id.String()); err != nil || back != id {
			t.Fatalf("%q prints as %s, which is %+v, %v", text, id, back, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range samples() {
		if len(s.payload) < 1000 {
			f.Add(s.encode())
		}
	}
	b := minimal()
	raw := b.Append(nil, []byte("abc"))
	f.Add(raw)
	f.Add(bytes.Replace(raw, []byte{0x85, 1, 1, 0, 0, 0x43, 'a', 'b', 'c'}, []byte{0x9f, 1, 1, 0, 0, 0x43, 'a', 'b', 'c', 0xff}, 1))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, payload, err := Parse(raw, DefaultLimits())
		if err != nil {
			wantParseError(t, err, len(raw))
			return
		}
		again := b.Append(nil, payload)
		if uint64(len(again)) != b.EncodedLen() || len(b.AppendHeader(nil)) != b.HeaderLen() {
			t.Fatalf("%d bytes, EncodedLen %d", len(again), b.EncodedLen())
		}
		back, p, err := Parse(again, DefaultLimits())
		if err != nil {
			t.Fatalf("%x encodes as %x: %v", raw, again, err)
		}
		same(t, &b, &back)
		if !bytes.Equal(p, payload) {
			t.Fatal("payload differs")
		}
		_, _, _ = b.Check(), b.Expiry(1), b.Unsupported()
		b.Custody()
		b.Priority()
	})
}

func FuzzReader(f *testing.F) {
	for _, s := range samples() {
		if len(s.payload) < 1000 {
			f.Add(s.encode())
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, payload, err := Parse(raw, DefaultLimits())
		agree(t, raw, b, payload, err)
	})
}

func FuzzAdminRecord(f *testing.F) {
	for _, s := range sampleReports() {
		f.Add(s.Append(nil))
	}
	for _, s := range sampleSignals() {
		f.Add(s.Append(nil))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		rec, err := ParseAdminRecord(raw)
		if err != nil {
			wantParseError(t, err, len(raw))
			return
		}
		switch {
		case rec.Status != nil:
			again, err := ParseAdminRecord(rec.Status.Append(nil))
			if err != nil || *again.Status != *rec.Status {
				t.Fatalf("%+v comes back as %+v, %v", rec.Status, again.Status, err)
			}
		case rec.CustodySignal != nil:
			s := *rec.CustodySignal
			if len(s.Accepted)+len(s.Refused) == 0 {
				return
			}
			s.Ignored = 0
			again, err := ParseAdminRecord(s.Append(nil))
			if err != nil || !bytes.Equal(again.CustodySignal.Append(nil), s.Append(nil)) {
				t.Fatalf("%+v comes back as %+v, %v", s, again.CustodySignal, err)
			}
		}
	})
}

func TestIDsInJSON(t *testing.T) {
	type both struct {
		Node EID
		ID   ID
		Prio Priority
	}
	want := both{DTN("a", "b"), ID{Source: IPN(3, 11), Created: Timestamp{Time: 1, Sequence: 2}, Fragment: true, Offset: 3, Length: 4}, PriorityBulk}
	text, err := json.Marshal(want)
	if err != nil || string(text) != `{"Node":"dtn://a/b","ID":"ipn:3.11@1.2+3/4","Prio":"bulk"}` {
		t.Fatalf("%s, %v", text, err)
	}
	var got both
	if err := json.Unmarshal(text, &got); err != nil || got != want {
		t.Errorf("comes back as %+v, %v", got, err)
	}
	if err := json.Unmarshal([]byte(`{"ID":"ipn:3.11"}`), &got); err == nil {
		t.Error("an ID without a timestamp was read")
	}
}
