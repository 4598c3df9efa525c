package contact

import (
	"bytes"
	"errors"
	"io"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

const s = dtntime.Second

// whole is a plan that ION and HDTN can hold as it is, apart from the confidence.
func whole(t testing.TB) *Plan {
	const start = dtntime.Time(825681600000) // 2026-03-01T12:00:00Z
	pass := func(from, to uint64, begin, end dtntime.Duration, light dtntime.Duration) Contact {
		return Contact{From: node(from), To: node(to), Start: start.Add(begin * s), End: start.Add(end * s), Rate: 8000, Light: light * s, Confidence: 1}
	}
	return mustPlan(t, pass(1, 2, 0, 60, 1), pass(2, 1, 10, 50, 2), pass(1, 2, 60, 90, 3), pass(3, 1, 0, 5, 0))
}

func TestWriteION(t *testing.T) {
	p := whole(t)
	all := slices.Collect(p.All())
	all[2].Confidence = 0.5
	p = mustPlan(t, all...)
	var text bytes.Buffer
	if err := p.WriteION(&text); err != nil {
		t.Fatal(err)
	}
	const want = `a contact 2026/03/01-12:00:10 2026/03/01-12:00:50 2 1 1000 0.5
a range 2026/03/01-12:00:10 2026/03/01-12:00:50 2 1 2
`
	if !strings.Contains(text.String(), want) {
		t.Errorf("no\n%s in\n%s", want, text.String())
	}
	back, err := ParseION(&text, 1)
	if err != nil || back.Generation() != p.Generation() {
		t.Errorf("came back as %+v, %v; want %+v", slices.Collect(back.All()), err, slices.Collect(p.All()))
	}
}

func TestWriteHDTN(t *testing.T) {
	p := whole(t)
	for _, start := range []dtntime.Time{HDTNUnix, 825681600000, 825681000999} {
		var text bytes.Buffer
		if err := p.WriteHDTN(&text, start); err != nil {
			t.Fatal(err)
		}
		if start == HDTNUnix && !strings.Contains(text.String(), `"startTime": 1772366400,`) {
			t.Errorf("no Unix time in %s", text.String())
		}
		back, err := ParseHDTN(&text, start-start%1000)
		if err != nil || back.Generation() != p.Generation() {
			t.Errorf("from %d: came back as %+v, %v; want %+v", start, slices.Collect(back.All()), err, slices.Collect(p.All()))
		}
	}
	var empty bytes.Buffer
	if err := mustPlan(t).WriteHDTN(&empty, HDTNUnix); err != nil || !strings.Contains(empty.String(), "[]") {
		t.Errorf("no contacts: %s, %v", empty.String(), err)
	}
	if err := p.WriteHDTN(io.Discard, 825681601000); !errors.Is(err, ErrPlan) {
		t.Errorf("a contact before the start: %v", err)
	}
}

// TestExportRounds checks that what does not fit is made smaller, never larger.
func TestExportRounds(t *testing.T) {
	c := Contact{From: node(1), To: node(2), Start: 1001, End: 9999, Rate: 8015, Light: 4, Layer: "ltp", Confidence: 1}
	var ion, hdtn bytes.Buffer
	p := mustPlan(t, c)
	if err := errors.Join(p.WriteION(&ion), p.WriteHDTN(&hdtn, HDTNUnix)); err != nil {
		t.Fatal(err)
	}
	want := Contact{From: c.From, To: c.To, Start: 2000, End: 9000, Rate: 8008, Light: 1000, Confidence: 1}
	got, err := ParseION(&ion, 1)
	if err != nil || !slices.Equal(slices.Collect(got.All()), []Contact{want}) {
		t.Errorf("ION: got %+v, %v; want %+v", got, err, want)
	}
	want.Rate = 8015
	got, err = ParseHDTN(&hdtn, HDTNUnix)
	if err != nil || !slices.Equal(slices.Collect(got.All()), []Contact{want}) {
		t.Errorf("HDTN: got %+v, %v; want %+v", got, err, want)
	}
	endless := c
	endless.End = dtntime.Forever
	var text bytes.Buffer
	if err := mustPlan(t, endless).WriteION(&text); err != nil || !strings.Contains(text.String(), "2038/01/19-03:14:07") {
		t.Errorf("without an end: %s, %v", text.String(), err)
	}
}

func TestExportRefuses(t *testing.T) {
	fine := Contact{From: node(1), To: node(2), Start: 1000, End: 9000, Rate: 8, Confidence: 1}
	for name, change := range map[string]func(*Contact){
		"names":       func(c *Contact) { c.From = bundle.DTN("a", "") },
		"short":       func(c *Contact) { c.Start, c.End = 1001, 2999 },
		"after 2038":  func(c *Contact) { c.Start, c.End = 1300000000000, 1300000010000 },
		"light":       func(c *Contact) { c.Light = dtntime.Duration(dtntime.Forever) },
		"slow in ION": func(c *Contact) { c.Rate = 7 },
	} {
		c := fine
		change(&c)
		p := mustPlan(t, c)
		if err := p.WriteION(io.Discard); !errors.Is(err, ErrPlan) || !strings.Contains(err.Error(), c.From.String()) {
			t.Errorf("%s: ION: %v", name, err)
		}
		if err := p.WriteHDTN(io.Discard, HDTNUnix); errors.Is(err, ErrPlan) == strings.Contains(name, "ION") {
			t.Errorf("%s: HDTN: %v", name, err)
		}
	}
	p := mustPlan(t, fine)
	if err := errors.Join(p.WriteION(&failingWriter{}), p.WriteHDTN(&failingWriter{}, HDTNUnix)); !errors.Is(err, io.ErrShortWrite) || errors.Is(err, ErrPlan) {
		t.Errorf("failing writer: %v", err)
	}
}

// FuzzExport checks that a plan that is written for ION and HDTN comes back within
// itself.
func FuzzExport(f *testing.F) {
	for _, p := range []*Plan{whole(f), randomPlan(f, rand.New(rand.NewSource(3)), 5)} {
		var text bytes.Buffer
		if _, err := p.WriteTo(&text); err != nil {
			f.Fatal(err)
		}
		f.Add(text.Bytes())
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(bytes.NewReader(text))
		if err != nil {
			return
		}
		within := func(form string, back *Plan, err error) {
			if err != nil || back.Len() != p.Len() {
				t.Fatalf("%s: %d of %d contacts came back: %v", form, back.Len(), p.Len(), err)
			}
			for c := range back.All() {
				i := slices.IndexFunc(slices.Collect(p.All()), func(o Contact) bool {
					return o.From == c.From && o.To == c.To && o.Start <= c.Start && c.End <= o.End && c.Rate <= o.Rate && o.Light <= c.Light
				})
				if i < 0 {
					t.Errorf("%s: %+v lies in no contact of the plan", form, c)
				}
			}
		}
		var ion, hdtn bytes.Buffer
		if err := p.WriteION(&ion); err == nil {
			back, err := ParseION(&ion, 1)
			within("ION", back, err)
		}
		if err := p.WriteHDTN(&hdtn, HDTNUnix); err == nil {
			back, err := ParseHDTN(&hdtn, HDTNUnix)
			within("HDTN", back, err)
		}
	})
}
