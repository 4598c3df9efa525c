// Package powercut cuts the power of the disks under two daemons at random moments and
// holds what they promised against what is there afterwards.
//
// Two nodes send each other bundles, most of them under custody. The data folder of
// each is an ext4 file system of its own in an image file. A cut stops the daemon in the
// middle of whatever it does and shuts that file system down without a flush, so that
// only what was synced is left; the daemon is killed, the file system mounted again and
// the daemon restarted. The applications' ledger is kept elsewhere.
//
// Every third cut takes the disk alone: the daemon lives on for a moment with a disk on
// which every write fails, and what it answers then counts as well.
//
// The seed fixes sizes, moments and victims. What the machine does in between it does
// not fix, so a failure may take more than one try to come again.
package powercut

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"perigee/bundle"
	"perigee/bundle/app/apphttp"
	"perigee/bundle/store"
	"perigee/testbed/daemon"
	"perigee/testbed/link"
)

// ErrFailed tells that a promise was broken.
var ErrFailed = errors.New("a promise did not survive the power cuts")

// Options are the choices for a run.
type Options struct {
	Cuts     int    // how often the power is cut
	Seed     uint64 // of sizes, moments and victims
	Perigeed string // path of the daemon's program
	Perigee  string // path of the command line's program
	Dir      string // new folder for images, logs and the ledger; it stays
	Say      func(text string)
}

// Report is what a run saw.
type Report struct {
	Cuts     int
	Asked    int // messages that applications tried to send
	Accepted int // of these, those that a node has answered for
	Received int // of these, those that the other application has acknowledged
}

// How long things are left to happen.
const (
	maxTraffic = 2 * time.Second        // before a cut
	maxAfter   = 300 * time.Millisecond // from a cut to the end of the process
	maxStart   = 150 * time.Millisecond // from a start to a cut while starting
	drainEvery = 5                      // cuts
	// drainPatience is how long nothing may arrive while it should.
	drainPatience = time.Minute
)

// node is a daemon and its disk.
type node struct {
	*daemon.Daemon
	id   bundle.EID
	disk *disk
}

// world is all that a run consists of.
type world struct {
	options Options
	rng     *rand.Rand
	nodes   []*node
	ledger  *ledger
	cuts    int
}

// Run makes two nodes, cuts their power and checks their promises. Its error is
// ErrUnavailable where the machine cannot do that, and ErrFailed when a promise was
// broken. It leaves no mount and no process behind; the folder is the caller's.
func Run(ctx context.Context, o Options) (r *Report, err error) {
	w := &world{options: o, rng: rand.New(rand.NewPCG(o.Seed, 0))}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of the run: %w", err)
	}
	log, err := os.Create(filepath.Join(o.Dir, "ledger.jsonl"))
	if err != nil {
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	w.ledger = newLedger(log)
	defer func() { err = errors.Join(err, w.takeDown(context.WithoutCancel(ctx)), log.Close()) }()
	if err := w.setUp(ctx); err != nil {
		return nil, err
	}
	if err := w.run(ctx); err != nil {
		return nil, err
	}
	f := w.ledger.figures()
	return &Report{Cuts: w.cuts, Asked: f.asked, Accepted: f.accepted, Received: f.received}, nil
}

