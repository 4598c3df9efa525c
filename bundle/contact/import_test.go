package contact

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"perigee/bundle/dtntime"
)

func TestParseION(t *testing.T) {
	p, err := ParseION(strings.NewReader(`
# a plan
a contact +0 +3600 1 2 125000
a contact +0 +3600 2 1 1000 0.5   # back
a contact +0 +3600 1 3 10         # has no range
a range +0 +3600 1 2 5
a range +1800 +3600 2 1 7
@ 2026/03/01-12:00:00
a contact +10 +20 3 2 1
a range 2026/03/01-12:00:00 2026/03/01-12:00:15 2 3 1
a range +15 +60 2 3 2
`), 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	const s = dtntime.Second
	const t0, noon = dtntime.Time(1_000_000), dtntime.Time(825681600000)
	want := []Contact{
		{From: node(1), To: node(2), Start: t0, End: t0.Add(3600 * s), Rate: MegabitPerSecond, Light: 5 * s, Confidence: 1},
		{From: node(2), To: node(1), Start: t0.Add(1800 * s), End: t0.Add(3600 * s), Rate: 8000, Light: 7 * s, Confidence: 0.5},
		{From: node(3), To: node(2), Start: noon.Add(10 * s), End: noon.Add(15 * s), Rate: 8, Light: 1 * s, Confidence: 1},
		{From: node(3), To: node(2), Start: noon.Add(15 * s), End: noon.Add(20 * s), Rate: 8, Light: 2 * s, Confidence: 1},
	}
	if got := slices.Collect(p.All()); !slices.Equal(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
	for _, bad := range []string{
		"contact", "d contact * 1 2", "a contact +0 +1 1 2", "a contact +0 +1 1 2 3 0.5 x", "a contact +0 +1 1 x 3",
		"a contact +0 +1 0 2 3", "a contact +1 +1 1 2 3", "a contact +0 +1 1 1 3", "a contact +0 +1 1 2 0", "a contact +0 +1 1 2 -1",
		"a contact +0 +1 1 2 3 0", "a contact +0 +1 1 2 3 2", "a contact -1 +1 1 2 3", "a contact +0 2026/13/01-00:00:00 1 2 3",
		"a contact 1999/01/01-00:00:00 +1 1 2 3", "a contact +99999999999999 +1 1 2 3", "a range +0 +1 1 2 x", "a range +1 +0 1 2 3",
		"@ x", strings.Repeat(" ", MaxLine+1),
	} {
		_, err := ParseION(strings.NewReader("\n"+bad+"\n"), 1)
		if !errors.Is(err, ErrPlan) || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%.40q: got %v", bad, err)
		}
	}
}

// hdtnExample is a plan of two contacts, in the form of HDTN.
const hdtnExample = `{"contacts":[{"contact":0,"source":102,"dest":10,"startTime":0,"endTime":2000,"rateBitsPerSec":1000,"owlt":1},
		{"contact":1,"source":10,"dest":102,"startTime":5,"endTime":6,"rateBitsPerSec":0,"owlt":0.25}]}`

func TestParseHDTN(t *testing.T) {
	p, err := ParseHDTN(strings.NewReader(hdtnExample), 1000)
	if err != nil {
		t.Fatal(err)
	}
	want := []Contact{
		{From: node(102), To: node(10), Start: 1000, End: 2_001_000, Rate: 1000, Light: 1000, Confidence: 1},
		{From: node(10), To: node(102), Start: 6000, End: 7000, Rate: GigabitPerSecond, Light: 250, Confidence: 1},
	}
	if got := slices.Collect(p.All()); !slices.Equal(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
	for i := range len(hdtnExample) {
		if _, err := ParseHDTN(strings.NewReader(hdtnExample[:i]), 1000); !errors.Is(err, ErrPlan) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	for old, bad := range map[string]string{
		`"rateBitsPerSec":1000`: `"rate":1`, `"endTime":2000`: `"endTime":0`, `"owlt":1`: `"owlt":-1`,
		`"startTime":0`: `"startTime":-1`, `"endTime":6`: `"endTime":1e300`, `"dest":10,`: `"dest":0,`,
	} {
		if _, err := ParseHDTN(strings.NewReader(strings.Replace(hdtnExample, old, bad, 1)), 1000); !errors.Is(err, ErrPlan) {
			t.Errorf("%s: got %v", bad, err)
		}
	}
}

// FuzzParseION checks that whatever is read is a sound plan.
func FuzzParseION(f *testing.F) {
	f.Add("a contact +0 +3600 1 2 125000 0.5\na range +0 +3600 1 2 5\n")
	f.Add("@ 2026/03/01-12:00:00\na contact +10 +20 3 2 1\na range +0 2026/03/01-12:00:15 2 3 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseION(strings.NewReader(text), 1_000_000)
		if err != nil {
			return
		}
		if _, err := New(slices.Collect(p.All())); err != nil {
			t.Error(err)
		}
	})
}

// FuzzParseHDTN checks that whatever is read is a sound plan.
func FuzzParseHDTN(f *testing.F) {
	f.Add([]byte(hdtnExample))
	f.Add([]byte(`{"contacts":[]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParseHDTN(bytes.NewReader(text), 1_000_000)
		if err != nil {
			return
		}
		if _, err := New(slices.Collect(p.All())); err != nil {
			t.Error(err)
		}
	})
}
