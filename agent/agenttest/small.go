package agenttest

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"perigee/models"
)

// TempDir returns a folder that is gone after the test, in memory where the
// machine offers it: a thousand syncs then cost nothing, and what a Fuse cuts off
// does not depend on the disk.
func TempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "perigee-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Network returns a network of two classes on pictures of 24 x 24, the same for
// the same seed.
func Network(t testing.TB, seed uint64) *models.Network {
	t.Helper()
	conv := func(filters, size, stride int, a models.Activation) models.Layer {
		return models.Layer{Kind: models.Convolution, Filters: filters, Size: size, Stride: stride, Pad: size / 2, Activation: a}
	}
	graph := models.Graph{
		Input: models.Shape{C: 3, H: 24, W: 24},
		Head:  2,
		Layers: []models.Layer{
			conv(6, 3, 2, models.Leaky),
			conv(12, 3, 2, models.Leaky),
			conv(16, 3, 1, models.Leaky),
			conv(7, 1, 1, models.Linear),
			{Kind: models.YOLO, Classes: 2, Anchors: []models.Anchor{{W: 8, H: 8}}},
		},
	}
	convs, err := graph.Convolutions()
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	var params []float32
	for _, c := range convs {
		for range c.Out.C * (c.Columns + 1) {
			params = append(params, float32(rng.NormFloat64()*0.2))
		}
	}
	n, err := models.NewNetwork(graph, params)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Nudged returns a network like n whose head differs a little.
func Nudged(t testing.TB, n *models.Network, by float32) *models.Network {
	t.Helper()
	head := n.HeadParams()
	for i := range head {
		head[i] += by * float32(i%7-3)
	}
	next, err := n.WithHead(head)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// Pictures writes count pictures into dir, each with its label file beside it: a
// bright square of class 0 or 1 on noise. It returns their hashes.
func Pictures(t testing.TB, dir string, count int, seed uint64) []models.Hash {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 2))
	var ids []models.Hash
	for i := range count {
		data, label := scene(t, rng)
		base := filepath.Join(dir, fmt.Sprintf("scene-%02d", i))
		if err := os.WriteFile(base+".jpg", data, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(base+".txt", []byte(label), 0o644); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, models.HashBytes(data))
	}
	return ids
}

func scene(t testing.TB, rng *rand.Rand) (data []byte, label string) {
	t.Helper()
	const side, square = 24, 8
	img := image.NewRGBA(image.Rect(0, 0, side, side))
	for i := range img.Pix {
		img.Pix[i] = uint8(rng.IntN(60))
	}
	class, x, y := rng.IntN(2), rng.IntN(side-square), rng.IntN(side-square)
	bright := []color.RGBA{{255, 220, 200, 255}, {60, 90, 255, 255}}[class]
	for dy := range square {
		for dx := range square {
			img.SetRGBA(x+dx, y+dy, bright)
		}
	}
	var out bytes.Buffer
	if err := jpeg.Encode(&out, img, nil); err != nil {
		t.Fatal(err)
	}
	at := func(v int) float64 { return (float64(v) + square/2) / side }
	return out.Bytes(), fmt.Sprintf("%d %.4f %.4f %.4f %.4f\n", class, at(x), at(y), square/24.0, square/24.0)
}

// WriteModel writes n into a folder of its own and returns the file.
func WriteModel(t testing.TB, n *models.Network) string {
	t.Helper()
	path := filepath.Join(TempDir(t), "launch"+models.FileExt)
	if err := models.WriteFile(path, n); err != nil {
		t.Fatal(err)
	}
	return path
}
