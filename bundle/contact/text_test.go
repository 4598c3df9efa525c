package contact

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"perigee/bundle/dtntime"
)

const example = `{"from":"ipn:1.0","to":"ipn:2.0","start":"2026-03-01T12:00:00Z","end":825681600500,` +
	`"rate_bps":100000,"owlt_ms":4,"confidence":0.9,"cl":"ltp"}`

func TestParse(t *testing.T) {
	p, err := Parse(strings.NewReader("# passes of the day\n\n  " + example + "  \r\n" +
		`{"from":"ipn:2.7","to":"dtn://g/","start":"2026-03-01T13:00:00.250+01:00","end":"2026-03-01T14:00:00Z","rate_bps":1}`))
	if err != nil {
		t.Fatal(err)
	}
	got := slices.Collect(p.All())
	const noon = dtntime.Time(825681600000) // 2026-03-01T12:00:00Z
	want := Contact{From: node(1), To: node(2), Start: noon, End: noon + 500, Rate: 100_000, Light: 4, Confidence: 0.9, Layer: "ltp"}
	if len(got) != 2 || got[0] != want {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	if c := got[1]; c.Start != noon+250 || c.Light != 0 || c.Confidence != 1 || c.From != node(2) || c.Layer != "" {
		t.Errorf("defaults: %+v", c)
	}
}

func TestParseRefusesNamingTheLine(t *testing.T) {
	swap := func(old, new string) string {
		if !strings.Contains(example, old) {
			t.Fatalf("example has no %s", old)
		}
		return strings.Replace(example, old, new, 1)
	}
	for name, text := range map[string]string{
		"not JSON":       "contact 1 2",
		"array":          "[]",
		"two on a line":  example + example,
		"trailing":       example + " x",
		"unknown field":  swap(`"cl"`, `"layer"`),
		"no from":        swap(`"from":"ipn:1.0",`, ""),
		"no end":         swap(`"end":825681600500,`, ""),
		"null start":     swap(`"2026-03-01T12:00:00Z"`, "null"),
		"bad EID":        swap("ipn:1.0", "ipn:1"),
		"bad time":       swap("2026-03-01T12:00:00Z", "2026-03-01 12:00"),
		"early time":     swap("2026-03-01T12:00:00Z", "1999-03-01T12:00:00Z"),
		"fraction":       swap("825681600500", "825681600500.5"),
		"negative time":  swap("825681600500", "-1"),
		"backwards":      swap("825681600500", "5"),
		"no rate":        swap(`"rate_bps":100000,`, ""),
		"negative rate":  swap("100000", "-1"),
		"negative light": swap(`"owlt_ms":4`, `"owlt_ms":-4`),
		"confidence 0":   swap("0.9", "0"),
		"confidence 2":   swap("0.9", "2"),
		"long line":      example + strings.Repeat(" ", MaxLine),
	} {
		_, err := Parse(strings.NewReader("# a plan\n" + text + "\n" + example))
		if !errors.Is(err, ErrPlan) || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := Parse(strings.NewReader(example + "\n" + example)); !errors.Is(err, ErrPlan) {
		t.Errorf("overlap: got %v", err)
	}
	if _, err := Parse(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(example)))); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("failing reader: got %v", err)
	}
}

func TestParseTruncated(t *testing.T) {
	for i := 1; i < len(example); i++ {
		if p, err := Parse(strings.NewReader(example[:i])); err == nil {
			t.Errorf("%q parsed as %d contacts", example[:i], p.Len())
		}
	}
}

type failingWriter struct{ left int }

func (w *failingWriter) Write(b []byte) (int, error) {
	n := min(w.left, len(b))
	w.left -= n
	if n < len(b) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

func TestWriteToReportsFailure(t *testing.T) {
	p := mustPlan(t, span(1, 2, 10, 20), span(1, 2, 20, 30))
	n, err := p.WriteTo(&failingWriter{left: 100})
	if n != 100 || !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("wrote %d: %v", n, err)
	}
}

// FuzzParse checks that what parses is written and read again as it was.
func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte("# none\n\n"))
	f.Add(Append(nil, span(1, 2, 10, dtntime.Forever)))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(bytes.NewReader(text))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if _, err := p.WriteTo(&out); err != nil {
			t.Fatal(err)
		}
		back, err := Parse(bytes.NewReader(out.Bytes()))
		if err != nil {
			t.Fatalf("%v in:\n%s", err, out.Bytes())
		}
		if !slices.Equal(slices.Collect(back.All()), slices.Collect(p.All())) {
			t.Errorf("came back different:\n%s", out.Bytes())
		}
	})
}
