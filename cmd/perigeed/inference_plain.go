//go:build !ort

package main

import "errors"

// hasONNXRuntime tells whether this build can load onnxruntime.
const hasONNXRuntime = false

func openONNXRuntime(string) (engines, error) {
	return engines{}, errors.New("this perigeed was built without onnxruntime (engine.name)")
}
