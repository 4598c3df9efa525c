// Package safetensors reads and writes the parameters of networks as safetensors
// files, the form in which other tools for training keep theirs.
//
// A file holds for each layer with weights the tensors NAME.weight and NAME.bias,
// and for each constant NAME.value, where NAME is what models.Graph.Name calls the
// layer. It says nothing of the graph: whoever reads it has the network already,
// and replaces parameters.
package safetensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"github.com/nlpodyssey/safetensors"
	"github.com/x448/float16"

	"perigee/models"
)

// MaxFile is the largest file that is read, in bytes.
const MaxFile = 1 << 30

// ErrFile is wrapped by errors about a file that is malformed, or whose tensors do
// not fit the network.
var ErrFile = errors.New("unusable safetensors file")

// Format is what the metadata of written files says under "format".
const Format = "perigee"

// slot is a part of a layer's parameters that has a name of its own.
type slot struct {
	name     string
	shape    []uint64
	at, size int // in the layer's parameters
}

// slots returns the tensors of layer i.
func slots(n *models.Network, g *models.Graph, i int) []slot {
	l := &g.Layers[i]
	size := len(n.LayerParams(i))
	switch {
	case size == 0:
		return nil
	case l.Kind == models.Constant:
		return []slot{{name: g.Name(i) + ".value", shape: unsigned(l.Dims), size: size}}
	}
	columns := (size - l.Filters) / l.Filters
	shape := []int{l.Filters, columns}
	if l.Kind != models.Dense {
		w := l.Geometry()
		shape = []int{l.Filters, columns / (w.H * w.W), w.H, w.W}
	}
	return []slot{
		{name: g.Name(i) + ".bias", shape: []uint64{uint64(l.Filters)}, size: l.Filters},
		{name: g.Name(i) + ".weight", shape: unsigned(shape), at: l.Filters, size: size - l.Filters},
	}
}

func unsigned(dims []int) []uint64 {
	list := make([]uint64, len(dims))
	for i, d := range dims {
		list[i] = uint64(d)
	}
	return list
}

// Write writes every parameter of n.
func Write(w io.Writer, n *models.Network) error {
	g := n.Graph()
	tensors := make(map[string]safetensors.TensorView)
	for i := range g.Layers {
		params := n.LayerParams(i)
		for _, s := range slots(n, &g, i) {
			view, err := safetensors.NewTensorView(safetensors.F32, s.shape, models.AppendFloats(nil, params[s.at:s.at+s.size]))
			if err != nil {
				return fmt.Errorf("write %s as safetensors: %w", s.name, err)
			}
			tensors[s.name] = view
		}
	}
	about := map[string]string{"format": Format, "network": n.Hash().String()}
	if err := safetensors.SerializeToWriter(tensors, about, w); err != nil {
		return fmt.Errorf("write safetensors: %w", err)
	}
	return nil
}

// ReadFile returns base with the parameters of the file in the place of its own.
// Layers of which the file says nothing stay as they are, so that a file may hold
// a head alone. Errors about its content wrap ErrFile or models.ErrParams.
func ReadFile(path string, base *models.Network) (*models.Network, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read safetensors: %w", err)
	}
	defer f.Close()
	n, err := Read(f, base)
	if err != nil {
		return nil, fmt.Errorf("read safetensors %s: %w", path, err)
	}
	return n, nil
}

// Read is ReadFile from a stream, which is read to its end.
func Read(r io.Reader, base *models.Network) (*models.Network, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxFile {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrFile, MaxFile)
	}
	tensors, err := deserialize(data)
	if err != nil {
		return nil, err
	}
	g := base.Graph()
	var params []float32
	found := 0
	for i := range g.Layers {
		layer := slices.Clone(base.LayerParams(i))
		for _, s := range slots(base, &g, i) {
			view, ok := tensors.Tensor(s.name)
			if !ok {
				continue
			}
			found++
			if err := s.fill(layer[s.at:s.at+s.size], view); err != nil {
				return nil, fmt.Errorf("%w: tensor %.80q: %w", ErrFile, s.name, err)
			}
		}
		params = append(params, layer...)
	}
	if found != tensors.Len() {
		return nil, fmt.Errorf("%w: %w", ErrFile, unknown(tensors, base, &g))
	}
	return models.NewNetwork(g, params)
}

// deserialize parses a file. The library trusts lengths that it should not, so the
// length of the header is checked before.
func deserialize(data []byte) (tensors safetensors.SafeTensors, err error) {
	const length = 8
	if len(data) < length || binary.LittleEndian.Uint64(data) > uint64(len(data)-length) {
		return tensors, fmt.Errorf("%w: ends within its header", ErrFile)
	}
	if tensors, err = safetensors.Deserialize(data); err != nil {
		return tensors, fmt.Errorf("%w: %w", ErrFile, err)
	}
	return tensors, nil
}

// unknown names a tensor that belongs to no layer.
func unknown(tensors safetensors.SafeTensors, n *models.Network, g *models.Graph) error {
	known := make(map[string]bool)
	example := ""
	for i := range g.Layers {
		for _, s := range slots(n, g, i) {
			known[s.name], example = true, s.name
		}
	}
	names := tensors.Names()
	slices.Sort(names)
	for _, name := range names {
		if !known[name] {
			return fmt.Errorf("tensor %.80q belongs to no layer of the network, whose last tensor is %q", name, example)
		}
	}
	return errors.New("layers of the network have the same name")
}

// fill decodes a tensor into params.
func (s *slot) fill(params []float32, view safetensors.TensorView) error {
	if !slices.Equal(view.Shape(), s.shape) {
		return fmt.Errorf("shape %v, want %v", view.Shape(), s.shape)
	}
	data := view.Data()
	size := map[safetensors.DType]int{safetensors.F32: 4, safetensors.F16: 2, safetensors.BF16: 2, safetensors.F64: 8}[view.DType()]
	if size == 0 || len(data) != size*len(params) {
		return fmt.Errorf("%d bytes of type %v, want F32, F16, BF16 or F64", len(data), view.DType())
	}
	order := binary.LittleEndian
	for i := range params {
		raw := data[i*size:]
		switch view.DType() {
		case safetensors.F32:
			params[i] = math.Float32frombits(order.Uint32(raw))
		case safetensors.F16:
			params[i] = float16.Frombits(order.Uint16(raw)).Float32()
		case safetensors.BF16:
			params[i] = math.Float32frombits(uint32(order.Uint16(raw)) << 16)
		default:
			params[i] = float32(math.Float64frombits(order.Uint64(raw)))
		}
	}
	return nil
}
