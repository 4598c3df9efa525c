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
	r.Took(took)
	return r
}

// Took puts in how long those that were delivered took, and how many they are.
func (r *KindResult) Took(times []time.Duration) {
	slices.Sort(times)
	if r.Delivered = len(times); len(times) > 0 {
		r.Median, r.Worst = times[len(times)/2], times[len(times)-1]
	}
}

// shipments lists the bundles that were accepted.
func (h *history) shipments() []Shipment {
	var list []Shipment
	for _, f := range h.order {
		if f.accepted {
			list = append(list, Shipment{From: f.source.id, To: f.to, Size: f.size, Sent: f.sent, Arrived: f.arrived, Delivered: f.delivered > 0})
		}
	}
	return list
}
