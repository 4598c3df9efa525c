//go:build !ort

package main

import (
	"context"
	"errors"
)

// openReference says how to build this program so that it has a reference.
func (b *bench) openReference(context.Context) (reference, error) {
	return nil, errors.New(`this program was built without onnxruntime: run "make bench-learning", or build it with -tags ort`)
}
