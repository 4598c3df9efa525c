//go:build ort

package ort

import (
	"context"
	"errors"
	"fmt"
	"sync"

	onnxruntime "github.com/yalue/onnxruntime_go"

	"perigee/models"
	"perigee/models/onnx"
)

// engine is a models.Engine. A call that has begun is not cut short when its context
// ends: backbone and head each run to their end.
type engine struct {
	threads int

	mu             sync.Mutex // guards what follows
	net            *models.Network
	backbone, head *piece // the head reads what the backbone computes, in place
}

var errClosed = errors.New("engine is closed")

// NewEngine returns an engine with n loaded that uses up to threads cores. Its
// results are those of models.NewEngine but for rounding.
func (*Runtime) NewEngine(n *models.Network, threads int) (models.Engine, error) {
	if threads < 1 || threads > models.MaxThreads {
		return nil, fmt.Errorf("start engine: %d threads, want 1 to %d", threads, models.MaxThreads)
	}
	e := &engine{threads: threads}
	if err := e.Load(n); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *engine) Load(n *models.Network) error {
	if n == nil {
		return errors.New("load network: none given")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	backbone := e.backbone
	if e.net == nil || e.net.BackboneHash() != n.BackboneHash() {
		var err error
		if backbone, err = newBackbone(n, e.threads); err != nil {
			return fmt.Errorf("load network: backbone: %w", err)
		}
	}
	head, err := newHead(n, backbone, e.threads)
	if err != nil {
		err = fmt.Errorf("load network: head: %w", err)
		if backbone != e.backbone {
			err = errors.Join(err, backbone.close())
		}
		return err
	}
	err = e.head.close()
	if backbone != e.backbone {
		err = errors.Join(err, e.backbone.close())
	}
	e.net, e.backbone, e.head = n, backbone, head
	return err
}

// maps makes memory and finds names for the maps of layers.
func maps(n *models.Network, layers []int) (tensors []*onnxruntime.Tensor[float32], names []string, err error) {
	for _, i := range layers {
		t, err := newTensor(n.Dims(i))
		if err != nil {
			return tensors, nil, err
		}
		tensors, names = append(tensors, t), append(names, onnx.LayerName(i))
	}
	return tensors, names, nil
}

func newBackbone(n *models.Network, threads int) (*piece, error) {
	file, err := onnx.Marshal(n, onnx.Backbone)
	if err != nil {
		return nil, err
	}
	size := n.Input()
	in, err := newTensor([]int{1, size.C, size.H, size.W})
	if err != nil {
		return nil, err
	}
	out, names, err := maps(n, n.Taps())
	inputs := []*onnxruntime.Tensor[float32]{in}
	if err != nil {
		return nil, errors.Join(err, (&piece{in: inputs, out: out}).close())
	}
	return newPiece(file, []string{onnx.PictureName}, names, inputs, out, false, threads)
}

func newHead(n *models.Network, backbone *piece, threads int) (*piece, error) {
	file, err := onnx.Marshal(n, onnx.Head)
	if err != nil {
		return nil, err
	}
	var inputs []string
	for _, i := range n.Taps() {
		inputs = append(inputs, onnx.LayerName(i))
	}
	out, names, err := maps(n, n.Outputs())
	if err != nil {
		return nil, errors.Join(err, (&piece{out: out, shared: true}).close())
	}
	return newPiece(file, inputs, names, backbone.out, out, true, threads)
}

func (e *engine) Network() *models.Network {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.net
}

func (e *engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	err := errors.Join(e.head.close(), e.backbone.close())
	e.net, e.backbone, e.head = nil, nil, nil
	return err
}

func (e *engine) Backbone(ctx context.Context, picture models.Tensor) (models.Features, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.runBackbone(ctx, picture); err != nil {
		return nil, err
	}
	return e.views(e.backbone, e.net.Taps(), true), nil
}

func (e *engine) runBackbone(ctx context.Context, picture models.Tensor) error {
	if e.net == nil {
		return errClosed
	}
	if want := e.net.Input(); picture.Shape != want || len(picture.Data) != want.Size() {
		return fmt.Errorf("run backbone: picture: %w: %v with %d values, want %v", models.ErrShape, picture.Shape, len(picture.Data), want)
	}
	copy(e.backbone.in[0].GetData(), picture.Data)
	return e.run(ctx, e.backbone, "backbone")
}

func (e *engine) run(ctx context.Context, p *piece, what string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("run %s: %w", what, err)
	}
	if err := p.session.Run(); err != nil {
		return fmt.Errorf("run %s: %w", what, err)
	}
	return nil
}

// views returns the outputs of a piece, or copies of them.
func (e *engine) views(p *piece, layers []int, copied bool) []models.Tensor {
	list := make([]models.Tensor, len(layers))
	for i, layer := range layers {
		list[i] = models.Tensor{Shape: e.net.Shape(layer), Data: p.out[i].GetData()}
		if copied {
			list[i] = list[i].Clone()
		}
	}
	return list
}

func (e *engine) Head(ctx context.Context, f models.Features) ([]models.Tensor, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.net == nil {
		return nil, errClosed
	}
	taps := e.net.Taps()
	if len(f) != len(taps) {
		return nil, fmt.Errorf("run head: %w: %d feature maps, want %d", models.ErrShape, len(f), len(taps))
	}
	for i, layer := range taps {
		if want := e.net.Shape(layer); f[i].Shape != want || len(f[i].Data) != want.Size() {
			return nil, fmt.Errorf("run head: features of layer %d: %w: %v with %d values, want %v", layer, models.ErrShape, f[i].Shape, len(f[i].Data), want)
		}
		copy(e.backbone.out[i].GetData(), f[i].Data)
	}
	if err := e.run(ctx, e.head, "head"); err != nil {
		return nil, err
	}
	return e.views(e.head, e.net.Outputs(), true), nil
}

func (e *engine) Detect(ctx context.Context, picture models.Tensor, o models.DetectOptions) ([]models.Detection, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.runBackbone(ctx, picture); err != nil {
		return nil, err
	}
	if err := e.run(ctx, e.head, "head"); err != nil {
		return nil, err
	}
	found, err := e.net.Decode(e.views(e.head, e.net.Outputs(), false), o.Threshold)
	if err != nil {
		return nil, err
	}
	return models.NMS(found, o.NMS), nil
}
