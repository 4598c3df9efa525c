// Package scenes makes the pictures that the demonstration looks at: crops of
// NASA's Blue Marble with ships on the water and aircraft over the land, drawn
// with known boxes, clean or seen through a sensor that has drifted. A scene
// follows from its split and seed alone, so a list of scenes is a few bytes a
// picture and every run sees the same world.
//
// It also writes scenes to disk and draws what a detector found on them. It
// knows nothing of networks, links or bundles.
package scenes

import (
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // Blue Marble
	_ "image/png"  // the water mask
	"os"

	"golang.org/x/image/draw"
)

// Earth is the world that scenes are cut from. It is immutable after Load and
// safe for use by several goroutines.
type Earth struct {
	picture image.Image
	water   *image.Gray
}

// Limits on the pictures that Load accepts, far above the ones used.
const (
	minEarthWidth = 4 * cropSize
	maxEarthWidth = 16384
)

// Load reads a plate carrée picture of the whole Earth and the water mask of
// the same projection (white is water, any size).
func Load(picturePath, waterPath string) (*Earth, error) {
	picture, err := readImage(picturePath)
	if err != nil {
		return nil, fmt.Errorf("load the picture of the Earth: %w", err)
	}
	mask, err := readImage(waterPath)
	if err != nil {
		return nil, fmt.Errorf("load the water mask: %w", err)
	}
	return NewEarth(picture, mask)
}

// NewEarth makes an Earth from decoded pictures; see Load.
func NewEarth(picture, mask image.Image) (*Earth, error) {
	for _, img := range []image.Image{picture, mask} {
		if b := img.Bounds(); b.Min != (image.Point{}) || b.Dx() != 2*b.Dy() {
			return nil, fmt.Errorf("picture of the Earth is %v, want twice as wide as high, from the origin", b)
		}
	}
	if w := picture.Bounds().Dx(); w < minEarthWidth {
		return nil, fmt.Errorf("picture of the Earth is %d px wide, want %d or more", w, minEarthWidth)
	}
	gray := image.NewGray(mask.Bounds())
	draw.Draw(gray, gray.Bounds(), mask, image.Point{}, draw.Src)
	return &Earth{picture: picture, water: gray}, nil
}

func readImage(path string) (image.Image, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	config, _, err := image.DecodeConfig(file)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", path, err)
	}
	if config.Width > maxEarthWidth || config.Height > maxEarthWidth {
		return nil, fmt.Errorf("decode %s: %d x %d px, want at most %d on a side",
			path, config.Width, config.Height, maxEarthWidth)
	}
	if _, err := file.Seek(0, 0); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	img, _, err := image.Decode(file)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", path, err)
	}
	return img, nil
}

// isWater looks at the mask under a point of the picture, in its pixels.
func (e *Earth) isWater(x, y float64) bool {
	scale := float64(e.water.Rect.Dx()) / float64(e.picture.Bounds().Dx())
	mx := min(max(int(x*scale), 0), e.water.Rect.Dx()-1)
	my := min(max(int(y*scale), 0), e.water.Rect.Dy()-1)
	return e.water.GrayAt(mx, my).Y >= 128
}

// waterShare returns the part of a crop that is water, from 0 to 1.
func (e *Earth) waterShare(crop image.Rectangle) float64 {
	const step = 4 // pixels of the picture; finer than the mask needs
	wet, all := 0, 0
	for y := crop.Min.Y; y < crop.Max.Y; y += step {
		for x := crop.Min.X; x < crop.Max.X; x += step {
			all++
			if e.isWater(float64(x), float64(y)) {
				wet++
			}
		}
	}
	return float64(wet) / float64(all)
}

// position returns latitude and longitude in degrees of a point of the picture.
func (e *Earth) position(x, y int) (lat, lon float64) {
	b := e.picture.Bounds()
	return 90 - 180*float64(y)/float64(b.Dy()), 360*float64(x)/float64(b.Dx()) - 180
}

var errNoPlace = errors.New("no crop with enough water and land was found")