// setUp makes the disks and starts the daemons.
func (w *world) setUp(ctx context.Context) error {
	address, err := daemon.FreeAddress(ctx)
	if err != nil {
		return err
	}
	ids := []bundle.EID{bundle.IPN(1, 0), bundle.IPN(2, 0)}
	type table = map[string]any
	for i, name := range []string{"a", "b"} {
		dir := filepath.Join(w.options.Dir, name)
		disk, err := newDisk(ctx, filepath.Join(w.options.Dir, name+".img"), filepath.Join(dir, "disk"))
		if err != nil {
			return err
		}
		link := table{"peer": ids[1-i].String(), "mode": "always"}
		config := table{
			"node":    table{"id": ids[i].String(), "data_dir": "disk/data", "socket": "socket"},
			"store":   table{"quota": "200MB"},
			"custody": table{"aggregate": "100ms", "peer_aggregate": "1s"},
			"link":    []table{link},
		}
		if i == 0 {
			config["listen"] = []table{{"address": address}}
		} else {
			link["address"] = address
		}
		d, err := daemon.New("daemon "+name, dir, w.options.Perigeed, config, exec.CommandContext)
		if err != nil {
			return err
		}
		n := &node{Daemon: d, id: ids[i], disk: disk}
		w.nodes = append(w.nodes, n)
		if err := disk.mount(ctx); err != nil {
			return err
		}
		if err := n.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// takeDown ends the daemons and unmounts the disks.
func (w *world) takeDown(ctx context.Context) error {
	var errs []error
	for _, n := range w.nodes {
		n.Kill()
		errs = append(errs, n.Close(), n.disk.unmount(ctx))
	}
	return errors.Join(errs...)
}

// run cuts the power as often as it is to be cut, lets everything drain, and ends the
// daemons.
func (w *world) run(ctx context.Context) error {
	sending, receiving := w.send(ctx), w.receive(ctx)
	defer func() { sending.end(); receiving.end() }()
	for drainAt := drainEvery; w.cuts < w.options.Cuts; {
		if !sleep(ctx, w.upTo(maxTraffic)) {
			return ctx.Err()
		}
		if err := w.cut(ctx); err != nil {
			return err
		}
		receiving.end()
		err := w.checkHeld(ctx)
		receiving = w.receive(ctx)
		if err != nil {
			return err
		}
		if w.cuts >= drainAt || w.cuts >= w.options.Cuts {
			drainAt = w.cuts + drainEvery
			sending.end()
			if err := w.drain(ctx); err != nil {
				return err
			}
			sending = w.send(ctx)
		}
		if err := w.failed(); err != nil {
			return err
		}
		f := w.ledger.figures()
		w.options.Say(fmt.Sprintf("%d cuts: %d messages accepted, %d received, %d under way", w.cuts, f.accepted, f.received, f.open))
	}
	sending.end()
	if err := w.drain(ctx); err != nil {
		return err
	}
	receiving.end()
	return errors.Join(w.stopAll(ctx), w.failed())
}

func (w *world) upTo(most time.Duration) time.Duration {
	return time.Duration(w.rng.Int64N(int64(most)))
}

// cut cuts the power of one node or both, and then brings them back.
func (w *world) cut(ctx context.Context) error {
	victims := w.nodes
	if k := w.rng.IntN(3); k < 2 {
		victims = w.nodes[k : k+1]
	}
	if err := w.cutOff(ctx, victims, w.rng.IntN(3) == 0); err != nil {
		return err
	}
	if w.rng.IntN(4) == 0 && w.cuts < w.options.Cuts { // again, while they start
		for _, n := range victims {
			if err := n.disk.recover(ctx); err != nil {
				return err
			}
			if err := n.Launch(ctx); err != nil {
				return err
			}
		}
		if !sleep(ctx, w.upTo(maxStart)) {
			return ctx.Err()
		}
		if err := w.cutOff(ctx, victims, false); err != nil {
			return err
		}
	}
	for _, n := range victims {
		if err := n.disk.recover(ctx); err != nil {
			return err
		}
		if err := w.verifyOffline(ctx, n); err != nil {
			return err
		}
		if err := n.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// cutOff takes the power from the disks of the victims and ends their daemons: at the
// same moment or, when the disks alone fail, a little later.
func (w *world) cutOff(ctx context.Context, victims []*node, disksAlone bool) error {
	w.cuts++
	for _, n := range victims {
		what := "power cut"
		if disksAlone {
			what = "disk cut off"
		}
		w.ledger.note(what, n.Name())
		if n.Ended() {
			continue // it gave up while starting on a disk without power
		}
		if err := freeze(ctx, n.PID(), disksAlone); err != nil {
			return err
		}
	}
	for _, n := range victims {
		if err := n.disk.cut(); err != nil {
			return err
		}
	}
	if disksAlone {
		for _, n := range victims {
			if err := thaw(n.PID()); err != nil {
				return err
			}
		}
		sleep(ctx, w.upTo(maxAfter))
		for _, n := range victims {
			if n.Ended() {
				return fmt.Errorf("%w: %s ended when its disk failed; see %s", ErrFailed, n.Name(), n.Log())
			}
		}
	}
	for _, n := range victims {
		n.Kill()
	}
	return ctx.Err()
}

// verifyOffline lets the command line check a store whose daemon does not run.
func (w *world) verifyOffline(ctx context.Context, n *node) error {
	dir := filepath.Join(n.disk.dir, "data")
	if _, err := os.Stat(filepath.Join(dir, "store")); errors.Is(err, os.ErrNotExist) {
		return nil // the power went before the store was made
	}
	if _, err := link.RunCommand(ctx, w.options.Perigee, "store", "verify", "--data-dir", dir); err != nil {
		return fmt.Errorf("%w: the store of %s: %w", ErrFailed, n.Name(), err)
	}
	return nil
}

// checkHeld checks that everything that is owed lies in one store or the other, and
// that the stores are sound. Nothing may be delivered meanwhile.
func (w *world) checkHeld(ctx context.Context) error {
	owed := w.ledger.owed()
	// The first node is asked twice: what moves is durable in one store before it
	// leaves the other, so that it is seen whichever way it goes.
	for _, n := range []*node{w.nodes[0], w.nodes[1], w.nodes[0]} {
		if err := n.strike(ctx, owed); err != nil {
			return err
		}
	}
	for _, number := range owed {
		w.ledger.missing(number)
	}
	for _, n := range w.nodes {
		s, err := n.Status(ctx)
		if err != nil {
			return fmt.Errorf("asking %s how it is: %w; see %s", n.Name(), err, n.Log())
		}
		if s.Store.Quarantined > 0 || s.Store.FailedReason != "" {
			return fmt.Errorf("%w: %s has a damaged store: %+v", ErrFailed, n.Name(), s.Store)
		}
		if _, err := link.RunCommand(ctx, w.options.Perigee, "--socket", n.Socket(), "store", "verify"); err != nil {
			return fmt.Errorf("%w: the store of %s: %w", ErrFailed, n.Name(), err)
		}
	}
	return nil
}

// strike takes the bundles that a node holds off a list.
func (n *node) strike(ctx context.Context, owed map[bundle.ID]uint64) error {
	const page = 500
	client := apphttp.Dial(n.Socket())
	defer client.Close()
	for after := store.Handle(0); ; {
		records, err := client.Bundles(ctx, after, page)
		if err != nil {
			return fmt.Errorf("listing the bundles of %s: %w; see %s", n.Name(), err, n.Log())
		}
		for _, r := range records {
			delete(owed, r.ID)
			after = r.Handle
		}
		if len(records) < page {
			return nil
		}
	}
}

// drain waits until everything has arrived and no store holds anything.
func (w *world) drain(ctx context.Context) error {
	last, since := -1, time.Now()
	for {
		f := w.ledger.figures()
		var what []string
		if f.open > 0 {
			what = append(what, fmt.Sprintf("%d messages accepted and not received", f.open))
		}
		for _, n := range w.nodes {
			s, err := n.Status(ctx)
			if err != nil {
				return fmt.Errorf("asking %s how it is: %w; see %s", n.Name(), err, n.Log())
			}
			if s.Store.Bundles > 0 || s.Custody.Held > 0 {
				what = append(what, fmt.Sprintf("%d bundles in the store of %s, %d in custody", s.Store.Bundles, n.Name(), s.Custody.Held))
			}
		}
		if len(what) == 0 {
			return nil
		}
		if f.received != last {
			last, since = f.received, time.Now()
		}
		if time.Since(since) > drainPatience {
			return fmt.Errorf("%w: nothing moves for %s, and there are still %s", ErrFailed, drainPatience, strings.Join(what, ", "))
		}
		if !sleep(ctx, 5*pause) {
			return ctx.Err()
		}
	}
}

// stopAll ends the daemons in an orderly way and checks what they leave.
func (w *world) stopAll(ctx context.Context) error {
	var errs []error
	for _, n := range w.nodes {
		errs = append(errs, n.Stop(), w.verifyOffline(ctx, n))
	}
	return errors.Join(errs...)
}

// failed tells which promises were broken, if any, and whether a daemon has ended by
// itself.
func (w *world) failed() error {
	failures := w.ledger.verdict()
	for _, n := range w.nodes {
		if n.Ended() {
			failures = append(failures, fmt.Sprintf("%s ended by itself; see %s", n.Name(), n.Log()))
		}
	}
	if len(failures) == 0 {
		return nil
	}
	return fmt.Errorf("%w:\n%s", ErrFailed, strings.Join(failures, "\n"))
}
