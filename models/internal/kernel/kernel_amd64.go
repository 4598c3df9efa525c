package kernel

import "golang.org/x/sys/cpu"

//go:noescape
func tile16AVX2(t *Tile)

//go:noescape
func tile32AVX512(t *Tile)

//go:noescape
func weightedAVX2(l *Line)

//go:noescape
func largestAVX2(l *Line)

// blockSize is how many channels the vector loops of lines take at a time.
const blockSize = 8

// Sets returns what this machine can run, the best last.
func Sets() []Set {
	sets := []Set{Portable()}
	if !cpu.X86.HasAVX2 || !cpu.X86.HasFMA {
		return sets
	}
	sets = append(sets, Set{
		Name: "AVX2", Widths: []int{16}, Weighted: weightedVector, Largest: largestVector,
		Tile: func(_ int, t *Tile) { tile16AVX2(t) },
	})
	if cpu.X86.HasAVX512F {
		sets = append(sets, Set{
			Name: "AVX-512", Widths: []int{16, 32}, Weighted: weightedVector, Largest: largestVector,
			Tile: func(width int, t *Tile) {
				if width == 32 {
					tile32AVX512(t)
					return
				}
				tile16AVX2(t)
			},
		})
	}
	return sets
}

func weightedVector(l *Line) {
	whole := l.Channels / blockSize * blockSize
	if whole > 0 {
		weightedAVX2(l)
	}
	if whole < l.Channels {
		l.weighted(whole)
	}
}

func largestVector(l *Line) {
	whole := l.Channels / blockSize * blockSize
	if whole > 0 {
		largestAVX2(l)
	}
	if whole < l.Channels {
		l.largest(whole)
	}
}
