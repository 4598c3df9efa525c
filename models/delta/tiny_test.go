package delta

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"perigee/models"
	"perigee/models/darknet"
)

// readTiny returns yolov3-tiny with gorgonia's copy of its weights.
func readTiny(t testing.TB) *models.Network {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "gorgonia.org/gorgonia").Output()
	if err != nil {
		t.Fatalf("locate gorgonia's module: %v", err)
	}
	path := filepath.Join(strings.TrimSpace(string(out)), "examples", "tiny-yolo-v3-coco", "data", "yolov3-tiny")
	n, err := darknet.ReadFiles(path+".cfg", path+".weights", darknet.YOLOv3TinyHead)
	if err != nil {
		t.Skipf("yolov3-tiny is not in the module cache (run go mod download): %v", err)
	}
	return n
}

// TestTinyHeadSizes encodes changes of the real head: noise on every weight, the
// hardest to compress, and a change of rank 2. The limits are what each encoding
// may take; the logged sizes are what it takes.
func TestTinyHeadSizes(t *testing.T) {
	base := readTiny(t)
	dense := perturbed(t, base, 0.003, 2)
	ranked := rankTwo(t, base)
	for _, c := range []struct {
		name   string
		target *models.Network
		e      Encoding
		limit  int
		error  float64 // share of the squared change that may be left
	}{
		{"noise", dense, Int(8), 2_400_000, 1e-3},
		{"noise", dense, Int(4), 1_300_000, 0.02},
		{"noise", dense, Int(2), 620_000, 0.25},
		{"rank 2", ranked, Encoding{Bits: 8, Rank: 2}, 25_000, 1e-3},
		{"rank 2", ranked, Encoding{Bits: 4, Rank: 2}, 16_000, 0.05},
	} {
		d, want := build(t, base, c.target, c.e)
		got, err := apply(base, encode(t, d))
		if err != nil || got.Hash() != want.Hash() {
			t.Fatalf("%v: apply: %v", c.e, err)
		}
		left := distance(got, c.target) / distance(base, c.target)
		t.Logf("%s as %v: %d bytes, leaves %.3g %% of the squared change", c.name, c.e, d.Size(), 100*left)
		if d.Size() > c.limit || left > c.error {
			t.Errorf("%s as %v: %d bytes, want up to %d; leaves %g, want up to %g", c.name, c.e, d.Size(), c.limit, left, c.error)
		}
	}
}

// rankTwo returns base with a difference of rank 2 on every head convolution.
func rankTwo(t testing.TB, base *models.Network) *models.Network {
	t.Helper()
	head := base.HeadParams()
	at := 0
	for _, c := range base.HeadConvs() {
		for i, v := range noise(len(c.Bias), 0.01, 5) {
			head[at+i] += v
		}
		at += len(c.Bias)
		left, right := noise(2*c.Out.C, 0.05, 6), noise(2*c.Columns, 0.05, 7)
		for i := range c.Out.C {
			for j := range c.Columns {
				head[at+i*c.Columns+j] += left[2*i]*right[2*j] + left[2*i+1]*right[2*j+1]
			}
		}
		at += len(c.Weights)
	}
	return withHead(t, base, head)
}

func BenchmarkTinyHead(b *testing.B) {
	base := readTiny(b)
	target := perturbed(b, base, 0.003, 2)
	for _, e := range []Encoding{Int(8), Int(4), {Bits: 8, Rank: 2}, {Bits: Lossless}} {
		d, _ := build(b, base, target, e)
		b.Run(fmt.Sprintf("build/%v", e), func(b *testing.B) {
			for b.Loop() {
				build(b, base, target, e)
			}
			b.ReportMetric(float64(d.Size()), "bytes")
		})
		b.Run(fmt.Sprintf("apply/%v", e), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Apply(base); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
