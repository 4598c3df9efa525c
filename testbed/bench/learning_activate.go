package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/delta"
	"perigee/testbed/activation"
	"perigee/testbed/assets"
	"perigee/testbed/scenes"
)

func activateMeasures() []measure {
	return []measure{
		{
			name: "activate.seconds", what: "from the last byte of a change of yolov3-tiny to the new network active, on one core that also goes on looking at pictures",
			bars: map[string]bar{"activate.seconds": {value: limit{3, atMost}}},
			take: activateSeconds,
		},
		{
			name: "activate.kills", what: "500 kills of the satellite over its updates: how often no valid network was active, or an update did not end",
			bars: map[string]bar{"activate.kills": {value: limit{0, atMost}}},
			take: activateKills,
		},
	}
}

// flyCommand is the hidden command that is the satellite of the measures.
const flyCommand = "fly"

func newFly() *cobra.Command {
	return &cobra.Command{
		Use: flyCommand + " FOLDER", Short: "Run the satellite application of a folder, beside the node of a measure",
		Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM)
			defer stop()
			return activation.Fly(ctx, args[0], cmd.OutOrStdout(), slog.New(slog.NewTextHandler(os.Stderr, nil)))
		},
	}
}

// fly returns the command of a satellite.
func fly(ctx context.Context, dir string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return exec.CommandContext(context.WithoutCancel(ctx), self, flyCommand, dir)
}

// Shape of the measures.
const (
	activateKillCount = 500
	activateTurns     = 3
	activatePictures  = 8   // golden ones, as in the demonstration, and recent ones
	activateInterval  = 250 // milliseconds from one picture to the next
)

// activateKills kills the satellite on the disk that everything else is measured on.
func activateKills(ctx context.Context, b *bench) ([]figure, error) {
	dir, err := b.folder("activate")
	if err != nil {
		return nil, err
	}
	report, err := activation.Kill(ctx, activation.Options{
		Dir: dir, Command: fly, Kills: activateKillCount, Seed: 1,
		Progress: func(done int) { b.progress.note(fmt.Sprintf("kill %d of %d", done, activateKillCount)) },
	})
	if err != nil {
		return nil, err
	}
	for _, f := range report.Failures {
		b.progress.say(f)
	}
	figures := []figure{
		{name: "activate.kills", value: float64(len(report.Failures)), unit: "failures"},
		{name: "activate.kills_done", value: float64(report.Kills), unit: "kills"},
		{name: "activate.kills_active", value: float64(report.Active), unit: "updates"},
		{name: "activate.kills_refused", value: float64(report.Refused), unit: "updates"},
		{name: "activate.kills_rolled_back", value: float64(report.RolledBack), unit: "updates"},
		{name: "activate.kills_undisturbed", value: 1000 * report.Duration.Seconds(), unit: "ms"},
	}
	for _, phase := range activation.Phases() {
		figures = append(figures, figure{name: "activate.kills." + string(phase), value: float64(report.ByPhase[phase]), unit: "kills"})
	}
	return figures, nil
}

// activateSeconds times what the demonstration does: a difference of rank 2, eight
// golden pictures, pictures of the Earth.
func activateSeconds(ctx context.Context, b *bench) ([]figure, error) {
	base, _, err := b.tiny(ctx)
	if err != nil {
		return nil, err
	}
	target, err := lowRank(base)
	if err != nil {
		return nil, err
	}
	var seconds []float64
	var timing activation.Timing
	for turn := range activateTurns {
		b.progress.note(fmt.Sprintf("activation %d of %d", turn+1, activateTurns))
		dir, err := b.folder("seconds")
		if err != nil {
			return nil, err
		}
		if err := b.photographs(ctx, activation.GoldenDir(dir), activation.PictureDir(dir)); err != nil {
			return nil, err
		}
		timing, err = activation.Time(ctx, activation.Timed{
			Dir: dir, Command: flyOnOneCore, Base: base, Target: target, Encoding: delta.Encoding{Bits: 4, Rank: 2},
			Interval: activateInterval * dtntime.Millisecond, Canary: activatePictures,
		})
		if err != nil {
			return nil, err
		}
		b.progress.say(fmt.Sprintf("%d bytes, active after %v; %d pictures meanwhile; %s", timing.Bytes, timing.Duration, timing.Pictures, timing.Said))
		seconds = append(seconds, timing.Duration.Seconds())
	}
	return []figure{
		{name: "activate.seconds", value: median(seconds), unit: "s"},
		{name: "activate.seconds_pictures", value: float64(timing.Pictures), unit: "pictures"},
		{name: "activate.seconds_bytes", value: float64(timing.Bytes), unit: "bytes"},
	}, nil
}

// lowRank returns a network whose head differs as after a training of rank 2. What
// is in the difference makes no difference to the time.
func lowRank(base *models.Network) (*models.Network, error) {
	rng := rand.New(rand.NewPCG(3, 4))
	head := base.HeadParams()
	for i := range head {
		head[i] += float32(rng.NormFloat64() * 1e-4)
	}
	n, err := base.WithHead(head)
	if err != nil {
		return nil, err
	}
	_, n, err = delta.Build(base, n, delta.Encoding{Bits: 8, Rank: 2})
	return n, err
}

// photographs writes pictures of the Earth with their labels into each of the folders.
func (b *bench) photographs(ctx context.Context, dirs ...string) error {
	files, err := assets.Fetch(ctx, assets.Options{Progress: b.progress.say})
	if err != nil {
		return err
	}
	earth, err := scenes.Load(files.BlueMarble, files.Water)
	if err != nil {
		return err
	}
	for i, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for j := range activatePictures {
			scene, err := earth.Scene(scenes.Train, uint64(1000*i+j))
			if err != nil {
				return err
			}
			if _, err := scene.Write(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// flyOnOneCore returns the command of a satellite that has one core to itself, one
// that this process may use.
func flyOnOneCore(ctx context.Context, dir string) *exec.Cmd {
	plain := fly(ctx, dir)
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "taskset", slices.Concat([]string{"--cpu-list", strconv.Itoa(lastCore())}, plain.Args)...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	return cmd
}

// lastCore returns the number of a core that this process may use.
func lastCore() int {
	var set unix.CPUSet
	last := 0
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return last
	}
	for i, left := 0, set.Count(); left > 0; i++ {
		if set.IsSet(i) {
			last = i
			left--
		}
	}
	return last
}
