package scenes

import (
	"image"
	"image/color"

	"golang.org/x/image/draw"
	"golang.org/x/image/font"
	"golang.org/x/image/font/inconsolata"
	"golang.org/x/image/math/fixed"
)

// write puts text on the picture, its base line beginning at (x, y), scaled by
// a whole number.
func write(img *image.RGBA, x, y int, text string, colour color.NRGBA, scale int) {
	face := inconsolata.Bold8x16
	mask := image.NewAlpha(image.Rect(0, 0, textWidth(text, 1), face.Height))
	drawer := font.Drawer{Dst: mask, Src: image.Opaque, Face: face, Dot: fixed.P(0, face.Ascent)}
	drawer.DrawString(text)
	size := image.Rect(0, 0, mask.Rect.Dx()*scale, mask.Rect.Dy()*scale)
	if scale != 1 {
		large := image.NewAlpha(size)
		draw.CatmullRom.Scale(large, size, mask, mask.Rect, draw.Src, nil)
		mask = large
	}
	area := size.Add(image.Pt(x, y-face.Ascent*scale))
	draw.DrawMask(img, area, image.NewUniform(colour), image.Point{}, mask, image.Point{}, draw.Over)
}

// textWidth returns the width of text in pixels.
func textWidth(text string, scale int) int {
	return font.MeasureString(inconsolata.Bold8x16, text).Ceil() * scale
}
