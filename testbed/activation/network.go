package activation

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"path/filepath"

	"perigee/models"
)

// smallNetwork returns a detector of two classes with some 700,000 parameters in
// its head: enough that every phase of an activation takes some milliseconds.
func smallNetwork(rng *rand.Rand) (*models.Network, error) {
	conv := func(filters, size, stride int, a models.Activation) models.Layer {
		return models.Layer{Kind: models.Convolution, Filters: filters, Size: size, Stride: stride, Pad: size / 2, Activation: a}
	}
	graph := models.Graph{
		Input: models.Shape{C: 3, H: 64, W: 64},
		Head:  3,
		Layers: []models.Layer{
			conv(16, 3, 2, models.Leaky),
			conv(32, 3, 2, models.Leaky),
			conv(64, 3, 2, models.Leaky),
			conv(256, 3, 1, models.Leaky),
			conv(224, 3, 1, models.Leaky),
			conv(7, 1, 1, models.Linear),
			{Kind: models.YOLO, Classes: 2, Anchors: []models.Anchor{{W: 16, H: 16}}},
		},
	}
	convs, err := graph.Convolutions()
	if err != nil {
		return nil, err
	}
	var params []float32
	for _, c := range convs {
		for range c.Out.C * (c.Columns + 1) {
			params = append(params, float32(rng.NormFloat64()*0.03))
		}
	}
	return models.NewNetwork(graph, params)
}

// nudged returns n with another head.
func nudged(n *models.Network, rng *rand.Rand, by float64) (*models.Network, error) {
	head := n.HeadParams()
	for i := range head {
		head[i] += float32(rng.NormFloat64() * by)
	}
	return n.WithHead(head)
}

// writePictures writes pictures of noise with a bright square, and their labels.
func writePictures(dir string, count int, rng *rand.Rand) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	const side, square = 64, 16
	for i := range count {
		img := image.NewRGBA(image.Rect(0, 0, side, side))
		for i := range img.Pix {
			img.Pix[i] = uint8(rng.IntN(80))
		}
		x, y := rng.IntN(side-square), rng.IntN(side-square)
		for dy := range square {
			for dx := range square {
				img.SetRGBA(x+dx, y+dy, color.RGBA{R: 255, G: 230, B: 200, A: 255})
			}
		}
		var file bytes.Buffer
		if err := jpeg.Encode(&file, img, nil); err != nil {
			return err
		}
		at := func(v int) float64 { return (float64(v) + square/2) / side }
		label := fmt.Sprintf("0 %.4f %.4f %.4f %.4f\n", at(x), at(y), square/float64(side), square/float64(side))
		base := filepath.Join(dir, fmt.Sprintf("scene-%02d", i))
		if err := os.WriteFile(base+".jpg", file.Bytes(), 0o644); err != nil {
			return err
		}
		if err := os.WriteFile(base+".txt", []byte(label), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writeList writes a list that names the pictures of its folder again and again.
func writeList(dir string, entries int) error {
	names, err := filepath.Glob(filepath.Join(dir, "*.jpg"))
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return fmt.Errorf("%s holds no picture", dir)
	}
	var list bytes.Buffer
	for i := range entries {
		fmt.Fprintf(&list, "{\"image\":%q}\n", filepath.Base(names[i%len(names)]))
	}
	return os.WriteFile(filepath.Join(dir, listName), list.Bytes(), 0o644)
}

// missionKey signs changes; its public part goes on board.
func missionKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
}

func writeKey(dir string) error {
	der, err := x509.MarshalPKIXPublicKey(missionKey().Public())
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, keyName), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644)
}
