package scenes

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"

	"github.com/google/renameio/v2"
	"golang.org/x/image/draw"

	"perigee/models"
)

// Panel is one picture of a comparison: what was seen, what is known to be
// there, and what a network found.
type Panel struct {
	Picture image.Image
	Truth   []models.Truth
	Found   []models.Detection
	Title   string // over the picture
	Note    string // beside the title, in quieter colour
}

// Layout of a comparison, in pixels.
const (
	zoom       = 2 // pictures are enlarged, for the objects are small
	panelSize  = zoom * Size
	gap        = 24
	headHeight = 92
	footHeight = 48
	tagHeight  = 18
)

func background() color.NRGBA { return color.NRGBA{13, 17, 23, 255} }
func bright() color.NRGBA     { return color.NRGBA{240, 246, 252, 255} }
func quiet() color.NRGBA      { return color.NRGBA{139, 148, 158, 255} }
func truthLine() color.NRGBA  { return color.NRGBA{255, 255, 255, 150} }

// ClassName returns the COCO name of a class that scenes hold, or its number.
func ClassName(class int) string {
	switch class {
	case Aeroplane:
		return "aeroplane"
	case Boat:
		return "boat"
	}
	return fmt.Sprintf("class %d", class)
}

func classColour(class int) color.NRGBA {
	switch class {
	case Aeroplane:
		return color.NRGBA{255, 196, 61, 255}
	case Boat:
		return color.NRGBA{64, 224, 208, 255}
	}
	return color.NRGBA{255, 92, 138, 255}
}

// Annotate returns the picture, enlarged twice from Size, with the truth as
// thin white outlines and what was found as coloured boxes with class and score.
func Annotate(picture image.Image, truth []models.Truth, found []models.Detection) *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, panelSize, panelSize))
	draw.CatmullRom.Scale(out, out.Bounds(), picture, picture.Bounds(), draw.Src, nil)
	for _, object := range truth {
		outline(out, pixels(object.Box).Inset(-3), 1, truthLine())
	}
	for _, d := range found {
		outline(out, pixels(d.Box), 2, classColour(d.Class))
	}
	for _, d := range found { // over all boxes, so that none crosses a name
		tag(out, pixels(d.Box), fmt.Sprintf("%s %.2f", ClassName(d.Class), d.Score), classColour(d.Class))
	}
	return out
}

// Compare sets two annotated pictures side by side under a title, with a
// legend below: the demonstration's before and after.
func Compare(title string, left, right Panel) *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, 2*panelSize+3*gap, headHeight+panelSize+footHeight))
	draw.Draw(out, out.Rect, image.NewUniform(background()), image.Point{}, draw.Src)
	write(out, gap, 36, title, bright(), 2)
	for i, panel := range []Panel{left, right} {
		x := gap + i*(panelSize+gap)
		write(out, x, headHeight-14, panel.Title, bright(), 1)
		write(out, x+textWidth(panel.Title, 1)+16, headHeight-14, panel.Note, quiet(), 1)
		area := image.Rect(x, headHeight, x+panelSize, headHeight+panelSize)
		draw.Draw(out, area, Annotate(panel.Picture, panel.Truth, panel.Found), image.Point{}, draw.Src)
	}
	legend(out, gap, headHeight+panelSize+16)
	return out
}

func legend(img *image.RGBA, x, y int) {
	entries := []struct {
		text   string
		colour color.NRGBA
		width  int
	}{
		{"ground truth", truthLine(), 1},
		{ClassName(Aeroplane) + " found", classColour(Aeroplane), 2},
		{ClassName(Boat) + " found", classColour(Boat), 2},
	}
	for _, entry := range entries {
		outline(img, image.Rect(x, y, x+22, y+16), entry.width, entry.colour)
		write(img, x+32, y+13, entry.text, quiet(), 1)
		x += 32 + textWidth(entry.text, 1) + 36
	}
}

// pixels turns a relative box into pixels of an enlarged picture. Boxes far
// outside are brought to its edge.
func pixels(b models.Box) image.Rectangle {
	at := func(v float32) int {
		return int(math.Round(min(max(float64(v), -0.1), 1.1) * panelSize))
	}
	return image.Rect(at(b.X-b.W/2), at(b.Y-b.H/2), at(b.X+b.W/2), at(b.Y+b.H/2))
}

func outline(img *image.RGBA, r image.Rectangle, width int, colour color.NRGBA) {
	inner := r.Inset(width)
	paint := image.NewUniform(colour)
	for _, side := range []image.Rectangle{
		{r.Min, image.Pt(r.Max.X, inner.Min.Y)},
		{image.Pt(r.Min.X, inner.Max.Y), r.Max},
		{image.Pt(r.Min.X, inner.Min.Y), image.Pt(inner.Min.X, inner.Max.Y)},
		{image.Pt(inner.Max.X, inner.Min.Y), image.Pt(r.Max.X, inner.Max.Y)},
	} {
		draw.Draw(img, side.Intersect(img.Rect), paint, image.Point{}, draw.Over)
	}
}

// tag writes a name on a coloured ground above a box, or below it at the top
// edge, and never outside the picture.
func tag(img *image.RGBA, box image.Rectangle, text string, colour color.NRGBA) {
	width := textWidth(text, 1) + 8
	x := min(max(box.Min.X, 0), img.Rect.Max.X-width)
	y := box.Min.Y - tagHeight
	if y < 0 {
		y = min(box.Max.Y, img.Rect.Max.Y-tagHeight)
	}
	ground := image.Rect(x, y, x+width, y+tagHeight)
	colour.A = 225
	draw.Draw(img, ground, image.NewUniform(colour), image.Point{}, draw.Over)
	write(img, x+4, y+13, text, color.NRGBA{13, 17, 23, 255}, 1)
}

// WritePNG writes a picture to path, under its name only once it is whole.
func WritePNG(path string, img image.Image) error {
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		return fmt.Errorf("encode picture %s: %w", path, err)
	}
	if err := renameio.WriteFile(path, out.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write picture: %w", err)
	}
	return nil
}
