//go:build ort

package main

import (
	"context"

	"perigee/models"
	"perigee/models/ort"
	"perigee/testbed/assets"
)

type onnxruntime struct{ runtime *ort.Runtime }

// openReference fetches onnxruntime, if need be, and opens it.
func (b *bench) openReference(ctx context.Context) (reference, error) {
	files, err := assets.FetchRuntime(ctx, assets.Options{Progress: b.progress.say})
	if err != nil {
		return nil, err
	}
	r, err := ort.Open(files.Library)
	if err != nil {
		return nil, err
	}
	return &onnxruntime{r}, nil
}

func (o *onnxruntime) engine(n *models.Network, threads int) (models.Engine, error) {
	return o.runtime.NewEngine(n, threads)
}

func (o *onnxruntime) outputs(file []byte, picture models.Tensor) ([][]float32, error) {
	s, err := o.runtime.NewSession(file, 2)
	if err != nil {
		return nil, err
	}
	outputs, err := s.Run(picture)
	return outputs, closing(err, s.Close)
}

func (o *onnxruntime) close() error { return o.runtime.Close() }
