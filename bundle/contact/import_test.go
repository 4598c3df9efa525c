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
		"contact", "a", "@", "d contact * 1", "d contact x 1 2", "d contact * 1 0", "d range * 1", "d range 1 2", "c contact +5 1 2 3", "c contact +0 1 2",
		"m clockerr", "m clockerr x", "m clockerr -1", "m", "z contact", "a contact -1 +0 1 2 3", "a contact -1 +0 0 0 3", "a contact +0 0 1 x 3", "a contact +0 +1 1 2", "a contact +0 +1 1 2 3 0.5 x", "a contact +0 +1 1 x 3",
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

func TestParseIONCommands(t *testing.T) {
	const plan = "a contact +0 +100 1 2 10\na contact +100 +200 1 2 20\na contact +0 +100 2 1 30 0.5\na range +0 +200 1 2 1\n"
	all := func(t *testing.T, text string) []Contact {
		p, err := ParseION(strings.NewReader(text), 1_000_000)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		return slices.Collect(p.All())
	}
	base := all(t, plan)
	first, back, second := base[0], base[1], base[2]
	with := func(c Contact, change func(*Contact)) Contact {
		change(&c)
		return c
	}
	for _, c := range []struct {
		commands string
		want     []Contact
	}{
		{"1 19 ''\ns\nv\ne 1\n^ 2\nl contact\ni range +0 1 2\nm horizon +0\nm production 5\n", base},
		{"a contact -1 +0 7 7 1\na contact +0 0 1 7 5\nd contact -1 7 7\nd contact 0 1 7\n", base},
		{"d contact +0 1 2\n", []Contact{back, second}},
		{"d contact * 1 2\n", []Contact{back}},
		{"d contact +1 1 2\n", base},
		{"d range * 1 2\n", nil},
		{"d range +0 1 2\na range +0 +200 1 2 3\n", []Contact{
			with(first, func(c *Contact) { c.Light = 3000 }), with(back, func(c *Contact) { c.Light = 3000 }),
			with(second, func(c *Contact) { c.Light = 3000 }),
		}},
		{"c contact +100 1 2 7\n", []Contact{first, back, with(second, func(c *Contact) { c.Rate = 56 })}},
		{"c contact +0 2 1 7 0.25\n", []Contact{first, with(back, func(c *Contact) { c.Rate, c.Confidence = 56, 0.25 }), second}},
		{"m clockerr 2\nd contact +0 2 1\n", []Contact{
			with(first, func(c *Contact) { c.Start += 2000; c.End -= 2000 }),
			with(second, func(c *Contact) { c.Start += 2000; c.End -= 2000 }),
		}},
		{"m clockerr 50\n", nil},
	} {
		if got := all(t, plan+c.commands); !slices.Equal(got, c.want) {
			t.Errorf("%q: got\n%+v, want\n%+v", c.commands, got, c.want)
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
	f.Add("a contact +0 +9 1 2 5\nc contact +0 1 2 6\nd contact * 1 2\nd range +0 2 1\nm clockerr 1\na contact -1 +0 3 3 1\n")
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
