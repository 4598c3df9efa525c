package bundle

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"
)

// vector is one entry of the shared files: a bundle and what is to be thought of it.
type vector struct {
	ID      string `json:"id"`
	Hex     string `json:"hex"`
	Verdict string `json:"verdict"`
	Note    string `json:"note"`
}

// loadVectors reads a file of the folder "shared/vectors" beside the repository.
func loadVectors(t testing.TB, name string) []vector {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "..", "shared", "vectors", name))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("%s is not beside the repository: vectors not checked", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	var out []vector
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func (v vector) bytes(t testing.TB) []byte {
	t.Helper()
	b, err := hex.DecodeString(v.Hex)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectors(t *testing.T) {
	for _, file := range []string{"bpv7_computed.json", "bpv7_third_party.json"} {
		t.Run(file, func(t *testing.T) {
			for _, v := range loadVectors(t, file) {
				t.Run(v.ID, func(t *testing.T) { checkVector(t, v) })
			}
		})
	}
}

func checkVector(t *testing.T, v vector) {
	raw := v.bytes(t)
	if v.Verdict == "payload" {
		if _, err := ParseAdminRecord(raw); err != nil {
			t.Fatalf("admin record refused: %v", err)
		}
		return
	}
	b, payload, err := Parse(raw, DefaultLimits())
	agree(t, raw, b, payload, err)
	if v.ID == "bplib-ith_dtn_none" {
		// Listed as valid, but its report-to EID was exchanged without computing
		// the CRC of the primary block anew, so it must not pass as it is.
		wantParseError(t, err, len(raw))
		checkVerdict(t, v.Verdict, mendPrimary(t, raw, 0x04))
		return
	}
	switch v.Verdict {
	case "invalid", "invalid-lenient", "see-note":
		// see-note: an item stands where a CRC would be although the CRC type
		// is 0, which RFC 9171 section 4.2.2 forbids.
		wantParseError(t, err, len(raw))
		return
	case "valid*":
		// Its flags 0x0f say fragment beside the reserved bit 3, without the
		// fields of a fragment, and its CRC was not computed anew. With the
		// reserved bit as the only oddity it is to be accepted.
		wantParseError(t, err, len(raw))
		b = mendPrimary(t, raw, 0x0c)
	default:
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		if got := b.Append(nil, payload); !bytes.Equal(got, raw) {
			t.Errorf("encoded again:\n got %x\nwant %x", got, raw)
		}
		if b.HeaderLen() != len(b.AppendHeader(nil)) || b.EncodedLen() != uint64(len(raw)) {
			t.Errorf("HeaderLen %d, EncodedLen %d of %d bytes", b.HeaderLen(), b.EncodedLen(), len(raw))
		}
	}
	checkVerdict(t, v.Verdict, b)
}

// mendPrimary parses a bundle with a CRC-16 after setting its flags, which must be
// below 0x18, and computing the CRC of its primary block.
func mendPrimary(t *testing.T, raw []byte, flags byte) Bundle {
	t.Helper()
	raw = bytes.Clone(raw)
	raw[3] = flags
	end := bytes.Index(raw, []byte{0x42, 0x0b, 0x19}) // the CRC field
	mended := append(appendCRC(bytes.Clone(raw[:end]), 1, CRC16), raw[end+3:]...)
	b, _, err := Parse(mended, DefaultLimits())
	if err != nil {
		t.Fatalf("refused with its CRC mended: %v", err)
	}
	return b
}

func checkVerdict(t *testing.T, verdict string, b Bundle) {
	t.Helper()
	var rule *RuleError
	err := b.Check()
	refused := errors.As(err, &rule)
	if (err != nil) != refused {
		t.Fatalf("Check returned %T, not *RuleError", err)
	}
	u := b.Unsupported()
	switch verdict {
	case "valid-bpa-reject":
		if !refused || !rule.Tolerated {
			t.Fatalf("Check: %v, want a refusal for what others tolerate", err)
		}
	case "bpa-reject":
		if !refused || rule.Tolerated {
			t.Fatalf("Check: %v, want a refusal", err)
		}
	case "pics":
		// Samples of security processing: they only have to parse.
	case "valid-delete":
		if err != nil || !u.Delete || u.Strip {
			t.Fatalf("Check: %v, Unsupported: %+v, want deletion", err, u)
		}
	case "valid-strip":
		if err != nil || u.Delete || !u.Strip {
			t.Fatalf("Check: %v, Unsupported: %+v, want a block stripped", err, u)
		}
		b = b.Clone()
		before := len(b.Extensions)
		if b.StripUnsupported(); len(b.Extensions) != before-1 {
			t.Fatal("the block was not stripped")
		}
	case "valid", "valid*", "valid-expired":
		if err != nil || u.Delete || u.Strip {
			t.Fatalf("Check: %v, Unsupported: %+v, want a bundle to keep", err, u)
		}
	default:
		t.Fatalf("unknown verdict %q", verdict)
	}
}

func wantParseError(t *testing.T, err error, size int) {
	t.Helper()
	var parse *ParseError
	if !errors.As(err, &parse) {
		t.Fatalf("error is %v (%T), want a *ParseError", err, err)
	}
	if parse.Section == "" || parse.Reason == "" || parse.Offset < 0 || parse.Offset > int64(size) {
		t.Fatalf("error says too little: %+v", parse)
	}
}

// agree requires that Reader thinks of raw what Parse thought, whole and byte by byte.
func agree(t testing.TB, raw []byte, want Bundle, payload []byte, wantErr error) {
	t.Helper()
	for _, src := range []io.Reader{bytes.NewReader(raw), iotest.OneByteReader(bytes.NewReader(raw)), iotest.DataErrReader(bytes.NewReader(raw))} {
		r := NewReader(src, DefaultLimits())
		got, err := r.Header()
		var data []byte
		if err == nil {
			data, err = io.ReadAll(r)
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("Reader: %v, Parse: %v", err, wantErr)
		}
		if err != nil {
			var parse *ParseError
			if !errors.As(err, &parse) {
				t.Fatalf("Reader: %v (%T), want a *ParseError", err, err)
			}
			if err.Error() != wantErr.Error() && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("Reader: %v, Parse: %v", err, wantErr)
			}
			continue
		}
		if !bytes.Equal(data, payload) {
			t.Fatalf("Reader: payload %x, Parse: %x", data, payload)
		}
		if !bytes.Equal(got.AppendHeader(nil), want.AppendHeader(nil)) {
			t.Fatalf("Reader: %+v, Parse: %+v", got, want)
		}
	}
}
