package activation

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"testing"
)

// flyVariable, when set, makes this program the satellite of a folder.
const flyVariable = "PERIGEE_TEST_FLY"

func TestMain(m *testing.M) {
	if dir := os.Getenv(flyVariable); dir != "" {
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		if err := Fly(context.Background(), dir, os.Stdout, log); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func again(t *testing.T) Command {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context, dir string) *exec.Cmd {
		cmd := exec.CommandContext(context.WithoutCancel(ctx), self)
		cmd.Env = append(os.Environ(), flyVariable+"="+dir)
		return cmd
	}
}

// folder returns a folder with a short path, in memory where there is one.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "perigee-act-")
	if err != nil {
		dir, err = os.MkdirTemp("", "perigee-act-")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestKills kills a satellite some times; "make bench-learning ONLY=activate.kills"
// does so many more.
func TestKills(t *testing.T) {
	kills := 12
	if testing.Short() {
		kills = 5
	}
	report, err := Kill(t.Context(), Options{Dir: folder(t), Command: again(t), Kills: kills, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d kills, by phase %v, in activations of %v; %d updates became active, %d were refused, %d were rolled back",
		report.Kills, report.ByPhase, report.Duration, report.Active, report.Refused, report.RolledBack)
	for _, f := range report.Failures {
		t.Error(f)
	}
}

func TestFollow(t *testing.T) {
	phase := PhaseStart
	for _, step := range []struct {
		mark string
		want Phase
	}{
		{"mkdir /satellite", PhaseStart},
		{"ready", PhaseStart},
		{"write /satellite/updates/0000000000000007/part-00-00003.cbor", PhaseReceive},
		{"write /satellite/models/active.json", PhaseReceive}, // a picture on probation
		{"write /satellite/updates/0000000000000007/progress.json", PhaseApply},
		{"write /satellite/models/c.pmodel", PhaseStore},
		{"trial", PhaseTrial},
		{"write /satellite/state.json", PhaseTrial},
		{"write /satellite/models/active.json", PhaseSwap},
		{"write /satellite/receipts/0000000000000007-3-00-0.cbor", PhaseSwap},
		{"remove /satellite/updates/0000000000000007", PhaseAfter},
		{"write /satellite/models/active.json", PhaseAfter},
	} {
		if phase = follow(phase, step.mark); phase != step.want {
			t.Errorf("behind %q the phase is %s, want %s", step.mark, phase, step.want)
		}
	}
}
