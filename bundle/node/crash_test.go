package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
	"perigee/bundle/store/badgerstore"
	"perigee/bundle/store/badgerstore/crashtest"
	"perigee/convergence/tcpcl"
)

// crashPatience bounds one run; what does not drain within it has failed.
const crashPatience = time.Minute

// hurriedClock is the machine's clock, made to go faster by jumps.
type hurriedClock struct{ ahead atomic.Int64 }

func (c *hurriedClock) Now() dtntime.Time {
	return wallClock{}.Now().Add(dtntime.Duration(c.ahead.Load()))
}

// crashSite is a node with a disk that forgets what was not synced.
type crashSite struct {
	id      bundle.EID
	address string // the other one's, or empty for the one that listens
	listen  string // its own, once known
	dir     string // of index and spool
	clock   *hurriedClock
	log     *slog.Logger

	mu   sync.Mutex // guards the rest
	fs   *crashtest.FS
	disk *badgerstore.Store
	node *Node // nil when it does not run
	stop func() error
}

// start opens the store and runs the node.
func (s *crashSite) start() error {
	disk, err := badgerstore.Open(s.dir, badgerstore.Options{
		FS: s.fs, SegmentSize: 4 << 10, SmallLimit: 2 << 10, Reserve: 64 << 10, Quota: 1 << 20, Logger: s.log,
	})
	if err != nil {
		return err
	}
	cfg := Config{
		Node: s.id, Store: disk, Clock: s.clock, Log: s.log, AcceptCustody: true, Aggregate: 20, PeerAggregate: dtntime.Second, SpoolDir: s.dir,
	}
	if s.address != "" {
		cfg.Links = []Link{dialling(s.id, nodeB, s.address, true)}
	} else {
		cfg.Links = []Link{{Peer: nodeA, Always: true}}
		l, err := tcpcl.Listen(context.Background(), s.listen, tcpcl.Config{NodeID: s.id.String()})
		if err != nil {
			return errors.Join(err, disk.Close())
		}
		s.listen = l.Addr()
		cfg.Listeners = []Listener{{Layer: "tcpcl", Listener: l}}
	}
	n, err := New(cfg)
	if err != nil {
		for _, l := range cfg.Listeners {
			err = errors.Join(err, l.Close())
		}
		return errors.Join(err, disk.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }() // stop waits for it
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disk, s.node = disk, n
	s.stop = func() error { cancel(); return <-done }
	return nil
}

// end stops the node and closes its store, which fails once its disk has.
func (s *crashSite) end() error {
	s.mu.Lock()
	stop, disk := s.stop, s.disk
	s.node, s.stop, s.disk = nil, nil, nil
	s.mu.Unlock()
	if stop == nil {
		return nil
	}
	return errors.Join(stop(), disk.Close())
}

// client returns a client of the node, or nil when it does not run.
func (s *crashSite) client() app.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.node == nil {
		return nil
	}
	return s.node.Client()
}

// crashRun is node A sending to an application at node B while one of them crashes.
type crashRun struct {
	a, b *crashSite

	mu       sync.Mutex   // guards the rest
	accepted []int        // messages that A has answered for
	handed   map[int]bool // seen by the application at B, which may have acknowledged it
	settled  map[int]bool // acknowledged, and B has answered
	fault    error
}

// crashSizes are the payloads that are sent, in waves; some need files of their own.
var crashSizes = []int{100, 700, 3000, 40, 2500, 1200, 900, 10, 1700, 2300, 60, 800, 400, 2900, 20}

const crashWave = 5

func crashPayload(i int) []byte {
	b := bytes.Repeat([]byte{byte(i + 1)}, crashSizes[i])
	b[0] = byte(i)
	return b
}

// newCrashRun makes both nodes, below dir.
func newCrashRun(dir string, log *slog.Logger) (*crashRun, error) {
	r := &crashRun{handed: map[int]bool{}, settled: map[int]bool{}}
	clock := &hurriedClock{}
	for _, id := range []bundle.EID{nodeB, nodeA} {
		s := &crashSite{id: id, dir: filepath.Join(dir, fmt.Sprint(id)[4:5]), clock: clock, log: log.With("at", id), fs: crashtest.New()}
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return nil, err
		}
		if id == nodeB {
			s.listen = "127.0.0.1:0"
			r.b = s
		} else {
			r.a = s
		}
	}
	return r, nil
}

