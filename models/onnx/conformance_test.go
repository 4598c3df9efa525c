package onnx

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"perigee/models"
)

// testdata is where Debian's package libonnx-testdata puts ONNX's own backend tests.
const testdata = "/usr/share/libonnx-testdata/data"

// TestConformance runs ONNX's own tests of operators. What Perigee does not support it
// must refuse; what it accepts it must compute right.
func TestConformance(t *testing.T) {
	root := testdata
	if dir := os.Getenv("PERIGEE_ONNX_TESTDATA"); dir != "" {
		root = dir
	}
	folders, err := filepath.Glob(filepath.Join(root, "*", "*", "test_data_set_0"))
	if err != nil {
		t.Fatal(err)
	}
	if len(folders) == 0 {
		t.Skip("ONNX's own tests are not there: apt-get install libonnx-testdata")
	}
	ran := 0
	for _, dir := range folders {
		if strings.Contains(dir, "resize_downsample_scales_linear_align_corners") {
			continue // onnxruntime does otherwise too: corners of the result, not of the scaled size
		}
		err := conform(t, filepath.Dir(dir), dir)
		switch {
		case err == nil:
			ran++
		case errors.Is(err, errNoPicture), errors.Is(err, ErrUnsupported), errors.Is(err, models.ErrGraph):
		default:
			t.Errorf("%s: %v", filepath.Base(filepath.Dir(dir)), err)
		}
	}
	t.Logf("%d of %d tests ran", ran, len(folders))
	if ran < 100 {
		t.Errorf("only %d of ONNX's tests ran", ran)
	}
}

// errNoPicture says that a test is about something else than a picture.
var errNoPicture = errors.New("its input is no picture")

// conform runs one test: the first input is the picture, the others are constants.
func conform(t *testing.T, dir, set string) error {
	data, err := os.ReadFile(filepath.Join(dir, "model.onnx"))
	if err != nil {
		return err
	}
	m, err := parse(data)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err) // element types that are not read
	}
	known := make(map[string]bool)
	for _, c := range m.graph.initializers {
		known[c.name] = true
	}
	var inputs []*tensor
	for i := range m.graph.inputs {
		if known[m.graph.inputs[i].name] {
			continue
		}
		in, err := readTensor(filepath.Join(set, "input_"+strconv.Itoa(i)+".pb"))
		if err != nil {
			return fmt.Errorf("%w: %w", errNoPicture, err)
		}
		in.name = m.graph.inputs[i].name
		inputs = append(inputs, in)
	}
	if len(inputs) == 0 || inputs[0].whole || len(inputs[0].dims) == 0 || inputs[0].size() == 0 || inputs[0].size() > models.MaxSide {
		return errNoPicture
	}
	m.graph.initializers = append(m.graph.initializers, inputs[1:]...)
	net, err := build(m, inputs[0].dims)
	if err != nil {
		return err
	}
	picture := models.Tensor{Shape: net.Input(), Data: inputs[0].floats}
	e, err := models.NewEngine(net, 2)
	if err != nil {
		return err
	}
	defer e.Close()
	features, err := e.Backbone(t.Context(), picture)
	if err != nil {
		return err
	}
	outputs, err := e.Head(t.Context(), features)
	if err != nil {
		return err
	}
	for i, got := range outputs {
		want, err := readTensor(filepath.Join(set, "output_"+strconv.Itoa(i)+".pb"))
		if err != nil {
			return err
		}
		if len(got.Data) != want.size() {
			return fmt.Errorf("output %d has %d values, want %d", i, len(got.Data), want.size())
		}
		for j, v := range want.numbers() {
			if d := math.Abs(float64(got.Data[j]) - v); !(d <= 1e-4*(1+math.Abs(v))) && !(math.IsNaN(v) && got.Data[j] != got.Data[j]) {
				return fmt.Errorf("output %d: value %d is %g, want %g", i, j, got.Data[j], v)
			}
		}
	}
	return nil
}

func readTensor(path string) (*tensor, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseTensor(data)
}

// build imports a model whose backbone is a convolution that changes nothing, put
// before all else. An input that is no picture is made from one.
func build(m *model, dims []int) (*models.Network, error) {
	im := newImporter(m.opset, 1<<24)
	if len(dims) != 4 || dims[0] != 1 {
		m.graph.inputs[0].dims = []int{1, 1, 1, product(dims)}
	}
	if err := im.inputs(&m.graph, models.Shape{}); err != nil {
		return nil, err
	}
	var picture *value
	for _, v := range im.values {
		if v.picture {
			picture = v
		}
	}
	c := im.input.C
	weights := make([]float32, c+c*c)
	for i := range c {
		weights[c+i*c+i] = 1
	}
	front, err := im.add(&node{name: "front"}, models.Layer{Kind: models.Convolution, Filters: c, Size: 1, Stride: 1}, weights, &value{picture: true, dims: picture.dims})
	if err != nil {
		return nil, err
	}
	*picture = *front
	if !slices.Equal(dims, front.dims) {
		if picture, err = im.add(&node{}, models.Layer{Kind: models.Reshape, Dims: dims}, nil, front); err != nil {
			return nil, err
		}
		im.values[m.graph.inputs[0].name] = picture
	}
	if err := im.run(&m.graph); err != nil {
		return nil, err
	}
	im.outputs = append(im.outputs, front.layer) // so that nothing is joined with it
	im.simplify()
	im.outputs = im.outputs[:len(im.outputs)-1]
	var head []string
	for i, l := range im.layers {
		for _, f := range l.from {
			if f == front.layer {
				head = append(head, strconv.Itoa(i))
			}
		}
		l.Name = ""
	}
	return im.assemble(strings.Join(head, ","))
}
