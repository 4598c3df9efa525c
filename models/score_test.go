package models

import (
	"image"
	"image/color"
	"math"
	"slices"
	"testing"
)

func closeTo(a, b float32) bool { return math.Abs(float64(a-b)) < 1e-6 }

func TestIoU(t *testing.T) {
	unit := Box{X: 0.5, Y: 0.5, W: 0.2, H: 0.2}
	for _, c := range []struct {
		b    Box
		want float32
	}{
		{unit, 1},
		{Box{X: 0.6, Y: 0.5, W: 0.2, H: 0.2}, 1.0 / 3},
		{Box{X: 0.7, Y: 0.5, W: 0.2, H: 0.2}, 0},
		{Box{X: 0.5, Y: 0.5, W: 0.1, H: 0.1}, 0.25},
		{Box{X: 0.5, Y: 0.5}, 0},
		{Box{X: 0.5, Y: 0.5, W: -1, H: -1}, 0},
	} {
		if got := IoU(unit, c.b); !closeTo(got, c.want) {
			t.Errorf("IoU with %v is %g, want %g", c.b, got, c.want)
		}
		if IoU(unit, c.b) != IoU(c.b, unit) {
			t.Errorf("IoU with %v is not symmetric", c.b)
		}
	}
}

func at(class int, score, x float32) Detection {
	return Detection{Class: class, Score: score, Box: Box{X: x, Y: 0.5, W: 0.1, H: 0.1}}
}

func TestNMSKeepsTheBest(t *testing.T) {
	found := []Detection{at(1, 0.5, 0.5), at(1, 0.9, 0.51), at(2, 0.4, 0.5), at(1, 0.8, 0.8), at(1, 0.7, 0.52)}
	before := slices.Clone(found)
	got := NMS(found, 0.4)
	want := []Detection{at(1, 0.9, 0.51), at(1, 0.8, 0.8), at(2, 0.4, 0.5)}
	if !slices.Equal(got, want) {
		t.Fatalf("kept %v, want %v", got, want)
	}
	if !slices.Equal(found, before) {
		t.Fatal("argument changed")
	}
	if got := NMS(found, 1); len(got) != len(found) {
		t.Fatalf("limit 1 kept %d of %d", len(got), len(found))
	}
}

func truth(class int, x float32) Truth { return Truth{Class: class, Box: at(class, 0, x).Box} }

func TestScores(t *testing.T) {
	pictures := []Judged{
		{ // two objects; a hit, a double, a hit of the wrong class
			Truth: []Truth{truth(1, 0.2), truth(1, 0.6)},
			Found: []Detection{at(1, 0.6, 0.2), at(1, 0.9, 0.21), at(2, 0.8, 0.6)},
		},
		{Truth: []Truth{truth(2, 0.5)}, Found: []Detection{at(2, 0.3, 0.5)}},
		{Found: []Detection{at(2, 0.2, 0.5)}},
		{},
	}
	for _, c := range []struct {
		threshold           float32
		hits, wrong, missed int
	}{{0, 2, 3, 1}, {0.3, 2, 2, 1}, {0.31, 1, 2, 2}, {0.85, 1, 0, 2}, {0.95, 0, 0, 3}} {
		s := F1At(pictures, MatchIoU, c.threshold)
		if s.Hits != c.hits || s.False != c.wrong || s.Missed != c.missed {
			t.Errorf("at %g: %+v, want %+v", c.threshold, s, c)
		}
	}
	best := BestF1(pictures, MatchIoU)
	if best.Threshold != 0.3 || !closeTo(best.F1, 4.0/7) || !closeTo(best.Precision, 0.5) || !closeTo(best.Recall, 2.0/3) {
		t.Errorf("best is %+v", best)
	}
	if s := F1At(pictures, MatchIoU, best.Threshold); s != best {
		t.Errorf("at its threshold %+v, best %+v", s, best)
	}
	if s := BestF1(nil, MatchIoU); s.F1 != 0 || s.Threshold != 1 {
		t.Errorf("of nothing: %+v", s)
	}
	if s := BestF1([]Judged{{Truth: []Truth{truth(1, 0.5)}, Found: []Detection{at(1, 0.5, 0.5)}}}, MatchIoU); s.F1 != 1 {
		t.Errorf("of everything found: %+v", s)
	}
}

func TestFromImage(t *testing.T) {
	img := image.NewNRGBA(image.Rect(10, 20, 14, 22))
	img.Set(12, 21, color.NRGBA{R: 255, G: 51, B: 0, A: 255})
	exact := FromImage(img, 4, 2)
	if exact.Shape != (Shape{C: 3, H: 2, W: 4}) {
		t.Fatalf("shape %v", exact.Shape)
	}
	if r, g, b := exact.Channel(0)[6], exact.Channel(1)[6], exact.Channel(2)[6]; r != 1 || !closeTo(g, 0.2) || b != 0 {
		t.Errorf("pixel is %g %g %g", r, g, b)
	}
	for i := range img.Pix {
		img.Pix[i] = 255
	}
	scaled := FromImage(img, 16, 16)
	for i, v := range scaled.Data {
		if v != 1 {
			t.Fatalf("value %d of a white picture is %g", i, v)
		}
	}
	boxed, place := Letterbox(img, 16, 16)
	if got := boxed.Channel(0)[0]; !closeTo(got, 128.0/255) {
		t.Errorf("margin is %g", got)
	}
	if got := boxed.Channel(0)[8*16+8]; got != 1 {
		t.Errorf("middle is %g", got)
	}
	if b := place.Undo(Box{X: 0.5, Y: 0.5, W: 1, H: 0.5}); b != (Box{X: 0.5, Y: 0.5, W: 1, H: 1}) {
		t.Errorf("whole picture is %v", b)
	}
}
