package main

import (
	"fmt"

	"perigee/models"
	"perigee/models/delta"
)

// rebase returns the smallest chain of deltas that leads from base to the very
// target: over some of the files at hand, or one lossless delta. What is made on the
// way is a draft.
func (o *deltaOptions) rebase(base, target *models.Network) ([]delta.Step, error) {
	direct, result, err := delta.Build(base, target, delta.Encoding{Bits: delta.Lossless})
	if err != nil {
		return nil, err
	}
	chain := []delta.Step{{Delta: direct, Network: result}}
	all := []*delta.Delta{direct}
	for _, path := range o.over {
		d, err := readDelta(path)
		if err != nil {
			return nil, fmt.Errorf("--over %s: %w", path, err)
		}
		all = append(all, d)
	}
	var edges []delta.Edge
	for _, d := range all {
		file, err := d.Encode(nil)
		if err != nil {
			return nil, err
		}
		edges = append(edges, delta.Edge{Base: d.Base, Result: d.Result, Bytes: int64(len(file))})
	}
	path, _ := delta.Route(edges, base.Hash(), target.Hash()) // the lossless one is a way
	if len(path) == 1 && path[0] == 0 {
		return chain, nil
	}
	chain = chain[:0]
	for _, i := range path {
		if base, err = all[i].Apply(base); err != nil {
			return nil, fmt.Errorf("--over %s: %w", o.over[i-1], err)
		}
		chain = append(chain, delta.Step{Delta: all[i], Network: base})
	}
	return chain, nil
}
