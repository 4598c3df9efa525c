package models

import (
	"errors"
	"fmt"
)

// Window is how a convolution or a pool goes over a map, in its two directions.
type Window struct {
	_         struct{} `cbor:",toarray"`
	H         int      // rows of the window
	W         int      // columns
	StrideH   int      // from one place to the next
	StrideW   int
	DilationH int // from one row of the window to the next; 1 is none between
	DilationW int
	Top       int // rows of padding
	Left      int
	Bottom    int
	Right     int
	// ExtraH and ExtraW are rows and columns that a deconvolution adds at the end.
	ExtraH int
	ExtraW int
}

// Geometry returns the layer's window, whichever way it is described. Only
// convolutions, deconvolutions and pools have one.
func (l *Layer) Geometry() Window {
	if l.Window != nil {
		return *l.Window
	}
	w := Window{H: l.Size, W: l.Size, StrideH: l.Stride, StrideW: l.Stride, DilationH: 1, DilationW: 1}
	w.Top, w.Left, w.Bottom, w.Right = l.Pad, l.Pad, l.Pad, l.Pad
	if l.Kind == MaxPool { // both sides together
		w.Top, w.Left = l.Pad/2, l.Pad/2
		w.Bottom, w.Right = l.Pad-l.Pad/2, l.Pad-l.Pad/2
	}
	return w
}

// window is Geometry for layers that were not checked yet.
func (l *Layer) window() (Window, error) {
	if l.Window != nil && (l.Size != 0 || l.Stride != 0 || l.Pad != 0) {
		return Window{}, errors.New("describes its window twice")
	}
	w := l.Geometry()
	return w, w.check()
}

func (w *Window) check() error {
	for _, v := range []int{w.H, w.W, w.StrideH, w.StrideW, w.DilationH, w.DilationW} {
		if v < 1 || v > maxKernel {
			return fmt.Errorf("size %dx%d, stride %dx%d or dilation %dx%d is out of range", w.H, w.W, w.StrideH, w.StrideW, w.DilationH, w.DilationW)
		}
	}
	for _, v := range []int{w.Top, w.Left, w.Bottom, w.Right, w.ExtraH, w.ExtraW} {
		if v < 0 || v > maxKernel*maxKernel {
			return fmt.Errorf("padding %d, %d, %d, %d is out of range", w.Top, w.Left, w.Bottom, w.Right)
		}
	}
	return nil
}

// spanH and spanW return how far the window reaches.
func (w *Window) spanH() int { return (w.H-1)*w.DilationH + 1 }
func (w *Window) spanW() int { return (w.W-1)*w.DilationW + 1 }

// SquareWindow reports w as the fields Size, Stride and Pad of a layer of the given
// kind, if those can say it.
func (w *Window) SquareWindow(k Kind) (size, stride, pad int, ok bool) {
	pad = w.Top
	if k == MaxPool {
		pad = w.Top + w.Bottom
	}
	l := Layer{Kind: k, Size: w.H, Stride: w.StrideH, Pad: pad}
	return w.H, w.StrideH, pad, l.Geometry() == *w
}

// convolution infers convolutions and deconvolutions.
func (l *Layer) convolution(in []int) ([]int, int, error) {
	w, err := l.window()
	if err != nil {
		return nil, 0, err
	}
	if len(in) != 4 || in[0] != 1 {
		return nil, 0, fmt.Errorf("reads a map of %v, want 1 x channels x height x width", in)
	}
	if l.Filters < 1 || l.Filters > MaxChannels {
		return nil, 0, fmt.Errorf("%d filters are out of range", l.Filters)
	}
	if g := l.groups(); in[1]%g != 0 || l.Filters%g != 0 {
		return nil, 0, fmt.Errorf("cuts %d channels and %d filters in %d groups", in[1], l.Filters, g)
	}
	h, width := place(in[2], w.spanH(), w.StrideH, w.Top+w.Bottom), place(in[3], w.spanW(), w.StrideW, w.Left+w.Right)
	if l.Kind == Deconvolution {
		h = (in[2]-1)*w.StrideH + w.spanH() + w.ExtraH - w.Top - w.Bottom
		width = (in[3]-1)*w.StrideW + w.spanW() + w.ExtraW - w.Left - w.Right
	}
	if h < 1 || width < 1 {
		return nil, 0, fmt.Errorf("window of %dx%d does not fit the input %v", w.spanH(), w.spanW(), in)
	}
	params := int64(l.Filters) * (1 + int64(l.columns(in)))
	return []int{1, l.Filters, h, width}, int(min(params, MaxParams+1)), nil
}

// place returns how many places a window has.
func place(size, span, stride, pad int) int {
	if size+pad < span {
		return 0
	}
	return (size+pad-span)/stride + 1
}

// columns returns how many weights a filter has for an input of dimensions in.
func (l *Layer) columns(in []int) int {
	if l.Kind == Dense {
		return in[len(in)-1]
	}
	w := l.Geometry()
	return in[1] / l.groups() * w.H * w.W
}

func (l *Layer) dense(in []int) ([]int, int, error) {
	if l.Filters < 1 || l.Filters > MaxChannels || len(in) < 2 {
		return nil, 0, fmt.Errorf("%d filters over %v are out of range", l.Filters, in)
	}
	out := append([]int(nil), in...)
	out[len(out)-1] = l.Filters
	params := int64(l.Filters) * (1 + int64(l.columns(in)))
	return out, int(min(params, MaxParams+1)), nil
}

func (l *Layer) pool(in []int) ([]int, error) {
	w, err := l.window()
	if err != nil {
		return nil, err
	}
	if len(in) != 4 || in[0] != 1 {
		return nil, fmt.Errorf("reads a map of %v, want 1 x channels x height x width", in)
	}
	h, width := place(in[2], w.spanH(), w.StrideH, w.Top+w.Bottom), place(in[3], w.spanW(), w.StrideW, w.Left+w.Right)
	// No window may lie wholly outside: it would have no value.
	if h < 1 || width < 1 || w.Top >= w.spanH() || w.Left >= w.spanW() ||
		(h-1)*w.StrideH-w.Top >= in[2] || (width-1)*w.StrideW-w.Left >= in[3] || w.DilationH*w.DilationW != 1 {
		return nil, fmt.Errorf("window of %dx%d with padding %d, %d, %d, %d does not fit the input %v", w.spanH(), w.spanW(), w.Top, w.Left, w.Bottom, w.Right, in)
	}
	return []int{1, in[1], h, width}, nil
}
