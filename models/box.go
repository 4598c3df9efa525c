package models

import (
	"cmp"
	"slices"
)

// Box is a rectangle by its centre and size, relative to the picture: 0 is its
// left or top edge, 1 its right or bottom edge.
type Box struct{ X, Y, W, H float32 }

// Detection is an object that a network believes to see.
type Detection struct {
	Class int
	Score float32 // objectness times class probability, 0 to 1
	Box   Box
}

// IoU returns the area that a and b share over the area that they cover
// together, 0 to 1.
func IoU(a, b Box) float32 {
	w := overlap(a.X, a.W, b.X, b.W)
	h := overlap(a.Y, a.H, b.Y, b.H)
	if w <= 0 || h <= 0 {
		return 0
	}
	shared := w * h
	union := a.W*a.H + b.W*b.H - shared
	if !(union > 0) {
		return 0
	}
	return shared / union
}

func overlap(a, aw, b, bw float32) float32 {
	return min(a+aw/2, b+bw/2) - max(a-aw/2, b-bw/2)
}

// NMS returns the detections that no better one of the same class overlaps with
// an IoU above limit, best first. It leaves its argument alone.
func NMS(found []Detection, limit float32) []Detection {
	sorted := slices.Clone(found)
	SortDetections(sorted)
	kept := sorted[:0]
next:
	for _, d := range sorted {
		for _, k := range kept {
			if k.Class == d.Class && IoU(k.Box, d.Box) > limit {
				continue next
			}
		}
		kept = append(kept, d)
	}
	return kept
}

// SortDetections orders found by falling score; ties by class and place, so
// that the order is the same on every machine.
func SortDetections(found []Detection) {
	slices.SortFunc(found, func(a, b Detection) int {
		return cmp.Or(
			cmp.Compare(b.Score, a.Score),
			cmp.Compare(a.Class, b.Class),
			cmp.Compare(a.Box.Y, b.Box.Y),
			cmp.Compare(a.Box.X, b.Box.X),
			cmp.Compare(a.Box.H, b.Box.H),
			cmp.Compare(a.Box.W, b.Box.W),
		)
	})
}
