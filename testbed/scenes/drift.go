package scenes

import (
	"image"
	"math"
	"math/rand/v2"
)

// Drift is what age and damage did to a sensor: the optics blur, each colour
// channel loses gain while haze adds light, and the electronics add noise.
type Drift struct {
	Blur  float64    // sigma of a Gaussian, pixels
	Gain  [3]float64 // factor on red, green, blue
	Haze  [3]float64 // added to red, green, blue, of 255
	Noise float64    // sigma of Gaussian noise, of 255
}

// DefaultDrift is the drift of the demonstration: strong enough that a network
// trained on clean pictures misses most objects, weak enough that a person
// still sees them.
func DefaultDrift() Drift {
	return Drift{
		Blur:  1.1,
		Gain:  [3]float64{0.62, 0.72, 0.80},
		Haze:  [3]float64{38, 44, 58},
		Noise: 9,
	}
}

// Through returns the scene as the drifted sensor sees it. The truth is
// shared with the original; the picture is a new one.
func (s Scene) Through(d Drift) Scene {
	s.Image = d.apply(s.Image, rand.New(rand.NewPCG(s.Seed, 0x6472696674+uint64(s.Split))))
	s.Drifted = true
	return s
}

func (d Drift) apply(img *image.RGBA, rng *rand.Rand) *image.RGBA {
	out := image.NewRGBA(img.Rect)
	blurred := blur(img, d.Blur)
	width := img.Rect.Dx()
	for y := range img.Rect.Dy() {
		for x := range width {
			i := y*width + x
			o := out.PixOffset(img.Rect.Min.X+x, img.Rect.Min.Y+y)
			for c := range 3 {
				v := float64(blurred[3*i+c])*d.Gain[c] + d.Haze[c] + rng.NormFloat64()*d.Noise
				out.Pix[o+c] = uint8(min(max(math.Round(v), 0), 255))
			}
			out.Pix[o+3] = 255
		}
	}
	return out
}

// blur convolves with a Gaussian, first along rows and then along columns, the
// edge repeated. The result is three values per pixel, row by row.
func blur(img *image.RGBA, sigma float64) []float32 {
	width, height := img.Rect.Dx(), img.Rect.Dy()
	plane := make([]float32, 3*width*height)
	for y := range height {
		for x := range width {
			o := img.PixOffset(img.Rect.Min.X+x, img.Rect.Min.Y+y)
			for c := range 3 {
				plane[3*(y*width+x)+c] = float32(img.Pix[o+c])
			}
		}
	}
	if sigma <= 0 {
		return plane
	}
	kernel := gaussian(sigma)
	return convolve(convolve(plane, width, height, 1, 0, kernel), width, height, 0, 1, kernel)
}

func convolve(in []float32, width, height, dx, dy int, kernel []float32) []float32 {
	out := make([]float32, len(in))
	radius := len(kernel) / 2
	for y := range height {
		for x := range width {
			var sum [3]float32
			for k, weight := range kernel {
				sx := min(max(x+(k-radius)*dx, 0), width-1)
				sy := min(max(y+(k-radius)*dy, 0), height-1)
				i := 3 * (sy*width + sx)
				sum[0] += weight * in[i]
				sum[1] += weight * in[i+1]
				sum[2] += weight * in[i+2]
			}
			copy(out[3*(y*width+x):], sum[:])
		}
	}
	return out
}

func gaussian(sigma float64) []float32 {
	radius := int(math.Ceil(3 * sigma))
	weights := make([]float32, 2*radius+1)
	var sum float64
	for i := range weights {
		d := float64(i - radius)
		w := math.Exp(-d * d / (2 * sigma * sigma))
		weights[i] = float32(w)
		sum += w
	}
	for i := range weights {
		weights[i] /= float32(sum)
	}
	return weights
}
