package models

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// branchedGraph is a small graph with every kind of layer and two outputs, like
// yolov3-tiny: layer 3 and the last backbone layer 5 are read by the head.
func branchedGraph() Graph {
	yolo := Layer{Kind: YOLO, Classes: 2, Anchors: []Anchor{{W: 6, H: 8}, {W: 12, H: 10}}}
	return Graph{
		Input: Shape{C: 3, H: 22, W: 30},
		Head:  6,
		Layers: []Layer{
			{Kind: Convolution, Filters: 6, Size: 3, Stride: 1, Pad: 1, Activation: Leaky},
			{Kind: MaxPool, Size: 2, Stride: 2, Pad: 1},
			{Kind: Convolution, Filters: 40, Size: 3, Stride: 2, Pad: 1, Activation: Leaky},
			{Kind: Convolution, Filters: 33, Size: 3, Stride: 1, Pad: 1, Activation: Leaky},
			{Kind: MaxPool, Size: 2, Stride: 2, Pad: 1},
			{Kind: MaxPool, Size: 2, Stride: 1, Pad: 1},
			{Kind: Convolution, Filters: 14, Size: 1, Stride: 1},
			yolo,
			{Kind: Route, From: []int{5}},
			{Kind: Upsample, Stride: 2},
			{Kind: Route, From: []int{9, 3}},
			{Kind: Convolution, Filters: 14, Size: 3, Stride: 1, Pad: 1},
			yolo,
		},
	}
}

