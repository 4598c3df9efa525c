package powercut

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"perigee/bundle"
)

var (
	cuts = flag.Int("cuts", 0, "cut the power so many `times` (make test-power does)")
	seed = flag.Uint64("seed", 0, "`seed` of sizes, moments and victims")
)

// TestPowerCuts cuts the power of real disks under real daemons. It runs by make
// test-power, which gives it namespaces of its own.
func TestPowerCuts(t *testing.T) {
	if *cuts == 0 {
		t.Skip("it takes root and minutes: run make test-power")
	}
	programs := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", programs+string(filepath.Separator),
		"perigee/cmd/perigee", "perigee/cmd/perigeed")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the programs: %v\n%s", err, out)
	}
	// Not t.TempDir: it stays on failure, and its path is short enough for sockets.
	dir, err := os.MkdirTemp("", "powercut")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d", *seed)
	report, err := Run(t.Context(), Options{
		Cuts: *cuts, Seed: *seed, Dir: dir, Say: func(text string) { t.Log(text) },
		Perigeed: filepath.Join(programs, "perigeed"), Perigee: filepath.Join(programs, "perigee"),
	})
	if err != nil {
		t.Fatalf("%v\n\nimages, logs and the ledger are in %s\nrun it again with: make test-power CUTS=%d SEED=%d", err, dir, *cuts, *seed)
	}
	t.Logf("%d power cuts, no failure: %d messages sent, %d accepted, %d received", report.Cuts, report.Asked, report.Accepted, report.Received)
	if report.Accepted == 0 || report.Received < report.Accepted/2 {
		t.Error("hardly anything was sent; a check of nothing proves nothing")
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}

func TestUnavailable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may cut the power")
	}
	_, err := Run(t.Context(), Options{Dir: t.TempDir()})
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "root") {
		t.Errorf("got %v, want ErrUnavailable that asks for root", err)
	}
}

// TestLedgerFindsFaults gives the ledger histories with and without faults.
func TestLedgerFindsFaults(t *testing.T) {
	id := bundle.ID{Source: bundle.IPN(1, service)}
	for _, test := range []struct {
		name    string
		history func(l *ledger, n uint64)
		want    string // part of the failure; empty for none
	}{
		{"kept", func(l *ledger, n uint64) { l.taken(n, id); l.handed(n, id); l.settled(n) }, ""},
		{"delivered before the sender knew", func(l *ledger, n uint64) { l.handed(n, id); l.settled(n); l.taken(n, id) }, ""},
		{"never accepted", func(l *ledger, n uint64) { l.refused(n, errors.New("no room")) }, ""},
		{"again after an acknowledgement without answer", func(l *ledger, n uint64) {
			l.taken(n, id)
			l.handed(n, id)
			l.handed(n, id)
		}, ""},
		{"delivered twice", func(l *ledger, n uint64) {
			l.taken(n, id)
			l.handed(n, id)
			l.settled(n)
			l.handed(n, id)
		}, "delivered twice"},
		{"lost", func(l *ledger, n uint64) { l.taken(n, id) }, "lost"},
		{"damaged", func(l *ledger, n uint64) { l.taken(n, id); l.handed(n, id); l.damaged(id, "other bytes") }, "damaged"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLedger(new(bytes.Buffer))
			test.history(l, l.asked(0, 100))
			for _, number := range l.owed() {
				l.missing(number)
			}
			got := strings.Join(l.verdict(), "\n")
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("verdict %q, want %q", got, test.want)
			}
		})
	}
}

func TestCompareFindsDamage(t *testing.T) {
	w := &world{options: Options{Seed: 3}, ledger: newLedger(new(bytes.Buffer))}
	number := w.ledger.asked(0, 1000)
	good := payload(3, number, 1000)
	if got, err := w.compare(good); err != nil || got != number {
		t.Errorf("compare = %d, %v", got, err)
	}
	flipped := bytes.Clone(good)
	flipped[500] ^= 1
	for name, bad := range map[string][]byte{
		"flipped": flipped, "short": good[:999], "shorter": good[:5], "other seed": payload(4, number, 1000), "unknown": payload(3, 7, 1000),
	} {
		if _, err := w.compare(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestFreeze stops a process that writes all the time, and lets it go on.
func TestFreeze(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if err := freeze(t.Context(), cmd.Process.Pid, true); err != nil {
		t.Fatal(err)
	}
	if states, err := threadStates(cmd.Process.Pid); err != nil || states != "T" {
		t.Errorf("states %q, %v of a stopped process", states, err)
	}
	if err := thaw(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if states, err := threadStates(cmd.Process.Pid); err != nil || states == "T" {
		t.Errorf("states %q, %v of a process that goes on", states, err)
	}
}
