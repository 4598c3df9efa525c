package badgerstore_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"perigee/bundle/store"
	"perigee/bundle/store/badgerstore"
	"perigee/bundle/store/badgerstore/crashtest"
	"perigee/bundle/store/storetest"
)

// crashOptions makes everything happen within a short workload: segments end after
// a few commits, bundles above 20 kB are large, and one of the others is too large to
// be copied into its frame.
func crashOptions(fs badgerstore.FS) badgerstore.Options {
	return badgerstore.Options{
		FS: fs, SegmentSize: 4 << 10, SmallLimit: 20 << 10, Reserve: 64 << 10,
		Rand: rand.New(rand.NewSource(7)),
	}
}

// model is what the store must hold: what was acknowledged, and the one commit
// that may or may not have become durable.
type model struct {
	live     map[uint64]store.Record // by bundle number
	gone     map[uint64]store.Gone
	counter  uint64
	maybe    []uint64 // bundles touched by the commit that failed
	maybeSet bool     // and whether it set the counter
	top      store.Handle
}

func newModel() *model {
	return &model{live: map[uint64]store.Record{}, gone: map[uint64]store.Gone{}}
}

// workload runs a fixed script until it ends or the first commit fails.
func workload(s store.Store) (*model, error) {
	m := newModel()
	rng := rand.New(rand.NewSource(3))
	next := uint64(0)
	for step := range 40 {
		var ops []store.Op
		var after []func()
		m.maybe, m.maybeSet = nil, false
		for range 1 + rng.Intn(2) { // one or two new bundles
			n := next
			next++
			size := int64(100 + rng.Intn(700))
			switch n % 7 {
			case 3:
				size = 30_000
			case 5:
				size = 18_000
			}
			st, err := storetest.Stage(s, storetest.Bytes(n, size))
			if err != nil {
				return m, err
			}
			r := storetest.Record(n, size)
			r.Handle = s.NextHandle()
			ops = append(ops, store.Put{Record: r, Staged: st})
			m.maybe = append(m.maybe, n)
			after = append(after, func() { m.live[n], m.top = r, r.Handle })
		}
		if n := next - 5; step > 4 && step%3 != 0 {
			if r, ok := m.live[n]; ok {
				g := store.Gone{ID: r.ID, From: r.From, Reason: store.GoneReleased, At: 5, Until: 800000000000}
				ops = append(ops, store.Delete{Handle: r.Handle, Gone: g})
				m.maybe = append(m.maybe, n)
				after = append(after, func() { delete(m.live, n); m.gone[n] = g })
			}
		} else if r, ok := m.live[n]; ok {
			r.Attempts++
			ops = append(ops, store.Update{Record: r})
			m.maybe = append(m.maybe, n)
			after = append(after, func() { m.live[n] = r })
		}
		if step%4 == 0 {
			ops = append(ops, store.SetCounter{Name: "n", Value: uint64(step)})
			m.maybeSet = true
			after = append(after, func() { m.counter = uint64(step) })
		}
		if err := s.Commit(context.Background(), ops); err != nil {
			return m, err
		}
		for _, f := range after {
			f()
		}
		m.maybe, m.maybeSet = nil, false
	}
	return m, nil
}

// check tells whether s holds what m says, the commit that failed wholly or not at
// all.
func (m *model) check(s store.Store) error {
	uncertain := map[uint64]bool{}
	for _, n := range m.maybe {
		uncertain[n] = true
	}
	for n, r := range m.live {
		if uncertain[n] {
			continue
		}
		if err := storetest.Check(s, n, r); err != nil {
			return fmt.Errorf("acknowledged bundle %d: %w", n, err)
		}
	}
	for n, g := range m.gone {
		if t, err := s.Find(g.ID); err != nil || t.Gone == nil || *t.Gone != g {
			return fmt.Errorf("bundle %d that left: found %+v, %v", n, t, err)
		}
	}
	if err := errors.Join(m.checkLast(s), storetest.CheckLanes(s)); err != nil {
		return err
	}
	extra := int64(len(m.maybe))
	st := s.Stats()
	if d := st.Bundles - int64(len(m.live)); d < -extra || d > extra {
		return fmt.Errorf("%d bundles, want %d give or take %d", st.Bundles, len(m.live), extra)
	}
	if st.Quarantined != 0 {
		return fmt.Errorf("%d records quarantined by a crash", st.Quarantined)
	}
	if h := s.NextHandle(); h <= m.top {
		return fmt.Errorf("handle %d comes again; %d was used", h, m.top)
	}
	return nil
}

