package models

import (
	"cmp"
	"slices"
)

// MatchIoU is the overlap from which a detection counts as having found an
// object.
const MatchIoU = 0.35

// Truth is an object that is known to be in a picture.
type Truth struct {
	Class int
	Box   Box
}

// Judged is a picture with what is in it and what a network found in it, which
// should reach down to scores as low as thresholds of interest.
type Judged struct {
	Truth []Truth
	Found []Detection
}

// Score tells how well detections at or above Threshold match the truth.
type Score struct {
	Threshold float32 `json:"threshold"`
	Precision float32 `json:"precision"` // found objects over detections
	Recall    float32 `json:"recall"`    // found objects over objects
	F1        float32 `json:"f1"`        // harmonic mean of the two
	Hits      int     `json:"hits"`      // detections that match an object
	False     int     `json:"false"`     // detections that do not
	Missed    int     `json:"missed"`    // objects that no detection matches
}

// F1At scores the detections of pictures at one threshold. In each picture the
// detections are taken best first, and each matches the object of its class not
// yet matched that it overlaps most, if by at least iou.
func F1At(pictures []Judged, iou, threshold float32) Score {
	verdicts, objects := judge(pictures, iou)
	hits, wrong := 0, 0
	for _, v := range verdicts {
		if v.score < threshold {
			break
		}
		if v.hit {
			hits++
		} else {
			wrong++
		}
	}
	return makeScore(threshold, hits, wrong, objects)
}

// BestF1 scores pictures at the threshold that gives the highest F1, the highest
// such threshold if there are several. Without detections the threshold is 1.
func BestF1(pictures []Judged, iou float32) Score {
	verdicts, objects := judge(pictures, iou)
	best := makeScore(1, 0, 0, objects)
	hits, wrong := 0, 0
	for i, v := range verdicts {
		if v.hit {
			hits++
		} else {
			wrong++
		}
		if i+1 < len(verdicts) && verdicts[i+1].score == v.score {
			continue
		}
		if s := makeScore(v.score, hits, wrong, objects); s.F1 > best.F1 {
			best = s
		}
	}
	return best
}

// verdict is one detection and whether it matched an object. Matching goes from
// the best detection down, so a threshold never changes the verdicts above it.
type verdict struct {
	score float32
	hit   bool
}

// judge returns the verdicts of all pictures, best first, and the number of
// objects in them.
func judge(pictures []Judged, iou float32) ([]verdict, int) {
	var verdicts []verdict
	objects := 0
	for _, p := range pictures {
		objects += len(p.Truth)
		found, hits := Match(p, iou)
		for i, d := range found {
			verdicts = append(verdicts, verdict{score: d.Score, hit: hits[i]})
		}
	}
	slices.SortStableFunc(verdicts, func(a, b verdict) int { return cmp.Compare(b.score, a.score) })
	return verdicts, objects
}

// Match returns the detections of a picture, best first, and for each whether it
// found an object: each matches the object of its class not yet matched that it
// overlaps most, if by at least iou.
func Match(p Judged, iou float32) (found []Detection, hits []bool) {
	found = slices.Clone(p.Found)
	SortDetections(found)
	hits = make([]bool, len(found))
	taken := make([]bool, len(p.Truth))
	for i, d := range found {
		if match := bestMatch(p.Truth, taken, d, iou); match >= 0 {
			taken[match], hits[i] = true, true
		}
	}
	return found, hits
}

func bestMatch(truth []Truth, taken []bool, d Detection, iou float32) int {
	match, most := -1, float32(0)
	for i, t := range truth {
		if taken[i] || t.Class != d.Class {
			continue
		}
		if o := IoU(t.Box, d.Box); o >= iou && o > most {
			match, most = i, o
		}
	}
	return match
}

func makeScore(threshold float32, hits, wrong, objects int) Score {
	s := Score{Threshold: threshold, Hits: hits, False: wrong, Missed: objects - hits}
	if hits > 0 {
		s.Precision = float32(hits) / float32(hits+wrong)
		s.Recall = float32(hits) / float32(objects)
		s.F1 = 2 * float32(hits) / float32(hits+wrong+objects)
	}
	return s
}
