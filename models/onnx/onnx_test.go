package onnx

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"perigee/models"
	"perigee/models/enginetest"
)

// small returns a network of several kinds of layers and its file.
func small(t testing.TB) (*models.Network, []byte) {
	t.Helper()
	input := models.Shape{C: 2, H: 6, W: 5}
	layers := []models.Layer{
		{Kind: models.Convolution, Filters: 4, Size: 3, Stride: 1, Pad: 1, Activation: models.HardSwish, Alpha: 1.0 / 6, Beta: 0.5, Name: "stem"},
		{Kind: models.Convolution, Filters: 4, Size: 3, Stride: 2, Pad: 1, Groups: 4, Activation: models.ReLU, Name: "deep"},
		{Kind: models.ReduceMean, Axes: []int{2, 3}},
		{Kind: models.Mul, From: []int{1, 2}},
		{Kind: models.Deconvolution, Filters: 1, Size: 2, Stride: 2, Activation: models.Leaky},
		{Kind: models.Reshape, Dims: []int{1, 36}},
		{Kind: models.Dense, Filters: 2, Name: "names"},
		{Kind: models.Softmax},
	}
	counts := []int{4 * 19, 4 * 10, 0, 0, 17, 0, 2 * 37, 0}
	var parts []models.Part
	for i, l := range layers {
		parts = append(parts, models.Part{Layer: l, Params: enginetest.Noise(counts[i], uint64(i))})
	}
	n, err := models.Assemble(input, parts, []int{7}, "names")
	if err != nil {
		t.Fatal(err)
	}
	file, err := Marshal(n, Whole)
	if err != nil {
		t.Fatal(err)
	}
	return n, file
}