// checkLast checks that the commit that failed is there wholly or not at all.
func (m *model) checkLast(s store.Store) error {
	if len(m.maybe) == 0 {
		return nil
	}
	states := ""
	for _, n := range m.maybe {
		t, err := s.Find(storetest.Record(n, 0).ID)
		if err != nil {
			return err
		}
		if _, fresh := m.live[n]; fresh { // deleted or updated by the commit
			r := m.live[n]
			switch {
			case t.Gone != nil:
				states += "1"
			case t.Live != nil && t.Live.Attempts > r.Attempts:
				states += "1"
			case t.Live != nil:
				states += "0"
			default:
				return fmt.Errorf("bundle %d is lost", n)
			}
			continue
		}
		if t.Live == nil {
			states += "0"
			continue
		}
		states += "1"
		if err := storetest.Check(s, n, *t.Live); err != nil {
			return err
		}
	}
	for i := range states {
		if states[i] != states[0] {
			return fmt.Errorf("a commit of bundles %v was applied in parts: %s", m.maybe, states)
		}
	}
	if n, err := s.Counter("n"); err != nil || !m.maybeSet && n != m.counter {
		return fmt.Errorf("counter is %d, %v; want %d", n, err, m.counter)
	}
	return nil
}

var everyMode = flag.Bool("everymode", false, "cut the power at every operation in every way, not in one of them")

