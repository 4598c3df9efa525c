package models

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"

	"golang.org/x/image/draw"
)

// ErrShape is wrapped by errors about a tensor of the wrong shape.
var ErrShape = errors.New("wrong tensor shape")

// Tensor is a feature map: Data[(c*H+y)*W+x].
type Tensor struct {
	Shape
	Data []float32
}

// NewTensor returns a tensor of zeros.
func NewTensor(s Shape) Tensor { return Tensor{Shape: s, Data: make([]float32, s.Size())} }

// Channel returns a view of channel c, row after row.
func (t Tensor) Channel(c int) []float32 { return t.Data[c*t.H*t.W : (c+1)*t.H*t.W] }

// Clone returns a copy that shares nothing with t.
func (t Tensor) Clone() Tensor {
	return Tensor{Shape: t.Shape, Data: append([]float32(nil), t.Data...)}
}

// check reports whether t has shape want and the values for it.
func (t Tensor) check(want Shape) error {
	if t.Shape != want || len(t.Data) != want.Size() {
		return fmt.Errorf("%w: %v with %d values, want %v", ErrShape, t.Shape, len(t.Data), want)
	}
	return nil
}

// FromImage returns img scaled to w by h pixels, bilinearly and without keeping
// its proportions, as 3 channels (red, green, blue) from 0 to 1. Relative boxes
// hold for the picture and for the tensor alike.
func FromImage(img image.Image, w, h int) Tensor {
	if b := img.Bounds(); b.Dx() == w && b.Dy() == h {
		return fromExact(img)
	}
	canvas := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.BiLinear.Scale(canvas, canvas.Bounds(), img, img.Bounds(), draw.Src, nil)
	return fromExact(canvas)
}

// MaxPixels bounds the pictures that DecodeJPEG reads.
const MaxPixels = 64 << 20

// DecodeJPEG reads a JPEG file of at most MaxPixels.
func DecodeJPEG(file []byte) (image.Image, error) {
	header, err := jpeg.DecodeConfig(bytes.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("decode picture: %w", err)
	}
	if int64(header.Width)*int64(header.Height) > MaxPixels {
		return nil, fmt.Errorf("decode picture: %d x %d pixels, limit %d in all", header.Width, header.Height, MaxPixels)
	}
	img, err := jpeg.Decode(bytes.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("decode picture: %w", err)
	}
	return img, nil
}

// FromJPEG reads a JPEG file as DecodeJPEG does, and then as FromImage does.
func FromJPEG(file []byte, w, h int) (Tensor, error) {
	img, err := DecodeJPEG(file)
	if err != nil {
		return Tensor{}, err
	}
	return FromImage(img, w, h), nil
}

// Placement tells where Letterbox put a picture in its tensor, relative to it.
type Placement struct{ X, Y, W, H float32 }

// Undo returns b, found in the tensor, relative to the picture.
func (p Placement) Undo(b Box) Box {
	return Box{X: (b.X - p.X) / p.W, Y: (b.Y - p.Y) / p.H, W: b.W / p.W, H: b.H / p.H}
}

// Letterbox is FromImage with the proportions kept: the picture is centred and
// what is left is grey. Placement brings boxes back to the picture.
func Letterbox(img image.Image, w, h int) (Tensor, Placement) {
	b := img.Bounds()
	pw, ph := w, h
	if b.Dx()*h > b.Dy()*w {
		ph = max(1, b.Dy()*w/max(1, b.Dx()))
	} else {
		pw = max(1, b.Dx()*h/max(1, b.Dy()))
	}
	x, y := (w-pw)/2, (h-ph)/2
	canvas := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.Draw(canvas, canvas.Bounds(), image.NewUniform(color.Gray{Y: 128}), image.Point{}, draw.Src)
	draw.BiLinear.Scale(canvas, image.Rect(x, y, x+pw, y+ph), img, b, draw.Src, nil)
	return fromExact(canvas), Placement{
		X: float32(x) / float32(w), Y: float32(y) / float32(h),
		W: float32(pw) / float32(w), H: float32(ph) / float32(h),
	}
}

// fromExact turns a picture into a tensor of its own size.
func fromExact(img image.Image) Tensor {
	b := img.Bounds()
	w, h := b.Dx(), b.Dy()
	t := NewTensor(Shape{C: 3, H: h, W: w})
	red, green, blue := t.Channel(0), t.Channel(1), t.Channel(2)
	rgba, direct := img.(*image.RGBA)
	for y := range h {
		for x := range w {
			var c color.RGBA
			if direct {
				c = rgba.RGBAAt(b.Min.X+x, b.Min.Y+y)
			} else {
				c = color.RGBAModel.Convert(img.At(b.Min.X+x, b.Min.Y+y)).(color.RGBA)
			}
			i := y*w + x
			red[i], green[i], blue[i] = float32(c.R)/255, float32(c.G)/255, float32(c.B)/255
		}
	}
	return t
}
