package labels

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"perigee/models"
)

func TestParse(t *testing.T) {
	got, err := Parse([]byte("8 0.5 0.25 0.1 0.2\n\n 4\t0 1 0.5 1 \r\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []models.Truth{
		{Class: 8, Box: models.Box{X: 0.5, Y: 0.25, W: 0.1, H: 0.2}},
		{Class: 4, Box: models.Box{X: 0, Y: 1, W: 0.5, H: 1}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("objects (-want +got):\n%s", d)
	}
	if got, err := Parse(nil); err != nil || got == nil || len(got) != 0 {
		t.Errorf("empty file: %v, %v; want no objects", got, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"few fields":     "8 0.5 0.25 0.1",
		"many fields":    "8 0.5 0.25 0.1 0.2 0.9",
		"class":          "-1 0.5 0.25 0.1 0.2",
		"large class":    "4096 0.5 0.25 0.1 0.2",
		"no number":      "8 0.5 x 0.1 0.2",
		"NaN":            "8 NaN 0.5 0.1 0.2",
		"infinite":       "8 0.5 0.5 +Inf 0.2",
		"second line":    "8 0.5 0.5 0.1 0.2\n4",
		"flat":           "8 0.5 0.5 0.1 0",
		"outside":        "8 1.5 0.5 0.1 0.2",
		"too many":       strings.Repeat("8 .5 .5 .1 .1\n", MaxObjects+1),
		"too many bytes": strings.Repeat(" ", MaxBytes+1),
	} {
		if _, err := Parse([]byte(text)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: error %v, want ErrMalformed", name, err)
		}
	}
}

func TestAppend(t *testing.T) {
	got := Append([]byte("before\n"), []models.Truth{
		{Class: 8, Box: models.Box{X: 0.5, Y: 0.25, W: 0.1, H: 0.2}}, {Class: 4, Box: models.Box{X: 0, Y: 1, W: 1, H: MinSide}},
	})
	want := "before\n8 0.500000 0.250000 0.100000 0.200000\n4 0.000000 1.000000 1.000000 0.001000\n"
	if string(got) != want {
		t.Errorf("text is\n%swant\n%s", got, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Append(nil, []models.Truth{{Class: 8, Box: models.Box{X: 0.25, Y: 0.5, W: 0.1, H: MinSide}}, {Class: 4, Box: models.Box{W: 1, H: 1}}}))
	f.Add([]byte("4 1e-40 0x1p-3 .5 1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		objects, err := Parse(text)
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatalf("error %v wraps no ErrMalformed", err)
		}
		for _, o := range objects {
			if !(o.Box.X >= 0 && o.Box.X <= 1) || o.Class < 0 || o.Class >= models.MaxClasses {
				t.Fatalf("object out of range: %+v", o)
			}
		}
		again, err := Parse(Append(nil, objects))
		if err != nil || len(again) != len(objects) {
			t.Fatalf("%v came back as %v, %v", objects, again, err)
		}
	})
}
