package models

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// parts returns the layers of n with their parameters.
func parts(n *Network) []Part {
	list := make([]Part, len(n.graph.Layers))
	for i := range list {
		list[i] = Part{Layer: n.graph.Layers[i], Params: n.layerParams(i)}
	}
	return list
}

func TestCut(t *testing.T) {
	n := branched(t, 1)
	in := picture(n.Input(), 2)
	want := plain(n, in)
	for _, test := range []struct {
		head  string
		first int
		taps  []int
	}{
		{"", 6, []int{3, 5}}, // behind the last of 33 channels at 3x4
		{"6,8", 6, []int{3, 5}},
		{"layer4", 4, []int{3}},
		{"1", 1, []int{0}},
	} {
		got, err := n.Cut(test.head)
		if err != nil {
			t.Fatalf("cut at %q: %v", test.head, err)
		}
		if got.graph.Head != test.first || !slices.Equal(got.Taps(), test.taps) {
			t.Errorf("cut at %q: head from %d, reads %v; want %d and %v", test.head, got.graph.Head, got.Taps(), test.first, test.taps)
		}
		e := engine(t, got, 1)
		features, err := e.Backbone(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		outputs, err := e.Head(t.Context(), features)
		if err != nil {
			t.Fatal(err)
		}
		for i, layer := range n.Outputs() {
			near(t, outputs[i], want[layer])
		}
	}
	if same, err := n.Cut("6,8"); err != nil || same.Hash() != n.Hash() {
		t.Errorf("cut where it is cut: %v, want the same network", err)
	}
	for head, message := range map[string]string{"nose": "no layer is named", "16": "no layer is named", "0": "head begins at layer 0"} {
		if _, err := n.Cut(head); !errors.Is(err, ErrGraph) || !strings.Contains(err.Error(), message) {
			t.Errorf("cut at %q: error %v, want %q", head, err, message)
		}
	}
}

// TestCutMovesBranches has a branch of the head before layers of the backbone.
func TestCutMovesBranches(t *testing.T) {
	list := []Part{
		{Layer: Layer{Kind: Convolution, Filters: 2, Size: 3, Stride: 1, Name: "stem"}, Params: noise(20, 1, 1)},
		{Layer: Layer{Kind: Convolution, Filters: 3, Size: 1, Stride: 1, Name: "head"}, Params: noise(9, 1, 2)},
		{Layer: Layer{Kind: MaxPool, From: []int{0}, Size: 2, Stride: 2, Name: "pool"}},
		{Layer: Layer{Kind: Upsample, Stride: 2, Name: "up"}},
		{Layer: Layer{Kind: Route, From: []int{1, 3}, Name: "both"}},
	}
	n, err := Assemble(Shape{C: 1, H: 6, W: 6}, list, []int{4}, "head")
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for i := range n.graph.Layers {
		order = append(order, n.graph.Name(i))
	}
	if want := []string{"stem", "pool", "up", "head", "both"}; !slices.Equal(order, want) || n.graph.Head != 3 {
		t.Fatalf("order %v with the head from %d, want %v and 3", order, n.graph.Head, want)
	}
	if n.HeadParamCount() != 9 || !slices.Equal(n.head, list[1].Params) {
		t.Errorf("the head has %d parameters, or others than its layer", n.HeadParamCount())
	}
	in := picture(n.Input(), 3)
	want := plain(n, in)
	e := engine(t, n, 2)
	features, err := e.Backbone(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	outputs, err := e.Head(t.Context(), features)
	if err != nil {
		t.Fatal(err)
	}
	near(t, outputs[0], want[4])
	if _, err := n.Decode(outputs, 0.5); !errors.Is(err, ErrNoBoxes) {
		t.Errorf("decode: error %v, want ErrNoBoxes", err)
	}
}

func TestAssembleRefuses(t *testing.T) {
	good := parts(branched(t, 1))
	for name, change := range map[string]func(list []Part) []Part{
		"forward":      func(list []Part) []Part { list[8].Layer.From = []int{9}; return list },
		"parameters":   func(list []Part) []Part { list[0].Params = list[0].Params[1:]; return list },
		"no weights":   func(list []Part) []Part { return list[4:6] },
		"nothing":      func([]Part) []Part { return nil },
		"another kind": func(list []Part) []Part { list[1].Layer.Kind = 200; return list },
	} {
		if _, err := Assemble(Shape{C: 3, H: 22, W: 30}, change(slices.Clone(good)), nil, ""); !errors.Is(err, ErrGraph) && !errors.Is(err, ErrParams) {
			t.Errorf("%s: error %v, want ErrGraph or ErrParams", name, err)
		}
	}
}
