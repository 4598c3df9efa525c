package scenes

import (
	"image"
	"image/color"
	"math"
	"math/rand/v2"

	"golang.org/x/image/vector"

	"perigee/models"
)

// object is one ship or aircraft. Its outline is in its own frame: the nose
// looks along x, the length is 1, the centre of the frame is the origin.
type object struct {
	class   int
	x, y    float64 // centre in the scene, pixels
	length  float64 // pixels
	heading float64 // radians, clockwise on the picture
	sun     float64 // direction that shadows fall to, radians
	outline []point // what the box is put around
	layers  []layer // painted in order: wake, shadow, body, details
}

type point struct{ x, y float64 }

// layer is a filled polygon, moved by (dx, dy) pixels of the scene.
type layer struct {
	shape  []point
	colour color.NRGBA
	dx, dy float64
}

func newObject(rng *rand.Rand, sun float64) object {
	o := object{
		length:  minLength + rng.Float64()*(maxLength-minLength),
		heading: rng.Float64() * 2 * math.Pi,
		sun:     sun,
	}
	if rng.IntN(2) == 0 {
		o.class = Boat
		o.buildShip(rng)
	} else {
		o.class = Aeroplane
		o.buildAircraft(rng)
	}
	return o
}

// shadow adds the outline's shadow at the given distance in pixels.
func (o *object) shadow(shape []point, distance float64, alpha uint8) {
	sin, cos := math.Sincos(o.sun)
	o.layers = append(o.layers, layer{shape, color.NRGBA{4, 8, 16, alpha}, cos * distance, sin * distance})
}

func (o *object) fill(colour color.NRGBA, shape ...point) {
	o.layers = append(o.layers, layer{shape: shape, colour: colour})
}

// toScene turns a point of the object's frame into pixels of the scene.
func (o *object) toScene(p point) point {
	sin, cos := math.Sincos(o.heading)
	return point{
		o.x + o.length*(p.x*cos-p.y*sin),
		o.y + o.length*(p.x*sin+p.y*cos),
	}
}

// bounds returns the corners of the outline's box in pixels of the scene.
func (o *object) bounds() (low, high point) {
	low, high = point{math.Inf(1), math.Inf(1)}, point{math.Inf(-1), math.Inf(-1)}
	for _, p := range o.outline {
		q := o.toScene(p)
		low = point{min(low.x, q.x), min(low.y, q.y)}
		high = point{max(high.x, q.x), max(high.y, q.y)}
	}
	return low, high
}

func (o *object) truth() models.Truth {
	low, high := o.bounds()
	return models.Truth{Class: o.class, Box: models.Box{
		X: float32((low.x + high.x) / 2 / Size),
		Y: float32((low.y + high.y) / 2 / Size),
		W: float32((high.x - low.x) / Size),
		H: float32((high.y - low.y) / Size),
	}}
}

// isClear tells whether an object keeps its distance from all others.
func (o *object) isClear(others []object) bool {
	for _, other := range others {
		gap := math.Hypot(o.x-other.x, o.y-other.y)
		if gap < 0.6*(o.length+other.length) {
			return false
		}
	}
	return true
}

func (o *object) paint(img *image.RGBA) {
	for _, l := range o.layers {
		points := make([]point, len(l.shape))
		for i, p := range l.shape {
			q := o.toScene(p)
			points[i] = point{q.x + l.dx, q.y + l.dy}
		}
		fillPolygon(img, points, l.colour)
	}
}

// fillPolygon paints an anti-aliased polygon over the picture. Only the part of
// the picture around the polygon is touched.
func fillPolygon(img *image.RGBA, points []point, colour color.NRGBA) {
	low, high := points[0], points[0]
	for _, p := range points[1:] {
		low = point{min(low.x, p.x), min(low.y, p.y)}
		high = point{max(high.x, p.x), max(high.y, p.y)}
	}
	area := image.Rect(int(math.Floor(low.x)), int(math.Floor(low.y)),
		int(math.Ceil(high.x))+1, int(math.Ceil(high.y))+1)
	raster := vector.NewRasterizer(area.Dx(), area.Dy())
	x0, y0 := float64(area.Min.X), float64(area.Min.Y)
	for i, p := range points {
		if i == 0 {
			raster.MoveTo(float32(p.x-x0), float32(p.y-y0))
			continue
		}
		raster.LineTo(float32(p.x-x0), float32(p.y-y0))
	}
	raster.ClosePath()
	mask := image.NewAlpha(image.Rect(0, 0, area.Dx(), area.Dy()))
	raster.Draw(mask, mask.Bounds(), image.Opaque, image.Point{})
	blend(img, area, mask, colour)
}

// blend mixes a colour into the picture where the mask says so.
func blend(img *image.RGBA, area image.Rectangle, mask *image.Alpha, colour color.NRGBA) {
	visible := area.Intersect(img.Rect)
	for y := visible.Min.Y; y < visible.Max.Y; y++ {
		for x := visible.Min.X; x < visible.Max.X; x++ {
			alpha := int(mask.AlphaAt(x-area.Min.X, y-area.Min.Y).A) * int(colour.A) / 255
			if alpha == 0 {
				continue
			}
			i := img.PixOffset(x, y)
			for c, over := range [3]uint8{colour.R, colour.G, colour.B} {
				under := int(img.Pix[i+c])
				img.Pix[i+c] = uint8((under*(255-alpha) + int(over)*alpha + 127) / 255)
			}
		}
	}
}
