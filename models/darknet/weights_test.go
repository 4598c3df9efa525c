package darknet

import (
	"context"
	"image"
	_ "image/jpeg"
	"os"
	"os/exec"
	"path/filepath"
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

func TestTinySeesTheDog(t *testing.T) {
	n := readTiny(t)
	t.Logf("params %d, head %d, taps %v, %v %v", n.ParamCount(), n.HeadParamCount(), n.Taps(), n.Shape(8), n.Shape(12))
	e, err := models.NewEngine(n, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	found, err := e.Detect(context.Background(), models.FromImage(readDog(t), 416, 416), models.DefaultDetectOptions())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range found {
		t.Logf("%+v", d)
	}
}

func BenchmarkDetect(b *testing.B) {
	n := readTiny(b)
	picture := models.FromImage(readDog(b), 416, 416)
	for _, threads := range []int{1, 2} {
		e, err := models.NewEngine(n, threads)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(map[int]string{1: "threads=1", 2: "threads=2"}[threads], func(b *testing.B) {
			for b.Loop() {
				if _, err := e.Detect(context.Background(), picture, models.DefaultDetectOptions()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
