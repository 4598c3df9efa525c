package scenes

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"math"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"

	"perigee/models"
	"perigee/testbed/assets"
)

// islands is an Earth of round islands in a flat sea.
func islands(t testing.TB) *Earth {
	t.Helper()
	earth, err := makeIslands()
	if err != nil {
		t.Fatal(err)
	}
	return earth
}

// makeIslands draws once for all tests; an Earth never changes.
var makeIslands = sync.OnceValues(func() (*Earth, error) {
	const width = 4 * stripes * 65
	picture := image.NewRGBA(image.Rect(0, 0, width, width/2))
	mask := image.NewGray(picture.Rect)
	for y := range width / 2 {
		for x := range width {
			if land := math.Hypot(float64(x%200)-100, float64(y%200)-100) < 75; land {
				copy(picture.Pix[picture.PixOffset(x, y):], []uint8{120, 110, 60, 255})
				continue
			}
			copy(picture.Pix[picture.PixOffset(x, y):], []uint8{10, 40, 110, 255})
			mask.Pix[mask.PixOffset(x, y)] = 255
		}
	}
	return NewEarth(picture, mask)
})

// realEarth is the one of the demonstration; tests skip where it is not fetched.
func realEarth(t testing.TB) *Earth {
	t.Helper()
	dir, err := assets.DefaultDir()
	if err != nil {
		t.Fatal(err)
	}
	files, err := assets.Locate(dir)
	if err != nil {
		t.Skipf("needs the Blue Marble: %v", err)
	}
	earth, err := Load(files.BlueMarble, files.Water)
	if err != nil {
		t.Fatal(err)
	}
	return earth
}

func mustScene(t testing.TB, earth *Earth, split Split, seed uint64) Scene {
	t.Helper()
	scene, err := earth.Scene(split, seed)
	if err != nil {
		t.Fatal(err)
	}
	return scene
}

func TestSceneFollowsFromSplitAndSeed(t *testing.T) {
	earth := islands(t)
	first, again := mustScene(t, earth, Train, 7), mustScene(t, earth, Train, 7)
	if !reflect.DeepEqual(first, again) {
		t.Error("the same seed made two scenes")
	}
	if !reflect.DeepEqual(first.Through(DefaultDrift()), again.Through(DefaultDrift())) {
		t.Error("the same seed drifted two ways")
	}
	for _, other := range []Scene{mustScene(t, earth, Train, 8), mustScene(t, earth, HeldOut, 7)} {
		if bytes.Equal(first.Image.Pix, other.Image.Pix) {
			t.Errorf("%s has the pixels of %s", other.ID(), first.ID())
		}
	}
}

func TestSceneHoldsWhatItPromises(t *testing.T) {
	for name, earth := range map[string]*Earth{"islands": islands(t), "real": nil} {
		t.Run(name, func(t *testing.T) {
			if earth == nil {
				earth = realEarth(t)
			}
			classes := map[int]int{}
			for seed := range uint64(20) {
				scene := mustScene(t, earth, Split(seed%2), seed)
				if n := len(scene.Truth); n < minObjects || n > maxObjects {
					t.Errorf("%s holds %d objects, want %d to %d", scene.ID(), n, minObjects, maxObjects)
				}
				checkTruth(t, earth, scene)
				for _, object := range scene.Truth {
					classes[object.Class]++
				}
			}
			if classes[Boat] < 10 || classes[Aeroplane] < 10 || len(classes) != 2 {
				t.Errorf("classes %v, want many boats and aircraft and nothing else", classes)
			}
		})
	}
}

func checkTruth(t *testing.T, earth *Earth, scene Scene) {
	t.Helper()
	cx := (scene.Lon + 180) / 360 * float64(earth.picture.Bounds().Dx())
	cy := (90 - scene.Lat) / 180 * float64(earth.picture.Bounds().Dy())
	for i, object := range scene.Truth {
		b := object.Box
		if b.X-b.W/2 < 0 || b.X+b.W/2 > 1 || b.Y-b.H/2 < 0 || b.Y+b.H/2 > 1 {
			t.Errorf("%s: %v leaves the picture", scene.ID(), b)
		}
		if longer := Size * max(b.W, b.H); longer < 12 || longer > 1.1*maxLength {
			t.Errorf("%s: an object of %.1f px", scene.ID(), longer)
		}
		wet := earth.isWater(cx+cropSize*(float64(b.X)-0.5), cy+cropSize*(float64(b.Y)-0.5))
		if wet != (object.Class == Boat) {
			t.Errorf("%s: class %d on water: %v", scene.ID(), object.Class, wet)
		}
		for _, other := range scene.Truth[:i] {
			if models.IoU(b, other.Box) > 0.1 {
				t.Errorf("%s: objects overlap", scene.ID())
			}
		}
	}
}

