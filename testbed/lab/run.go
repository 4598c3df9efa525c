package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/ground"
	"perigee/models"
	"perigee/models/payload"
	"perigee/testbed/daemon"
	"perigee/testbed/link"
)

// Options are what a run needs besides its scenario.
type Options struct {
	Out      string // folder of the results; made anew
	Perigeed string // path of the daemon's program
	Progress Progress
	Kill     int    // how often the satellite's daemon is killed
	KillSeed uint64 // of the moments at which it is
}

const (
	pollEvery = 500 * time.Millisecond
	// runLimit bounds the time in flight: a loop that takes longer has failed.
	runLimit = 10 * time.Minute
	// windowLead is how long before a pass the emulated link opens, so that the
	// first connection of the pass finds it open.
	windowLead = 50 * time.Millisecond
)

// ErrFailed is the outcome of a run that did not keep what its scenario promises.
var ErrFailed = errors.New("the run did not keep what the scenario promises")

// Run runs a scenario and returns its report, which is also written to
// report.json in the folder of the results, with the picture before-after.png
// beside it. A report whose Failures are not empty comes with ErrFailed.
func Run(ctx context.Context, s *Scenario, o Options) (*Report, error) {
	begun := time.Now()
	work := filepath.Join(o.Out, "work")
	if err := os.RemoveAll(work); err != nil {
		return nil, fmt.Errorf("clearing the folder of the last run: %w", err)
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of the run: %w", err)
	}
	w, err := prepare(ctx, s, work, o.Progress)
	if err != nil {
		return nil, fmt.Errorf("preparing the launch: %w", err)
	}
	f := &flight{world: w, options: o, report: &Report{Scenario: s.Name, KillSeed: o.KillSeed}}
	if err := f.fly(ctx); err != nil {
		return nil, err
	}
	o.Progress.Say("the daemons have ended; judging what the satellite runs now")
	path, err := f.activeFile()
	if err != nil {
		return nil, err
	}
	v2, err := models.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the network on board: %w", err)
	}
	j, err := w.judge(ctx, v2, filepath.Join(o.Out, "before-after.png"))
	if err != nil {
		return nil, err
	}
	r := f.report
	r.F1CleanV1, r.F1DriftV1, r.F1CleanV2, r.F1DriftV2 = j.v1Clean.F1, j.v1Drift.F1, j.v2Clean.F1, j.v2Drift.F1
	r.ActiveModel = v2.Hash()
	if info, err := os.Stat(w.model); err == nil {
		r.ModelBytes = info.Size()
	}
	r.Seconds = time.Since(begun).Seconds()
	r.judge()
	if err := r.write(filepath.Join(o.Out, "report.json")); err != nil {
		return nil, err
	}
	if len(r.Failures) > 0 {
		return r, fmt.Errorf("%w: %s", ErrFailed, r.Failures[0])
	}
	return r, nil
}

// flight is a run from the start of the daemons to their end.
type flight struct {
	*world
	options   Options
	report    *Report
	link      link.Link
	passes    []pass
	ground    *daemon.Daemon
	satellite *daemon.Daemon
	delivered deliveries

	cut      chan struct{} // asks for the cut; of capacity 1
	cutAsked bool
	upBefore int64     // bytes that had gone up when the difference was handed over
	drained  time.Time // when the rest must have arrived
}

// fly runs both daemons until the loop has turned once.
func (f *flight) fly(ctx context.Context) (err error) {
	if err := f.setUp(ctx); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, f.takeDown(context.WithoutCancel(ctx)))
	}()
	if err := f.ground.Start(ctx); err != nil {
		return err
	}
	if err := f.satellite.Start(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, runLimit, fmt.Errorf("the loop did not turn within %s", runLimit))
	defer cancel()
	ctx, done := context.WithCancel(ctx)
	defer done()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return f.openWindows(ctx) })
	group.Go(func() error { return f.killSometimes(ctx) })
	for _, d := range []*daemon.Daemon{f.ground, f.satellite} {
		group.Go(func() error { f.delivered.follow(ctx, d); return nil })
	}
	group.Go(func() error {
		defer done()
		return f.watch(ctx)
	})
	return group.Wait()
}

