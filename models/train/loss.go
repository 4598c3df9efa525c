package train

import (
	"fmt"
	"math"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"perigee/models"
)

// The weights of the loss's terms.
const (
	positiveWeight = 8 // of the objectness where an object is
	sizeWeight     = 4 // of the log sizes
)

// boxFields is how many channels an anchor has before its classes: centre x, y,
// log width, log height and objectness.
const boxFields = 5

// Rows of a target, for each anchor of a YOLO layer.
const (
	targetState  = iota // one of the states below
	targetX             // centre within the cell, 0 to 1
	targetY             //
	targetW             // log of the width over the anchor's
	targetH             //
	targetClass         //
	targetFields        // number of rows
)

// States of an anchor in a cell.
const (
	background = 0 // nothing is there: objectness should be low
	object     = 1 // this anchor answers for an object
	ignored    = 2 // another anchor does, but this one is not wrong either
)

// yoloLoss adds the loss of one YOLO layer for one picture: binary cross
// entropy on objectness, on the centre offsets and on the classes, and smooth
// L1 on the log sizes. Objectness counts everywhere but where it is ignored,
// the rest only where an object is. raw is what the layer reads, target a
// matrix of anchors x targetFields by pixels. The sums are not averaged.
func yoloLoss(layer, classes int, raw, target *gorgonia.Node) (*gorgonia.Node, error) {
	area := raw.Shape()[1]
	k := &operator{name: fmt.Sprintf("loss %d", layer), wrt: []bool{true, false}}
	k.run = func(in [][]float32, out []float32) {
		var sum float64
		eachTerm(in[0], in[1], area, classes, func(_ int, value, _ float64) { sum += value })
		out[0] = float32(sum)
	}
	k.diff = func(in gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
		d := &operator{name: fmt.Sprintf("gradient of loss %d", layer), run: func(in [][]float32, out []float32) {
			clear(out)
			scale := float64(in[2][0])
			eachTerm(in[0], in[1], area, classes, func(at int, _, slope float64) { out[at] = float32(slope * scale) })
		}}
		node, err := d.apply(raw.Shape().Clone(), in[0], in[1], grad)
		return gorgonia.Nodes{node, nil}, err
	}
	return k.apply(tensor.ScalarShape(), raw, target)
}

// eachTerm calls do for every value of raw that the loss depends on, with the
// value's index, its term and the term's derivative.
func eachTerm(raw, target []float32, area, classes int, do func(at int, value, slope float64)) {
	channels := boxFields + classes
	entropy := func(at int, want, weight float64) {
		x := float64(raw[at])
		do(at, weight*(softplus(x)-x*want), weight*(sigmoid(x)-want))
	}
	for a := range len(raw) / (channels * area) {
		row := func(field int) []float32 { return target[(a*targetFields+field)*area : (a*targetFields+field+1)*area] }
		for cell, state := range row(targetState) {
			at := func(channel int) int { return (a*channels+channel)*area + cell }
			switch state {
			case background:
				entropy(at(4), 0, 1)
			case object:
				entropy(at(0), float64(row(targetX)[cell]), 1)
				entropy(at(1), float64(row(targetY)[cell]), 1)
				for i, field := range []int{targetW, targetH} {
					d := float64(raw[at(2+i)]) - float64(row(field)[cell])
					value, slope := smoothL1(d)
					do(at(2+i), sizeWeight*value, sizeWeight*slope)
				}
				entropy(at(4), 1, positiveWeight)
				for class := range classes {
					want := 0.0
					if class == int(row(targetClass)[cell]) {
						want = 1
					}
					entropy(at(boxFields+class), want, 1)
				}
			}
		}
	}
}

// smoothL1 returns the loss of a distance and its derivative.
func smoothL1(d float64) (value, slope float64) {
	if math.Abs(d) < 1 {
		return d * d / 2, d
	}
	return math.Abs(d) - 0.5, math.Copysign(1, d)
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// softplus returns log(1 + e^x) without overflow.
func softplus(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }

// ignoreFrom is the overlap in shape from which an anchor that does not answer
// for an object in its cell is not told that it is wrong.
const ignoreFrom = 0.5

// output is a YOLO layer: where boxes are read.
type output struct {
	layer   int
	shape   models.Shape
	anchors []models.Anchor
}

// outputs lists the YOLO layers of a network, in order of layers.
func outputs(net *models.Network) []output {
	layers := net.Graph().Layers
	var list []output
	for _, i := range net.Outputs() {
		list = append(list, output{layer: i, shape: net.Shape(i), anchors: layers[i].Anchors})
	}
	return list
}

// assign makes the targets of one picture, one for each YOLO layer. As in YOLO,
// the anchor of all layers whose shape overlaps an object most answers for it,
// in the cell that holds its centre. When two objects claim one anchor, the
// later wins.
func assign(outs []output, input models.Shape, truth []models.Truth) [][]float32 {
	targets := make([][]float32, len(outs))
	for i, out := range outs {
		targets[i] = make([]float32, len(out.anchors)*targetFields*out.shape.H*out.shape.W)
	}
	for _, t := range truth {
		best, bestOut, bestAnchor := float32(-1), 0, 0
		for i, out := range outs {
			for a, anchor := range out.anchors {
				overlap := shapeIoU(anchor, input, t.Box)
				if overlap > best {
					best, bestOut, bestAnchor = overlap, i, a
				}
				state := &targets[i][a*targetFields*out.area()+out.cell(t.Box)]
				if overlap > ignoreFrom && *state == background {
					*state = ignored
				}
			}
		}
		out := outs[bestOut]
		out.answer(targets[bestOut], bestAnchor, input, t)
	}
	return targets
}

func (o output) area() int { return o.shape.H * o.shape.W }

// cell returns the number of the cell that holds a box's centre.
func (o output) cell(b models.Box) int {
	x := min(max(int(b.X*float32(o.shape.W)), 0), o.shape.W-1)
	y := min(max(int(b.Y*float32(o.shape.H)), 0), o.shape.H-1)
	return y*o.shape.W + x
}

// answer makes an anchor answer for an object.
func (o output) answer(target []float32, anchor int, input models.Shape, t models.Truth) {
	cell := o.cell(t.Box)
	set := func(field int, v float32) { target[(anchor*targetFields+field)*o.area()+cell] = v }
	set(targetState, object)
	set(targetX, t.Box.X*float32(o.shape.W)-float32(cell%o.shape.W))
	set(targetY, t.Box.Y*float32(o.shape.H)-float32(cell/o.shape.W))
	set(targetW, logRatio(t.Box.W*float32(input.W), o.anchors[anchor].W))
	set(targetH, logRatio(t.Box.H*float32(input.H), o.anchors[anchor].H))
	set(targetClass, float32(t.Class))
}

func logRatio(size, anchor float32) float32 {
	return float32(math.Log(float64(size) / float64(anchor)))
}

// shapeIoU is the overlap of a box and an anchor laid on the same centre.
func shapeIoU(a models.Anchor, input models.Shape, b models.Box) float32 {
	return models.IoU(models.Box{W: a.W, H: a.H}, models.Box{W: b.W * float32(input.W), H: b.H * float32(input.H)})
}
