package darknet

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"perigee/models"
)

// tinyFolder returns where gorgonia keeps yolov3-tiny.
func tinyFolder(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "gorgonia.org/gorgonia").Output()
	if err != nil {
		t.Fatalf("locate gorgonia's module: %v", err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "examples", "tiny-yolo-v3-coco", "data")
	if _, err := os.Stat(filepath.Join(dir, "yolov3-tiny.weights")); err != nil {
		t.Skipf("yolov3-tiny is not in the module cache (run go mod download): %v", err)
	}
	return dir
}

func readTiny(t testing.TB) *models.Network {
	t.Helper()
	dir := tinyFolder(t)
	n, err := ReadFiles(filepath.Join(dir, "yolov3-tiny.cfg"), filepath.Join(dir, "yolov3-tiny.weights"), YOLOv3TinyHead)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func readDog(t testing.TB) image.Image {
	t.Helper()
	f, err := os.Open(filepath.Join(tinyFolder(t), "dog_416x416.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, _, err := image.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// TestTinySeesTheDog runs the real network on Darknet's well-known picture. The
// wanted boxes were read off the picture by eye.
func TestTinySeesTheDog(t *testing.T) {
	n := readTiny(t)
	if n.ParamCount() != 8849182 || n.HeadParamCount() != 2556798 {
		t.Errorf("%d parameters, %d in the head; want 8849182 and 2556798", n.ParamCount(), n.HeadParamCount())
	}
	if taps := n.Taps(); !slices.Equal(taps, []int{8, 12}) {
		t.Errorf("head reads layers %v, want 8 and 12", taps)
	}
	if a, b := n.Shape(8), n.Shape(12); a != (models.Shape{C: 256, H: 26, W: 26}) || b != (models.Shape{C: 1024, H: 13, W: 13}) {
		t.Errorf("features are %v and %v", a, b)
	}
	if same, err := n.Cut(""); err != nil || same.Hash() != n.Hash() {
		t.Errorf("the cut that is chosen is another: %v", err)
	}
	e, err := models.NewEngine(n, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	found, err := e.Detect(t.Context(), models.FromImage(readDog(t), 416, 416), models.DefaultDetectOptions())
	if err != nil {
		t.Fatal(err)
	}
	const bicycle, car, dog, truck = 1, 2, 16, 7
	for _, want := range []struct {
		name    string
		classes []int
		box     models.Box
	}{
		{"dog", []int{dog}, models.Box{X: 0.29, Y: 0.66, W: 0.23, H: 0.55}},
		{"bicycle", []int{bicycle}, models.Box{X: 0.45, Y: 0.48, W: 0.58, H: 0.49}},
		{"truck", []int{car, truck}, models.Box{X: 0.75, Y: 0.21, W: 0.28, H: 0.17}},
	} {
		seen := slices.ContainsFunc(found, func(d models.Detection) bool {
			return slices.Contains(want.classes, d.Class) && models.IoU(d.Box, want.box) > 0.4
		})
		if !seen {
			t.Errorf("no %s near %+v in %+v", want.name, want.box, found)
		}
	}
}

// TestResultsDoNotDependOnThreads asks the real network for equal bits.
func TestResultsDoNotDependOnThreads(t *testing.T) {
	n := readTiny(t)
	picture := models.FromImage(readDog(t), 416, 416)
	var first []models.Tensor
	for _, threads := range []int{1, 2, 3} {
		e, err := models.NewEngine(n, threads)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		features, err := e.Backbone(t.Context(), picture)
		if err != nil {
			t.Fatal(err)
		}
		outputs, err := e.Head(t.Context(), features)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = outputs
		}
		for i := range outputs {
			if !slices.Equal(outputs[i].Data, first[i].Data) {
				t.Fatalf("output %d with %d threads differs", i, threads)
			}
		}
	}
}

const smallConfig = `
# a network of a few parameters
[net]
width = 4
height=4
channels=1

[convolutional]
batch_normalize=1
filters=2
size=3
stride=1
pad=1
activation=leaky

[maxpool]
size=2
stride=1

[convolutional]
filters=6
size=1
activation=linear

[yolo]
mask = 1
anchors = 1,1,  2,3
classes=1

[route]
layers=-3

[upsample]
stride=2

[route]
layers=-1,5
`

// smallWeights returns a weight file for smallConfig whose numbers are 1, 2, 3
// and so on.
func smallWeights(major, minor uint32) []byte {
	file := binary.LittleEndian.AppendUint32(nil, major)
	file = binary.LittleEndian.AppendUint32(file, minor)
	file = binary.LittleEndian.AppendUint32(file, 0)
	file = append(file, make([]byte, 4)...)
	if major*10+minor >= 2 {
		file = append(file, make([]byte, 4)...)
	}
	const numbers = 2*4 + 2*9 + 6 + 6*2
	for i := range numbers {
		file = models.AppendFloats(file, []float32{float32(i + 1)})
	}
	return file
}

func readSmall(config string, weights []byte) (*models.Network, error) {
	return Read(strings.NewReader(config), bytes.NewReader(weights), 2)
}

func TestReadFoldsNormalisation(t *testing.T) {
	for _, minor := range []uint32{1, 2} { // 4 and 8 bytes of pictures seen
		n, err := readSmall(smallConfig, smallWeights(0, minor))
		if err != nil {
			t.Fatal(err)
		}
		g := n.Graph()
		if g.Layers[1].Pad != 1 || n.Shape(1) != (models.Shape{C: 2, H: 4, W: 4}) || n.Shape(6) != (models.Shape{C: 4, H: 8, W: 8}) {
			t.Fatalf("shapes %v, %v", n.Shape(1), n.Shape(6))
		}
		if a := g.Layers[3].Anchors; len(a) != 1 || a[0].W != 2 || a[0].H != 3 {
			t.Fatalf("anchors %v, want only the second", a)
		}
		// Filter 1: bias 2, scale 4, mean 6, variance 8, weights 18 to 26.
		c := n.Convs()[0]
		factor := 4 / (math.Sqrt(8) + 0.000001)
		if got, want := float64(c.Bias[1]), 2-6*factor; math.Abs(got-want) > 1e-6 {
			t.Errorf("bias %g, want %g", got, want)
		}
		if got, want := float64(c.Weights[9]), 18*factor; math.Abs(got-want) > 1e-5 {
			t.Errorf("weight %g, want %g", got, want)
		}
		// The second convolution is not normalised: biases 27 to 32, weights from 33.
		c = n.Convs()[1]
		if c.Bias[0] != 27 || c.Weights[0] != 33 || c.Weights[11] != 44 {
			t.Errorf("second convolution begins with %g, %g", c.Bias[0], c.Weights[0])
		}
	}
}

func TestReadRefusesDamagedWeights(t *testing.T) {
	weights := smallWeights(0, 2)
	for n := range weights {
		if _, err := readSmall(smallConfig, weights[:n]); !errors.Is(err, ErrWeights) {
			t.Fatalf("cut at %d of %d: error %v, want ErrWeights", n, len(weights), err)
		}
	}
	if _, err := readSmall(smallConfig, append(bytes.Clone(weights), 0)); !errors.Is(err, ErrWeights) {
		t.Fatalf("a byte more: error %v", err)
	}
	if _, err := readSmall(smallConfig, smallWeights(1<<24, 2)); !errors.Is(err, ErrWeights) {
		t.Fatalf("strange version: error %v", err)
	}
	for at, bits := range map[int]float64{20 + 4*6: -1, 20: math.Inf(1)} { // variance of filter 0; its bias
		bad := bytes.Clone(weights)
		binary.LittleEndian.PutUint32(bad[at:], math.Float32bits(float32(bits)))
		if _, err := readSmall(smallConfig, bad); !errors.Is(err, ErrWeights) {
			t.Fatalf("%g at %d: error %v", bits, at, err)
		}
	}
}

func TestReadRefusesConfig(t *testing.T) {
	for name, config := range map[string]string{
		"nothing":            "",
		"no net":             strings.Replace(smallConfig, "[net]", "[convolutional]", 1),
		"option first":       "a=1\n" + smallConfig,
		"not an option":      strings.Replace(smallConfig, "width = 4", "width 4", 1),
		"not a section":      strings.Replace(smallConfig, "[maxpool]", "[maxpool", 1),
		"not a number":       strings.Replace(smallConfig, "width = 4", "width = four", 1),
		"too large a number": strings.Replace(smallConfig, "width = 4", "width = 99999999999", 1),
		"option twice":       strings.Replace(smallConfig, "width = 4", "width = 4\nwidth = 4", 1),
		"unknown layer":      strings.Replace(smallConfig, "[maxpool]", "[lstm]", 1),
		"unknown activation": strings.Replace(smallConfig, "leaky", "mish", 1),
		"groups":             strings.Replace(smallConfig, "filters=2", "filters=2\ngroups=2", 1),
		"mask outside":       strings.Replace(smallConfig, "mask = 1", "mask = 2", 1),
		"no mask":            strings.Replace(smallConfig, "mask = 1", "", 1),
		"half a layer":       strings.Replace(smallConfig, "layers=-3", "layers=-1.5", 1),
		"route outside":      strings.Replace(smallConfig, "layers=-3", "layers=-30", 1),
		"too long":           smallConfig + strings.Repeat("#\n", MaxConfig),
	} {
		if _, err := readSmall(config, smallWeights(0, 2)); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: error %v, want ErrConfig", name, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(smallConfig), smallWeights(0, 2))
	f.Add([]byte(smallConfig), smallWeights(0, 1))
	f.Fuzz(func(t *testing.T, config, weights []byte) {
		n, err := readSmall(string(config), weights)
		if err == nil && n.ParamCount()*4 > 4*len(weights) {
			t.Fatalf("%d parameters from %d bytes", n.ParamCount(), len(weights))
		}
	})
}

func BenchmarkDetect(b *testing.B) {
	n := readTiny(b)
	picture := models.FromImage(readDog(b), 416, 416)
	for _, threads := range []int{1, 2} {
		e, err := models.NewEngine(n, threads)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
			for b.Loop() {
				if _, err := e.Detect(context.Background(), picture, models.DefaultDetectOptions()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
