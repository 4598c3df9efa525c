package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/nlpodyssey/safetensors"

	"perigee/models"
)

// small returns a network of a few parameters with a constant among them.
func small(t testing.TB) *models.Network {
	t.Helper()
	n, err := models.Assemble(models.Shape{C: 1, H: 4, W: 4}, []models.Part{
		{Layer: models.Layer{Kind: models.Convolution, Filters: 2, Size: 3, Stride: 1, Name: "stem"}, Params: numbers(20)},
		{Layer: models.Layer{Kind: models.Constant, Dims: []int{2, 1, 1}, Name: "shift"}, Params: numbers(2)},
		{Layer: models.Layer{Kind: models.Add, From: []int{0, 1}}},
		{Layer: models.Layer{Kind: models.Reshape, Dims: []int{1, 8}}},
		{Layer: models.Layer{Kind: models.Dense, Filters: 3, Name: "names"}, Params: numbers(27)},
	}, []int{4}, "names")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func numbers(n int) []float32 {
	list := make([]float32, n)
	for i := range list {
		list[i] = float32(i+1) / 8
	}
	return list
}

func write(t testing.TB, n *models.Network) []byte {
	t.Helper()
	var file bytes.Buffer
	if err := Write(&file, n); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func TestRoundTrip(t *testing.T) {
	n := small(t)
	other, err := n.WithHead(make([]float32, n.HeadParamCount()))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(bytes.NewReader(write(t, n)), other)
	if err != nil {
		t.Fatal(err)
	}
	if got.Hash() != n.Hash() {
		t.Errorf("read %v, wrote %v", got.Hash(), n.Hash())
	}
}

// file returns a file with one tensor.
func file(t testing.TB, name string, kind safetensors.DType, data []byte, shape ...uint64) []byte {
	t.Helper()
	view, err := safetensors.NewTensorView(kind, shape, data)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := safetensors.Serialize(map[string]safetensors.TensorView{name: view}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestPartialFiles replaces the biases of the head alone, in every type.
func TestPartialFiles(t *testing.T) {
	n := small(t)
	for kind, data := range map[safetensors.DType][]byte{
		safetensors.F32:  {0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0, 0, 0, 0, 0x3f},
		safetensors.F16:  {0, 0x3c, 0, 0xc0, 0, 0x38},
		safetensors.BF16: {0x80, 0x3f, 0, 0xc0, 0, 0x3f},
		safetensors.F64:  {0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f},
	} {
		got, err := Read(bytes.NewReader(file(t, "names.bias", kind, data, 3)), n)
		if err != nil {
			t.Fatal(err)
		}
		head := got.HeadParams()
		if want := []float32{1, -2, 0.5}; !slices.Equal(head[:3], want) || !slices.Equal(head[3:], n.HeadParams()[3:]) {
			t.Errorf("%v: head %v, want it to begin with %v", kind, head, want)
		}
		if got.BackboneHash() != n.BackboneHash() {
			t.Errorf("%v: the backbone changed", kind)
		}
	}
}

func TestRefuses(t *testing.T) {
	n := small(t)
	for name, test := range map[string]struct {
		data []byte
		want string
		is   error
	}{
		"unknown name": {file(t, "nose.bias", safetensors.F32, make([]byte, 12), 3), `"nose.bias" belongs to no layer`, ErrFile},
		"shape":        {file(t, "names.bias", safetensors.F32, make([]byte, 16), 4), "shape [4], want [3]", ErrFile},
		"type":         {file(t, "names.bias", safetensors.I32, make([]byte, 12), 3), "want F32", ErrFile},
		"no number":    {file(t, "names.bias", safetensors.F32, []byte{0, 0, 0x80, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0}, 3), "finite", models.ErrParams},
		"long header":  {binary.LittleEndian.AppendUint64(nil, 1<<62), "header", ErrFile},
	} {
		if _, err := Read(bytes.NewReader(test.data), n); !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %v and %s", name, err, test.is, test.want)
		}
	}
}

func TestDamage(t *testing.T) {
	n := small(t)
	data := write(t, n)
	for i := range data {
		if _, err := Read(bytes.NewReader(data[:i]), n); !errors.Is(err, ErrFile) {
			t.Fatalf("cut at %d of %d: error %v, want ErrFile", i, len(data), err)
		}
	}
}

func FuzzRead(f *testing.F) {
	n := small(f)
	f.Add(write(f, n))
	f.Add(file(f, "names.bias", safetensors.F16, make([]byte, 6), 3))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := Read(bytes.NewReader(data), n); err == nil && got.ParamCount() != n.ParamCount() {
			t.Fatalf("%d parameters, want %d", got.ParamCount(), n.ParamCount())
		}
	})
}
