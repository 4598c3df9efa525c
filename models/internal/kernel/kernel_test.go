package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"
)

func noise(rng *rand.Rand, n int) []float32 {
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(rng.NormFloat64())
	}
	return values
}

func at[T any](s []T) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(s)) }

// near allows for sums in another order and for products that are not rounded.
func near(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i := range want {
		if d := math.Abs(float64(got[i] - want[i])); !(d <= 1e-4) {
			t.Fatalf("%s: value %d is %g, want %g", what, i, got[i], want[i])
		}
	}
}

func TestTiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, set := range Sets() {
		for _, width := range set.Widths {
			for _, shape := range [][2]int{{1, 1}, {3, 9}, {9, 5}, {1, 300}} {
				runs, length := shape[0], shape[1]
				input := noise(rng, 4096)
				weights, bias := noise(rng, runs*length*width), noise(rng, width)
				offsets := make([]int, runs)
				for i := range offsets {
					offsets[i] = float * rng.IntN(1000)
				}
				const guard = 5 // values around the output that must stay
				out := make([]float32, Rows*(width+guard)+guard)
				want := make([]float32, len(out))
				tile := Tile{
					Offsets: at(offsets), Weights: at(weights), Bias: at(bias),
					Runs: runs, Length: length, Slope: 0.1, Ceiling: 3,
				}
				for r := range Rows {
					start := rng.IntN(2000)
					first := guard + r*(width+guard)
					tile.In[r], tile.Out[r] = at(input[start:]), at(out[first:])
					for i := range width {
						v := float64(bias[i])
						for run, offset := range offsets {
							for k := range length {
								v += float64(input[start+offset/float+k]) * float64(weights[(run*length+k)*width+i])
							}
						}
						want[first+i] = float32(min(max(v, 0.1*v), 3))
					}
				}
				set.Tile(width, &tile)
				near(t, set.Name, out, want)
			}
		}
	}
}

func TestLines(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, set := range Sets() {
		for _, channels := range []int{1, 7, 8, 9, 24, 35} {
			for _, places := range []int{1, 4} {
				taps := 1 + rng.IntN(9)
				input := noise(rng, 4096)
				weights, bias := noise(rng, taps*channels), noise(rng, channels)
				offsets := make([]int, taps)
				for i := range offsets {
					offsets[i] = float * rng.IntN(1000)
				}
				stride := channels + 3
				out := make([]float32, places*stride)
				weighted, largest := make([]float32, len(out)), make([]float32, len(out))
				for p := range places {
					for c := range channels {
						sum, most := float64(bias[c]), math.Inf(-1)
						for tap, offset := range offsets {
							v := float64(input[p*2*channels+offset/float+c])
							sum += v * float64(weights[tap*channels+c])
							most = max(most, v)
						}
						weighted[p*stride+c] = float32(min(max(sum, 0), 6))
						largest[p*stride+c] = float32(most)
					}
				}
				line := Line{
					In: at(input), Out: at(out), Offsets: at(offsets), Weights: at(weights), Bias: at(bias),
					Taps: taps, Channels: channels, Places: places, InStep: float * 2 * channels, OutStep: float * stride, Ceiling: 6,
				}
				set.Weighted(&line)
				near(t, set.Name+" weighted", out, weighted)
				set.Largest(&line)
				near(t, set.Name+" largest", out, largest)
			}
		}
	}
}

func TestPanelsCoverAllColumns(t *testing.T) {
	for _, set := range Sets() {
		for n := 1; n < 100; n++ {
			sum := 0
			for _, w := range set.Panels(n) {
				sum += w
			}
			if sum < n || sum-n >= set.Widths[len(set.Widths)-1] {
				t.Errorf("%s: panels for %d columns hold %d", set.Name, n, sum)
			}
		}
	}
}

func BenchmarkTile(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	const runs, length = 3, 384
	input := noise(rng, 16384)
	for _, set := range Sets() {
		for _, width := range set.Widths {
			weights, bias, out := noise(rng, runs*length*width), noise(rng, width), make([]float32, Rows*width)
			offsets := []int{0, 4096, 8192}
			tile := Tile{Offsets: at(offsets), Weights: at(weights), Bias: at(bias), Runs: runs, Length: length, Slope: 1, Ceiling: 1e9}
			for r := range Rows {
				tile.In[r], tile.Out[r] = at(input[r*128:]), at(out[r*width:])
			}
			b.Run(set.Name, func(b *testing.B) {
				for b.Loop() {
					set.Tile(width, &tile)
				}
				b.ReportMetric(2*Rows*float64(width)*runs*length/float64(b.Elapsed().Nanoseconds())*float64(b.N), "GFLOPS")
			})
		}
	}
}
