package darknet

import (
	"fmt"

	"perigee/models"
)

// network is a configuration as a graph, and which of its convolutions are
// batch-normalised.
type network struct {
	graph  models.Graph
	normed []bool // by layer
}

// parseConfig reads a configuration file.
func parseConfig(text []byte, head int) (*network, error) {
	sections, err := parseSections(text)
	if err != nil {
		return nil, err
	}
	if len(sections) == 0 || sections[0].name != "net" && sections[0].name != "network" {
		return nil, fmt.Errorf("%w: does not begin with [net]", ErrConfig)
	}
	n := &network{graph: models.Graph{Head: head}}
	if err := n.input(&sections[0]); err != nil {
		return nil, fmt.Errorf("%w: [net]: %w", ErrConfig, err)
	}
	for i := range sections[1:] {
		s := &sections[1+i]
		layer, err := n.layer(s, i)
		if err != nil {
			return nil, fmt.Errorf("%w: layer %d, [%s] on line %d: %w", ErrConfig, i, s.name, s.line, err)
		}
		n.graph.Layers = append(n.graph.Layers, layer)
	}
	return n, nil
}

func (n *network) input(s *section) error {
	for _, o := range []struct {
		key string
		to  *int
	}{{"channels", &n.graph.Input.C}, {"height", &n.graph.Input.H}, {"width", &n.graph.Input.W}} {
		v, err := s.number(o.key, 0)
		if err != nil {
			return err
		}
		*o.to = v
	}
	return nil
}

// layer returns section s as layer i.
func (n *network) layer(s *section, i int) (models.Layer, error) {
	n.normed = append(n.normed, false)
	switch s.name {
	case "convolutional", "conv":
		return n.convolution(s, i)
	case "maxpool", "max":
		return maxPool(s)
	case "route":
		return route(s, i)
	case "upsample":
		stride, err := s.number("stride", 2)
		return models.Layer{Kind: models.Upsample, Stride: stride}, err
	case "yolo":
		return yolo(s)
	}
	return models.Layer{}, fmt.Errorf("kind is not supported; want convolutional, maxpool, route, upsample or yolo")
}

func (n *network) convolution(s *section, i int) (models.Layer, error) {
	l := models.Layer{Kind: models.Convolution}
	var samePad, normed, groups int
	if err := s.read([]option{
		{"filters", 1, &l.Filters},
		{"size", 1, &l.Size},
		{"stride", 1, &l.Stride},
		{"padding", 0, &l.Pad},
		{"pad", 0, &samePad},
		{"batch_normalize", 0, &normed},
		{"groups", 1, &groups},
	}); err != nil {
		return l, err
	}
	if groups != 1 {
		return l, fmt.Errorf("%d groups are not supported", groups)
	}
	if samePad != 0 {
		l.Pad = l.Size / 2
	}
	n.normed[i] = normed != 0
	switch activation := s.options["activation"]; activation {
	case "leaky":
		l.Activation = models.Leaky
	case "linear":
		l.Activation = models.Linear
	default:
		return l, fmt.Errorf("activation %.40q is not supported; want leaky or linear", activation)
	}
	return l, nil
}

func maxPool(s *section) (models.Layer, error) {
	l := models.Layer{Kind: models.MaxPool}
	if err := s.read([]option{{"stride", 1, &l.Stride}}); err != nil {
		return l, err
	}
	if err := s.read([]option{{"size", l.Stride, &l.Size}}); err != nil {
		return l, err
	}
	return l, s.read([]option{{"padding", l.Size - 1, &l.Pad}})
}

func route(s *section, i int) (models.Layer, error) {
	from, err := s.integers("layers", 16)
	if err != nil {
		return models.Layer{}, err
	}
	for j := range from {
		if from[j] < 0 {
			from[j] += i
		}
	}
	return models.Layer{Kind: models.Route, From: from}, nil
}

func yolo(s *section) (models.Layer, error) {
	l := models.Layer{Kind: models.YOLO}
	if err := s.read([]option{{"classes", 20, &l.Classes}}); err != nil {
		return l, err
	}
	sizes, err := s.numbers("anchors", 128)
	if err != nil {
		return l, err
	}
	mask, err := s.integers("mask", 64)
	if err != nil {
		return l, err
	}
	for _, m := range mask {
		if m < 0 || 2*m+1 >= len(sizes) {
			return l, fmt.Errorf("mask names anchor %d of %d", m, len(sizes)/2)
		}
		l.Anchors = append(l.Anchors, models.Anchor{W: float32(sizes[2*m]), H: float32(sizes[2*m+1])})
	}
	return l, nil
}

// option is a whole number to read from a section.
type option struct {
	key      string
	fallback int
	to       *int
}

func (s *section) read(options []option) error {
	for _, o := range options {
		v, err := s.number(o.key, o.fallback)
		if err != nil {
			return err
		}
		*o.to = v
	}
	return nil
}
