package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"

	"perigee/models"
	"perigee/models/delta"
	"perigee/models/golden"
)

// How many results fail a golden test, and how.
const (
	otherOutputs  = 64 // compute something else than the delta says
	lowScores     = 32 // miss the F1 that it says
	otherPictures = 4  // are to be tried on a picture that is not there
)

// goldenRefused makes deltas that are whole, signed and give what they announce,
// but fail their golden test, and does to each what a satellite does. count is told
// how each ended.
func goldenRefused(ctx context.Context, base *models.Network, rng *rand.Rand, count func(error)) (err error) {
	picture, err := goldenPicture(rng)
	if err != nil {
		return err
	}
	pictures := []golden.Picture{picture}
	e, err := models.NewEngine(base, 1)
	if err != nil {
		return err
	}
	defer func() { err = closing(err, e.Close) }()
	try := func(spoil func(*delta.Delta)) error {
		target, err := otherOutput(base, rng)
		if err != nil {
			return err
		}
		d, result, err := delta.Build(base, target, delta.Int(8))
		if err != nil {
			return err
		}
		if err := e.Load(result); err != nil {
			return err
		}
		if d.Expected, err = golden.Expect(ctx, e, pictures); err != nil {
			return err
		}
		if err := tryGolden(ctx, e, d, base, pictures); err != nil {
			return fmt.Errorf("the delta is refused before it is spoilt: %w", err)
		}
		spoil(d)
		count(tryGolden(ctx, e, d, base, pictures))
		return nil
	}
	if err := e.Load(base); err != nil {
		return err
	}
	before, err := golden.Expect(ctx, e, pictures)
	if err != nil {
		return err
	}
	for range otherOutputs {
		if err := try(func(d *delta.Delta) { d.Expected = before }); err != nil {
			return err
		}
	}
	for range lowScores {
		if err := try(func(d *delta.Delta) { d.Use.MinF1 = 0.5 }); err != nil {
			return err
		}
	}
	for range otherPictures {
		if err := try(func(d *delta.Delta) { d.Expected[0].Picture[rng.IntN(8)] ^= 1 }); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// tryGolden signs a delta, reads, verifies and applies it, and puts the result to
// its golden test.
func tryGolden(ctx context.Context, e models.Engine, d *delta.Delta, base *models.Network, pictures []golden.Picture) error {
	file, err := d.Encode(missionKey(1))
	if err != nil {
		return err
	}
	read, err := delta.Decode(file)
	if err != nil {
		return err
	}
	if err := read.Verify([]ed25519.PublicKey{missionKey(1).Public().(ed25519.PublicKey)}); err != nil {
		return err
	}
	next, err := read.Apply(base)
	if err != nil {
		return err
	}
	if err := e.Load(next); err != nil {
		return err
	}
	_, err = golden.Test(ctx, e, pictures, golden.Criteria{
		MinF1: read.Use.MinF1, Threshold: read.Use.Threshold, MatchIoU: read.Use.MatchIoU, Expected: read.Expected,
	})
	return err
}

// otherOutput returns a network whose last convolution differs.
func otherOutput(n *models.Network, rng *rand.Rand) (*models.Network, error) {
	head := n.HeadParams()
	convs := n.HeadConvs()
	last := convs[len(convs)-1]
	for i := len(head) - len(last.Bias) - len(last.Weights); i < len(head); i++ {
		head[i] += float32(rng.NormFloat64() * 1e-2)
	}
	return n.WithHead(head)
}

// goldenPicture is a picture of patches that says an object is where none is.
func goldenPicture(rng *rand.Rand) (golden.Picture, error) {
	const side, patch = 416, 26
	img := image.NewRGBA(image.Rect(0, 0, side, side))
	for y := 0; y < side; y += patch {
		for x := 0; x < side; x += patch {
			c := color.RGBA{uint8(rng.IntN(256)), uint8(rng.IntN(256)), uint8(rng.IntN(256)), 255}
			for i := range patch * patch {
				img.SetRGBA(x+i%patch, y+i/patch, c)
			}
		}
	}
	var file bytes.Buffer
	if err := jpeg.Encode(&file, img, nil); err != nil {
		return golden.Picture{}, err
	}
	return golden.Picture{
		Name: "patches.jpg", ID: models.PictureIDOf(file.Bytes()), File: file.Bytes(),
		Seen: []models.Truth{{Class: 79, Box: models.Box{X: 0.01, Y: 0.01, W: 0.01, H: 0.01}}},
	}, nil
}
