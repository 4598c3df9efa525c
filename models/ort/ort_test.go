//go:build ort

package ort

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"perigee/models"
	"perigee/models/enginetest"
	"perigee/models/onnx"
)

// cache is where "make onnxruntime" puts what it fetches.
const cache = "../../.cache/assets"

// open opens the library, or skips the test where it is absent.
func open(t testing.TB) *Runtime {
	t.Helper()
	library := os.Getenv("PERIGEE_ONNXRUNTIME")
	if library == "" {
		var err error
		if library, err = filepath.Abs(filepath.Join(cache, "libonnxruntime.so.1")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(library); err != nil {
		t.Skipf("onnxruntime is not there (run make onnxruntime): %v", err)
	}
	r, err := Open(library)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestEngine(t *testing.T) { enginetest.Run(t, open(t).NewEngine) }

// TestFiles runs real files as they are, and what Perigee makes of them.
func TestFiles(t *testing.T) {
	r := open(t)
	for name, size := range map[string]models.Shape{
		"ppocr-classifier.onnx": {C: 3, H: 48, W: 192},
		"ppocr-detector.onnx":   {C: 3, H: 160, W: 224},
		"ppocr-recogniser.onnx": {C: 3, H: 48, W: 160},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(cache, name)
			file, err := os.ReadFile(path)
			if err != nil {
				t.Skipf("the network is not there (run make onnxruntime): %v", err)
			}
			n, err := onnx.ReadFile(path, onnx.Options{Input: size})
			if err != nil {
				t.Fatal(err)
			}
			in := enginetest.Picture(size, 5)
			compareFile(t, r, file, n, in)
			e, err := r.NewEngine(n, 2)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			enginetest.Compare(t, e, in)
		})
	}
}

// compareFile holds our engine against onnxruntime on the file itself.
func compareFile(t *testing.T, r *Runtime, file []byte, n *models.Network, in models.Tensor) {
	t.Helper()
	s, err := r.NewSession(file, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want, err := s.Run(in)
	if err != nil {
		t.Fatal(err)
	}
	e, err := models.NewEngine(n, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	features, err := e.Backbone(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	got, err := e.Head(t.Context(), features)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d outputs, want %d", len(got), len(want))
	}
	worst := 0.0
	for i := range want {
		if len(got[i].Data) != len(want[i]) {
			t.Fatalf("output %d has %d values, want %d", i, len(got[i].Data), len(want[i]))
		}
		for j, v := range want[i] {
			worst = max(worst, math.Abs(float64(v-got[i].Data[j])))
		}
	}
	if !(worst <= enginetest.Tolerance) {
		t.Errorf("values differ by up to %g", worst)
	}
	t.Logf("values differ by up to %.2g", worst)
}

// TestRandomConvolutions holds the two engines against each other on convolutions of
// every shape, which goes through what package onnx writes.
func TestRandomConvolutions(t *testing.T) {
	r := open(t)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 40 {
		groups := 1 + rng.IntN(3)
		kind := []models.Kind{models.Convolution, models.Deconvolution}[i%2]
		l := models.Layer{
			Kind: kind, Filters: groups * (1 + rng.IntN(20)), Groups: groups, Activation: models.Activation(rng.IntN(10)), Alpha: 0.3, Beta: 0.6,
			Window: &models.Window{
				H: 1 + rng.IntN(4), W: 1 + rng.IntN(4), StrideH: 1 + rng.IntN(3), StrideW: 1 + rng.IntN(3), DilationH: 1 + rng.IntN(2), DilationW: 1,
				Top: rng.IntN(2), Left: rng.IntN(2), Bottom: rng.IntN(2), Right: rng.IntN(2),
			},
		}
		input := models.Shape{C: groups * (1 + rng.IntN(4)), H: 8 + rng.IntN(5), W: 8 + rng.IntN(5)}
		first := models.Layer{Kind: models.Convolution, Filters: input.C, Size: 1, Stride: 1}
		g := models.Graph{Input: input, Layers: []models.Layer{first, l}, Head: 1, Outputs: []int{1}}
		convs, err := g.Convolutions()
		if err != nil {
			continue // the window does not fit
		}
		t.Run(fmt.Sprintf("%v %+v", kind, *l.Window), func(t *testing.T) {
			count := 0
			for _, c := range convs {
				count += c.Out.C * (1 + c.Columns)
			}
			n, err := models.NewNetwork(g, enginetest.Noise(count, 4))
			if err != nil {
				t.Fatal(err)
			}
			e, err := r.NewEngine(n, 1)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			enginetest.Compare(t, e, enginetest.Picture(input, 6))
		})
	}
}

// TestOtherLayers holds the two engines against each other on the layers that
// convolutions are not.
func TestOtherLayers(t *testing.T) {
	r := open(t)
	resize := func(s models.Scaling) models.Layer { return models.Layer{Kind: models.Resize, Scaling: &s} }
	for name, layers := range map[string][]models.Layer{
		"linear":   {resize(models.Scaling{H: 3, W: 9, Linear: true, Places: models.HalfPixel, ScaleH: 3.0 / 5, ScaleW: 9.0 / 4})},
		"corners":  {resize(models.Scaling{H: 10, W: 8, Linear: true, Places: models.AlignCorners, ScaleH: 2, ScaleW: 2})},
		"nearest":  {resize(models.Scaling{H: 7, W: 6, Places: models.HalfPixel, Rounding: models.RoundPreferFloor, ScaleH: 7.0 / 5, ScaleW: 1.5})},
		"upsample": {{Kind: models.Upsample, Stride: 3}},
		"pools":    {{Kind: models.AveragePool, Window: &models.Window{H: 3, W: 2, StrideH: 2, StrideW: 1, DilationH: 1, DilationW: 1, Top: 1, Right: 1}}, {Kind: models.MaxPool, Size: 2, Stride: 1, Pad: 1}},
		"outside":  {{Kind: models.AveragePool, Size: 3, Stride: 1, Pad: 1, Outside: true}},
		"scaled":   {{Kind: models.ReduceMax, Axes: []int{2, 3}}, {Kind: models.Mul, From: []int{0, 1}}, {Kind: models.ReduceSum, Axes: []int{1}}},
		"turned":   {{Kind: models.Transpose, Dims: []int{0, 2, 3, 1}}, {Kind: models.Slice, Dims: []int{1, 2, 4, 3}, Starts: []int{0, 4, 0, 5}, Steps: []int{1, -2, 1, -2}}, {Kind: models.Softmax, Axis: 3}},
		"padded":   {{Kind: models.Pad, Dims: []int{1, 7, 8, 5}, Starts: []int{0, 1, 2, 0}, Alpha: 3}, {Kind: models.ReduceMean, Axes: []int{1, 3}}},
		"products": {{Kind: models.Reshape, Dims: []int{3, 8, 5}}, {Kind: models.Transpose, Dims: []int{0, 2, 1}}, {Kind: models.MatMul, From: []int{1, 2}}, {Kind: models.Dense, Filters: 9, Activation: models.Erf}},
		"joined":   {{Kind: models.Activate, Activation: models.Affine, Alpha: 2, Beta: -1}, {Kind: models.Route, From: []int{1, 0}, Axis: 2}, {Kind: models.Activate, Activation: models.Clip, Alpha: -0.5, Beta: 0.5}},
	} {
		t.Run(name, func(t *testing.T) {
			first := models.Layer{Kind: models.Convolution, Filters: 6, Size: 1, Stride: 1}
			g := models.Graph{Input: models.Shape{C: 6, H: 5, W: 4}, Layers: append([]models.Layer{first}, layers...), Head: 1, Outputs: []int{len(layers)}}
			convs, err := g.Convolutions()
			if err != nil {
				t.Fatal(err)
			}
			count := 0
			for _, c := range convs {
				count += c.Out.C * (1 + c.Columns)
			}
			n, err := models.NewNetwork(g, enginetest.Noise(count, 4))
			if err != nil {
				t.Fatal(err)
			}
			e, err := r.NewEngine(n, 1)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			enginetest.Compare(t, e, enginetest.Picture(g.Input, 6))
		})
	}
}
