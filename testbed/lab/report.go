package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/google/renameio/v2"

	"perigee/models"
)

// Report is what a run measured. Every number comes from the run.
type Report struct {
	Scenario string  `json:"scenario"`
	Backend  string  `json:"backend"`
	Seconds  float64 `json:"seconds"` // of the whole run
	Kills    int     `json:"kills"`   // of the satellite's daemon
	KillSeed uint64  `json:"kill_seed,omitempty"`
	Cuts     int     `json:"cuts"` // in mid-pass, without warning

	F1CleanV1 float32 `json:"f1_clean_v1"`
	F1DriftV1 float32 `json:"f1_drift_v1"`
	F1DriftV2 float32 `json:"f1_drift_v2"`
	F1CleanV2 float32 `json:"f1_clean_v2"`

	ModelBytes int64 `json:"model_bytes"` // of the whole network
	DeltaBytes int64 `json:"delta_bytes"` // of the difference that was sent

	UplinkBytes   int64   `json:"uplink_bytes"`   // on the wire, everything included
	UplinkSeconds float64 `json:"uplink_seconds"` // that these took at the uplink's rate
	DownlinkBytes int64   `json:"downlink_bytes"`
	PicturesBytes int64   `json:"pictures_bytes"` // of all pictures taken
	Passes        int     `json:"passes"`         // until the end of the run

	Pictures        int `json:"pictures"`
	SamplesHard     int `json:"samples_hard"`
	SamplesReceived int `json:"samples_received"` // different ones

	BundlesCreated   uint64 `json:"bundles_created"` // by the two applications
	BundlesSent      uint64 `json:"bundles_sent"`    // transmissions that were acknowledged
	BundlesDelivered uint64 `json:"bundles_delivered"`
	CustodyAccepted  uint64 `json:"custody_accepted"`
	CustodyReleased  uint64 `json:"custody_released"`
	Retransmissions  uint64 `json:"retransmissions"`
	Duplicates       uint64 `json:"duplicates"`      // copies recognised and discarded
	DeliveredTwice   int    `json:"delivered_twice"` // bundles that an application acknowledged twice
	Undelivered      int64  `json:"undelivered"`     // bundles under custody still in a store at the end

	ActiveModel    models.Hash `json:"active_model"`    // what the satellite runs
	AnnouncedModel models.Hash `json:"announced_model"` // what the ground said it would

	Failures []string `json:"failures"` // what the scenario promises and the run did not keep
}

// judge notes what the run did not keep of what the scenario promises.
func (r *Report) judge() {
	r.Failures = []string{}
	fail := func(format string, args ...any) { r.Failures = append(r.Failures, fmt.Sprintf(format, args...)) }
	if gain := r.F1DriftV2 - r.F1DriftV1; gain < 0.25 {
		fail("F1 on drifted scenes rose by %.3f, not by 0.25", gain)
	}
	if r.DeltaBytes == 0 || 10*r.DeltaBytes > r.ModelBytes {
		fail("the difference has %d bytes, more than a tenth of the model's %d", r.DeltaBytes, r.ModelBytes)
	}
	if r.ActiveModel != r.AnnouncedModel || r.ActiveModel.IsZero() {
		fail("the satellite runs %s, the ground announced %s", r.ActiveModel, r.AnnouncedModel)
	}
	if r.Pictures == 0 {
		fail("no telemetry told how many pictures the satellite took")
	}
	if r.SamplesReceived != r.SamplesHard {
		fail("%d of %d hard samples reached the ground", r.SamplesReceived, r.SamplesHard)
	}
	if r.Undelivered != 0 {
		fail("%d bundles are still on their way", r.Undelivered)
	}
	if r.DeliveredTwice != 0 {
		fail("%d bundles were delivered twice", r.DeliveredTwice)
	}
}

// write puts the report into a file.
func (r *Report) write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the report: %w", err)
	}
	return renameio.WriteFile(path, append(text, '\n'), 0o644)
}

// ReadReport reads a report that a run has left.
func ReadReport(path string) (*Report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the report: %w; run a scenario first", err)
	}
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("reading the report %s: %w", path, err)
	}
	return &r, nil
}

// Table writes the report for people.
func (r *Report) Table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(what, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", what, fmt.Sprintf(format, args...)) }
	size := func(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }
	row("F1, clean scenes", "%.3f before, %.3f after", r.F1CleanV1, r.F1CleanV2)
	row("F1, drifted scenes", "%.3f before, %.3f after", r.F1DriftV1, r.F1DriftV2)
	row("whole model", "%s", size(r.ModelBytes))
	row("difference sent up", "%s, 1/%d of the model", size(r.DeltaBytes), r.ModelBytes/max(r.DeltaBytes, 1))
	row("uplink", "%s in %.0f s", size(r.UplinkBytes), r.UplinkSeconds)
	row("downlink", "%s", size(r.DownlinkBytes))
	row("pictures", "%d of %s taken, %d hard ones sent", r.Pictures, size(r.PicturesBytes), r.SamplesHard)
	row("passes", "%d, with %d cut in the middle", r.Passes, r.Cuts)
	row("bundles", "%d created, %d delivered, %d transmitted", r.BundlesCreated, r.BundlesDelivered, r.BundlesSent)
	row("custody", "%d accepted, %d released", r.CustodyAccepted, r.CustodyReleased)
	row("repeated", "%d retransmissions, %d copies discarded, %d delivered twice", r.Retransmissions, r.Duplicates, r.DeliveredTwice)
	if r.Kills > 0 {
		row("satellite killed", "%d times (seed %d)", r.Kills, r.KillSeed)
	}
	row("model on board", "%s", r.ActiveModel)
	row("model announced", "%s", r.AnnouncedModel)
	row("time", "%s on %s", time.Duration(r.Seconds*float64(time.Second)).Round(time.Second), r.Backend)
	for _, f := range r.Failures {
		row("FAILED", "%s", f)
	}
	return t.Flush()
}
