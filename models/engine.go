package models

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Features are the backbone's maps that a head reads, in the order of
// Network.Taps. They can be kept and given to heads of other networks with the
// same backbone.
type Features []Tensor

// DetectOptions steer Detect.
type DetectOptions struct {
	Threshold float32 // lowest score to report, 0 to 1
	NMS       float32 // overlap above which the lesser of two boxes goes, 0 to 1
}

// DefaultDetectOptions are the options Darknet's example uses.
func DefaultDetectOptions() DetectOptions { return DetectOptions{Threshold: 0.25, NMS: 0.4} }

// An Engine runs one network on pictures. Every method may be called from
// several goroutines; calls wait for each other.
type Engine interface {
	// Load replaces the network. When it fails, the old one stays.
	Load(n *Network) error
	// Network returns the network that runs.
	Network() *Network
	// Backbone runs the backbone on a picture of shape Network().Input(). The
	// result belongs to the caller.
	Backbone(ctx context.Context, picture Tensor) (Features, error)
	// Head runs the head and returns the outputs of the YOLO layers before any
	// sigmoid, in the order of Network().Outputs(). They belong to the caller.
	Head(ctx context.Context, f Features) ([]Tensor, error)
	// Detect runs the whole network and returns what it sees, best first.
	Detect(ctx context.Context, picture Tensor, o DetectOptions) ([]Detection, error)
	// Close frees what the engine holds. The engine must not be used afterwards.
	Close() error
}

// MaxThreads bounds the cores that one engine may use.
const MaxThreads = 64

// errClosed is returned by an engine after Close.
var errClosed = errors.New("engine is closed")

// cpuEngine is the default Engine: Go and vek32's vector kernels, without cgo.
type cpuEngine struct {
	threads int

	mu   sync.Mutex // guards what follows
	net  *Network
	work workspace
}

// NewEngine returns the default engine with n loaded. It uses up to threads
// cores during a call; the results are the same bit for bit whatever their
// number. For yolov3-tiny at 416 x 416 it needs about 20 MB besides the network.
func NewEngine(n *Network, threads int) (Engine, error) {
	if threads < 1 || threads > MaxThreads {
		return nil, fmt.Errorf("start engine: %d threads, want 1 to %d", threads, MaxThreads)
	}
	e := &cpuEngine{threads: threads}
	if err := e.Load(n); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *cpuEngine) Load(n *Network) error {
	if n == nil {
		return errors.New("load network: none given")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.net == nil || e.net.plan != n.plan {
		e.work = newWorkspace(n, e.threads)
	}
	e.net = n
	return nil
}

func (e *cpuEngine) Network() *Network {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.net
}

func (e *cpuEngine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.net, e.work = nil, workspace{}
	return nil
}

func (e *cpuEngine) Backbone(ctx context.Context, picture Tensor) (Features, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.backbone(ctx, picture); err != nil {
		return nil, err
	}
	return clones(e.work.maps, e.net.plan.taps), nil
}

func (e *cpuEngine) backbone(ctx context.Context, picture Tensor) error {
	if e.net == nil {
		return errClosed
	}
	if err := picture.check(e.net.graph.Input); err != nil {
		return fmt.Errorf("run backbone: picture: %w", err)
	}
	return e.run(ctx, picture, 0, e.net.graph.Head)
}

func (e *cpuEngine) Head(ctx context.Context, f Features) ([]Tensor, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.net == nil {
		return nil, errClosed
	}
	taps := e.net.plan.taps
	if len(f) != len(taps) {
		return nil, fmt.Errorf("run head: %w: %d feature maps, want %d", ErrShape, len(f), len(taps))
	}
	for i, layer := range taps {
		if err := f[i].check(e.net.plan.shapes[layer]); err != nil {
			return nil, fmt.Errorf("run head: features of layer %d: %w", layer, err)
		}
	}
	for i, layer := range taps {
		copy(e.work.maps[layer].Data, f[i].Data)
	}
	if err := e.head(ctx); err != nil {
		return nil, err
	}
	return clones(e.work.maps, e.net.plan.yolos), nil
}

func (e *cpuEngine) head(ctx context.Context) error {
	first := e.net.graph.Head
	return e.run(ctx, e.work.maps[first-1], first, len(e.net.graph.Layers))
}

func (e *cpuEngine) Detect(ctx context.Context, picture Tensor, o DetectOptions) ([]Detection, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.backbone(ctx, picture); err != nil {
		return nil, err
	}
	if err := e.head(ctx); err != nil {
		return nil, err
	}
	outputs := make([]Tensor, len(e.net.plan.yolos))
	for i, layer := range e.net.plan.yolos {
		outputs[i] = e.work.maps[layer]
	}
	found, err := e.net.Decode(outputs, o.Threshold)
	if err != nil {
		return nil, err
	}
	return NMS(found, o.NMS), nil
}

func clones(maps []Tensor, layers []int) []Tensor {
	out := make([]Tensor, len(layers))
	for i, layer := range layers {
		out[i] = maps[layer].Clone()
	}
	return out
}

// run computes the layers from first up to end. input is what first reads.
func (e *cpuEngine) run(ctx context.Context, input Tensor, first, end int) error {
	for i := first; i < end; i++ {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("run layer %d: %w", i, err)
		}
		e.layer(i, input)
		input = e.work.maps[i]
	}
	return nil
}

func (e *cpuEngine) layer(i int, in Tensor) {
	l, out := &e.net.graph.Layers[i], e.work.maps[i]
	switch l.Kind {
	case Convolution:
		convolve(e.net.conv(i), in, out, &e.work, e.threads)
	case MaxPool:
		parallel(e.threads, out.C, func(_, c int) { maxPool(l, in, out, c) })
	case Route:
		at := 0
		for _, from := range l.From {
			at += copy(out.Data[at:], e.work.maps[from].Data)
		}
	case Upsample:
		upsample(l.Stride, in, out)
	case YOLO: // shares the map that it reads
	}
}

// parallel calls work(worker, task) for every task below tasks, from up to
// threads goroutines, and returns when all is done. Which worker does a task is
// not fixed; what a task computes must not depend on it.
func parallel(threads, tasks int, work func(worker, task int)) {
	threads = min(threads, tasks)
	if threads <= 1 {
		for t := range tasks {
			work(0, t)
		}
		return
	}
	var wg sync.WaitGroup
	for w := range threads {
		wg.Go(func() {
			for t := w; t < tasks; t += threads {
				work(w, t)
			}
		})
	}
	wg.Wait()
}
