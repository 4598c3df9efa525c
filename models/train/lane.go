package train

import (
	"fmt"

	"github.com/viterin/vek/vek32"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"perigee/models"
)

// example is what one picture gives to a run: the maps that the graph reads and
// the targets of the YOLO layers.
type example struct {
	maps    [][]float32
	targets [][]float32
}

// lane is a graph with its machine: one picture at a time, one goroutine.
type lane struct {
	machine gorgonia.VM
	maps    []*gorgonia.Node
	targets []*gorgonia.Node
	loss    *gorgonia.Node
	grads   gorgonia.Nodes // in the order of variables.trained
	sums    [][]float32    // of the gradients since the last clear
	total   float64        // of the losses since the last clear
}

// newLane builds the graph from the given layers to the loss and its gradients.
func newLane(net *models.Network, vars *variables, from []int) (*lane, error) {
	b := newBuilder(net, vars)
	l := &lane{}
	for _, i := range from {
		l.maps = append(l.maps, b.input(i))
	}
	var losses gorgonia.Nodes
	for _, out := range outputs(net) {
		maps, err := b.layer(out.layer)
		if err != nil {
			return nil, err
		}
		if len(maps) != 1 {
			return nil, fmt.Errorf("YOLO layer %d reads a joined map, which cannot be trained", out.layer)
		}
		target := b.matrix(fmt.Sprintf("target %d", out.layer), len(out.anchors)*targetFields, out.area())
		loss, err := yoloLoss(out.layer, net.Classes(), maps[0].node, target)
		if err != nil {
			return nil, err
		}
		l.targets = append(l.targets, target)
		losses = append(losses, loss)
	}
	var err error
	if l.loss, err = sum(losses); err != nil {
		return nil, err
	}
	var wrt gorgonia.Nodes
	for _, v := range vars.trained {
		wrt = append(wrt, b.nodes[v])
		l.sums = append(l.sums, make([]float32, v.value.Size()))
	}
	if l.grads, err = gorgonia.Grad(l.loss, wrt...); err != nil {
		return nil, fmt.Errorf("differentiate the loss: %w", err)
	}
	l.machine = gorgonia.NewTapeMachine(b.graph)
	return l, nil
}

func sum(losses gorgonia.Nodes) (*gorgonia.Node, error) {
	total := losses[0]
	for _, loss := range losses[1:] {
		var err error
		if total, err = gorgonia.Add(total, loss); err != nil {
			return nil, fmt.Errorf("add the losses of the layers: %w", err)
		}
	}
	return total, nil
}

func (l *lane) close() error { return l.machine.Close() }

// clear forgets the sums.
func (l *lane) clear() {
	l.total = 0
	for _, sum := range l.sums {
		clear(sum)
	}
}

// add runs one example and adds its loss and gradients to the sums.
func (l *lane) add(e example) error {
	l.machine.Reset()
	if err := let(l.maps, e.maps); err != nil {
		return err
	}
	if err := let(l.targets, e.targets); err != nil {
		return err
	}
	if err := l.machine.RunAll(); err != nil {
		return fmt.Errorf("run the training graph: %w", err)
	}
	loss, err := floats(l.loss.Value())
	if err != nil {
		return fmt.Errorf("read the loss: %w", err)
	}
	l.total += float64(loss[0])
	for i, node := range l.grads {
		grad, err := floats(node.Value())
		if err != nil {
			return fmt.Errorf("read a gradient: %w", err)
		}
		vek32.Add_Inplace(l.sums[i], grad)
	}
	return nil
}

// let gives values to the inputs of a graph. The values are not copied.
func let(nodes []*gorgonia.Node, values [][]float32) error {
	for i, node := range nodes {
		value := tensor.New(tensor.WithShape(node.Shape().Clone()...), tensor.WithBacking(values[i]))
		if err := gorgonia.Let(node, value); err != nil {
			return fmt.Errorf("set %s: %w", node.Name(), err)
		}
	}
	return nil
}

// stem computes layers in the middle of a head that stays as it is.
type stem struct {
	machine gorgonia.VM
	maps    []*gorgonia.Node
	results []*gorgonia.Node
}

func newStem(net *models.Network, vars *variables, from, to []int) (*stem, error) {
	b := newBuilder(net, vars)
	s := &stem{}
	for _, i := range from {
		s.maps = append(s.maps, b.input(i))
	}
	for _, i := range to {
		maps, err := b.layer(i)
		if err != nil {
			return nil, err
		}
		if len(maps) != 1 {
			return nil, fmt.Errorf("layer %d is a joined map, from which only whole heads can be trained", i)
		}
		s.results = append(s.results, maps[0].node)
	}
	s.machine = gorgonia.NewTapeMachine(b.graph)
	return s, nil
}

func (s *stem) close() error { return s.machine.Close() }

// run returns copies of the computed maps.
func (s *stem) run(maps [][]float32) ([][]float32, error) {
	s.machine.Reset()
	if err := let(s.maps, maps); err != nil {
		return nil, err
	}
	if err := s.machine.RunAll(); err != nil {
		return nil, fmt.Errorf("run the fixed part of the head: %w", err)
	}
	results := make([][]float32, len(s.results))
	for i, node := range s.results {
		data, err := floats(node.Value())
		if err != nil {
			return nil, fmt.Errorf("read a map: %w", err)
		}
		results[i] = append([]float32(nil), data...)
	}
	return results, nil
}
