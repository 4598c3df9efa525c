package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"perigee/models"
	"perigee/models/darknet"
	"perigee/models/onnx"
	"perigee/testbed/assets"
)

func engineMeasures() []measure {
	return []measure{
		{
			name: "engine.forward", what: "yolov3-tiny at 416 x 416, picture to boxes, on one and two threads; reference: onnxruntime on as many",
			bars: map[string]bar{
				"engine.forward":   {ratio: limit{2.5, atMost}},
				"engine.forward_1": {ratio: limit{2.5, atMost}},
			},
			take: engineForward,
		},
		{
			name: "engine.forward_rss", what: "peak memory of a process that loads yolov3-tiny and runs it 20 times",
			bars: map[string]bar{"engine.forward_rss": {value: limit{200, atMost}}},
			take: engineMemory,
		},
		{
			name: "onnx.parity", what: "largest difference of any output of three real ONNX networks from onnxruntime's",
			bars: map[string]bar{"onnx.parity": {value: limit{1e-3, atMost}}},
			take: onnxParity,
		},
	}
}

// reference runs networks with onnxruntime. It is there when this program was built
// with the tag ort.
type reference interface {
	// engine starts an engine.
	engine(n *models.Network, threads int) (models.Engine, error)
	// outputs runs an ONNX file as it is and returns the values of its outputs.
	outputs(file []byte, picture models.Tensor) ([][]float32, error)
	close() error
}

// tiny reads yolov3-tiny, and makes a picture for it. How long a run takes does not
// depend on what is to be seen.
func (b *bench) tiny(ctx context.Context) (*models.Network, models.Tensor, error) {
	files, err := assets.FetchNetwork(ctx, assets.Options{Progress: b.progress.say})
	if err != nil {
		return nil, models.Tensor{}, err
	}
	n, err := darknet.ReadFiles(files.Config, files.Weights, darknet.YOLOv3TinyHead)
	if err != nil {
		return nil, models.Tensor{}, err
	}
	return n, waves(n.Input()), nil
}

// waves is a picture with something everywhere.
func waves(s models.Shape) models.Tensor {
	t := models.NewTensor(s)
	for i := range t.Data {
		t.Data[i] = float32(0.5 + 0.3*math.Sin(float64(i)/7) + 0.2*math.Sin(float64(i)/1013))
	}
	return t
}

// engineForward measures both engines in turns.
func engineForward(ctx context.Context, b *bench) (figures []figure, err error) {
	r, err := b.openReference(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = closing(err, r.close) }()
	n, picture, err := b.tiny(ctx)
	if err != nil {
		return nil, err
	}
	for _, threads := range []int{2, 1} {
		name := "engine.forward"
		if threads == 1 {
			name += "_1"
		}
		f, err := b.compareEngines(ctx, name, r, n, picture, threads)
		if err != nil {
			return figures, err
		}
		figures = append(figures, f)
	}
	f, err := b.compareGorgonia(ctx, n, picture)
	if err != nil {
		return figures, err
	}
	return append(figures, f), nil
}

func (b *bench) compareEngines(ctx context.Context, name string, r reference, n *models.Network, picture models.Tensor, threads int) (f figure, err error) {
	ours, err := models.NewEngine(n, threads)
	if err != nil {
		return f, err
	}
	defer func() { err = closing(err, ours.Close) }()
	theirs, err := r.engine(n, threads)
	if err != nil {
		return f, err
	}
	defer func() { err = closing(err, theirs.Close) }()
	detect := func(e models.Engine) func() error {
		return func() error {
			_, err := e.Detect(ctx, picture, models.DefaultDetectOptions())
			return err
		}
	}
	value, ref, err := b.inTurns(ctx, detect(ours), detect(theirs))
	return figure{name: name, value: value * 1e3, unit: "ms", reference: ref * 1e3}, err
}

// closing calls end and returns its error if there is none yet.
func closing(err error, end func() error) error {
	if failed := end(); err == nil {
		err = failed
	}
	return err
}