// send sends wave after wave, most of it under custody, and notes what A accepted.
func (r *crashRun) send() {
	client := r.a.client()
	if client == nil {
		return
	}
	defer client.Close()
	var work sync.WaitGroup
	for i := range crashSizes {
		if i%crashWave == 0 {
			work.Wait()
		}
		work.Go(func() {
			_, err := client.Send(context.Background(), app.Outgoing{
				To: nodeB.WithService(11), From: nodeA.WithService(1), Custody: i%crashWave != 3, Priority: bundle.PriorityNormal,
				Payload: bytes.NewReader(crashPayload(i)), Length: int64(crashSizes[i]),
			})
			if err == nil {
				r.mu.Lock()
				r.accepted = append(r.accepted, i)
				r.mu.Unlock()
			}
		})
	}
	work.Wait()
}

// receive is the application at B until ctx ends.
func (r *crashRun) receive(ctx context.Context) {
	for ctx.Err() == nil {
		client := r.b.client()
		if client == nil {
			waitABit(ctx)
			continue
		}
		d, err := client.Receive(ctx, nodeB.WithService(11))
		if err == nil {
			err = r.consume(d)
		}
		if err != nil {
			waitABit(ctx)
		}
		_ = client.Close() // what was not acknowledged comes again
	}
}

// consume checks a delivery and acknowledges it. It returns the error of a node that
// is going down; faults are noted.
func (r *crashRun) consume(d *app.Delivery) error {
	got, err := io.ReadAll(d.Payload)
	if err := errors.Join(err, d.Payload.Close()); err != nil {
		return err
	}
	i := -1
	if len(got) > 0 {
		i = int(got[0])
	}
	r.mu.Lock()
	switch {
	case i < 0 || i >= len(crashSizes) || !bytes.Equal(got, crashPayload(i)):
		r.fault = fmt.Errorf("%s came as %d bytes that nobody sent", d.ID, len(got))
	case r.settled[i]:
		r.fault = fmt.Errorf("message %d, %s, was delivered again after its acknowledgement was answered", i, d.ID)
	}
	r.handed[i] = true
	r.mu.Unlock()
	if err := d.Ack(context.Background()); err != nil {
		return err
	}
	r.mu.Lock()
	r.settled[i] = true
	r.mu.Unlock()
	return nil
}

// drained tells whether everything accepted has arrived and no node holds anything,
// and lets time pass.
func (r *crashRun) drained(ctx context.Context) bool {
	r.mu.Lock()
	arrived := !slices.ContainsFunc(r.accepted, func(i int) bool { return !r.handed[i] })
	r.mu.Unlock()
	for _, s := range []*crashSite{r.a, r.b} {
		client := s.client()
		if client == nil {
			return false
		}
		st, err := client.Status(ctx)
		_ = client.Close() // it holds nothing
		if err != nil || st.Custody.Held > 0 || st.Store.Bundles > 0 {
			return false
		}
	}
	return arrived
}

