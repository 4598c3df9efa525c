package models

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"perigee/models/internal/kernel"
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
	// Head runs the head and returns the maps of Network().Outputs(), in that order;
	// those of YOLO layers are before any sigmoid. They belong to the caller.
	Head(ctx context.Context, f Features) ([]Tensor, error)
	// Detect runs the whole network and returns what it sees, best first. It fails
	// with ErrNoBoxes when the network has no YOLO layer.
	Detect(ctx context.Context, picture Tensor, o DetectOptions) ([]Detection, error)
	// Close frees what the engine holds. The engine must not be used afterwards.
	Close() error
}

// MaxThreads bounds the cores that one engine may use.
const MaxThreads = 64

// errClosed is returned by an engine after Close.
var errClosed = errors.New("engine is closed")

// cpuEngine is the default Engine: Go with vector instructions, without cgo.
type cpuEngine struct {
	threads int
	set     kernel.Set

	mu      sync.Mutex // guards what follows
	net     *Network
	program *program
	outputs []Tensor // views of what the program hands out
}

// NewEngine returns the default engine with n loaded. It uses up to threads
// cores during a call; the results are the same bit for bit whatever their
// number. For yolov3-tiny at 416 x 416 it needs about 50 MB besides the network,
// 35 of them for weights in the order in which the processor wants them. It
// allocates memory when a network is loaded, and for what a call returns.
func NewEngine(n *Network, threads int) (Engine, error) {
	return newEngine(n, threads, kernel.Best())
}

func newEngine(n *Network, threads int, set kernel.Set) (Engine, error) {
	if threads < 1 || threads > MaxThreads {
		return nil, fmt.Errorf("start engine: %d threads, want 1 to %d", threads, MaxThreads)
	}
	e := &cpuEngine{threads: threads, set: set}
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
	switch {
	case e.net == nil || e.net.plan != n.plan:
		e.program = compile(n, e.set, e.threads)
		e.outputs = nil
		for i, out := range e.program.outputs {
			e.outputs = append(e.outputs, Tensor{Shape: n.Shape(n.plan.outputs[i]), Data: out.values()})
		}
	default: // another head of the same backbone
		e.program.load(n, n.graph.Head)
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
	e.net, e.program, e.outputs = nil, nil, nil
	return nil
}

func (e *cpuEngine) Backbone(ctx context.Context, picture Tensor) (Features, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.backbone(ctx, picture); err != nil {
		return nil, err
	}
	features := make(Features, len(e.program.taps))
	for i, tap := range e.program.taps {
		features[i] = tap.get()
	}
	return features, nil
}

func (e *cpuEngine) backbone(ctx context.Context, picture Tensor) error {
	if e.net == nil {
		return errClosed
	}
	if err := picture.check(e.net.graph.Input); err != nil {
		return fmt.Errorf("run backbone: picture: %w", err)
	}
	e.program.picture.put(picture.Data)
	return e.program.run(ctx, 0, e.program.head)
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
		if err := f[i].check(e.net.Shape(layer)); err != nil {
			return nil, fmt.Errorf("run head: features of layer %d: %w", layer, err)
		}
	}
	for i, tap := range e.program.taps {
		tap.put(f[i].Data)
	}
	if err := e.head(ctx); err != nil {
		return nil, err
	}
	outputs := make([]Tensor, len(e.outputs))
	for i, out := range e.outputs {
		outputs[i] = out.Clone()
	}
	return outputs, nil
}

func (e *cpuEngine) head(ctx context.Context) error {
	return e.program.run(ctx, e.program.head, len(e.program.steps))
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
	found, err := e.net.Decode(e.outputs, o.Threshold)
	if err != nil {
		return nil, err
	}
	return NMS(found, o.NMS), nil
}