// engineMemory starts this program again, for nothing but running the network.
func engineMemory(ctx context.Context, b *bench) ([]figure, error) {
	files, err := assets.FetchNetwork(ctx, assets.Options{Progress: b.progress.say})
	if err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	out, err := exec.CommandContext(ctx, program, forwardCommand, files.Config, files.Weights).Output()
	if err != nil {
		return nil, fmt.Errorf("running the network in a process of its own: %w", err)
	}
	peak, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("reading the memory of the process: %w", err)
	}
	return []figure{{name: "engine.forward_rss", value: float64(peak) / megabyte, unit: "MB"}}, nil
}

// forwardCommand is the command that engineMemory runs.
const forwardCommand = "forward"

func newForward() *cobra.Command {
	return &cobra.Command{
		Use: forwardCommand + " CONFIG WEIGHTS", Short: "Run a network and print the peak of memory in bytes",
		Hidden: true, Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			peak, err := forward(cmd.Context(), args[0], args[1])
			if err == nil {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), peak)
			}
			return err
		},
	}
}

// forward loads a network, runs it 20 times on two threads and returns the largest
// resident size (VmHWM) of this process.
func forward(ctx context.Context, config, weights string) (int64, error) {
	n, err := darknet.ReadFiles(config, weights, darknet.YOLOv3TinyHead)
	if err != nil {
		return 0, err
	}
	e, err := models.NewEngine(n, 2)
	if err != nil {
		return 0, err
	}
	picture := waves(n.Input())
	for range 20 {
		if _, err := e.Detect(ctx, picture, models.DefaultDetectOptions()); err != nil {
			return 0, err
		}
	}
	if err := e.Close(); err != nil {
		return 0, err
	}
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("reading the memory of this process: %w", err)
	}
	return statusLine(text, "VmHWM")
}

// onnxParity runs real networks with our engine and, as they are, with onnxruntime.
func onnxParity(ctx context.Context, b *bench) (figures []figure, err error) {
	r, err := b.openReference(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = closing(err, r.close) }()
	files, err := assets.FetchRuntime(ctx, assets.Options{Progress: b.progress.say})
	if err != nil {
		return nil, err
	}
	worst := 0.0
	for _, test := range []struct {
		path string
		size models.Shape
	}{
		{files.Classifier, models.Shape{C: 3, H: 48, W: 192}},
		{files.Detector, models.Shape{C: 3, H: 320, W: 416}},
		{files.Recogniser, models.Shape{C: 3, H: 48, W: 320}},
	} {
		d, err := parity(ctx, r, test.path, test.size)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", test.path, err)
		}
		worst = max(worst, d)
	}
	return []figure{{name: "onnx.parity", value: worst, unit: "difference"}}, nil
}

// parity returns the largest difference of any value of any output.
func parity(ctx context.Context, r reference, path string, size models.Shape) (float64, error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	picture := waves(size)
	want, err := r.outputs(file, picture)
	if err != nil {
		return 0, err
	}
	n, err := onnx.ReadFile(path, onnx.Options{Input: size})
	if err != nil {
		return 0, err
	}
	e, err := models.NewEngine(n, 2)
	if err != nil {
		return 0, err
	}
	features, err := e.Backbone(ctx, picture)
	if err != nil {
		return 0, err
	}
	got, err := e.Head(ctx, features)
	if err != nil {
		return 0, err
	}
	if len(got) != len(want) {
		return 0, fmt.Errorf("%d outputs, onnxruntime computes %d", len(got), len(want))
	}
	worst := 0.0
	for i := range want {
		if len(got[i].Data) != len(want[i]) {
			return 0, fmt.Errorf("output %d has %d values, onnxruntime computes %d", i, len(got[i].Data), len(want[i]))
		}
		for j, v := range want[i] {
			d := math.Abs(float64(v) - float64(got[i].Data[j]))
			if d != d {
				return 0, fmt.Errorf("output %d: value %d is no number", i, j)
			}
			worst = max(worst, d)
		}
	}
	return worst, e.Close()
}
