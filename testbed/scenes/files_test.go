package scenes

import (
	"errors"
	"image"
	"image/color"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"perigee/models"
	"perigee/models/labels"
)

func TestWriteScene(t *testing.T) {
	dir := t.TempDir()
	scene := mustScene(t, islands(t), HeldOut, 3).Through(DefaultDrift())
	entry, err := scene.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	if entry.ID != "heldout-00000003-drift" || !entry.Drifted || entry.Objects != len(scene.Truth) {
		t.Errorf("entry %+v", entry)
	}
	img, err := readImage(filepath.Join(dir, entry.Image))
	if err != nil {
		t.Fatal(err)
	}
	photograph, err := scene.Photograph()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(img, photograph) {
		t.Error("the written picture is not the photograph")
	}
	text, err := os.ReadFile(filepath.Join(dir, entry.Labels))
	if err != nil {
		t.Fatal(err)
	}
	truth, err := labels.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if len(truth) != len(scene.Truth) {
		t.Fatalf("%d labels came back, want %d", len(truth), len(scene.Truth))
	}
	for i, got := range truth {
		if got.Class != scene.Truth[i].Class || models.IoU(got.Box, scene.Truth[i].Box) < 0.999 {
			t.Errorf("label %d: %v, want %v", i, got, scene.Truth[i])
		}
	}
	path := filepath.Join(dir, "scenes.jsonl")
	if err := WriteList(path, []Entry{entry, entry}); err != nil {
		t.Fatal(err)
	}
	if list, err := ReadList(path); err != nil || !reflect.DeepEqual(list, []Entry{entry, entry}) {
		t.Errorf("list came back as %v, %v", list, err)
	}
}

func TestReadListRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"not JSON":  "{",
		"no names":  `{"id":"a"}`,
		"traversal": `{"image":"../../etc/passwd","labels":"a.txt"}`,
		"long line": strings.Repeat("{", maxLine+10),
		"absolute":  `{"image":"/etc/passwd","labels":"a.txt"}`,
		"parent":    `{"image":"..","labels":"a.txt"}`,
	} {
		path := filepath.Join(t.TempDir(), "list")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadList(path); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
}

func TestCompareDrawsWhatWasFound(t *testing.T) {
	picture := image.NewRGBA(image.Rect(0, 0, Size, Size))
	box := models.Box{X: 0.5, Y: 0.5, W: 0.1, H: 0.1}
	found := []models.Detection{
		{Class: Boat, Score: 0.9, Box: box},
		{Class: Aeroplane, Score: 0.4, Box: models.Box{X: 0, Y: 0, W: 3, H: 3}},    // larger than the picture
		{Class: 17, Score: 0.4, Box: models.Box{X: 1, Y: 1, W: 0.01, H: 0.01}},     // at the corner, no colour of its own
		{Class: 17, Score: 0.4, Box: models.Box{X: -9e9, Y: 9e9, W: 1e30, H: 0.1}}, // nonsense
	}
	truth := []models.Truth{{Class: Boat, Box: models.Box{X: 0.25, Y: 0.25, W: 0.1, H: 0.1}}}
	left := Panel{Picture: picture, Truth: truth, Title: "before"}
	right := Panel{Picture: picture, Truth: truth, Found: found, Title: "after", Note: "note"}
	out := Compare("a title", left, right)
	edge := func(panel int) color.RGBA { // right edge of the first box
		return out.RGBAAt(gap+panel*(panelSize+gap)+panelSize*55/100-1, headHeight+panelSize/2)
	}
	if want := color.RGBA(classColour(Boat)); edge(1) != want {
		t.Errorf("box edge on the right is %v, want %v", edge(1), want)
	}
	if want := (color.RGBA{0, 0, 0, 0}); edge(0) == color.RGBA(classColour(Boat)) {
		t.Errorf("the left panel has a box that was not found, want %v", want)
	}
	path := filepath.Join(t.TempDir(), "compare.png")
	if err := WritePNG(path, out); err != nil {
		t.Fatal(err)
	}
	if img, err := readImage(path); err != nil || img.Bounds() != out.Rect {
		t.Errorf("picture came back wrong: %v", err)
	}
	Compare("", Panel{Picture: picture}, Panel{Picture: picture}) // empty texts are fine
}
