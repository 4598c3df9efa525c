// Package kernel holds the inner loops of inference: the few that take nearly
// all of its time, in vector instructions where the processor has them and in
// plain Go elsewhere.
//
// The loops work on feature maps whose channels lie side by side. What belongs to
// a picture element is found by adding the offsets of taps to its address, so
// that convolutions read their input where it is and nothing is gathered before.
//
// The package knows addresses and lengths. It does not check them: callers plan
// them once, from shapes that were checked.
package kernel

import "unsafe"

// Rows is how many places a Tile computes at a time.
const Rows = 6

// float is the size of a value in bytes; offsets and steps are in bytes.
const float = 4

// Tile is a matrix product of Rows rows and one panel of columns, with what
// follows it: Out = min(max(v, Slope*v), Ceiling), where v is Bias plus the sum of
// In times Weights. A row of the left matrix is Runs runs of Length values, which
// begin at In plus each of Offsets. Slope is between 0 and 1.
type Tile struct {
	In      [Rows]unsafe.Pointer // first value of each row
	Out     [Rows]unsafe.Pointer // where the width of the panel is written for each row
	Offsets unsafe.Pointer       // [Runs]int, in bytes
	Weights unsafe.Pointer       // [Runs][Length][width]float32
	Bias    unsafe.Pointer       // [width]float32
	Runs    int
	Length  int
	Slope   float32
	Ceiling float32
}

// Line computes the places of one line, channel by channel. In each place v is
// taken over the Taps values that lie at In plus each of Offsets: their largest
// for Largest; for Weighted the Bias of the channel plus their sum, each times
// its Weights, and then min(max(v, Slope*v), Ceiling).
type Line struct {
	In       unsafe.Pointer // first channel of the first place
	Out      unsafe.Pointer
	Offsets  unsafe.Pointer // [Taps]int, in bytes
	Weights  unsafe.Pointer // [Taps][Channels]float32
	Bias     unsafe.Pointer // [Channels]float32
	Taps     int            // at least 1
	Channels int
	Places   int
	InStep   int // from one place to the next, in bytes
	OutStep  int
	Slope    float32
	Ceiling  float32
}

// Set is a choice of loops.
type Set struct {
	Name string
	// Widths are the widths of panels that Tile takes, ascending.
	Widths []int
	// Tile computes a tile with a panel of the given width.
	Tile func(width int, t *Tile)
	// Weighted and Largest compute a line.
	Weighted func(l *Line)
	Largest  func(l *Line)
}

// Portable returns the loops in plain Go, which every machine has.
func Portable() Set {
	return Set{Name: "portable", Widths: []int{panelGo}, Tile: tileGo, Weighted: weightedGo, Largest: largestGo}
}

// Panels cuts n columns into panels that s can compute, and returns their widths.
// The last may be wider than what is left.
func (s *Set) Panels(n int) []int {
	var widths []int
	largest := s.Widths[len(s.Widths)-1]
	for n > 0 {
		w := largest
		for i := len(s.Widths) - 1; i >= 0 && s.Widths[i] >= n; i-- {
			w = s.Widths[i]
		}
		widths = append(widths, w)
		n -= w
	}
	return widths
}

// panelGo is the width of panels in plain Go: its sums fit in registers.
const panelGo = 8

func tileGo(_ int, t *Tile) {
	bias := (*[panelGo]float32)(t.Bias)
	offsets := unsafe.Slice((*int)(t.Offsets), t.Runs)
	for r, in := range t.In {
		out := (*[panelGo]float32)(t.Out[r])
		at := 0
		s0, s1, s2, s3, s4, s5, s6, s7 := bias[0], bias[1], bias[2], bias[3], bias[4], bias[5], bias[6], bias[7]
		for _, offset := range offsets {
			for _, v := range unsafe.Slice((*float32)(unsafe.Add(in, offset)), t.Length) {
				w := (*[panelGo]float32)(unsafe.Add(t.Weights, at))
				s0, s1, s2, s3 = s0+v*w[0], s1+v*w[1], s2+v*w[2], s3+v*w[3]
				s4, s5, s6, s7 = s4+v*w[4], s5+v*w[5], s6+v*w[6], s7+v*w[7]
				at += panelGo * float
			}
		}
		for i, v := range [panelGo]float32{s0, s1, s2, s3, s4, s5, s6, s7} {
			out[i] = min(max(v, t.Slope*v), t.Ceiling)
		}
	}
}

func weightedGo(l *Line) { l.weighted(0) }

func largestGo(l *Line) { l.largest(0) }

// weighted computes the channels from the given one on.
func (l *Line) weighted(from int) {
	weights := unsafe.Slice((*float32)(l.Weights), l.Taps*l.Channels)
	bias := unsafe.Slice((*float32)(l.Bias), l.Channels)
	l.each(func(in unsafe.Pointer, offsets []int, out []float32) {
		for c := from; c < l.Channels; c++ {
			v := bias[c]
			for tap, offset := range offsets {
				v += *(*float32)(unsafe.Add(in, offset+c*float)) * weights[tap*l.Channels+c]
			}
			out[c] = min(max(v, l.Slope*v), l.Ceiling)
		}
	})
}

// largest computes the channels from the given one on.
func (l *Line) largest(from int) {
	l.each(func(in unsafe.Pointer, offsets []int, out []float32) {
		for c := from; c < l.Channels; c++ {
			v := *(*float32)(unsafe.Add(in, offsets[0]+c*float))
			for _, offset := range offsets[1:] {
				v = max(v, *(*float32)(unsafe.Add(in, offset+c*float)))
			}
			out[c] = v
		}
	})
}

// each calls do for every place of the line.
func (l *Line) each(do func(in unsafe.Pointer, offsets []int, out []float32)) {
	offsets := unsafe.Slice((*int)(l.Offsets), l.Taps)
	for p := range l.Places {
		do(unsafe.Add(l.In, p*l.InStep), offsets, unsafe.Slice((*float32)(unsafe.Add(l.Out, p*l.OutStep)), l.Channels))
	}
}

// Best returns the fastest loops that this machine can run.
func Best() Set {
	sets := Sets()
	return sets[len(sets)-1]
}
