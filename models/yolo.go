package models

import (
	"errors"
	"fmt"
	"math"
)

// boxFields is how many channels an anchor has before its classes: centre x, y,
// log width, log height and objectness.
const boxFields = 5

// ErrNoBoxes says that a network has no YOLO layer whose output could be read as
// boxes: what its outputs mean is known to whoever made it.
var ErrNoBoxes = errors.New("network has no YOLO layer")

// Decode reads the outputs of the YOLO layers, in the order of Outputs and as
// Engine.Head returns them, into detections of at least threshold. Boxes that no
// finite number describes are left out. Nothing is suppressed: see NMS. Errors wrap
// ErrShape or ErrNoBoxes.
func (n *Network) Decode(outputs []Tensor, threshold float32) ([]Detection, error) {
	if len(n.plan.yolos) == 0 {
		return nil, fmt.Errorf("decode detections: %w: read its outputs otherwise", ErrNoBoxes)
	}
	if len(outputs) != len(n.plan.yolos) {
		return nil, fmt.Errorf("decode detections: %w: %d outputs, want %d", ErrShape, len(outputs), len(n.plan.yolos))
	}
	var found []Detection
	for i, layer := range n.plan.yolos {
		if err := outputs[i].check(n.Shape(layer)); err != nil {
			return nil, fmt.Errorf("decode detections of layer %d: %w", layer, err)
		}
		l := &n.graph.Layers[layer]
		for a, anchor := range l.Anchors {
			size := Anchor{W: anchor.W / float32(n.graph.Input.W), H: anchor.H / float32(n.graph.Input.H)}
			found = decodeAnchor(found, outputs[i], a*(boxFields+l.Classes), l.Classes, size, threshold)
		}
	}
	return found, nil
}

// decodeAnchor appends the detections of one anchor, whose channels begin at
// first and whose size is relative to the picture.
func decodeAnchor(found []Detection, t Tensor, first, classes int, anchor Anchor, threshold float32) []Detection {
	object := t.Channel(first + 4)
	for cell := range object {
		sure := sigmoid(object[cell])
		if !(sure >= threshold) {
			continue
		}
		box := Box{
			X: (float32(cell%t.W) + sigmoid(t.Channel(first)[cell])) / float32(t.W),
			Y: (float32(cell/t.W) + sigmoid(t.Channel(first + 1)[cell])) / float32(t.H),
			W: anchor.W * exp(t.Channel(first + 2)[cell]),
			H: anchor.H * exp(t.Channel(first + 3)[cell]),
		}
		if !box.finite() {
			continue
		}
		for class := range classes {
			score := sure * sigmoid(t.Channel(first + boxFields + class)[cell])
			if score >= threshold {
				found = append(found, Detection{Class: class, Score: score, Box: box})
			}
		}
	}
	return found
}

func (b Box) finite() bool {
	for _, v := range [...]float32{b.X, b.Y, b.W, b.H} {
		if v != v || v > math.MaxFloat32 || v < -math.MaxFloat32 {
			return false
		}
	}
	return true
}

func sigmoid(x float32) float32 { return float32(1 / (1 + math.Exp(-float64(x)))) }

func exp(x float32) float32 { return float32(math.Exp(float64(x))) }