// setUp makes the link, the plan and the configurations.
func (f *flight) setUp(ctx context.Context) error {
	f.cut = make(chan struct{}, 1)
	f.delivered.times = make(map[bundle.ID]int)
	listen, err := daemon.FreeAddress(ctx)
	if err != nil {
		return err
	}
	c := link.Config{
		Shape: link.Shape{
			Out:  link.Lane{Rate: contact.BitRate(f.scenario.Link.Downlink)},
			Back: link.Lane{Rate: contact.BitRate(f.scenario.Link.Uplink)},
		},
		Closed: true, Target: listen,
	}
	backend, err := link.Choose(ctx, f.scenario.Backend, c)
	if err != nil {
		return fmt.Errorf("choosing how to emulate the link: %w", err)
	}
	if _, relays := backend.(link.ProxyBackend); !relays {
		// What a run that was killed has left behind.
		if _, err := link.Sweep(ctx, nil); err != nil {
			return err
		}
	}
	f.report.Backend = backend.Name()
	f.options.Progress.Say("link: " + backend.Name())
	if f.link, err = backend.Up(ctx, c); err != nil {
		return fmt.Errorf("making the link: %w", err)
	}
	onLeft, onRight := exec.CommandContext, exec.CommandContext
	var dial string
	switch l := f.link.(type) {
	case *link.ProxyLink:
		dial = l.Addr()
	case link.NamespaceLink:
		onLeft, onRight = l.Left().Command, l.Right().Command
		listen = net.JoinHostPort(l.Right().Addr.String(), "4556")
		dial = listen
	}
	f.passes = f.scenario.passes(time.Now())
	if err := f.scenario.writePlan(filepath.Join(f.dir, "plan.jsonl"), f.passes); err != nil {
		return err
	}
	f.ground, err = daemon.New("ground", filepath.Join(f.dir, "ground"), f.options.Perigeed, f.groundConfig(listen), onRight)
	if err != nil {
		return err
	}
	f.satellite, err = daemon.New("satellite", filepath.Join(f.dir, "satellite"), f.options.Perigeed, f.satelliteConfig(dial), onLeft)
	return err
}

// takeDown ends the daemons and takes the link down.
func (f *flight) takeDown(ctx context.Context) error {
	var errs []error
	for _, d := range []*daemon.Daemon{f.satellite, f.ground} {
		if d != nil {
			errs = append(errs, d.Stop(), d.Close())
		}
	}
	return errors.Join(append(errs, f.link.Down(ctx))...)
}

// openWindows opens the link for each pass, and cuts it once when asked to.
func (f *flight) openWindows(ctx context.Context) error {
	cut := f.cut
	for i, p := range f.passes {
		if !sleepUntil(ctx, p.start.Add(-windowLead)) {
			return nil
		}
		if err := f.link.SetOpen(ctx, true); err != nil {
			return err
		}
		f.report.Passes = i + 1
		end := time.NewTimer(time.Until(p.end))
		for open := true; open; {
			select {
			case <-cut:
				cut = nil
				f.report.Cuts++
				f.progress.Say(fmt.Sprintf("pass %d is cut for %s while the difference is on its way", i+1, f.scenario.Cut.Length))
				if err := link.Cut(ctx, f.link, f.scenario.Cut.Length.Std()); err != nil && ctx.Err() == nil {
					end.Stop()
					return err
				}
			case <-end.C:
				open = false
			case <-ctx.Done():
				end.Stop()
				return nil
			}
		}
		if err := f.link.SetOpen(ctx, false); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return fmt.Errorf("the loop did not turn within %d passes", len(f.passes))
}

func sleepUntil(ctx context.Context, t time.Time) bool {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Bounds of the time from one kill to the next.
const (
	minUntilKill = 5 * time.Second
	maxUntilKill = 75 * time.Second
)

// killSometimes kills and restarts the satellite's daemon at random moments.
func (f *flight) killSometimes(ctx context.Context) error {
	rng := rand.New(rand.NewPCG(f.options.KillSeed, 0))
	for i := range f.options.Kill {
		pause := minUntilKill + time.Duration(rng.Int64N(int64(maxUntilKill-minUntilKill)))
		if !sleepUntil(ctx, time.Now().Add(pause)) {
			return nil
		}
		// What it counted is lost with it, so it is asked once more.
		if _, err := f.satellite.Status(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("asking the satellite before a kill: %w", err)
		}
		f.satellite.Kill()
		f.report.Kills++
		f.progress.Say(fmt.Sprintf("killed the satellite's daemon, %d of %d", i+1, f.options.Kill))
		if err := f.satellite.Start(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("starting the satellite after a kill: %w", err)
		}
	}
	return nil
}

// watch follows the loop until it has turned and everything has arrived.
func (f *flight) watch(ctx context.Context) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	stage := ground.Stage("")
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for _, d := range []*daemon.Daemon{f.ground, f.satellite} {
			if d.Ended() {
				return fmt.Errorf("the %s ended by itself; see %s", d.Name(), d.Log())
			}
		}
		var p ground.Progress
		if err := readJSON(filepath.Join(f.dir, "ground", groundStatus), &p); err != nil {
			continue // not written yet
		}
		f.show(&stage, &p)
		if err := f.cutInTime(ctx, &p); err != nil {
			return err
		}
		done, err := f.isDone(ctx, &p)
		if err != nil || done {
			return err
		}
	}
}

