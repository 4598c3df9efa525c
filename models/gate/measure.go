package gate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"perigee/models"
)

// The metrics. Each is also there with deltaSuffix: new minus old.
const (
	Precision = "precision" // found objects over detections
	Recall    = "recall"    // found objects over objects
	F1        = "f1"        // harmonic mean of the two
	MAP       = "map"       // mean over the classes of the area below precision against recall
)

const deltaSuffix = "_delta"

// Metrics returns the names of all metrics.
func Metrics() []string {
	var all []string
	for _, m := range []string{Precision, Recall, F1, MAP} {
		all = append(all, m+deltaSuffix)
	}
	return append(all, Precision, Recall, F1, MAP)
}

// weights says how often each picture counts.
type weights []int

// whole counts every picture once.
func whole(pictures int) weights { return slices.Repeat(weights{1}, pictures) }

// mark is one detection and whether it matched an object.
type mark struct {
	score          float32
	hit            bool
	class, picture int
}

// tally is what one network found, ready to be counted under any weights.
type tally struct {
	threshold float32
	marks     []mark        // best first
	objects   []map[int]int // of each picture, by class
	byClass   map[int][]mark
}

func newTally(s Side) *tally {
	t := &tally{threshold: s.Threshold, byClass: map[int][]mark{}}
	for i, p := range s.Pictures {
		objects := map[int]int{}
		for _, o := range p.Truth {
			objects[o.Class]++
		}
		t.objects = append(t.objects, objects)
		found, hits := models.Match(p, models.MatchIoU)
		for j, d := range found {
			t.marks = append(t.marks, mark{score: d.Score, hit: hits[j], class: d.Class, picture: i})
		}
	}
	slices.SortStableFunc(t.marks, func(a, b mark) int { return cmp.Compare(b.score, a.score) })
	for _, m := range t.marks {
		t.byClass[m.class] = append(t.byClass[m.class], m)
	}
	return t
}

// total is how many objects the pictures have.
func (t *tally) total() int {
	sum := 0
	for _, n := range t.count(whole(len(t.objects))) {
		sum += n
	}
	return sum
}

// count returns the objects by class.
func (t *tally) count(w weights) map[int]int {
	sum := map[int]int{}
	for i, objects := range t.objects {
		if w[i] == 0 {
			continue
		}
		for class, n := range objects {
			sum[class] += n * w[i]
		}
	}
	return sum
}

// counts are detections at or above the threshold, those of them that match, and
// objects.
type counts struct{ hits, found, objects int }

func (t *tally) at(marks []mark, objects int, w weights) counts {
	c := counts{objects: objects}
	for _, m := range marks {
		if m.score < t.threshold {
			break
		}
		c.found += w[m.picture]
		if m.hit {
			c.hits += w[m.picture]
		}
	}
	return c
}

func (t *tally) counts(w weights) counts {
	objects := 0
	for _, n := range t.count(w) {
		objects += n
	}
	return t.at(t.marks, objects, w)
}

// share is a over b. Of nothing it is nothing: two networks in whose drawing
// there is nothing to find are equal.
func share(a, b int) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

func (c counts) f1() float64 { return share(2*c.hits, c.found+c.objects) }

// meanAP is the mean average precision: for each class that has objects the area
// below precision against recall, where precision is the best at that recall or a
// higher one.
func (t *tally) meanAP(w weights) float64 {
	objects := t.count(w)
	sum := 0.0
	for _, class := range slices.Sorted(maps.Keys(objects)) {
		sum += averagePrecision(t.byClass[class], objects[class], w)
	}
	if len(objects) == 0 {
		return 0
	}
	return sum / float64(len(objects))
}

func averagePrecision(marks []mark, objects int, w weights) float64 {
	type point struct{ precision, recall float64 }
	var curve []point
	hits, found := 0, 0
	for i, m := range marks {
		found += w[m.picture]
		if m.hit {
			hits += w[m.picture]
		}
		if i+1 == len(marks) || marks[i+1].score != m.score {
			curve = append(curve, point{share(hits, found), share(hits, objects)})
		}
	}
	area, best := 0.0, 0.0
	for i := len(curve) - 1; i >= 0; i-- {
		best = max(best, curve[i].precision)
		before := 0.0
		if i > 0 {
			before = curve[i-1].recall
		}
		area += best * (curve[i].recall - before)
	}
	return area
}

// measure returns the function that computes the rule's metric under weights.
func (r Rule) measure(old, next *tally) (func(weights) float64, error) {
	name, isDelta := strings.CutSuffix(r.Metric, deltaSuffix)
	var of func(*tally, weights) float64
	switch name {
	case Precision:
		of = func(t *tally, w weights) float64 { c := t.counts(w); return share(c.hits, c.found) }
	case Recall:
		of = func(t *tally, w weights) float64 { c := t.counts(w); return share(c.hits, c.objects) }
	case F1:
		of = func(t *tally, w weights) float64 { return t.counts(w).f1() }
	case MAP:
		of = (*tally).meanAP
	default:
		return nil, fmt.Errorf("metric %.40q is unknown; use one of %s", r.Metric, strings.Join(Metrics(), ", "))
	}
	if isDelta {
		return func(w weights) float64 { return of(next, w) - of(old, w) }, nil
	}
	return func(w weights) float64 { return of(next, w) }, nil
}

// classes compares F1 of the classes that have objects.
func classes(old, next *tally) []Class {
	w := whole(len(old.objects))
	objects := old.count(w)
	var all []Class
	for _, class := range slices.Sorted(maps.Keys(objects)) {
		n := objects[class]
		all = append(all, Class{
			Class: class, Objects: n,
			Old: old.at(old.byClass[class], n, w).f1(), New: next.at(next.byClass[class], n, w).f1(),
		})
	}
	return all
}
