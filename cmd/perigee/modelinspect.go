package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"perigee/models"
	"perigee/models/delta"
)

func newModelInspect(e *env) *cobra.Command {
	var s modelSource
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Show the layers of a network, where it is cut, and its hashes",
		Long: `Inspect reads a network and shows its layers with their shapes and parameters,
which of them are the backbone, which stays on board, and which the head, which
is retrained, and the hashes that name the whole and both parts. Of a delta file it
shows the networks that it leads from and to, how it is packed, and who signed it.

The exit code is 65 when the file is malformed or holds what Perigee cannot run;
the message names the operator.`,
		Example: `  perigee model inspect detector.onnx --input 3x640x640
  perigee model inspect yolov3-tiny.cfg --weights yolov3-tiny.weights --head 13
  perigee model inspect -o json tiny.pmodel
  perigee model inspect change.pdelta`,
		Args: exactArgs("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			s.file = args[0]
			if strings.EqualFold(filepath.Ext(s.file), delta.FileExt) {
				return runDeltaInspect(e, s.file)
			}
			return runModelInspect(e, s)
		},
	}
	s.flags(cmd.Flags())
	return cmd
}

func runModelInspect(e *env, s modelSource) error {
	n, format, err := s.read()
	if err != nil {
		return fmt.Errorf("inspect %s: %w", s.file, err)
	}
	view := viewModel(n, format)
	return e.print(view, view.table)
}

// modelView is what "perigee model inspect" shows.
type modelView struct {
	Format     string      `json:"format"`
	Input      []int       `json:"input"`
	Layers     []layerView `json:"layers"`
	Head       int         `json:"head"` // number of the first layer
	HeadName   string      `json:"head_name"`
	Taps       []int       `json:"taps"` // backbone layers that the head reads
	Outputs    []int       `json:"outputs"`
	Classes    int         `json:"classes,omitempty"`
	Parameters struct {
		Network  int `json:"network"`
		Backbone int `json:"backbone"`
		Head     int `json:"head"`
	} `json:"parameters"`
	Hashes struct {
		Network  models.Hash `json:"network"`
		Backbone models.Hash `json:"backbone"`
		Head     models.Hash `json:"head"`
	} `json:"hashes"`
}

type layerView struct {
	Number     int    `json:"number"`
	Name       string `json:"name"`
	Kind       string `json:"kind"`
	Window     string `json:"window,omitempty"`
	Activation string `json:"activation,omitempty"`
	Reads      []int  `json:"reads"` // -1 is the picture
	Dims       []int  `json:"dims"`
	Parameters int    `json:"parameters"`
	Part       string `json:"part"`
}

func viewModel(n *models.Network, format string) *modelView {
	g := n.Graph()
	v := &modelView{
		Format: format, Input: []int{g.Input.C, g.Input.H, g.Input.W}, Head: g.Head, HeadName: g.Name(g.Head),
		Taps: n.Taps(), Outputs: n.Outputs(), Classes: n.Classes(),
	}
	v.Parameters.Network, v.Parameters.Head = n.ParamCount(), n.HeadParamCount()
	v.Parameters.Backbone = n.ParamCount() - n.HeadParamCount()
	v.Hashes.Network, v.Hashes.Backbone, v.Hashes.Head = n.Hash(), n.BackboneHash(), n.HeadHash()
	for i := range g.Layers {
		l := &g.Layers[i]
		layer := layerView{
			Number: i, Name: g.Name(i), Kind: l.Kind.String(), Window: window(l), Reads: append([]int{}, n.Reads(i)...),
			Dims: n.Dims(i), Parameters: len(n.LayerParams(i)), Part: "backbone",
		}
		if i >= g.Head {
			layer.Part = "head"
		}
		if l.Activation != models.Linear {
			layer.Activation = l.Activation.String()
		}
		v.Layers = append(v.Layers, layer)
	}
	return v
}

// window describes the window of a convolution or a pool.
func window(l *models.Layer) string {
	switch l.Kind {
	case models.Convolution, models.Deconvolution, models.MaxPool, models.AveragePool:
	default:
		return ""
	}
	w := l.Geometry()
	text := fmt.Sprintf("%dx%d", w.H, w.W)
	if w.StrideH != 1 || w.StrideW != 1 {
		text += fmt.Sprintf("/%dx%d", w.StrideH, w.StrideW)
	}
	if w.DilationH != 1 || w.DilationW != 1 {
		text += fmt.Sprintf(" dilated %dx%d", w.DilationH, w.DilationW)
	}
	if l.Groups > 1 {
		text += fmt.Sprintf(" in %d groups", l.Groups)
	}
	return text
}

func (v *modelView) table(w io.Writer) {
	row(w, "LAYER", "NAME", "KIND", "READS", "OUTPUT", "PARAMETERS", "PART")
	for i := range v.Layers {
		l := &v.Layers[i]
		kind := strings.Join(strings.Fields(l.Kind+" "+l.Window+" "+l.Activation), " ")
		row(w, l.Number, l.Name, kind, numbers(l.Reads, ","), numbers(l.Dims, "x"), l.Parameters, l.Part)
	}
	row(w, "")
	row(w, "format", v.Format)
	row(w, "input", numbers(v.Input, "x"))
	row(w, "head", fmt.Sprintf("from layer %d, %s; reads %s; hands out %s", v.Head, v.HeadName, numbers(v.Taps, ","), numbers(v.Outputs, ",")))
	if v.Classes > 0 {
		row(w, "classes", v.Classes)
	}
	row(w, "parameters", fmt.Sprintf("%d: backbone %d, head %d", v.Parameters.Network, v.Parameters.Backbone, v.Parameters.Head))
	row(w, "network", v.Hashes.Network)
	row(w, "backbone", v.Hashes.Backbone)
	row(w, "head", v.Hashes.Head)
}

// numbers joins whole numbers; the picture is called that.
func numbers(list []int, between string) string {
	if len(list) == 0 {
		return "-"
	}
	text := make([]string, len(list))
	for i, n := range list {
		if text[i] = strconv.Itoa(n); n == models.Picture {
			text[i] = "picture"
		}
	}
	return strings.Join(text, between)
}
