// Package enginetest is the suite that every models.Engine must pass. Results are
// held against those of models.NewEngine, which package models holds against a
// computation that is slow and obvious.
package enginetest

import (
	"context"
	"errors"
	"image"
	_ "image/jpeg" // the picture of the dog
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"perigee/models"
	"perigee/models/darknet"
)

// Tolerance is how far a value may lie from that of the default engine.
const Tolerance = 1e-3

// Factory starts an engine.
type Factory func(n *models.Network, threads int) (models.Engine, error)

// Run runs the suite.
func Run(t *testing.T, start Factory) {
	t.Run("computes", func(t *testing.T) { computes(t, start) })
	t.Run("loads another head", func(t *testing.T) { loads(t, start) })
	t.Run("serves several callers", func(t *testing.T) { serves(t, start) })
	t.Run("refuses", func(t *testing.T) { refuses(t, start) })
	t.Run("sees the dog", func(t *testing.T) { SeesTheDog(t, start) })
}

func engine(t *testing.T, start Factory, n *models.Network, threads int) models.Engine {
	t.Helper()
	e, err := start(n, threads)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// Network returns a small network with two taps and two outputs, like yolov3-tiny.
func Network(t testing.TB, seed uint64) *models.Network {
	t.Helper()
	yolo := models.Layer{Kind: models.YOLO, Classes: 2, Anchors: []models.Anchor{{W: 6, H: 8}, {W: 12, H: 10}}}
	g := models.Graph{
		Input: models.Shape{C: 3, H: 22, W: 30},
		Head:  6,
		Layers: []models.Layer{
			{Kind: models.Convolution, Filters: 6, Size: 3, Stride: 1, Pad: 1, Activation: models.Leaky},
			{Kind: models.MaxPool, Size: 2, Stride: 2, Pad: 1},
			{Kind: models.Convolution, Filters: 40, Size: 3, Stride: 2, Pad: 1, Activation: models.Leaky},
			{Kind: models.Convolution, Filters: 33, Size: 3, Stride: 1, Pad: 1, Activation: models.Leaky},
			{Kind: models.MaxPool, Size: 2, Stride: 2, Pad: 1},
			{Kind: models.MaxPool, Size: 2, Stride: 1, Pad: 1},
			{Kind: models.Convolution, Filters: 14, Size: 1, Stride: 1},
			yolo,
			{Kind: models.Route, From: []int{5}},
			{Kind: models.Upsample, Stride: 2},
			{Kind: models.Route, From: []int{9, 3}},
			{Kind: models.Convolution, Filters: 14, Size: 3, Stride: 1, Pad: 1},
			yolo,
		},
	}
	convs, err := g.Convolutions()
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, c := range convs {
		count += c.Out.C * (1 + c.Columns)
	}
	n, err := models.NewNetwork(g, Noise(count, seed))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Noise returns random values for parameters.
func Noise(count int, seed uint64) []float32 {
	rng := rand.New(rand.NewPCG(seed, 7))
	values := make([]float32, count)
	for i := range values {
		values[i] = float32(0.2 * rng.NormFloat64())
	}
	return values
}

// Picture returns a random picture.
func Picture(s models.Shape, seed uint64) models.Tensor {
	rng := rand.New(rand.NewPCG(seed, 8))
	t := models.NewTensor(s)
	for i := range t.Data {
		t.Data[i] = rng.Float32()
	}
	return t
}

// Near fails unless got is want but for rounding.
func Near(t *testing.T, what string, got, want []models.Tensor) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d maps, want %d", what, len(got), len(want))
	}
	for i := range want {
		if got[i].Shape != want[i].Shape {
			t.Fatalf("%s: map %d is %v, want %v", what, i, got[i].Shape, want[i].Shape)
		}
		for j, v := range got[i].Data {
			if d := math.Abs(float64(v - want[i].Data[j])); !(d <= Tolerance) {
				t.Fatalf("%s: map %d: value %d is %g, want %g", what, i, j, v, want[i].Data[j])
			}
		}
	}
}

func computes(t *testing.T, start Factory) {
	n := Network(t, 1)
	in := Picture(n.Input(), 2)
	for threads := 1; threads <= 3; threads++ {
		Compare(t, engine(t, start, n, threads), in)
	}
}

