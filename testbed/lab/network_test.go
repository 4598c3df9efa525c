package lab

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"perigee/bundle/dtntime"
	"perigee/testbed/link"
)

const threeStations = "../scenarios/three-stations.toml"

func TestNetworkMistakesNameTheKey(t *testing.T) {
	good, err := os.ReadFile(threeStations)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ old, new, want string }{
		{`backend = "auto"`, `backend = "proxy"`, "backend"},
		{`speed = 960`, `speed = 0.5`, "clock.speed"},
		{`speed = 960`, `speed = nan`, "clock.speed"},
		{`speed = 960`, `speed = 1e6`, "clock.speed"},
		{`length = "24h"`, `length = "0s"`, "clock.length"},
		{`eid = "ipn:11.0"`, `id = "ipn:11.0"`, "id"},
		{`name = "svalbard"`, `name = "control"`, "control"},
	} {
		text := strings.Replace(string(good), test.old, test.new, 1)
		if text == string(good) {
			t.Fatalf("%q is not in the scenario", test.old)
		}
		path := filepath.Join(t.TempDir(), "bad.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ReadNetwork(path)
		if !errors.Is(err, ErrScenario) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("with %q: %v, want an ErrScenario about %q", test.new, err, test.want)
		}
	}
}

func readThreeStations(t *testing.T) *Network {
	t.Helper()
	n, err := ReadNetwork(threeStations)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSpeedDividesTimesAlone(t *testing.T) {
	n := readThreeStations(t)
	fast, err := n.lay(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n.Clock.Speed = 0
	slow, err := n.lay(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if fast.config.Plan.Len() != slow.config.Plan.Len() || len(fast.passes) != slow.config.Plan.Len() {
		t.Fatalf("%d contacts, and %d at speed 1", fast.config.Plan.Len(), slow.config.Plan.Len())
	}
	const speed = 960
	i := 0
	for c := range slow.config.Plan.All() {
		if c != fast.passes[i] {
			t.Errorf("pass %d is kept as %+v, and is %+v", i, fast.passes[i], c)
		}
		i++
	}
	for c := range fast.config.Plan.All() {
		p := fast.passes[0]
		fast.passes = fast.passes[1:]
		near := func(a, b dtntime.Duration) bool { return math.Abs(float64(a)-float64(b)/speed) <= 1 }
		if c.From != p.From || c.To != p.To || c.Rate != p.Rate || c.Light != p.Light ||
			!near(c.Start.Sub(n.start()), p.Start.Sub(n.start())) || !near(c.End.Sub(n.start()), p.End.Sub(n.start())) {
			t.Errorf("%+v became %+v", p, c)
		}
	}
	if got, want := fast.config.Length, 24*dtntime.Hour/speed; got != want {
		t.Errorf("length %s, want %s", got, want)
	}
	for i, one := range fast.config.Traffic {
		was := slow.config.Traffic[i]
		if one.Every != was.Every/speed || one.Lifetime != was.Lifetime/speed || one.Size != was.Size || one.Part != was.Part {
			t.Errorf("%+v became %+v", was, one)
		}
	}
	n.Clock.Speed = maxSpeed
	if _, err := n.lay(t.Context()); !errors.Is(err, ErrScenario) {
		t.Errorf("so fast that nothing is left: %v", err)
	}
}

func (n *Network) start() dtntime.Time { return dtntime.FromTime(n.Clock.Start) }

// TestThreeStationsSimulated runs the scenario in the times of the daemons, and holds the
// report against it.
func TestThreeStationsSimulated(t *testing.T) {
	n := readThreeStations(t)
	if err := n.SetBackend(BackendSim); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	r, err := RunNetwork(t.Context(), n, NetworkOptions{Out: out, Progress: NewProgress(io.Discard, false)})
	if err != nil {
		t.Fatal(err)
	}
	if r.Backend != BackendSim || r.Speed != 960 || r.Delivered != r.Accepted || r.Simulated < 24*time.Hour || r.Simulated > 36*time.Hour {
		t.Errorf("%+v", r)
	}
	if len(r.Utilisation) != 2 || r.Utilisation[0].Direction != "down" || r.Utilisation[0].Median < 0.3 || r.Utilisation[0].Most > 1 {
		t.Errorf("utilisation %+v", r.Utilisation)
	}
	// Each pass is in orbit's time, and carries what its shorter self could.
	for _, p := range r.shown() {
		if length := p.End.Sub(p.Start); length < dtntime.Minute || length > 15*dtntime.Minute || p.Capacity > 120_000 || p.Bytes > p.Capacity {
			t.Errorf("pass %+v", p)
		}
	}
	again, err := ReadNetworkReport(filepath.Join(out, NetworkReportFile))
	if err != nil {
		t.Fatal(err)
	}
	var table, want bytes.Buffer
	if err := errors.Join(again.Table(&table), r.Table(&want)); err != nil {
		t.Fatal(err)
	}
	if table.String() != want.String() {
		t.Errorf("the table of the file is\n%s\nand that of the run\n%s", table.String(), want.String())
	}
	for _, text := range []string{"sentinel-2a, darmstadt", "passes down", "PASS  "} {
		if !strings.Contains(table.String(), text) {
			t.Errorf("no %q in\n%s", text, table.String())
		}
	}
	if lines := strings.Count(table.String(), "sentinel-2a, "); lines != r.Utilisation[0].Passes {
		t.Errorf("%d passes have a line, of %d", lines, r.Utilisation[0].Passes)
	}
	checkPicture(t, filepath.Join(out, NetworkPictureFile), 2*r.Utilisation[0].Passes)
}

// checkPicture checks that a file is XML, and labels every pass.
func checkPicture(t *testing.T, file string, passes int) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(bytes.NewReader(text))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if got := bytes.Count(text, []byte(`font-size="8"`)); got != passes {
		t.Errorf("%d passes of the picture are labelled, want %d", got, passes)
	}
}

func TestBackendsOfNetworks(t *testing.T) {
	names := strings.Join(NetworkBackends(), " ")
	if names != "sim auto netem tun netns" {
		t.Errorf("backends %s", names)
	}
	if os.Geteuid() != 0 {
		n := readThreeStations(t)
		_, err := RunNetwork(t.Context(), n, NetworkOptions{Out: t.TempDir(), Progress: NewProgress(io.Discard, false)})
		if err == nil || !strings.Contains(err.Error(), "root") {
			t.Errorf("without root: %v", err)
		}
		return
	}
	n := readThreeStations(t)
	o := NetworkOptions{Out: t.TempDir(), Perigeed: filepath.Join(t.TempDir(), "none"), Progress: NewProgress(io.Discard, false)}
	if _, err := RunNetwork(t.Context(), n, o); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a program: %v", err)
	}
	if link.NewTun(nil).Probe(t.Context()) != nil {
		t.Skip("tun does not work here")
	}
	n.Backend = "tun"
	o.Perigeed = "/bin/false"
	folders := func() int { return len(must(filepath.Glob(filepath.Join(os.TempDir(), "perigee-lab-*")))) }
	before := folders()
	_, err := RunNetwork(t.Context(), n, o)
	if err == nil || !strings.Contains(err.Error(), "ended at once") || !strings.Contains(err.Error(), "--keep") {
		t.Errorf("with a program that fails: %v", err)
	}
	if after := folders(); after != before {
		t.Errorf("%d folders are left over", after-before)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
