package onnx

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"perigee/models"
)

// Limits on files.
const (
	MaxFile    = 1 << 29 // bytes
	maxNodes   = 1 << 14 // operators, also constants
	maxTensors = 1 << 14
	maxEdges   = 64 // inputs, outputs or attributes of an operator
	maxName    = 1 << 10
	maxText    = 1 << 12 // bytes of a text attribute
)

// ErrFile is wrapped by errors about a file that is no ONNX model or a damaged one,
// ErrUnsupported by errors about a model that Perigee cannot run.
var (
	ErrFile        = errors.New("malformed ONNX file")
	ErrUnsupported = errors.New("unsupported ONNX model")
)

// model is what is read of a ModelProto (onnx.proto).
type model struct {
	opset int // of the default domain
	graph graph
}

type graph struct {
	nodes        []node
	initializers []*tensor
	inputs       []valueInfo
	outputs      []valueInfo
}

type node struct {
	op, domain, name string
	inputs, outputs  []string
	attributes       map[string]*attribute
}

func (n *node) String() string {
	name := n.name
	if name == "" && len(n.outputs) > 0 {
		name = n.outputs[0]
	}
	return fmt.Sprintf("%s %q", n.op, name)
}

// attribute holds the one value that it has.
type attribute struct {
	float  float32
	number int64
	text   string
	tensor *tensor
	floats []float32
	ints   []int64
	graph  bool // holds a graph, which is not read
}

type valueInfo struct {
	name string
	kind int   // element type
	dims []int // -1 is unknown
}

// fields calls read for every field of a message. read gets the bytes of a field
// of the length-delimited type, or its number.
func fields(data []byte, read func(number protowire.Number, bytes []byte, value uint64) error) error {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		var bytes []byte
		var value uint64
		switch kind {
		case protowire.BytesType:
			bytes, n = protowire.ConsumeBytes(data)
		case protowire.VarintType:
			value, n = protowire.ConsumeVarint(data)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(data)
			value = uint64(v)
		case protowire.Fixed64Type:
			value, n = protowire.ConsumeFixed64(data)
		default:
			n = protowire.ConsumeFieldValue(number, kind, data)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		if err := read(number, bytes, value); err != nil {
			return err
		}
	}
	return nil
}