func run(t testing.TB, n *models.Network, in models.Tensor) []models.Tensor {
	t.Helper()
	e, err := models.NewEngine(n, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	features, err := e.Backbone(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	outputs, err := e.Head(t.Context(), features)
	if err != nil {
		t.Fatal(err)
	}
	return outputs
}

func TestRoundTrip(t *testing.T) {
	n, file := small(t)
	got, err := Read(strings.NewReader(string(file)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	in := enginetest.Picture(n.Input(), 3)
	enginetest.Near(t, "read again", run(t, got, in), run(t, n, in))
	g, want := got.Graph(), n.Graph()
	if len(g.Layers) != len(want.Layers) || got.ParamCount() != n.ParamCount() {
		t.Errorf("%d layers and %d parameters, want %d and %d", len(g.Layers), got.ParamCount(), len(want.Layers), n.ParamCount())
	}
}

// TestPieces holds the two sides of a cut against the whole.
func TestPieces(t *testing.T) {
	n, _ := small(t)
	for _, piece := range []Piece{Backbone, Head} {
		file, err := Marshal(n, piece)
		if err != nil {
			t.Fatal(err)
		}
		m, err := parse(file)
		if err != nil {
			t.Fatal(err)
		}
		want := map[Piece]string{Backbone: PictureName, Head: LayerName(n.Taps()[0])}[piece]
		if len(m.graph.inputs) != 1 || m.graph.inputs[0].name != want {
			t.Errorf("piece %d reads %v, want %s", piece, m.graph.inputs, want)
		}
	}
}

// TestDamage cuts a file everywhere and damages each byte: whatever comes of it, it
// is an error or a sound network.
func TestDamage(t *testing.T) {
	_, file := small(t)
	for i := range file {
		if _, err := Read(strings.NewReader(string(file[:i])), Options{}); err == nil {
			t.Fatalf("cut at %d of %d and accepted", i, len(file))
		}
		for _, bit := range []byte{1, 0x80} {
			bad := slices.Clone(file)
			bad[i] ^= bit
			if n, err := Read(strings.NewReader(string(bad)), Options{}); err == nil && n.ParamCount() > 4*len(file) {
				t.Fatalf("byte %d damaged gives %d parameters", i, n.ParamCount())
			}
		}
	}
}

func FuzzRead(f *testing.F) {
	_, file := small(f)
	f.Add(file)
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := Read(strings.NewReader(string(data)), Options{Input: models.Shape{C: 1, H: 8, W: 8}})
		if err != nil {
			return
		}
		if n.ParamCount() > 4*len(data)+foldAllowance {
			t.Fatalf("%d parameters from %d bytes", n.ParamCount(), len(data))
		}
		again, err := Marshal(n, Whole)
		if err != nil {
			t.Fatalf("write again: %v", err)
		}
		if _, err := parse(again); err != nil {
			t.Fatalf("read again: %v", err)
		}
	})
}

// write returns a file with the given operators after a convolution of 2 channels
// named "front"; what they compute last is the output.
func write(add func(e *exporter) string) []byte {
	n := models.Graph{Input: models.Shape{C: 2, H: 4, W: 4}}
	e := &exporter{graph: n}
	e.node("Conv", "front", []string{PictureName, e.floats([]int{2, 2, 1, 1}, 1, 0, 0, 1)})
	out := add(e)
	e.put(11, e.valueInfo(models.Picture))
	var info message
	info.text(1, out)
	e.put(12, info)
	var file, opset message
	opset.number(2, exportOpset)
	file.put(7, e.message)
	file.put(8, opset)
	return file
}

// TestJoins asks that layers become one, and compute the same.
func TestJoins(t *testing.T) {
	conv := func(e *exporter, in string) string {
		return e.node("Conv", "", []string{in, e.floats([]int{2, 2, 1, 1}, 1, 2, 3, -1)})
	}
	for name, test := range map[string]struct {
		add        func(e *exporter) string
		activation models.Activation
		want       func(x float64) float64 // of the convolution's first value, 0.7*1 + 0.2*2 for the picture
	}{
		"normalised": {func(e *exporter) string {
			in := conv(e, "front")
			return e.node("BatchNormalization", "", []string{in, e.floats([]int{2}, 2, 1), e.floats([]int{2}, 0.5, 0), e.floats([]int{2}, 0.1, 0), e.floats([]int{2}, 4, 1)}, attr{"epsilon", float32(0)})
		}, models.Linear, func(x float64) float64 { return (x-0.1)/2*2 + 0.5 }},
		"biased and scaled": {func(e *exporter) string {
			sum := e.node("Add", "", []string{conv(e, "front"), e.floats([]int{1, 2, 1, 1}, 0.5, 0)})
			return e.node("Relu", "", []string{e.node("Mul", "", []string{sum, e.floats(nil, 3)})})
		}, models.ReLU, func(x float64) float64 { return (x + 0.5) * 3 }},
		"silu": {func(e *exporter) string {
			in := conv(e, "front")
			return e.node("Mul", "", []string{in, e.node("Sigmoid", "", []string{in})})
		}, models.SiLU, func(x float64) float64 { return x / (1 + math.Exp(-x)) }},
		"hardswish": {func(e *exporter) string {
			in := conv(e, "front")
			clip := e.node("Clip", "", []string{e.node("Add", "", []string{in, e.floats(nil, 3)}), e.floats(nil, 0), e.floats(nil, 6)})
			return e.node("Div", "", []string{e.node("Mul", "", []string{in, clip}), e.floats(nil, 6)})
		}, models.HardSwish, func(x float64) float64 { return x * min(max(x+3, 0), 6) / 6 }},
		"hardsigmoid": {func(e *exporter) string {
			clip := e.node("Clip", "", []string{e.node("Add", "", []string{conv(e, "front"), e.floats(nil, 3)}), e.floats(nil, 0), e.floats(nil, 6)})
			return e.node("Div", "", []string{clip, e.floats(nil, 6)})
		}, models.HardSigmoid, func(x float64) float64 { return min(max(x+3, 0), 6) / 6 }},
	} {
		t.Run(name, func(t *testing.T) {
			n, err := Read(strings.NewReader(string(write(test.add))), Options{})
			if err != nil {
				t.Fatal(err)
			}
			g := n.Graph()
			if len(g.Layers) != 2 || g.Layers[1].Activation != test.activation {
				t.Fatalf("layers %+v, want two and the second with %v", g.Layers, test.activation)
			}
			in := models.NewTensor(n.Input())
			in.Channel(0)[0], in.Channel(1)[0] = 0.7, 0.2
			if got, want := run(t, n, in)[0].Data[0], test.want(1.1); math.Abs(float64(got)-want) > 1e-5 {
				t.Errorf("computes %g, want %g", got, want)
			}
		})
	}
}

// TestShapesAreComputed has a target of a reshape that follows from the picture's size.
func TestShapesAreComputed(t *testing.T) {
	file := write(func(e *exporter) string {
		shape := e.node("Shape", "", []string{"front"})
		height := e.node("Slice", "", []string{shape, e.ints(2), e.ints(3)})
		target := e.node("Concat", "", []string{e.ints(1), height, e.ints(-1)}, attr{"axis", 0})
		flat := e.node("Reshape", "", []string{"front", target})
		return e.node("MatMul", "", []string{flat, e.floats([]int{8, 1}, 1, 0, 0, 0, 0, 0, 0, 0)})
	})
	n, err := Read(strings.NewReader(string(file)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := n.Dims(n.Outputs()[0]); !slices.Equal(got, []int{1, 4, 1}) {
		t.Errorf("output %v, want 1, 4, 1", got)
	}
}

func TestRefuses(t *testing.T) {
	external := func(e *exporter) string {
		var entry, tensor message
		entry.text(1, "location")
		entry.text(2, "/etc/passwd")
		tensor.number(1, 2)
		tensor.number(2, typeFloat)
		tensor.text(8, "far")
		tensor.put(13, entry)
		tensor.number(14, 1)
		e.put(5, tensor)
		return e.node("Add", "", []string{"front", "far"})
	}
	for name, test := range map[string]struct {
		add  func(e *exporter) string
		want string // part of the message
		is   error
	}{
		"unknown operator": {func(e *exporter) string { return e.node("Einsum", "seen", []string{"front"}) }, `Einsum "seen"`, ErrUnsupported},
		"unknown input":    {func(e *exporter) string { return e.node("Relu", "", []string{"nothing"}) }, `"nothing"`, ErrUnsupported},
		"unknown output":   {func(*exporter) string { return "nothing" }, `"nothing"`, ErrFile},
		"external data":    {external, "outside the file", ErrFile},
		"huge tensor": {func(e *exporter) string {
			var tensor message
			for range 4 {
				tensor.number(1, 1<<24)
			}
			e.put(5, tensor)
			return "front"
		}, "out of range", ErrFile},
		"bomb of constants": {func(e *exporter) string {
			return e.node("Add", "", []string{"front", e.node("ConstantOfShape", "", []string{e.ints(1<<13, 1<<13)})})
		}, "more constants than its file justifies", ErrUnsupported},
		"mode": {func(e *exporter) string {
			return e.node("Pad", "", []string{"front", e.ints(0, 0, 1, 1, 0, 0, 1, 1)}, attr{"mode", "reflect"})
		}, `"reflect"`, ErrUnsupported},
		"batch": {func(e *exporter) string { return e.node("Concat", "", []string{"front", "front"}, attr{"axis", 0}) }, "batch", ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(strings.NewReader(string(write(test.add))), Options{})
			if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %v and %s", err, test.is, test.want)
			}
		})
	}
}

func TestPictureSize(t *testing.T) {
	_, file := small(t)
	if _, err := Read(strings.NewReader(string(file)), Options{Input: models.Shape{C: 2, H: 7, W: 5}}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("another size than the file's: error %v, want ErrUnsupported", err)
	}
	if _, err := Read(strings.NewReader("no such thing"), Options{}); !errors.Is(err, ErrFile) {
		t.Errorf("text: error %v, want ErrFile", err)
	}
}