// show tells how the ground's loop goes.
func (f *flight) show(stage *ground.Stage, p *ground.Progress) {
	words := map[ground.Stage]string{
		ground.StageCollect:  fmt.Sprintf("the satellite looks; the ground collects hard samples until it has %d", f.scenario.Train.Samples),
		ground.StageFeatures: "ground: running the backbone on the hard samples",
		ground.StageTrain:    "ground: training the head",
		ground.StageBuild:    "ground: packing the difference",
		ground.StageEvaluate: "ground: comparing old and new",
		ground.StageGate:     "ground: deciding whether the new one may fly",
		ground.StageSend:     "ground: handing over the difference",
		ground.StageWait:     "the difference goes up, pass by pass",
	}
	done, of := p.Done, p.Of
	switch p.Stage {
	case ground.StageCollect:
		done, of = p.Labelled, f.scenario.Train.Samples
	case ground.StageWait:
		stats, err := f.link.Stats(context.Background())
		if err == nil {
			done, of = int(min(f.gone(stats), p.DeltaBytes)/1000), int(p.DeltaBytes/1000)
		}
	}
	if p.Stage != *stage && len(p.Rounds) == 0 {
		*stage = p.Stage
		f.progress.Stage(words[p.Stage], of)
	}
	f.progress.Step(done)
}

// gone is how many bytes went up since the difference was handed over.
func (f *flight) gone(s link.Stats) int64 { return s.Back.Bytes - f.upBefore }

// cutInTime asks for the cut once enough of the difference has gone up.
func (f *flight) cutInTime(ctx context.Context, p *ground.Progress) error {
	if f.scenario.Cut.After == 0 || p.Stage != ground.StageWait && p.Stage != ground.StageSend || p.DeltaBytes == 0 {
		return nil
	}
	stats, err := f.link.Stats(ctx)
	if err != nil {
		return err
	}
	if f.upBefore == 0 {
		f.upBefore = max(stats.Back.Bytes, 1)
	}
	if !f.cutAsked && float64(f.gone(stats)) > f.scenario.Cut.After*float64(p.DeltaBytes) {
		f.cutAsked = true
		f.cut <- struct{}{}
	}
	return nil
}

// drainLimit is how long after the new network is active, and the last kill, the
// rest may take to arrive. What has not come by then counts as not kept.
const drainLimit = 2 * time.Minute

// isDone tells whether the round has ended and either nothing is on its way any more
// or drainLimit has passed, and then takes the figures.
func (f *flight) isDone(ctx context.Context, p *ground.Progress) (bool, error) {
	if len(p.Rounds) == 0 || f.report.Kills < f.options.Kill {
		return false, nil
	}
	round := p.Rounds[0]
	if round.Outcome != ground.OutcomeDeployed {
		return false, fmt.Errorf("the round ended as %q: %s", round.Outcome, round.Reason)
	}
	if f.drained.IsZero() {
		f.drained = time.Now().Add(drainLimit)
	}
	seen, err := f.takenPictures()
	if err != nil {
		return false, nil // no telemetry has come yet
	}
	kept, err := f.custodial(ctx)
	if err != nil {
		return false, nil // a daemon is just starting
	}
	all := f.scenario.Scenes.Sharp + f.scenario.Scenes.Drifted
	arrived := seen.Taken >= uint64(all) && seen.PendingBatches == 0 && uint64(p.Received) >= seen.Hard && kept == 0
	if !arrived && time.Now().Before(f.drained) {
		return false, nil
	}
	f.report.Undelivered = kept
	return true, f.measure(ctx, p, seen)
}

// custodial asks both daemons how they are and returns how many bundles under custody
// they still keep, to be sent on or for an application that has not taken them.
func (f *flight) custodial(ctx context.Context) (int64, error) {
	kept := int64(0)
	for _, d := range []*daemon.Daemon{f.satellite, f.ground} {
		s, err := d.Status(ctx)
		if err != nil {
			return 0, err
		}
		kept += s.Store.Custodial
	}
	return kept, nil
}

// measure puts the figures of the flight into the report.
func (f *flight) measure(ctx context.Context, p *ground.Progress, seen *payload.Telemetry) error {
	stats, err := f.link.Stats(ctx)
	if err != nil {
		return err
	}
	r := f.report
	r.AnnouncedModel, r.DeltaBytes = p.Announced, p.Rounds[0].DeltaBytes
	r.UplinkBytes, r.UplinkSeconds, r.DownlinkBytes = stats.Back.Bytes, stats.Back.Busy.Seconds(), stats.Out.Bytes
	r.Pictures, r.PicturesBytes = int(seen.Taken), int64(seen.TakenBytes)
	r.SamplesHard, r.SamplesReceived = int(seen.Hard), p.Received
	r.DeliveredTwice = f.delivered.twice()
	all := daemon.Sum(f.satellite.Counters(), f.ground.Counters())
	r.BundlesCreated, r.BundlesSent, r.BundlesDelivered = all.BundlesCreated, all.BundlesSent, all.BundlesDelivered
	r.CustodyAccepted, r.CustodyReleased = all.CustodyAccepted, all.CustodyReleased
	r.Retransmissions, r.Duplicates = all.Retransmissions, all.Duplicates
	return nil
}

func readJSON(path string, v any) error {
	text, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}