// Compare holds the features and the outputs of an engine against those of the
// default engine.
func Compare(t *testing.T, e models.Engine, in models.Tensor) {
	t.Helper()
	reference := engine(t, models.NewEngine, e.Network(), 1)
	features, err := e.Backbone(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	wantFeatures, err := reference.Backbone(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	Near(t, "features", features, wantFeatures)
	outputs, err := e.Head(t.Context(), wantFeatures)
	if err != nil {
		t.Fatal(err)
	}
	want, err := reference.Head(t.Context(), wantFeatures)
	if err != nil {
		t.Fatal(err)
	}
	Near(t, "outputs", outputs, want)
}

func loads(t *testing.T, start Factory) {
	n := Network(t, 1)
	e := engine(t, start, n, 1)
	in := Picture(n.Input(), 2)
	next, err := n.WithHead(Noise(n.HeadParamCount(), 9))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []*models.Network{next, Network(t, 3)} {
		if err := e.Load(n); err != nil || e.Network() != n {
			t.Fatalf("load: %v", err)
		}
		Compare(t, e, in)
	}
	last := e.Network()
	if err := e.Load(nil); err == nil || e.Network() != last {
		t.Fatal("loading nothing must fail and keep the network")
	}
	Compare(t, e, in)
}

func serves(t *testing.T, start Factory) {
	n := Network(t, 1)
	e := engine(t, start, n, 2)
	in := Picture(n.Input(), 2)
	options := models.DetectOptions{Threshold: 0.1, NMS: 0.4}
	want, err := e.Detect(t.Context(), in, options)
	if err != nil || len(want) == 0 {
		t.Fatalf("%d detections, error %v", len(want), err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 3 {
				if got, err := e.Detect(context.Background(), in, options); err != nil || !slices.Equal(got, want) {
					t.Errorf("detected otherwise, error %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func refuses(t *testing.T, start Factory) {
	n := Network(t, 1)
	e := engine(t, start, n, 1)
	if _, err := e.Backbone(t.Context(), models.NewTensor(models.Shape{C: 3, H: 22, W: 31})); !errors.Is(err, models.ErrShape) {
		t.Errorf("wrong picture: error %v, want ErrShape", err)
	}
	if _, err := e.Backbone(t.Context(), models.Tensor{Shape: n.Input()}); !errors.Is(err, models.ErrShape) {
		t.Errorf("picture without values: error %v, want ErrShape", err)
	}
	if _, err := e.Head(t.Context(), models.Features{models.NewTensor(n.Shape(3))}); !errors.Is(err, models.ErrShape) {
		t.Errorf("one feature map of two: error %v, want ErrShape", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Detect(ctx, Picture(n.Input(), 1), models.DefaultDetectOptions()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v, want context.Canceled", err)
	}
	for _, threads := range []int{-1, 0, models.MaxThreads + 1} {
		if _, err := start(n, threads); err == nil {
			t.Errorf("%d threads accepted", threads)
		}
	}
	if err := e.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := e.Detect(t.Context(), Picture(n.Input(), 1), models.DefaultDetectOptions()); err == nil {
		t.Error("a closed engine detects")
	}
}

// Tiny returns yolov3-tiny and Darknet's well-known picture of a dog, which
// gorgonia's module ships, or skips the test where that is not in the module cache.
func Tiny(t testing.TB) (*models.Network, image.Image) {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "gorgonia.org/gorgonia").Output()
	if err != nil {
		t.Fatalf("locate gorgonia's module: %v", err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "examples", "tiny-yolo-v3-coco", "data")
	if _, err := os.Stat(filepath.Join(dir, "yolov3-tiny.weights")); err != nil {
		t.Skipf("yolov3-tiny is not in the module cache (run go mod download): %v", err)
	}
	n, err := darknet.ReadFiles(filepath.Join(dir, "yolov3-tiny.cfg"), filepath.Join(dir, "yolov3-tiny.weights"), darknet.YOLOv3TinyHead)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, "dog_416x416.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, _, err := image.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	return n, img
}

// SeesTheDog runs the real network on the picture of the dog. The wanted boxes were
// read off the picture by eye.
func SeesTheDog(t *testing.T, start Factory) {
	n, dog := Tiny(t)
	in := models.FromImage(dog, n.Input().W, n.Input().H)
	e := engine(t, start, n, 2)
	found, err := e.Detect(t.Context(), in, models.DefaultDetectOptions())
	if err != nil {
		t.Fatal(err)
	}
	const bicycle, car, truck, animal = 1, 2, 7, 16
	for _, want := range []struct {
		name    string
		classes []int
		box     models.Box
	}{
		{"dog", []int{animal}, models.Box{X: 0.29, Y: 0.66, W: 0.23, H: 0.55}},
		{"bicycle", []int{bicycle}, models.Box{X: 0.45, Y: 0.48, W: 0.58, H: 0.49}},
		{"truck", []int{car, truck}, models.Box{X: 0.75, Y: 0.21, W: 0.28, H: 0.17}},
	} {
		seen := slices.ContainsFunc(found, func(d models.Detection) bool {
			return slices.Contains(want.classes, d.Class) && models.IoU(d.Box, want.box) > 0.4
		})
		if !seen {
			t.Errorf("no %s near %+v in %+v", want.name, want.box, found)
		}
	}
	Compare(t, e, in)
}
