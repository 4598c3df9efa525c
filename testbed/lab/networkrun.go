package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/google/renameio/v2"

	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/testbed/sim"
)

// Files that a run of a network leaves.
const (
	NetworkReportFile  = "report.json"
	NetworkPictureFile = "passes.svg"
)

// NetworkReport is what a run of a network measured. Every number comes from the run.
type NetworkReport struct {
	Scenario string  `json:"scenario"`
	Kind     string  `json:"kind"`
	Backend  string  `json:"backend"`
	Seed     uint64  `json:"seed"`
	Seconds  float64 `json:"seconds"` // that the run took
	// Speed is how many times faster than in the report everything went.
	Speed    float64 `json:"speed"`
	Nodes    int     `json:"nodes"`
	Contacts int     `json:"contacts"`
	// Start is when the run began by its own clock, and Length how long applications
	// sent.
	Start   dtntime.Time     `json:"start"`
	Length  dtntime.Duration `json:"length"`
	Members []Member         `json:"members"`
	// Late is the most that a packet was late because the machine was busy, in ms.
	Late float64 `json:"late_ms"`
	// Utilisation is how passes were used in each direction.
	Utilisation []Utilisation `json:"pass_utilisation"`

	sim.Result
}

// Member is a node of a network.
type Member struct {
	ID        bundle.EID `json:"id"`
	Name      string     `json:"name"`
	Satellite bool       `json:"satellite"`
}

// RunNetwork runs a network and writes the report and the picture of its passes into
// the folder out. What the run did not keep is an error, too; the report is there then.
func RunNetwork(ctx context.Context, n *Network, o NetworkOptions) (*NetworkReport, error) {
	begun := time.Now()
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of the results: %w", err)
	}
	o.Progress.Stage("predicting contacts", 0)
	l, err := n.lay(ctx)
	if err != nil {
		return nil, err
	}
	b, err := o.backend(ctx, n.Backend, l.config)
	if err != nil {
		return nil, err
	}
	r := &NetworkReport{
		Scenario: n.Name, Kind: KindNetwork, Backend: b.name(), Seed: n.Seed, Speed: l.speed,
		Nodes: len(l.config.Nodes), Contacts: l.config.Plan.Len(), Members: l.members,
		Start: l.config.Start, Length: n.Clock.Length,
	}
	const parts = 100
	o.Progress.Stage(fmt.Sprintf("running %d nodes and %d contacts for %s on %s", r.Nodes, r.Contacts, n.Clock.Length, r.Backend), parts)
	l.config.Progress = func(done, of dtntime.Duration) { o.Progress.Step(int(done * parts / of)) }
	result, late, err := b.run(ctx, l.config)
	if err != nil {
		return nil, err
	}
	if err := l.stretch(result); err != nil {
		return nil, err
	}
	r.Result, r.Late = *result, float64(late)/float64(time.Millisecond)
	r.Utilisation = r.utilisation()
	r.Failures = append(r.Failures, n.Expect.judge(result)...)
	r.Seconds = time.Since(begun).Seconds()
	if err := r.write(o.Out); err != nil {
		return r, err
	}
	if len(r.Failures) > 0 {
		return r, fmt.Errorf("the run did not keep what %s expects: %s", n.Name, r.Failures[0])
	}
	return r, nil
}

// judge says what a run did not keep.
func (e Expectations) judge(r *sim.Result) []string {
	var failures []string
	fail := func(format string, args ...any) { failures = append(failures, fmt.Sprintf(format, args...)) }
	if r.Lost > 0 {
		fail("%d bundles that were accepted are nowhere", r.Lost)
	}
	if r.Twice > 0 {
		fail("%d bundles were delivered twice", r.Twice)
	}
	if part := float64(r.Delivered) / float64(max(r.Accepted, 1)); part < e.Delivered {
		fail("%.4f of the bundles were delivered, not %.4f", part, e.Delivered)
	}
	if r.Bound.Ratio() < e.OfBound {
		fail("%.3f of the bytes that could have been delivered to %s were, not %.3f", r.Bound.Ratio(), r.Bound.To, e.OfBound)
	}
	if e.Drained && r.Drained == 0 {
		fail("%d bundles were still on their way at the end", r.Waiting)
	}
	for _, k := range r.Kinds {
		if k.Kind == sim.Telemetry && e.Within > 0 && k.Worst > e.Within.Std() {
			fail("telemetry took up to %s, not %s", k.Worst, e.Within)
		}
	}
	return failures
}

func (r *NetworkReport) write(out string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the report: %w", err)
	}
	if err := renameio.WriteFile(filepath.Join(out, NetworkReportFile), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if err := renameio.WriteFile(filepath.Join(out, NetworkPictureFile), r.picture(), 0o644); err != nil {
		return fmt.Errorf("writing the picture of the passes: %w", err)
	}
	return nil
}

// ReadNetworkReport reads a report that a run has left.
func ReadNetworkReport(file string) (*NetworkReport, error) {
	text, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return nil, fmt.Errorf("reading the report: %w; run a scenario first", err)
	}
	var r NetworkReport
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("reading the report %s: %w", file, err)
	}
	if r.Kind != KindNetwork {
		return nil, fmt.Errorf("reading the report %s: %w", file, errKind)
	}
	return &r, nil
}

// errKind is a report of another kind of scenario.
var errKind = errors.New("it is of another kind of scenario")

// Table writes the report for people.
func (r *NetworkReport) Table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(what, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", what, fmt.Sprintf(format, args...)) }
	size := func(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }
	row("scenario", "%s, seed %d, on %s", r.Scenario, r.Seed, r.Backend)
	row("network", "%d nodes, %d contacts", r.Nodes, r.Contacts)
	row("bundles", "%d accepted, %d delivered, %d expired, %d on their way", r.Accepted, r.Delivered, r.Expired, r.Waiting)
	row("kept", "%d lost, %d delivered twice, %d crashes", r.Lost, r.Twice, r.Crashes)
	row("delivered", "%s, %s of it in time", size(r.Bytes), size(r.InTime))
	row("of the bound", "%.1f %%: %s of %s to %s", 100*r.Bound.Ratio(), size(r.Bound.Delivered), size(r.Bound.Bytes), r.Bound.To)
	for _, k := range r.Kinds {
		row("  "+string(k.Kind), "%d of %d delivered, within %s in the middle and %s at worst", k.Delivered, k.Sent, k.Median.Round(time.Second), k.Worst.Round(time.Second))
	}
	if r.Backend == BackendSim {
		row("transmissions", "%d, of these %d repeated; %s of custody signals", r.Transmissions, r.Retransmissions, size(r.RecordBytes))
	} else {
		row("transmissions", "%d, of these %d repeated", r.Transmissions, r.Retransmissions)
	}
	if r.Drained > 0 {
		row("drained", "after %s", r.Drained.Round(time.Second))
	}
	for _, u := range r.Utilisation {
		row("passes "+u.Direction, "%d, used to %.0f %% in the middle, %.0f to %.0f %%", u.Passes, 100*u.Median, 100*u.Least, 100*u.Most)
	}
	if r.Hash != "" {
		row("trace", "%s, of %d lines", r.Hash, r.Events)
	}
	row("time", "%.1f s for %s", r.Seconds, r.Simulated.Round(time.Second))
	if r.Late > 0 {
		row("machine", "packets came up to %.3g ms late", r.Late)
	}
	for _, f := range r.Failures {
		row("FAILED", "%s", f)
	}
	r.passTable(t)
	return t.Flush()
}
