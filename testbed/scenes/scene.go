package scenes

import (
	"errors"
	"fmt"
	"image"
	"math"
	"math/rand/v2"

	"golang.org/x/image/draw"

	"perigee/models"
)

// Size is the side of a scene in pixels, the input size of yolov3-tiny.
const Size = 416

// The COCO classes that scenes hold.
const (
	Aeroplane = 4
	Boat      = 8
)

const (
	cropSize   = 208 // side of the crop of the Earth, in its pixels
	minObjects = 3
	maxObjects = 8
	minLength  = 18.0 // of an object, in pixels of the scene
	maxLength  = 44.0
	minWater   = 0.15
	maxWater   = 0.90
	northern   = 60.0 // degrees; farther is snow, where white aircraft vanish
	southern   = -55.0
	margin     = 26 // from an object's centre to the edge
)

// Split says which part of the Earth a scene may come from. The parts share no
// pixel, so a network is never tested on ground that it was trained on.
type Split uint8

// The splits. The Earth is cut into eight stripes of 45 degrees of longitude;
// the fourth and the eighth are held out, the other six are for training.
const (
	Train Split = iota
	HeldOut
)

const stripes = 8

// String returns "train" or "heldout", as used in scene IDs.
func (s Split) String() string {
	if s == HeldOut {
		return "heldout"
	}
	return "train"
}

// stripe draws a stripe of the split.
func (s Split) stripe(rng *rand.Rand) int {
	if s == HeldOut {
		return 4*rng.IntN(2) + 3
	}
	n := rng.IntN(6)
	return n + n/3 // 0 1 2, 4 5 6
}

// Scene is one picture and what is on it. Its pixels and truth are shared by
// copies and must not be changed.
type Scene struct {
	Split    Split
	Seed     uint64
	Drifted  bool
	Lat, Lon float64 // of the centre, degrees
	Image    *image.RGBA
	Truth    []models.Truth
}

// ID names a scene: split, seed, and whether the sensor had drifted.
func (s Scene) ID() string {
	state := "clean"
	if s.Drifted {
		state = "drift"
	}
	return fmt.Sprintf("%s-%08d-%s", s.Split, s.Seed, state)
}

// Scene draws the scene of a split and a seed. The same arguments always give
// the same pixels and labels.
func (e *Earth) Scene(split Split, seed uint64) (Scene, error) {
	rng := rand.New(rand.NewPCG(seed, 0x7065726967656500+uint64(split)))
	const attempts = 1000
	for range attempts {
		crop, err := e.findCrop(split, rng)
		if err != nil {
			return Scene{}, fmt.Errorf("make %s scene %d: %w", split, seed, err)
		}
		objects := e.place(crop, rng)
		if len(objects) < minObjects {
			continue // a coast too ragged for the objects that were drawn
		}
		scene := Scene{Split: split, Seed: seed, Image: e.enlarge(crop)}
		scene.Lat, scene.Lon = e.position(crop.Min.X+cropSize/2, crop.Min.Y+cropSize/2)
		for _, object := range objects {
			object.paint(scene.Image)
			scene.Truth = append(scene.Truth, object.truth())
		}
		return scene, nil
	}
	return Scene{}, fmt.Errorf("make %s scene %d: %w", split, seed, errNoPlace)
}

// findCrop draws places of the split until one has water and land enough.
func (e *Earth) findCrop(split Split, rng *rand.Rand) (image.Rectangle, error) {
	b := e.picture.Bounds()
	top := int((90 - northern) / 180 * float64(b.Dy()))
	bottom := int((90-southern)/180*float64(b.Dy())) - cropSize
	width := b.Dx() / stripes
	if width <= cropSize || bottom <= top {
		return image.Rectangle{}, errors.New("the picture of the Earth is too small")
	}
	const attempts = 10000
	for range attempts {
		x := split.stripe(rng)*width + rng.IntN(width-cropSize+1)
		y := top + rng.IntN(bottom-top)
		crop := image.Rect(x, y, x+cropSize, y+cropSize)
		if share := e.waterShare(crop); share >= minWater && share <= maxWater {
			return crop, nil
		}
	}
	return image.Rectangle{}, errNoPlace
}

func (e *Earth) enlarge(crop image.Rectangle) *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, Size, Size))
	draw.CatmullRom.Scale(out, out.Bounds(), e.picture, crop, draw.Src, nil)
	return out
}

// place draws objects and finds room for them: ships where all around is
// water, aircraft where all is land, none touching another.
func (e *Earth) place(crop image.Rectangle, rng *rand.Rand) []object {
	sun := rng.Float64() * 2 * math.Pi
	var placed []object
	for range minObjects + rng.IntN(maxObjects-minObjects+1) {
		candidate := newObject(rng, sun)
		const attempts = 60
		for range attempts {
			candidate.x = margin + rng.Float64()*(Size-2*margin)
			candidate.y = margin + rng.Float64()*(Size-2*margin)
			if e.suits(crop, candidate) && candidate.isClear(placed) {
				placed = append(placed, candidate)
				break
			}
		}
	}
	return placed
}

// suits tells whether the ground under and around an object is its own.
func (e *Earth) suits(crop image.Rectangle, o object) bool {
	const directions = 8
	scale := float64(cropSize) / Size
	for ring := range 3 {
		radius := o.length * 0.35 * float64(ring)
		for i := range directions {
			sin, cos := math.Sincos(2 * math.Pi * float64(i) / directions)
			x := float64(crop.Min.X) + (o.x+radius*cos)*scale
			y := float64(crop.Min.Y) + (o.y+radius*sin)*scale
			if e.isWater(x, y) != (o.class == Boat) {
				return false
			}
		}
	}
	return true
}
