package sim

import (
	"slices"
	"time"
)

// ofKind sums up the bundles of one kind.
func (h *history) ofKind(k Kind) KindResult {
	r := KindResult{Kind: k}
	var took []time.Duration
	for _, f := range h.order {
		if f.kind != k || !f.accepted {
			continue
		}
		r.Sent++
		if f.delivered > 0 {
			took = append(took, f.arrived-f.sent)
		}
	}
	slices.Sort(took)
	if r.Delivered = len(took); len(took) > 0 {
		r.Median, r.Worst = took[len(took)/2], took[len(took)-1]
	}
	return r
}
