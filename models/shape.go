package models

import "fmt"

// Shape is the size of a feature map: channels, height and width.
type Shape struct {
	_ struct{} `cbor:",toarray"`
	C int
	H int
	W int
}

// Size returns the number of values in a map of shape s.
func (s Shape) Size() int { return s.C * s.H * s.W }

// String returns "CxHxW".
func (s Shape) String() string { return fmt.Sprintf("%dx%dx%d", s.C, s.H, s.W) }

// valid reports whether s is within the limits.
func (s Shape) valid() bool {
	return s.C > 0 && s.C <= MaxChannels && s.H > 0 && s.H <= MaxSide && s.W > 0 && s.W <= MaxSide && s.Size() <= MaxMap
}

// validDims reports whether dims are within the limits.
func validDims(dims []int) bool {
	if len(dims) == 0 || len(dims) > MaxRank {
		return false
	}
	size := 1
	for _, d := range dims {
		if d < 1 || d > MaxMap || size > MaxMap/d {
			return false
		}
		size *= d
	}
	return true
}

// sizeOf returns the number of values of a map with valid dimensions.
func sizeOf(dims []int) int {
	size := 1
	for _, d := range dims {
		size *= d
	}
	return size
}

// shapeOf returns dims as a shape with the same values in the same order. Those
// of a picture lose their leading 1; others keep what comes first as channels and
// what comes last as width.
func shapeOf(dims []int) Shape {
	s := Shape{C: 1, H: 1, W: 1}
	if len(dims) > 0 {
		s.C = dims[0]
	}
	if len(dims) > 1 {
		s.C *= dims[1]
	}
	if len(dims) > 2 {
		s.W = dims[len(dims)-1]
		s.H = sizeOf(dims[2 : len(dims)-1])
	}
	return s
}