func waitABit(ctx context.Context) {
	timer := time.NewTimer(2 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// crashAt runs the whole story, with a loss of power at one operation of a victim's
// disk. It returns how many operations the disk saw before it was asked to recover.
func crashAt(dir string, victimIsB bool, at int, how crashtest.Torn, log *slog.Logger) (ops int, err error) {
	r, err := newCrashRun(dir, log)
	if err != nil {
		return 0, err
	}
	victim := r.a
	if victimIsB {
		victim = r.b
	}
	cut := make(chan struct{})
	var once sync.Once
	victim.fs.SetFail(func(op int, _ string) error {
		if op < at {
			return nil
		}
		once.Do(func() { close(cut) })
		return crashtest.ErrCut
	})
	ctx, cancel := context.WithTimeout(context.Background(), crashPatience)
	var receiving sync.WaitGroup
	defer func() {
		cancel()
		receiving.Wait()
		err = errors.Join(err, r.a.end(), r.b.end())
	}()
	// B opens its listener first. A store that fails while it is opened has accepted
	// nothing; its node starts after the recovery.
	if err := r.b.start(); err != nil && !errors.Is(err, crashtest.ErrCut) {
		return 0, err
	}
	if r.b.stop == nil { // A needs an address to call meanwhile
		if r.b.listen, err = freePort(); err != nil {
			return 0, err
		}
	}
	r.a.address = r.b.listen
	if err := r.a.start(); err != nil && !errors.Is(err, crashtest.ErrCut) {
		return 0, err
	}
	receiving.Go(func() { r.receive(ctx) })
	r.send()
	for over := false; !over; {
		select {
		case <-cut:
			over = true
		default:
			over = r.drained(ctx) || ctx.Err() != nil
			waitABit(ctx)
		}
	}
	ops = victim.fs.Count()
	_ = victim.end() // its disk has failed
	if at%2 == 0 {   // the index is lost with the power, or is as it was
		if err := os.RemoveAll(filepath.Join(victim.dir, "index")); err != nil {
			return 0, err
		}
	}
	victim.fs = victim.fs.Crash(how)
	if err := victim.start(); err != nil {
		return 0, fmt.Errorf("starting again: %w", err)
	}
	return ops, r.finish(ctx)
}

// finish waits until everything has drained and checks what is left.
func (r *crashRun) finish(ctx context.Context) error {
	for !r.drained(ctx) {
		if ctx.Err() != nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			return fmt.Errorf("messages %v were accepted, %v delivered, and then nothing moved for %s", r.accepted, r.handed, crashPatience)
		}
		r.a.clock.ahead.Add(int64(100 * dtntime.Millisecond))
		waitABit(ctx)
	}
	for _, s := range []*crashSite{r.a, r.b} {
		report, err := s.disk.Verify(ctx, nil)
		if err != nil || len(report.Corrupt) > 0 {
			return fmt.Errorf("store of %s: %+v, %w", s.id, report, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fault
}

func freePort() (string, error) {
	l, err := tcpcl.Listen(context.Background(), "127.0.0.1:0", tcpcl.Config{NodeID: nodeB.String()})
	if err != nil {
		return "", err
	}
	return l.Addr(), l.Close()
}

// TestCrashAtEveryWriteOfCustody cuts the power of one of two nodes at every operation
// that its disk sees while bundles are accepted, sent under custody, handed over,
// delivered and released, and checks afterwards that everything accepted was delivered,
// whole and once, and that nothing is left behind.
func TestCrashAtEveryWriteOfCustody(t *testing.T) {
	root := t.TempDir()
	if dir, err := os.MkdirTemp("/dev/shm", "node"); err == nil { // badger syncs a lot
		t.Cleanup(func() { os.RemoveAll(dir) })
		root = dir
	}
	for name, victimIsB := range map[string]bool{"Sender": false, "Custodian": true} {
		t.Run(name, func(t *testing.T) {
			total, err := crashAt(filepath.Join(root, name), victimIsB, 1<<30, crashtest.TornNone, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatalf("without a crash: %v", err)
			}
			if total < 20 {
				t.Fatalf("the disk sees %d operations; a check of few proves little", total)
			}
			t.Logf("%d operations", total)
			step := 1
			if testing.Short() {
				step = 4
			}
			// Commits that meet share a sync, so that other runs see some more.
			crashEach(t, filepath.Join(root, name), victimIsB, 1, total+5, step)
		})
	}
}

// crashEach crashes at operations from first to last, several runs at a time.
func crashEach(t *testing.T, root string, victimIsB bool, first, last, step int) {
	slots := make(chan struct{}, 8) // runs mostly wait
	var work sync.WaitGroup
	rng := rand.New(rand.NewPCG(1, 1))
	for at := first; at <= last; at += step {
		how := crashtest.Torn(rng.IntN(int(crashtest.TornModes)))
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			var told lockedBuffer
			log := slog.New(slog.NewTextHandler(&told, nil))
			dir := filepath.Join(root, fmt.Sprint(at))
			if _, err := crashAt(dir, victimIsB, at, how, log); err != nil {
				t.Errorf("power cut at operation %d, torn mode %d: %v\n%s", at, how, err, told.String())
			}
			_ = os.RemoveAll(dir) // the folder above goes in the end
		})
	}
	work.Wait()
}

// lockedBuffer is a buffer that several goroutines write to.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
