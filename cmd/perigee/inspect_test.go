package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"perigee/bundle"
	"perigee/bundle/bundletest"
)

// loadVectors reads a file of the folder "shared/vectors" beside the repository.
func loadVectors(t *testing.T, name string) []struct{ ID, Hex, Verdict string } {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, "..", "shared", "vectors", name))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("%s is not beside the repository: vectors not checked", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	var out []struct{ ID, Hex, Verdict string }
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// verdictsOf are the verdicts that inspect may give to a vector.
func verdictsOf(id, verdict string) []string {
	switch {
	case id == "bplib-ith_dtn_none" || verdict == "valid*" || verdict == "see-note" || verdict == "invalid-lenient":
		// Their CRCs are wrong or they are malformed, as package bundle explains.
		return []string{verdictInvalid}
	case verdict == "pics":
		// Samples of security processing, with all kinds of primary blocks.
		return []string{verdictValid, verdictExpired, verdictTolerated, verdictReject}
	case verdict == "valid":
		return []string{verdictValid, verdictExpired}
	}
	return []string{verdict}
}

func TestInspectVectors(t *testing.T) {
	for _, file := range []string{"bpv7_computed.json", "bpv7_third_party.json"} {
		for _, v := range loadVectors(t, file) {
			t.Run(v.ID, func(t *testing.T) {
				e, out, errs := testEnv(v.Hex)
				code := run(context.Background(), []string{"bundle", "inspect", "-o", "json", "-"}, e)
				var got inspection
				if err := json.Unmarshal(out.Bytes(), &got); err != nil {
					t.Fatalf("output is %s: %v", out, err)
				}
				ok := false
				for _, want := range verdictsOf(v.ID, v.Verdict) {
					ok = ok || got.Verdict == want
				}
				if !ok {
					t.Errorf("verdict is %s, listed is %s", got.Verdict, v.Verdict)
				}
				bad := got.Verdict == verdictInvalid || got.Verdict == verdictReject
				if bad != (code == exitMalformed) || bad != (errs.Len() > 0) || !bad && code != exitDone {
					t.Errorf("verdict %s, exit code %d, message %q", got.Verdict, code, errs)
				}
				if bad && (got.Reason == "" || got.Section == "") || got.Verdict == verdictInvalid && got.Offset == nil {
					t.Errorf("%s without reason, section and offset: %s", got.Verdict, out)
				}
			})
		}
	}
}

func TestInspectLargeBundleTakesLittleMemory(t *testing.T) {
	const size = 300 << 20
	b := bundletest.New()
	b.Payload.Length = size
	pr, pw := io.Pipe()
	done := make(chan error)
	go func() {
		_, err := b.Encode(pw, io.LimitReader(letters{}, size))
		done <- errors.Join(err, pw.Close())
	}()
	e, out, _ := testEnv("")
	e.in = pr
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	code := run(context.Background(), []string{"bundle", "inspect", "-"}, e)
	runtime.ReadMemStats(&after)
	if err := <-done; err != nil || code != exitDone {
		t.Fatalf("exit code %d, %v", code, err)
	}
	if !strings.Contains(out.String(), "314572800  78787878") {
		t.Errorf("output is %s", out)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
		t.Errorf("%d bytes were allocated for a bundle of %d", used, size)
	}
}

// letters is an endless text of one letter.
type letters struct{}

var manyLetters = strings.Repeat("x", 64<<10)

func (letters) Read(p []byte) (int, error) { return copy(p, manyLetters), nil }

func TestPreviewNeverCutsCharacters(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"abc", "abc"},
		{"a\xc3", "a"},
		{"a\xe2\x82", "a"},
		{"a\xff", ""},
		{"a\x00b", ""},
		{"\xff\xff\xff\xff\xff", ""},
		{strings.Repeat("\x80", 20), ""},
	} {
		if got := printable([]byte(test.in)); got != test.want {
			t.Errorf("%q is shown as %q, want %q", test.in, got, test.want)
		}
	}
}

func TestHexReader(t *testing.T) {
	for in, want := range map[string]string{"": "", "6162": "ab", " 61\n62\t63 \n": "abc", "6 1": "a"} {
		r, err := decodeText(strings.NewReader(in))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || string(got) != want {
			t.Errorf("%q gives %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"616", "61g2", "61-62"} {
		r, err := decodeText(strings.NewReader(in))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); !errors.Is(err, errMalformed) {
			t.Errorf("%q gives %q, %v", in, got, err)
		}
	}
	raw := bundletest.Bytes(1, 10)
	r, err := decodeText(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := bundle.Parse(must(io.ReadAll(r)), bundle.DefaultLimits()); err != nil {
		t.Errorf("raw bytes were changed: %v", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
