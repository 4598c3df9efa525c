package payload

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"math"
	"testing"
)

// TestLessonSignature changes everything that a signature vouches for.
func TestLessonSignature(t *testing.T) {
	stranger := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{4}, ed25519.SeedSize)).Public().(ed25519.PublicKey)
	mission := lessonKey().Public().(ed25519.PublicKey)
	if !lesson().SignedBy([]ed25519.PublicKey{stranger, mission}) {
		t.Error("the signature does not hold")
	}
	for name, change := range map[string]func(*Lesson){
		"update":    func(l *Lesson) { l.Update++ },
		"version":   func(l *Lesson) { l.Version++ },
		"base":      func(l *Lesson) { l.Base[0] ^= 1 },
		"part":      func(l *Lesson) { l.Part-- },
		"parts":     func(l *Lesson) { l.Parts++ },
		"course":    func(l *Lesson) { l.Course.Epochs++ },
		"labels":    func(l *Lesson) { l.Labels = append([]byte("x"), l.Labels...) },
		"signature": func(l *Lesson) { l.Signature[5] ^= 1 },
		"none":      func(l *Lesson) { l.Signature = nil },
	} {
		l := lesson()
		change(l)
		if l.SignedBy([]ed25519.PublicKey{mission}) {
			t.Errorf("%s: the signature holds for another lesson", name)
		}
	}
	if lesson().SignedBy([]ed25519.PublicKey{stranger}) || lesson().SignedBy(nil) {
		t.Error("the signature of a stranger counts")
	}
}

func TestLessonLimits(t *testing.T) {
	for name, change := range map[string]func(*Lesson){
		"part":      func(l *Lesson) { l.Part = l.Parts },
		"parts":     func(l *Lesson) { l.Parts = MaxLessonParts + 1 },
		"epochs":    func(l *Lesson) { l.Course.Epochs = 0 },
		"batch":     func(l *Lesson) { l.Course.Batch = MaxLessonBatch + 1 },
		"rank":      func(l *Lesson) { l.Course.Rank = MaxLessonRank + 1 },
		"rate":      func(l *Lesson) { l.Course.Rate = math.NaN() },
		"held out":  func(l *Lesson) { l.Course.HeldOut = 1 },
		"gain":      func(l *Lesson) { l.Course.MinGain = 2 },
		"F1":        func(l *Lesson) { l.Course.MinF1 = -1 },
		"signature": func(l *Lesson) { l.Signature = l.Signature[1:] },
	} {
		l := lesson()
		change(l)
		if _, err := l.Encode(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
