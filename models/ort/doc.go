// Package ort runs networks with onnxruntime instead of the engine of package
// models, behind the same interface.
//
// It is compiled with the build tag ort only, because it needs cgo, and it loads
// the shared library libonnxruntime when the program runs: "make onnxruntime"
// fetches one, and docs/models.md says how to use it. Without the tag the package is
// empty.
package ort
