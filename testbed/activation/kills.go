package activation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"perigee/agent"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/delta"
	"perigee/models/golden"
	"perigee/models/payload"
)

// Options say how a satellite is killed over changes of network.
type Options struct {
	Dir     string // an empty folder, whose path is short enough for a socket in it
	Command Command
	Kills   int
	Seed    uint64
	// Progress is told of every kill, if it is not nil.
	Progress func(done int)
}

// Report is what came of it.
type Report struct {
	Kills      int           // before the update had ended
	ByPhase    map[Phase]int // all, also those that came behind the end
	Active     int           // updates that ended with the new network active
	Refused    int           // with a refusal
	RolledBack int           // were taken out of use later: the kills looked like those of a faulty network
	// Start and Duration are the medians of undisturbed activations: from the start
	// of the process until its engine starts, and from then to the receipt.
	Start, Duration time.Duration
	Failures        []string
}

// Shape of the updates.
const (
	goldenPictures = 12
	canaryPictures = 8
	probation      = 5
	parts          = 12
	failEvery      = 8 // one of so many updates fails its golden test
	mostKills      = 3 // of one update
	startEvery     = 8 // one of so many kills comes before the engine starts
	listEntries    = 200_000
	// patience is how long an update may take that nobody disturbs any more.
	patience = 30 * time.Second
)

// trial is a run over many kills.
type trial struct {
	Options
	cfg      agent.Config
	rng      *rand.Rand
	station  *station
	pictures []golden.Picture
	changes  map[models.Hash]*change // by the network that they start from
	expected map[models.Hash][]models.Expected
	version  uint64
	report   Report
}

// Kill sends changes to a satellite and kills it over each, at random times that
// lie anywhere in the time that an undisturbed activation takes. After every kill
// and after every update it checks what is on the disk. It fails when it could not
// go on; what the satellite did wrong is in the report.
func Kill(ctx context.Context, o Options) (report *Report, err error) {
	t := &trial{Options: o, rng: rand.New(rand.NewPCG(o.Seed, 0x6b696c6c)), changes: map[models.Hash]*change{}, expected: map[models.Hash][]models.Expected{}}
	t.report.ByPhase = map[Phase]int{}
	if err := t.prepare(ctx); err != nil {
		return nil, fmt.Errorf("prepare the satellite: %w", err)
	}
	if t.station, err = openStation(ctx, o.Dir); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.station.close()) }()
	if err := t.measure(ctx); err != nil {
		return nil, err
	}
	for t.report.Kills < o.Kills {
		if err := t.update(ctx); err != nil {
			return nil, err
		}
	}
	t.report.RolledBack = t.station.count(payload.StatusRolledBack)
	return &t.report, nil
}

// prepare makes two networks, the ways between them, and the satellite's folder.
func (t *trial) prepare(ctx context.Context) error {
	craft := Craft{Interval: 10 * dtntime.Millisecond, Probation: probation, Canary: canaryPictures}
	t.cfg = craft.config(t.Dir)
	first, err := smallNetwork(t.rng)
	if err != nil {
		return err
	}
	target, err := nudged(first, t.rng, 0.002)
	if err != nil {
		return err
	}
	sky := filepath.Join(t.Dir, pictureName)
	if err := errors.Join(
		craft.write(t.Dir), writeKey(t.Dir), models.WriteFile(t.cfg.Model, first),
		writePictures(t.cfg.Updates.Golden, goldenPictures, t.rng), writePictures(sky, 16, t.rng),
	); err != nil {
		return err
	}
	if err := writeList(sky, listEntries); err != nil {
		return err
	}
	if t.pictures, err = golden.Read(t.cfg.Updates.Golden); err != nil {
		return err
	}
	there, err := makeChange(ctx, first, target, delta.Int(8), t.pictures)
	if err != nil {
		return err
	}
	back, err := makeChange(ctx, there.next, first, delta.Encoding{Bits: 32}, t.pictures)
	if err != nil {
		return err
	}
	t.changes[first.Hash()], t.changes[there.next.Hash()] = there, back
	t.expected[first.Hash()], t.expected[there.next.Hash()] = back.d.Expected, there.d.Expected
	return nil
}

// measure lets activations pass undisturbed, to know how long they take.
func (t *trial) measure(ctx context.Context) error {
	const turns = 4
	var starts, took []time.Duration
	for i := range turns {
		base := t.changes[t.base()]
		p, update, err := t.begin(ctx, base, false)
		if err != nil {
			return err
		}
		if err := p.waitUp(ctx); err != nil {
			return err
		}
		up := time.Now()
		r, err := t.finish(ctx, p, update)
		if err != nil {
			return err
		}
		if r.Status != payload.StatusActive {
			return fmt.Errorf("an update that nobody disturbed ended with %+v", r)
		}
		if i > 0 { // the first start also stores the network of the launch
			starts, took = append(starts, up.Sub(p.from)), append(took, time.Since(up))
		}
		if _, err := p.kill(); err != nil {
			return err
		}
		if fault := t.check(ctx, nil); fault != "" {
			return errors.New(fault)
		}
	}
	slices.Sort(starts)
	slices.Sort(took)
	t.report.Start, t.report.Duration = starts[len(starts)/2], took[len(took)/2]
	return nil
}

