//go:build ort

package ort

import (
	"fmt"
	"testing"

	"perigee/models"
	"perigee/models/enginetest"
)

// BenchmarkDetect runs yolov3-tiny with onnxruntime and with the default engine.
func BenchmarkDetect(b *testing.B) {
	r := open(b)
	n, dog := enginetest.Tiny(b)
	in := models.FromImage(dog, n.Input().W, n.Input().H)
	for name, start := range map[string]enginetest.Factory{"onnxruntime": r.NewEngine, "default": models.NewEngine} {
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/threads=%d", name, threads), func(b *testing.B) {
				e, err := start(n, threads)
				if err != nil {
					b.Fatal(err)
				}
				defer e.Close()
				for b.Loop() {
					if _, err := e.Detect(b.Context(), in, models.DefaultDetectOptions()); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
