package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"perigee/models"
	"perigee/models/labels"
)

// Files of a job folder. docs/training.md describes them.
const (
	jobFile    = "job.json"
	baseFile   = "base" + models.FileExt
	paramsFile = "base.f32"
	resultFile = "head.f32"
)

// jobVersion is the version of the layout of a job folder.
const jobVersion = 1

// job is job.json: all that a program needs to know besides the numbers.
type job struct {
	Version  int          `json:"version"`
	Training models.Hash  `json:"training"` // names network, samples and options together
	Network  models.Hash  `json:"network"`  // that the training starts from
	Input    [3]int       `json:"input"`    // channels, height and width of a picture
	Classes  int          `json:"classes"`
	Head     int          `json:"head"` // number of the first layer
	Features []jobFeature `json:"features"`
	Layers   []jobLayer   `json:"layers"` // of the head
	Samples  jobSamples   `json:"samples"`
	Options  jobOptions   `json:"options"`
}

// jobFeature is a map in a features file. Offset counts values.
type jobFeature struct {
	Layer  int    `json:"layer"`
	Shape  [3]int `json:"shape"`
	Offset int    `json:"offset"`
}

// jobLayer is a layer of the head. What its kind does not have is left out.
type jobLayer struct {
	Layer      int          `json:"layer"`
	Kind       string       `json:"kind"` // as Darknet calls it
	Shape      [3]int       `json:"shape"`
	From       []int        `json:"from"`           // layers that it reads
	Size       []int        `json:"size,omitempty"` // of the window: rows, columns
	Stride     []int        `json:"stride,omitempty"`
	Padding    []int        `json:"padding,omitempty"` // top, left, bottom, right
	Groups     int          `json:"groups,omitempty"`
	Activation string       `json:"activation,omitempty"`
	Factor     int          `json:"factor,omitempty"`  // of an upsampling
	Anchors    [][2]float32 `json:"anchors,omitempty"` // width and height in pixels of the input
	Filters    int          `json:"filters,omitempty"`
	Columns    int          `json:"columns,omitempty"` // weights of a filter: channels x rows x columns
	Bias       *int         `json:"bias,omitempty"`    // where they are among the head's parameters
	Weights    *int         `json:"weights,omitempty"` // likewise, [filters][columns]
}

type jobSamples struct {
	Learn  int `json:"learn"`
	Replay int `json:"replay"`
	Check  int `json:"check"`
}

type jobOptions struct {
	Epochs       int     `json:"epochs"`
	Batch        int     `json:"batch"`
	LearningRate float64 `json:"learning_rate"`
	FinalRate    float64 `json:"final_rate"`
	ReplayShare  float64 `json:"replay_share"`
	Patience     int     `json:"patience"`
	Rank         int     `json:"rank"`
	Seed         uint64  `json:"seed"`
}

func newJob(net *models.Network, data Data, o Options) job {
	j := job{
		Version: jobVersion, Training: digest(net, data, o), Network: net.Hash(), Input: sides(net.Input()), Classes: net.Classes(),
		Head:    net.Graph().Head,
		Samples: jobSamples{len(data.Learn), len(data.Replay), len(data.Check)},
		Options: jobOptions{o.Epochs, o.Batch, o.LearningRate, o.FinalRate, o.ReplayShare, o.Patience, o.Rank, o.Seed},
	}
	offset := 0
	for _, tap := range net.Taps() {
		j.Features = append(j.Features, jobFeature{tap, sides(net.Shape(tap)), offset})
		offset += net.Shape(tap).Size()
	}
	convs := make(map[int]models.Conv)
	for _, c := range net.HeadConvs() {
		convs[c.Layer] = c
	}
	at := 0
	layers := net.Graph().Layers
	for i := j.Head; i < len(layers); i++ {
		layer := newJobLayer(net, i, &layers[i])
		if c, ok := convs[i]; ok {
			bias, weights := at, at+len(c.Bias)
			at = weights + len(c.Weights)
			layer.Filters, layer.Columns, layer.Bias, layer.Weights = c.Out.C, c.Columns, &bias, &weights
		}
		j.Layers = append(j.Layers, layer)
	}
	return j
}

func newJobLayer(net *models.Network, i int, l *models.Layer) jobLayer {
	layer := jobLayer{Layer: i, Kind: l.Kind.String(), Shape: sides(net.Shape(i)), From: net.Reads(i)}
	switch l.Kind {
	case models.Convolution, models.Deconvolution, models.MaxPool, models.AveragePool:
		w := l.Geometry()
		layer.Size, layer.Stride, layer.Padding = []int{w.H, w.W}, []int{w.StrideH, w.StrideW}, []int{w.Top, w.Left, w.Bottom, w.Right}
		layer.Groups, layer.Activation = max(l.Groups, 1), l.Activation.String()
	case models.Dense, models.Activate:
		layer.Activation = l.Activation.String()
	case models.Upsample:
		layer.Factor = l.Stride
	}
	for _, a := range l.Anchors {
		layer.Anchors = append(layer.Anchors, [2]float32{a.W, a.H})
	}
	return layer
}

func sides(s models.Shape) [3]int { return [3]int{s.C, s.H, s.W} }

// write lays out the folder. A folder of the same training is left as it is, with
// all that a program has put there; any other is emptied first.
func (j job) write(dir string, net *models.Network, data Data) error {
	text, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", jobFile, err)
	}
	text = append(text, '\n')
	path := filepath.Join(dir, jobFile)
	if old, err := os.ReadFile(path); err == nil && string(old) == string(text) {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for _, side := range []struct {
		name    string
		samples []Sample
	}{{"learn", data.Learn}, {"replay", data.Replay}, {"check", data.Check}} {
		if err := writeSamples(filepath.Join(dir, side.name), side.samples); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, paramsFile), models.AppendFloats(nil, net.HeadParams()), 0o644); err != nil {
		return err
	}
	if err := models.WriteFile(filepath.Join(dir, baseFile), net); err != nil {
		return err
	}
	// The last one: where it is, the others are whole.
	return renameio.WriteFile(path, text, 0o644)
}

func writeSamples(dir string, samples []Sample) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var buf []byte
	for i, s := range samples {
		name := filepath.Join(dir, fmt.Sprintf("%05d", i))
		buf = buf[:0]
		for _, f := range s.Features {
			buf = models.AppendFloats(buf, f.Data)
		}
		if err := os.WriteFile(name+".f32", buf, 0o644); err != nil {
			return err
		}
		if err := os.WriteFile(name+".txt", labels.Append(nil, s.Truth), 0o644); err != nil {
			return err
		}
	}
	return nil
}