func branched(t testing.TB, seed uint64) *Network {
	t.Helper()
	g := branchedGraph()
	p, err := g.check()
	if err != nil {
		t.Fatal(err)
	}
	n, err := NewNetwork(g, noise(p.params, 0.2, seed))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func noise(count int, sigma float64, seed uint64) []float32 {
	source := rand.New(rand.NewPCG(seed, 7))
	values := make([]float32, count)
	for i := range values {
		values[i] = float32(sigma * source.NormFloat64())
	}
	return values
}

func picture(s Shape, seed uint64) Tensor {
	t := NewTensor(s)
	for i, v := range noise(len(t.Data), 0.3, seed) {
		t.Data[i] = min(max(v+0.5, 0), 1)
	}
	return t
}

func TestGraphPlan(t *testing.T) {
	n := branched(t, 1)
	if got := n.Taps(); !slices.Equal(got, []int{3, 5}) {
		t.Errorf("taps %v, want 3 and 5", got)
	}
	if got := n.Outputs(); !slices.Equal(got, []int{7, 12}) {
		t.Errorf("outputs %v, want 7 and 12", got)
	}
	for layer, want := range map[int]Shape{
		0: {C: 6, H: 22, W: 30}, 1: {C: 6, H: 11, W: 15}, 3: {C: 33, H: 6, W: 8}, 4: {C: 33, H: 3, W: 4}, 5: {C: 33, H: 3, W: 4},
		10: {C: 66, H: 6, W: 8}, 12: {C: 14, H: 6, W: 8},
	} {
		if got := n.Shape(layer); got != want {
			t.Errorf("layer %d is %v, want %v", layer, got, want)
		}
	}
	head := 0
	for _, c := range n.HeadConvs() {
		head += len(c.Bias) + len(c.Weights)
	}
	if head != n.HeadParamCount() || head != len(n.HeadParams()) {
		t.Errorf("head convolutions hold %d parameters, the head %d", head, n.HeadParamCount())
	}
}

func TestGraphRefusesNonsense(t *testing.T) {
	for name, change := range map[string]func(*Graph){
		"no layers":          func(g *Graph) { g.Layers = nil },
		"too many layers":    func(g *Graph) { g.Layers = make([]Layer, MaxLayers+1) },
		"head at 0":          func(g *Graph) { g.Head = 0 },
		"head past the end":  func(g *Graph) { g.Head = len(g.Layers) },
		"head after yolo":    func(g *Graph) { g.Head = 8 },
		"empty input":        func(g *Graph) { g.Input.W = 0 },
		"huge input":         func(g *Graph) { g.Input.W = 1 << 40 },
		"unknown kind":       func(g *Graph) { g.Layers[0].Kind = 99 },
		"no filters":         func(g *Graph) { g.Layers[0].Filters = 0 },
		"huge filters":       func(g *Graph) { g.Layers[0].Filters = math.MaxInt },
		"no stride":          func(g *Graph) { g.Layers[0].Stride = 0 },
		"negative padding":   func(g *Graph) { g.Layers[0].Pad = -1 },
		"unknown activation": func(g *Graph) { g.Layers[0].Activation = 99 },
		"window too large":   func(g *Graph) { g.Layers[4].Size = 20 },
		"pool padding":       func(g *Graph) { g.Layers[4].Pad = 4 },
		"route forward":      func(g *Graph) { g.Layers[8].From[0] = 8 },
		"route negative":     func(g *Graph) { g.Layers[8].From[0] = -1 },
		"route to nothing":   func(g *Graph) { g.Layers[8].From = nil },
		"route of two sizes": func(g *Graph) { g.Layers[10].From[1] = 0 },
		"yolo channels":      func(g *Graph) { g.Layers[6].Filters = 15 },
		"yolo classes":       func(g *Graph) { g.Layers[7].Classes = 0 },
		"yolo no anchors":    func(g *Graph) { g.Layers[7].Anchors = nil },
		"yolo bad anchor":    func(g *Graph) { g.Layers[7].Anchors[0].W = float32(math.NaN()) },
		"huge upsampling":    func(g *Graph) { g.Layers[9].Stride = 1000 },
	} {
		t.Run(name, func(t *testing.T) {
			g := branchedGraph()
			g = g.clone()
			change(&g)
			if _, err := NewNetwork(g, nil); !errors.Is(err, ErrGraph) {
				t.Fatalf("error %v, want ErrGraph", err)
			}
		})
	}
}

func TestNetworkRefusesParams(t *testing.T) {
	n := branched(t, 1)
	for name, params := range map[string][]float32{
		"none": nil, "one short": make([]float32, n.ParamCount()-1), "one more": make([]float32, n.ParamCount()+1),
		"no number": append(make([]float32, n.ParamCount()-1), float32(math.NaN())),
		"infinite":  append(make([]float32, n.ParamCount()-1), float32(math.Inf(-1))),
	} {
		if _, err := NewNetwork(n.Graph(), params); !errors.Is(err, ErrParams) {
			t.Errorf("%s: error %v, want ErrParams", name, err)
		}
	}
	if _, err := n.WithHead(make([]float32, 3)); !errors.Is(err, ErrParams) {
		t.Errorf("short head: error %v, want ErrParams", err)
	}
}

func TestHashesNameContent(t *testing.T) {
	n := branched(t, 1)
	if same := branched(t, 1); same.Hash() != n.Hash() {
		t.Fatal("equal networks have unequal hashes")
	}
	head := n.HeadParams()
	head[17] += 1e-6
	next, err := n.WithHead(head)
	if err != nil {
		t.Fatal(err)
	}
	if next.BackboneHash() != n.BackboneHash() || next.HeadHash() == n.HeadHash() || next.Hash() == n.Hash() {
		t.Fatal("a new head must change the hashes of head and whole only")
	}
	if &next.Convs()[0].Weights[0] != &n.Convs()[0].Weights[0] {
		t.Fatal("a new head copies the backbone")
	}
	back, err := next.WithHead(n.HeadParams())
	if err != nil || back.Hash() != n.Hash() {
		t.Fatalf("the old head gives %v, %v; want %v", back.Hash(), err, n.Hash())
	}
	for name, change := range map[string]func(*Graph){
		"activation": func(g *Graph) { g.Layers[0].Activation = Linear },
		"anchor":     func(g *Graph) { g.Layers[12].Anchors[1].W++ },
		"split":      func(g *Graph) { g.Head = 5 },
	} {
		g := n.Graph()
		change(&g)
		other, err := NewNetwork(g, noise(n.ParamCount(), 0.2, 1))
		if err != nil {
			t.Fatal(err)
		}
		if other.Hash() == n.Hash() {
			t.Errorf("another %s has the same hash", name)
		}
	}
}

func TestHashText(t *testing.T) {
	h := HashBytes([]byte("abc"))
	const want = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if h.String() != want {
		t.Fatalf("%v, want %s", h, want)
	}
	var got Hash
	if err := got.UnmarshalText([]byte(want)); err != nil || got != h {
		t.Fatalf("parsed %v, %v", got, err)
	}
	for _, bad := range []string{"", want[7:], want[:70], want + "0", "sha256:" + want[:64], "md5:" + want[7:]} {
		if _, err := ParseHash(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
	for _, bad := range [][]byte{nil, {0x40}, append([]byte{0x58, 0x1f}, h[:31]...), append([]byte{0x78, 0x20}, h[:]...)} {
		if err := got.UnmarshalCBOR(bad); err == nil {
			t.Errorf("% x accepted", bad)
		}
	}
}

func TestFileRoundTrip(t *testing.T) {
	n := branched(t, 1)
	path := filepath.Join(t.TempDir(), "net"+FileExt)
	for range 2 { // the second write replaces the first
		if err := WriteFile(path, n); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.Hash() != n.Hash() || got.HeadHash() != n.HeadHash() || got.BackboneHash() != n.BackboneHash() {
		t.Fatalf("read %v, wrote %v", got.Hash(), n.Hash())
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); err != nil || len(left) != 1 {
		t.Fatalf("folder holds %v, %v; want the model alone", left, err)
	}
	if _, err := ReadFile(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("error %v, want os.ErrNotExist", err)
	}
}

// TestFileRefusesDamage cuts a small model file everywhere and damages each byte.
func TestFileRefusesDamage(t *testing.T) {
	var file bytes.Buffer
	if err := Write(&file, tiny(t)); err != nil {
		t.Fatal(err)
	}
	data := file.Bytes()
	for i := range data {
		if _, err := Read(bytes.NewReader(data[:i])); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d of %d: error %v, want ErrCorrupt", i, len(data), err)
		}
		bad := bytes.Clone(data)
		bad[i] ^= 1
		if _, err := Read(bytes.NewReader(bad)); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d damaged: error %v, want ErrCorrupt", i, err)
		}
	}
	if _, err := Read(bytes.NewReader(append(data, 0))); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("a byte more: error %v, want ErrCorrupt", err)
	}
}

// tiny returns a network of a few dozen parameters.
func tiny(t testing.TB) *Network {
	t.Helper()
	g := Graph{Input: Shape{C: 1, H: 4, W: 4}, Head: 1, Layers: []Layer{
		{Kind: Convolution, Filters: 2, Size: 1, Stride: 1},
		{Kind: Convolution, Filters: 6, Size: 1, Stride: 1},
		{Kind: YOLO, Classes: 1, Anchors: []Anchor{{W: 2, H: 2}}},
	}}
	p, err := g.check()
	if err != nil {
		t.Fatal(err)
	}
	n, err := NewNetwork(g, noise(p.params, 1, 1))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func FuzzRead(f *testing.F) {
	var file bytes.Buffer
	if err := Write(&file, tiny(f)); err != nil {
		f.Fatal(err)
	}
	f.Add(file.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := Write(&again, n); err != nil {
			t.Fatal(err)
		}
		if same, err := Read(&again); err != nil || same.Hash() != n.Hash() {
			t.Fatalf("written again: %v", err)
		}
	})
}
