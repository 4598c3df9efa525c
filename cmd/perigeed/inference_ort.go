//go:build ort

package main

import (
	"fmt"

	"perigee/models/ort"
)

// hasONNXRuntime tells whether this build can load onnxruntime.
const hasONNXRuntime = true

func openONNXRuntime(library string) (engines, error) {
	r, err := ort.Open(library)
	if err != nil {
		return engines{}, fmt.Errorf("%w (engine.library)", err)
	}
	return engines{r.NewEngine, r.Close}, nil
}
