package models

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func engine(t testing.TB, n *Network, threads int) Engine {
	t.Helper()
	e, err := NewEngine(n, threads)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func TestEngineComputesTheNetwork(t *testing.T) {
	n := branched(t, 1)
	in := picture(n.Input(), 2)
	want := plain(n, in)
	for threads := 1; threads <= 4; threads++ {
		e := engine(t, n, threads)
		features, err := e.Backbone(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		for i, layer := range n.Taps() {
			near(t, features[i], want[layer])
		}
		outputs, err := e.Head(t.Context(), features)
		if err != nil {
			t.Fatal(err)
		}
		for i, layer := range n.Outputs() {
			near(t, outputs[i], want[layer])
		}
	}
}

func near(t *testing.T, got, want Tensor) {
	t.Helper()
	if got.Shape != want.Shape || len(got.Data) != len(want.Data) {
		t.Fatalf("shape %v with %d values, want %v", got.Shape, len(got.Data), want.Shape)
	}
	for i, v := range got.Data {
		if d := math.Abs(float64(v - want.Data[i])); !(d <= 1e-4*(1+math.Abs(float64(want.Data[i])))) {
			t.Fatalf("value %d is %g, want %g", i, v, want.Data[i])
		}
	}
}

// TestResultsDoNotDependOnThreads uses maps of several tiles and sums of several
// panels, and asks for equal bits.
func TestResultsDoNotDependOnThreads(t *testing.T) {
	g := Graph{Input: Shape{C: 3, H: 61, W: 53}, Head: 2, Layers: []Layer{
		{Kind: Convolution, Filters: 70, Size: 3, Stride: 1, Pad: 1, Activation: Leaky},
		{Kind: Convolution, Filters: 5, Size: 3, Stride: 2, Pad: 1, Activation: Leaky},
		{Kind: Convolution, Filters: 6, Size: 5, Stride: 1, Pad: 2},
		{Kind: YOLO, Classes: 1, Anchors: []Anchor{{W: 2, H: 2}}},
	}}
	p, err := g.check()
	if err != nil {
		t.Fatal(err)
	}
	n, err := NewNetwork(g, noise(p.params, 0.1, 3))
	if err != nil {
		t.Fatal(err)
	}
	in := picture(n.Input(), 4)
	var want []Detection
	for _, threads := range []int{1, 2, 3, 5, 8} {
		e := engine(t, n, threads)
		for range 2 {
			found, err := e.Detect(t.Context(), in, DetectOptions{Threshold: 0.3, NMS: 0.9})
			if err != nil {
				t.Fatal(err)
			}
			if want == nil {
				want = found
			}
			if len(found) == 0 || !slices.Equal(found, want) {
				t.Fatalf("%d threads: %d detections, one thread: %d, or other values", threads, len(found), len(want))
			}
		}
	}
}

func TestEngineServesSeveralCallers(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	n := branched(t, 1)
	e := engine(t, n, 2)
	in := picture(n.Input(), 2)
	options := DetectOptions{Threshold: 0.1, NMS: 0.4}
	want, err := e.Detect(t.Context(), in, options)
	if err != nil {
		t.Fatal(err)
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

func TestEngineLoadsAnotherHead(t *testing.T) {
	n := branched(t, 1)
	e := engine(t, n, 1)
	in := picture(n.Input(), 2)
	features, err := e.Backbone(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	next, err := n.WithHead(noise(n.HeadParamCount(), 0.2, 9))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Load(next); err != nil || e.Network() != next {
		t.Fatalf("load: %v", err)
	}
	outputs, err := e.Head(t.Context(), features)
	if err != nil {
		t.Fatal(err)
	}
	want := plain(next, in)
	for i, layer := range next.Outputs() {
		near(t, outputs[i], want[layer])
	}
	if err := e.Load(nil); err == nil || e.Network() != next {
		t.Fatal("loading nothing must fail and keep the network")
	}
	if err := e.Load(tiny(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Detect(t.Context(), NewTensor(e.Network().Input()), DefaultDetectOptions()); err != nil {
		t.Fatal(err)
	}
}

func TestEngineRefuses(t *testing.T) {
	n := branched(t, 1)
	e := engine(t, n, 1)
	if _, err := e.Backbone(t.Context(), NewTensor(Shape{C: 3, H: 22, W: 31})); !errors.Is(err, ErrShape) {
		t.Errorf("wrong picture: error %v, want ErrShape", err)
	}
	if _, err := e.Backbone(t.Context(), Tensor{Shape: n.Input()}); !errors.Is(err, ErrShape) {
		t.Errorf("picture without values: error %v, want ErrShape", err)
	}
	if _, err := e.Head(t.Context(), Features{NewTensor(n.Shape(3))}); !errors.Is(err, ErrShape) {
		t.Errorf("one feature map of two: error %v, want ErrShape", err)
	}
	if _, err := n.Decode(nil, 0.5); !errors.Is(err, ErrShape) {
		t.Errorf("decode nothing: error %v, want ErrShape", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Detect(ctx, picture(n.Input(), 1), DefaultDetectOptions()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v, want context.Canceled", err)
	}
	for _, threads := range []int{-1, 0, MaxThreads + 1} {
		if _, err := NewEngine(n, threads); err == nil {
			t.Errorf("%d threads accepted", threads)
		}
	}
	e.Close()
	if _, err := e.Detect(t.Context(), picture(n.Input(), 1), DefaultDetectOptions()); err == nil {
		t.Error("a closed engine detects")
	}
}

func TestDecodeReadsBoxes(t *testing.T) {
	n := branched(t, 1) // 30 x 22 input; output 0 is 3 rows of 4, two anchors, two classes
	outputs := []Tensor{NewTensor(n.Shape(7)), NewTensor(n.Shape(12))}
	for _, o := range outputs {
		for i := range o.Data {
			o.Data[i] = -20
		}
	}
	set := func(channel, y, x int, v float32) { outputs[0].Data[(channel*3+y)*4+x] = v }
	const second = 7 // first channel of the second anchor, 12 x 10
	set(second, 2, 1, 0)
	set(second+1, 2, 1, float32(math.Log(3))) // sigmoid 0.75
	set(second+2, 2, 1, float32(math.Log(2)))
	set(second+3, 2, 1, 0)
	set(second+4, 2, 1, float32(math.Log(4))) // sigmoid 0.8
	set(second+6, 2, 1, float32(math.Log(9))) // sigmoid 0.9
	set(4, 0, 0, 20)                          // sure of an object but of no class
	set(4, 1, 1, 20)
	set(5, 1, 1, 20)
	set(2, 1, 1, 200) // a width that is no number: left out
	found, err := n.Decode(outputs, 0.5)
	if err != nil {
		t.Fatal(err)
	}
	want := Detection{Class: 1, Score: 0.72, Box: Box{X: 1.5 / 4, Y: 2.75 / 3, W: 24.0 / 30, H: 10.0 / 22}}
	if len(found) != 1 || found[0].Class != 1 || math.Abs(float64(found[0].Score-want.Score)) > 1e-6 || IoU(found[0].Box, want.Box) < 0.99999 {
		t.Fatalf("found %+v, want %+v", found, want)
	}
}
