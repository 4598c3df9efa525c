package golden

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"perigee/models"
)

func network(t *testing.T, seed uint64) *models.Network {
	t.Helper()
	conv := func(filters, size, stride int, a models.Activation) models.Layer {
		return models.Layer{Kind: models.Convolution, Filters: filters, Size: size, Stride: stride, Pad: size / 2, Activation: a}
	}
	graph := models.Graph{
		Input: models.Shape{C: 3, H: 16, W: 16}, Head: 1,
		Layers: []models.Layer{
			conv(6, 3, 2, models.Leaky), conv(12, 3, 2, models.Leaky), conv(7, 1, 1, models.Linear),
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

func engine(t *testing.T, n *models.Network) models.Engine {
	t.Helper()
	e, err := models.NewEngine(n, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// folder writes pictures of one colour each, all said to be empty.
func folder(t *testing.T, count int) string {
	t.Helper()
	dir := t.TempDir()
	for i := range count {
		img := image.NewRGBA(image.Rect(0, 0, 16, 16))
		for p := range 256 {
			img.SetRGBA(p%16, p/16, color.RGBA{uint8(40 * i), uint8(p), 90, 255})
		}
		var file bytes.Buffer
		if err := jpeg.Encode(&file, img, nil); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, string(rune('a'+i)))
		write(t, name+".jpg", file.Bytes())
		write(t, name+".txt", nil)
	}
	return dir
}

func TestExpectAndTest(t *testing.T) {
	pictures, err := Read(folder(t, ExpectedPictures+2))
	if err != nil || len(pictures) != ExpectedPictures+2 || pictures[0].Name != "a.jpg" {
		t.Fatalf("read %d pictures, %v", len(pictures), err)
	}
	n := network(t, 1)
	e := engine(t, n)
	expected, err := Expect(t.Context(), e, pictures)
	if err != nil || len(expected) != ExpectedPictures {
		t.Fatalf("expected %+v, %v", expected, err)
	}
	if _, err := Test(t.Context(), e, pictures, Criteria{Expected: expected}); err != nil {
		t.Errorf("the network itself: %v", err)
	}
	// Without an object, everything that is found is wrong.
	if _, err := Test(t.Context(), e, pictures, Criteria{MinF1: 0.1, Threshold: 0.01}); !errors.Is(err, ErrFailed) {
		t.Errorf("too low a score: error %v", err)
	}
	other := engine(t, network(t, 2))
	if _, err := Test(t.Context(), other, pictures, Criteria{Expected: expected}); !errors.Is(err, ErrFailed) || !errors.Is(err, models.ErrUnexpected) {
		t.Errorf("another network: error %v", err)
	}
	if _, err := Test(t.Context(), e, pictures[1:], Criteria{Expected: expected}); !errors.Is(err, ErrFailed) {
		t.Errorf("a picture that is not there: error %v", err)
	}
}

func TestRead(t *testing.T) {
	for name, spoil := range map[string]func(dir string){
		"no folder":   func(dir string) { os.RemoveAll(dir) },
		"no pictures": func(dir string) { os.Remove(filepath.Join(dir, "a.jpg")) },
		"no labels":   func(dir string) { os.Remove(filepath.Join(dir, "a.txt")) },
		"bad labels":  func(dir string) { write(t, filepath.Join(dir, "a.txt"), []byte("ship")) },
		"too large":   func(dir string) { write(t, filepath.Join(dir, "a.jpg"), make([]byte, MaxPictureBytes+1)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, 1)
			spoil(dir)
			if got, err := Read(dir); !errors.Is(err, ErrPictures) {
				t.Errorf("read %v, %v", got, err)
			}
		})
	}
	dir := folder(t, 1)
	write(t, filepath.Join(dir, "a.jpg"), []byte("no picture"))
	pictures, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Test(t.Context(), engine(t, network(t, 1)), pictures, Criteria{}); !errors.Is(err, ErrPictures) {
		t.Errorf("a file that is no picture: error %v", err)
	}
}

func TestFinite(t *testing.T) {
	out := []models.Tensor{models.NewTensor(models.Shape{C: 1, H: 1, W: 2})}
	if err := Finite(out); err != nil {
		t.Error(err)
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		out[0].Data[1] = float32(v)
		if Finite(out) == nil {
			t.Errorf("%v passes as finite", v)
		}
	}
}