// wait waits for a random time of an activation.
func (t *trial) wait(ctx context.Context, p *process) error {
	if t.rng.IntN(startEvery) == 0 {
		return sleep(ctx, time.Duration(t.rng.Int64N(int64(t.report.Start))))
	}
	if err := p.waitUp(ctx); err != nil {
		return err
	}
	return sleep(ctx, time.Duration(t.rng.Int64N(int64(t.report.Duration))))
}

// base returns the network that flies, or the one of the launch.
func (t *trial) base() models.Hash {
	on, _, err := agent.Look(&t.cfg)
	if err == nil && t.changes[on.Model] != nil {
		return on.Model
	}
	n, err := models.ReadFile(t.cfg.Model)
	if err != nil {
		return models.Hash{}
	}
	return n.Hash()
}

// begin hands the parts of an update to the node and starts the satellite.
func (t *trial) begin(ctx context.Context, c *change, fails bool) (*process, uint64, error) {
	t.version++
	whole, err := c.parts(t.version, t.version, fails, 1<<20)
	if err != nil {
		return nil, 0, err
	}
	cut, err := c.parts(t.version, t.version, fails, (int(whole[0].Size)+parts-1)/parts)
	if err != nil {
		return nil, 0, err
	}
	if err := t.station.send(ctx, cut); err != nil {
		return nil, 0, err
	}
	p, err := start(ctx, t.Command, t.Dir)
	return p, t.version, err
}

// finish waits for the end of an update.
func (t *trial) finish(ctx context.Context, p *process, update uint64) (payload.Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := t.station.ended(ctx, update)
	if err != nil {
		_, killed := p.kill()
		return r, fmt.Errorf("%w; the satellite said:\n%s", errors.Join(err, killed), p.lastWords())
	}
	return r, nil
}

// update sends one update, kills the satellite over it up to mostKills times, lets
// it end, and checks what there is after each.
func (t *trial) update(ctx context.Context) error {
	base := t.base()
	c, fails := t.changes[base], t.rng.IntN(failEvery) == 0
	p, number, err := t.begin(ctx, c, fails)
	if err != nil {
		return err
	}
	for range 1 + t.rng.IntN(mostKills) {
		if err := t.wait(ctx, p); err != nil {
			_, killed := p.kill()
			return errors.Join(err, killed)
		}
		phase, err := p.kill()
		if err != nil {
			return err
		}
		if phase != PhaseAfter {
			t.report.Kills++
		}
		t.report.ByPhase[phase]++
		if fault := t.check(ctx, []models.Hash{base, c.next.Hash()}); fault != "" {
			t.report.Failures = append(t.report.Failures, fmt.Sprintf("kill %d, in phase %s of update %d: %s", t.report.Kills, phase, number, fault))
		}
		if t.Progress != nil {
			t.Progress(t.report.Kills)
		}
		if p, err = start(ctx, t.Command, t.Dir); err != nil {
			return err
		}
	}
	r, err := t.finish(ctx, p, number)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		t.report.Failures = append(t.report.Failures, err.Error())
		return nil
	}
	if _, err := p.kill(); err != nil {
		return err
	}
	t.judge(ctx, base, c.next.Hash(), fails, r)
	return nil
}

// judge holds the end of an update against what flies.
func (t *trial) judge(ctx context.Context, base, next models.Hash, fails bool, r payload.Receipt) {
	want := base
	switch r.Status {
	case payload.StatusActive:
		t.report.Active++
		want = next
		if fails {
			t.report.Failures = append(t.report.Failures, fmt.Sprintf("update %d fails its golden test and became active", r.Update))
		}
	case payload.StatusRefused:
		t.report.Refused++
	}
	if r.Status != payload.StatusActive && r.Reason == "" {
		t.report.Failures = append(t.report.Failures, fmt.Sprintf("update %d ended without a reason: %+v", r.Update, r))
	}
	// A network on probation may go at any later start.
	if fault := t.check(ctx, []models.Hash{want, base}); fault != "" {
		t.report.Failures = append(t.report.Failures, fmt.Sprintf("after update %d (%v: %s): %s", r.Update, r.Status, r.Reason, fault))
	}
}

// check looks at what is on the disk: the active network must be one of those
// allowed, or of all that there are, have its hash, and compute what it should.
func (t *trial) check(ctx context.Context, allowed []models.Hash) string {
	on, n, err := agent.Look(&t.cfg)
	if err != nil {
		return err.Error()
	}
	want, known := t.expected[on.Model]
	if !known || allowed != nil && !slices.Contains(allowed, on.Model) {
		return fmt.Sprintf("network %v is active, want one of %v", on.Model, allowed)
	}
	e, err := models.NewEngine(n, 1)
	if err != nil {
		return err.Error()
	}
	_, err = golden.Test(ctx, e, t.pictures, golden.Criteria{Expected: want})
	if err = errors.Join(err, e.Close()); err != nil {
		return fmt.Sprintf("network %v: %v", on.Model, err)
	}
	return ""
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