// indexDir returns a folder for a store whose log is elsewhere, in memory if the
// machine has a place there: badger syncs a lot.
func indexDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "badgerstore")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestCrashAtEveryOperation cuts the power at every write, sync, creation and
// removal of a workload, opens what is left, and checks the promises.
func TestCrashAtEveryOperation(t *testing.T) {
	whole := crashtest.New()
	s := mustOpen(t, indexDir(t), crashOptions(whole))
	m, err := workload(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	total := whole.Count()
	if total < 100 || len(m.gone) < 10 || s.Stats().Segments < 3 {
		t.Fatalf("the workload is too small: %d operations, %d deletes, %+v", total, len(m.gone), s.Stats())
	}
	t.Logf("%d operations, %+v", total, s.Stats())
	old := indexDir(t) // an index from the middle of the workload, closed properly
	makeOldIndex(t, old)
	parent := indexDir(t)
	step := 1
	if testing.Short() {
		step = 7
	}
	for at := 1; at <= total; at += step {
		modes := []crashtest.Torn{crashtest.Torn(at+at/4) % crashtest.TornModes}
		if *everyMode {
			modes = []crashtest.Torn{crashtest.TornNone, crashtest.TornAll, crashtest.TornHalf, crashtest.TornTail}
		}
		for _, how := range modes {
			if err := crashOnce(parent, at, how, at%3, old); err != nil {
				t.Fatalf("power cut at operation %d, torn mode %d, index mode %d: %v", at, how, at%3, err)
			}
		}
	}
}

// makeOldIndex leaves the index of a store with a few commits in dir.
func makeOldIndex(t *testing.T, dir string) {
	s := mustOpen(t, dir, crashOptions(crashtest.New()))
	for n := range uint64(3) {
		if _, err := storetest.Put(s, n, 100); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// crashOnce runs the workload up to operation at. The index that is found
// afterwards is the one that was there, none, or one of another time.
func crashOnce(parent string, at int, how crashtest.Torn, index int, old string) error {
	fs := crashtest.New()
	fs.SetFail(func(op int, _ string) error {
		if op >= at {
			return crashtest.ErrCut
		}
		return nil
	})
	dir, err := os.MkdirTemp(parent, "crash")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	m := newModel()
	s, err := badgerstore.Open(dir, crashOptions(fs))
	if err == nil {
		m, _ = workload(s)
		s.Close() // fails when the power is cut
	} else if !errors.Is(err, crashtest.ErrCut) {
		return err
	}
	switch index {
	case 1:
		err = os.RemoveAll(filepath.Join(dir, "index"))
	case 2:
		err = errors.Join(os.RemoveAll(filepath.Join(dir, "index")),
			os.CopyFS(filepath.Join(dir, "index"), os.DirFS(filepath.Join(old, "index"))))
	default:
		err = nil
	}
	if err != nil {
		return err
	}
	if err := reopenAfter(dir, fs.Crash(how), m); err != nil {
		return err
	}
	return nil
}

// reopenAfter checks the store twice: as found, and after it was used and closed
// again.
func reopenAfter(dir string, fs *crashtest.FS, m *model) error {
	s, err := badgerstore.Open(dir, crashOptions(fs))
	if err != nil {
		return fmt.Errorf("open after the crash: %w", err)
	}
	if err := m.check(s); err != nil {
		s.Close()
		return err
	}
	r, err := storetest.Put(s, 1000, 300)
	if err != nil {
		s.Close()
		return err
	}
	m.live[1000], m.top = r, r.Handle
	report, err := s.Verify(context.Background(), nil)
	if err != nil || len(report.Corrupt) > 0 {
		s.Close()
		return fmt.Errorf("verify: %+v, %w", report, err)
	}
	if err := s.Close(); err != nil {
		return err
	}
	if s, err = badgerstore.Open(dir, crashOptions(fs.Crash(crashtest.TornNone))); err != nil {
		return err
	}
	return errors.Join(m.check(s), s.Close())
}

// TestFailedSync checks that a store whose sync failed takes no more writes, goes
// on reading, and comes back with what was acknowledged.
func TestFailedSync(t *testing.T) {
	for _, kind := range []string{"write", "sync"} {
		t.Run(kind, func(t *testing.T) {
			fs, dir := crashtest.New(), indexDir(t)
			s := mustOpen(t, dir, crashOptions(fs))
			kept, err := storetest.Put(s, 1, 300)
			if err != nil {
				t.Fatal(err)
			}
			once := true
			fs.SetFail(func(_ int, k string) error {
				if k == kind && once {
					once = false
					return unix.EIO
				}
				return nil
			})
			if _, err := storetest.Put(s, 2, 300); !errors.Is(err, store.ErrFailed) || !errors.Is(err, unix.EIO) {
				t.Fatalf("got %v, want ErrFailed for EIO", err)
			}
			if _, err := storetest.Put(s, 3, 300); !errors.Is(err, store.ErrFailed) {
				t.Errorf("a failed store took a put: %v", err)
			}
			if err := s.Commit(t.Context(), []store.Op{store.Delete{Handle: kept.Handle}}); !errors.Is(err, store.ErrFailed) {
				t.Errorf("a failed store took a delete: %v", err)
			}
			if s.Stats().FailedReason == "" {
				t.Error("stats do not say that the store has failed")
			}
			if err := storetest.Check(s, 1, kept); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			after := mustOpen(t, dir, crashOptions(fs.Crash(crashtest.TornNone)))
			if err := storetest.Check(after, 1, kept); err != nil {
				t.Error(err)
			}
			if _, err := storetest.Put(after, 3, 300); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestFullDisk fills the disk, deletes, and goes on.
func TestFullDisk(t *testing.T) {
	for name, ops := range map[string]func(*crashtest.FS){
		"Refused":  func(fs *crashtest.FS) { fs.SetFree(64<<10 + 500) }, // what is left is the reserve
		"MidWrite": func(fs *crashtest.FS) { fs.SetFail(fullOnWrite()) },
	} {
		for _, size := range []int64{900, 18_000, 30_000} {
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) {
				fs, dir := crashtest.New(), indexDir(t)
				s := mustOpen(t, dir, crashOptions(fs))
				kept, err := storetest.Put(s, 1, 300)
				if err != nil {
					t.Fatal(err)
				}
				ops(fs)
				if _, err := storetest.Put(s, 2, size); !errors.Is(err, store.ErrFull) {
					t.Fatalf("got %v, want ErrFull", err)
				}
				if tr, err := s.Find(storetest.Record(2, 0).ID); err != nil || tr != (store.Trace{}) {
					t.Errorf("something of the refused bundle shows: %+v, %v", tr, err)
				}
				if err := storetest.Check(s, 1, kept); err != nil {
					t.Error(err)
				}
				gone := store.Gone{ID: kept.ID, Until: 900000000000}
				if err := s.Commit(t.Context(), []store.Op{store.Delete{Handle: kept.Handle, Gone: gone}}); err != nil {
					t.Errorf("delete on a full disk: %v", err)
				}
				fs.SetFail(nil)
				fs.SetFree(-1)
				r, err := storetest.Put(s, 2, size)
				if err != nil {
					t.Fatalf("put with space again: %v", err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				after := mustOpen(t, dir, crashOptions(fs.Crash(crashtest.TornNone)))
				if err := storetest.Check(after, 2, r); err != nil {
					t.Error(err)
				}
				if tr, err := after.Find(kept.ID); err != nil || tr.Gone == nil {
					t.Errorf("the delete is lost: %+v, %v", tr, err)
				}
			})
		}
	}
}

// fullOnWrite lets the next write find the disk full.
func fullOnWrite() func(int, string) error {
	done := false
	return func(_ int, kind string) error {
		if kind == "write" && !done {
			done = true
			return unix.ENOSPC
		}
		return nil
	}
}
