package sim

import (
	"fmt"
	"time"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

// Result is what a run measured. All of it but for what a clock on the wall would show
// follows from the Config.
type Result struct {
	Hash   string `json:"trace_hash"` // stands for everything that happened
	Events uint64 `json:"events"`     // lines of the trace

	Sent      int   `json:"sent"`      // by applications
	Refused   int   `json:"refused"`   // of these, by their node
	Accepted  int   `json:"accepted"`  // of these
	Delivered int   `json:"delivered"` // of these
	Expired   int   `json:"expired"`   // of these, their lifetime being over
	Waiting   int   `json:"waiting"`   // of these, still on their way at the end
	Twice     int   `json:"delivered_twice"`
	Lost      int   `json:"lost"` // accepted and nowhere
	Bytes     int64 `json:"delivered_bytes"`
	// InTime are the bytes delivered before applications stopped sending.
	InTime int64 `json:"delivered_in_time_bytes"`

	Crashes         int   `json:"crashes"`
	Transmissions   int   `json:"transmissions"`
	Retransmissions int   `json:"retransmissions"`
	RecordBytes     int64 `json:"record_bytes"` // of custody signals and reports
	Alarms          int   `json:"custody_alarms"`

	// Simulated is how long the run was by its own clock, and Drained when
	// everything had arrived, 0 for never.
	Simulated time.Duration `json:"simulated"`
	Drained   time.Duration `json:"drained"`

	// Bound is that of the node that most was sent to.
	Bound    Bound        `json:"bound"`
	Kinds    []KindResult `json:"kinds"`
	Passes   []PassResult `json:"passes"`
	Failures []string     `json:"failures"` // what was not kept
}

// KindResult is what became of the bundles of one kind.
type KindResult struct {
	Kind      Kind          `json:"kind"`
	Sent      int           `json:"sent"`
	Delivered int           `json:"delivered"`
	Median    time.Duration `json:"median_latency"`
	Worst     time.Duration `json:"worst_latency"`
}

// PassResult is what a contact was used for.
type PassResult struct {
	From     bundle.EID   `json:"from"`
	To       bundle.EID   `json:"to"`
	Start    dtntime.Time `json:"start"`
	End      dtntime.Time `json:"end"`
	Capacity int64        `json:"capacity_bytes"`
	Bytes    int64        `json:"bytes"`
	// Utilisation is Bytes as a part of Capacity.
	Utilisation float64 `json:"utilisation"`
}

// NewPassResult tells that a contact carried so many bytes.
func NewPassResult(c contact.Contact, bytes int64) PassResult {
	r := PassResult{From: c.From, To: c.To, Start: c.Start, End: c.End, Capacity: c.VolumeAt(c.Start), Bytes: bytes}
	r.Utilisation = float64(bytes) / float64(max(r.Capacity, 1))
	return r
}

// result puts the figures together.
func (w *world) result() *Result {
	h := w.history
	r := &Result{
		Hash: fmt.Sprintf("%016x", w.trace.hash.Sum64()), Events: w.trace.count, InTime: h.deliveredInTime,
		Crashes: h.crashes, Transmissions: h.transmissions, Retransmissions: h.repeats, RecordBytes: h.recordBytes, Alarms: h.alarms,
		Simulated: w.now, Drained: w.drained, Failures: append([]string{}, h.failures...),
	}
	for _, k := range Kinds() {
		if one := h.ofKind(k); one.Sent > 0 {
			r.Kinds = append(r.Kinds, one)
		}
	}
	r.Bound = w.cfg.Bound(h.shipments())
	for _, f := range h.order {
		r.count(f, w.clock())
	}
	for _, u := range w.passes {
		r.Passes = append(r.Passes, NewPassResult(u.Contact, u.Bytes))
	}
	return r
}

func (r *Result) count(f *fate, now dtntime.Time) {
	r.Sent++
	switch {
	case f.refused:
		r.Refused++
		return
	case !f.accepted:
		return // power failed before it was
	}
	r.Accepted++
	switch {
	case f.delivered > 0:
		r.Delivered++
		r.Bytes += f.size
		if f.delivered > 1 {
			r.Twice++
		}
	case f.expired || now >= f.expiry:
		r.Expired++
	case f.keepers == 0:
		r.Lost++
	default:
		r.Waiting++
	}
}