func TestSplitsShareNoGround(t *testing.T) {
	earth := islands(t)
	width := earth.picture.Bounds().Dx()
	for _, split := range []Split{Train, HeldOut} {
		rng := rand.New(rand.NewPCG(1, 2))
		seen := map[int]bool{}
		for range 200 {
			crop, err := earth.findCrop(split, rng)
			if err != nil {
				t.Fatal(err)
			}
			first, last := crop.Min.X*stripes/width, (crop.Max.X-1)*stripes/width
			if first != last || (first%4 == 3) != (split == HeldOut) {
				t.Fatalf("%s crop %v lies in stripes %d to %d", split, crop, first, last)
			}
			if share := earth.waterShare(crop); share < minWater || share > maxWater {
				t.Fatalf("crop with %.2f water", share)
			}
			seen[first] = true
		}
		if want := map[Split]int{Train: 6, HeldOut: 2}[split]; len(seen) != want {
			t.Errorf("%s uses %d stripes, want %d", split, len(seen), want)
		}
	}
}

func TestNoPlaceIsAnError(t *testing.T) {
	picture := image.NewRGBA(image.Rect(0, 0, 2048, 1024))
	earth, err := NewEarth(picture, image.NewGray(picture.Rect)) // no water
	if err != nil {
		t.Fatal(err)
	}
	if _, err := earth.Scene(Train, 1); !errors.Is(err, errNoPlace) {
		t.Errorf("dry Earth: %v, want errNoPlace", err)
	}
	for _, size := range []image.Rectangle{image.Rect(0, 0, 400, 200), image.Rect(0, 0, 2048, 2048), {}} {
		if _, err := NewEarth(image.NewRGBA(size), image.NewGray(size)); err == nil {
			t.Errorf("an Earth of %v was accepted", size)
		}
	}
}

// TestBoxFitsOutline paints only the bodies and compares with the box.
func TestBoxFitsOutline(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		o := newObject(rng, 0)
		o.x, o.y = Size/2, Size/2
		img := image.NewRGBA(image.Rect(0, 0, Size, Size))
		body := make([]point, len(o.outline))
		for i, p := range o.outline {
			body[i] = o.toScene(p)
		}
		fillPolygon(img, body, color.NRGBA{255, 255, 255, 255})
		painted := image.Rectangle{}
		for y := range Size {
			for x := range Size {
				if img.RGBAAt(x, y).R > 0 {
					painted = painted.Union(image.Rect(x, y, x+1, y+1))
				}
			}
		}
		low, high := o.bounds()
		for _, gap := range []float64{
			low.x - float64(painted.Min.X), low.y - float64(painted.Min.Y),
			float64(painted.Max.X) - high.x, float64(painted.Max.Y) - high.y,
		} {
			if gap < -2 || gap > 1.01 {
				t.Fatalf("class %d, heading %.2f: box %v to %v, painted %v", o.class, o.heading, low, high, painted)
			}
		}
	}
}

func TestDriftHasItsFigures(t *testing.T) {
	flat := image.NewRGBA(image.Rect(0, 0, 200, 200))
	for i := range flat.Pix {
		flat.Pix[i] = 128
	}
	d := DefaultDrift()
	out := d.apply(flat, rand.New(rand.NewPCG(1, 1)))
	for c := range 3 {
		var sum, squares float64
		for i := c; i < len(out.Pix); i += 4 {
			sum += float64(out.Pix[i])
			squares += float64(out.Pix[i]) * float64(out.Pix[i])
		}
		n := float64(200 * 200)
		mean := sum / n
		sigma := math.Sqrt(squares/n - mean*mean)
		if want := 128*d.Gain[c] + d.Haze[c]; math.Abs(mean-want) > 0.3 {
			t.Errorf("channel %d: mean %.2f, want %.2f", c, mean, want)
		}
		if math.Abs(sigma-d.Noise) > 0.3 {
			t.Errorf("channel %d: sigma %.2f, want %.2f", c, sigma, d.Noise)
		}
	}
}

func TestBlurIsAGaussian(t *testing.T) {
	dot := image.NewRGBA(image.Rect(0, 0, 41, 41))
	dot.SetRGBA(20, 20, color.RGBA{255, 0, 0, 255})
	plane := blur(dot, 1.1)
	var sum, spread float64
	for i := 0; i < len(plane); i += 3 {
		x := float64(i/3%41) - 20
		sum += float64(plane[i])
		spread += float64(plane[i]) * x * x
	}
	if math.Abs(sum-255) > 0.1 {
		t.Errorf("light changed from 255 to %.2f", sum)
	}
	if sigma := math.Sqrt(spread / sum); math.Abs(sigma-1.1) > 0.05 {
		t.Errorf("sigma %.3f, want 1.1", sigma)
	}
}

func BenchmarkScene(b *testing.B) {
	earth := realEarth(b)
	for b.Loop() {
		mustScene(b, earth, Train, 5).Through(DefaultDrift())
	}
}