// parse reads a ModelProto. What it returns refers to data.
func parse(data []byte) (*model, error) {
	m := &model{}
	found := false
	err := fields(data, func(number protowire.Number, bytes []byte, _ uint64) error {
		switch number {
		case 7:
			found = true
			return m.graph.parse(bytes)
		case 8:
			return m.parseOpset(bytes)
		}
		return nil
	})
	if err == nil && !found {
		err = errors.New("it holds no graph")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	return m, nil
}

func (m *model) parseOpset(data []byte) error {
	var domain string
	var version uint64
	err := fields(data, func(number protowire.Number, bytes []byte, value uint64) error {
		switch number {
		case 1:
			domain = string(bytes[:min(len(bytes), maxName)])
		case 2:
			version = value
		}
		return nil
	})
	if domain == "" || domain == "ai.onnx" {
		m.opset = int(min(version, math.MaxInt32))
	}
	return err
}

func (g *graph) parse(data []byte) error {
	return fields(data, func(number protowire.Number, bytes []byte, _ uint64) error {
		if len(g.nodes) > maxNodes || len(g.initializers) > maxTensors || len(g.inputs)+len(g.outputs) > 2*maxTensors {
			return fmt.Errorf("more than %d nodes or tensors", maxNodes)
		}
		switch number {
		case 1:
			n, err := parseNode(bytes)
			g.nodes = append(g.nodes, n)
			return err
		case 5:
			t, err := parseTensor(bytes)
			g.initializers = append(g.initializers, t)
			return err
		case 11, 12:
			v, err := parseValueInfo(bytes)
			if number == 11 {
				g.inputs = append(g.inputs, v)
			} else {
				g.outputs = append(g.outputs, v)
			}
			return err
		case 15:
			return errors.New("it holds sparse tensors")
		}
		return nil
	})
}

func text(bytes []byte, limit int) (string, error) {
	if len(bytes) > limit {
		return "", fmt.Errorf("text of %d bytes, limit %d", len(bytes), limit)
	}
	return string(bytes), nil
}

func parseNode(data []byte) (node, error) {
	n := node{attributes: make(map[string]*attribute)}
	err := fields(data, func(number protowire.Number, bytes []byte, _ uint64) error {
		if len(n.inputs) > maxEdges || len(n.outputs) > maxEdges || len(n.attributes) > maxEdges {
			return fmt.Errorf("node %s has more than %d inputs, outputs or attributes", &n, maxEdges)
		}
		if number == 5 {
			name, a, err := parseAttribute(bytes)
			n.attributes[name] = a
			return err
		}
		s, err := text(bytes, maxName)
		switch number {
		case 1:
			n.inputs = append(n.inputs, s)
		case 2:
			n.outputs = append(n.outputs, s)
		case 3:
			n.name = s
		case 4:
			n.op = s
		case 7:
			n.domain = s
		default:
			return nil // such as the documentation
		}
		return err
	})
	return n, err
}

func parseAttribute(data []byte) (string, *attribute, error) {
	var name string
	a := &attribute{}
	err := fields(data, func(number protowire.Number, bytes []byte, value uint64) (err error) {
		switch number {
		case 1:
			name, err = text(bytes, maxName)
		case 2:
			a.float = math.Float32frombits(uint32(value))
		case 3:
			a.number = int64(value)
		case 4:
			a.text, err = text(bytes, maxText)
		case 5:
			a.tensor, err = parseTensor(bytes)
		case 6, 11:
			a.graph = true
		case 7:
			a.floats, err = appendFloats(a.floats, bytes, value)
		case 8:
			a.ints, err = appendInts(a.ints, bytes, value)
		}
		return err
	})
	return name, a, err
}

// appendFloats and appendInts add a repeated field, which is packed into bytes or is
// one value.
func appendFloats(list []float32, bytes []byte, value uint64) ([]float32, error) {
	if bytes == nil {
		return append(list, math.Float32frombits(uint32(value))), nil
	}
	for len(bytes) > 0 {
		v, n := protowire.ConsumeFixed32(bytes)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		list, bytes = append(list, math.Float32frombits(v)), bytes[n:]
	}
	return list, nil
}

func appendInts(list []int64, bytes []byte, value uint64) ([]int64, error) {
	if bytes == nil {
		return append(list, int64(value)), nil
	}
	for len(bytes) > 0 {
		v, n := protowire.ConsumeVarint(bytes)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		list, bytes = append(list, int64(v)), bytes[n:]
	}
	return list, nil
}

// parseValueInfo reads a ValueInfoProto: a name and, some messages deeper, an
// element type and dimensions.
func parseValueInfo(data []byte) (valueInfo, error) {
	var v valueInfo
	err := fields(data, func(number protowire.Number, bytes []byte, _ uint64) (err error) {
		switch number {
		case 1:
			v.name, err = text(bytes, maxName)
		case 2: // TypeProto
			err = fields(bytes, func(number protowire.Number, bytes []byte, _ uint64) error {
				if number != 1 { // only tensors
					return nil
				}
				return v.parseTensorType(bytes)
			})
		}
		return err
	})
	return v, err
}

func (v *valueInfo) parseTensorType(data []byte) error {
	return fields(data, func(number protowire.Number, bytes []byte, value uint64) error {
		switch number {
		case 1:
			v.kind = int(min(value, math.MaxInt32))
		case 2: // TensorShapeProto
			return fields(bytes, func(number protowire.Number, bytes []byte, _ uint64) error {
				if number != 1 {
					return nil
				}
				if len(v.dims) == models.MaxRank {
					return fmt.Errorf("%.80q has more than %d dimensions", v.name, models.MaxRank)
				}
				dim := -1
				err := fields(bytes, func(number protowire.Number, _ []byte, value uint64) error {
					if number == 1 && value > 0 && value <= math.MaxInt32 {
						dim = int(value)
					}
					return nil
				})
				v.dims = append(v.dims, dim)
				return err
			})
		}
		return nil
	})
}
