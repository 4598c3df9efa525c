package badgerstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"perigee/bundle/store"
	"perigee/bundle/store/badgerstore"
	"perigee/bundle/store/badgerstore/crashtest"
	"perigee/bundle/store/storetest"
)

// fill stores bundles, updates some and deletes some, and returns those that are
// left.
func fill(t *testing.T, s store.Store, from, count uint64) map[uint64]store.Record {
	t.Helper()
	kept := map[uint64]store.Record{}
	for n := from; n < from+count; n++ {
		r, err := storetest.Put(s, n, int64(100+n*37%900))
		if err != nil {
			t.Fatal(err)
		}
		var op store.Op
		switch n % 4 {
		case 0:
			op = store.Delete{Handle: r.Handle, Gone: store.Gone{ID: r.ID, Reason: store.GoneReleased, Until: 900000000000}}
		case 1:
			r.Attempts = 7
			op = store.Update{Record: r}
			fallthrough
		default:
			kept[n] = r
		}
		if op != nil {
			if err := s.Commit(t.Context(), []store.Op{op}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return kept
}

func checkAll(t *testing.T, s store.Store, want map[uint64]store.Record) {
	t.Helper()
	for n, r := range want {
		if err := storetest.Check(s, n, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := storetest.CheckLanes(s); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Bundles != int64(len(want)) {
		t.Fatalf("%d bundles, want %d", st.Bundles, len(want))
	}
}

// TestIndexIsMadeAgain damages the index in many ways. Nothing may be lost.
func TestIndexIsMadeAgain(t *testing.T) {
	for name, damage := range map[string]func(index string) error{
		"Lost":     os.RemoveAll,
		"Manifest": func(dir string) error { return os.WriteFile(filepath.Join(dir, "MANIFEST"), []byte("nonsense"), 0o600) },
		"Table": func(dir string) error {
			names, err := filepath.Glob(filepath.Join(dir, "*.sst"))
			if err != nil || len(names) == 0 {
				return fmt.Errorf("no tables in %s: %w", dir, err)
			}
			return flip(names[0], 100)
		},
		"Emptied": func(dir string) error {
			names, err := filepath.Glob(filepath.Join(dir, "*"))
			for _, n := range names {
				err = errors.Join(err, os.Remove(n))
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, o := t.TempDir(), badgerstore.Options{SegmentSize: 8 << 10, Reserve: 1 << 20}
			s := mustOpen(t, dir, o)
			kept := fill(t, s, 0, 60)
			before := s.Stats()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := damage(filepath.Join(dir, "index")); err != nil {
				t.Fatal(err)
			}
			s = mustOpen(t, dir, o)
			checkAll(t, s, kept)
			after := s.Stats()
			before.Segments, before.DiskBytes, before.Commits = after.Segments, after.DiskBytes, after.Commits
			if after != before || after.CustodyBytes == 0 || after.Quarantined != 0 {
				t.Errorf("stats are %+v; before %+v", after, before)
			}
			if r, err := storetest.Put(s, 500, 100); err != nil || r.Handle <= 60 {
				t.Errorf("put after the repair: handle %d, %v", r.Handle, err)
			}
		})
	}
}

// TestForeignIndex gives a store the index of another one.
func TestForeignIndex(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	o := badgerstore.Options{Reserve: 1 << 20}
	sa, sb := mustOpen(t, a, o), mustOpen(t, b, o)
	kept := fill(t, sa, 0, 20)
	fill(t, sb, 100, 20)
	if err := errors.Join(sa.Close(), sb.Close()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.RemoveAll(filepath.Join(a, "index")),
		os.Rename(filepath.Join(b, "index"), filepath.Join(a, "index"))); err != nil {
		t.Fatal(err)
	}
	checkAll(t, mustOpen(t, a, o), kept)
}

// flip inverts a byte of a file.
func flip(name string, at int64) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		return err
	}
	b[0] = ^b[0]
	_, err = f.WriteAt(b, at)
	return err
}

// find returns where the bytes of bundle n stand below dir.
func find(t *testing.T, dir string, n uint64, size int64) (name string, at int64) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "l*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(b, storetest.Bytes(n, size)); i >= 0 {
			return name, int64(i)
		}
	}
	t.Fatalf("bundle %d is in no file", n)
	return "", 0
}

// TestDamagedLog flips bytes of the log: verify reports them, and a rebuild loses
// what was there and nothing else.
func TestDamagedLog(t *testing.T) {
	for name, offset := range map[string]int64{ // in the frame of bundle 4
		"FrameHeader": 4, "RecordHeader": 37, "Meta": 60, "Data": 400,
	} {
		t.Run(name, func(t *testing.T) {
			dir, o := t.TempDir(), badgerstore.Options{Reserve: 1 << 20}
			s := mustOpen(t, dir, o)
			var records []store.Record
			for n := range uint64(10) {
				r, err := storetest.Put(s, n, 500)
				if err != nil {
					t.Fatal(err)
				}
				records = append(records, r)
			}
			file, at := find(t, dir, 3, 500) // its frame ends where that of bundle 4 begins
			if err := flip(file, at+500+offset); err != nil {
				t.Fatal(err)
			}
			report, err := s.Verify(t.Context(), nil)
			if err != nil || len(report.Corrupt) == 0 {
				t.Errorf("verify of the open store: %+v, %v", report, err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			report, err = badgerstore.Verify(t.Context(), dir, o, nil)
			if err != nil || len(report.Corrupt) == 0 {
				t.Errorf("verify: %+v, %v", report, err)
			}
			if _, err := badgerstore.Rebuild(dir, o); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(dir, "index")); err != nil {
				t.Fatal(err)
			}
			s = mustOpen(t, dir, o)
			if s.Stats().Quarantined == 0 {
				t.Error("stats tell of nothing quarantined")
			}
			for n, r := range records {
				if err := storetest.Check(s, uint64(n), r); (err != nil) != (n == 4) {
					t.Errorf("bundle %d: %v", n, err)
				}
			}
			if _, err := storetest.Put(s, 50, 500); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDamagedLargeBundle(t *testing.T) {
	dir, o := t.TempDir(), badgerstore.Options{SmallLimit: 1000, Reserve: 1 << 20}
	s := mustOpen(t, dir, o)
	for n := range uint64(3) {
		if _, err := storetest.Put(s, n, 5000); err != nil {
			t.Fatal(err)
		}
	}
	name, at := find(t, dir, 1, 5000)
	if err := flip(name, at+4000); err != nil {
		t.Fatal(err)
	}
	if report, err := s.Verify(t.Context(), nil); err != nil || len(report.Corrupt) != 1 {
		t.Errorf("verify: %+v, %v; want one large bundle corrupt", report, err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if report, err := badgerstore.Verify(t.Context(), dir, o, nil); err != nil || len(report.Corrupt) != 1 {
		t.Errorf("verify: %+v, %v; want one large bundle missing", report, err)
	}
	s = mustOpen(t, dir, o)
	if st := s.Stats(); st.Bundles != 2 || st.Bytes != 10000 || st.Quarantined != 1 {
		t.Errorf("stats are %+v; want 2 bundles and 1 quarantined", st)
	}
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, badgerstore.Options{})
	if _, err := badgerstore.Open(dir, badgerstore.Options{}); !errors.Is(err, badgerstore.ErrLocked) {
		t.Errorf("second open: %v, want ErrLocked", err)
	}
	if _, err := badgerstore.Verify(t.Context(), dir, badgerstore.Options{}, nil); !errors.Is(err, badgerstore.ErrLocked) {
		t.Errorf("verify beside a daemon: %v, want ErrLocked", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, dir, badgerstore.Options{})
}

// TestLogStaysBounded churns through many times the size of the log with a part
// that stays, and rebuilds the index from what is left.
func TestLogStaysBounded(t *testing.T) {
	const segment = 16 << 10
	dir, o := indexDir(t), badgerstore.Options{SegmentSize: segment, SmallLimit: 4 << 10, Reserve: 1 << 20}
	s := mustOpen(t, dir, o)
	kept := map[uint64]store.Record{}
	var ring []store.Record
	rng := rand.New(rand.NewSource(5))
	// What is in use beside the bytes of bundles is at most 300 bytes each. The
	// cleaning begins a segment over the bound, and commits wait for it when it is
	// four over; the segment that is written and its successor come on top.
	checkBound := func() {
		t.Helper()
		st := s.Stats()
		live := st.Bytes + 300*st.Bundles
		if bound := live + live/4 + 6*segment; st.DiskBytes > bound {
			t.Fatalf("the log holds %d bytes for %d bytes of bundles; the bound is %d", st.DiskBytes, st.Bytes, bound)
		}
	}
	for n := range uint64(1500) {
		size := int64(100 + rng.Intn(400))
		if n%50 == 0 {
			size = 6000
		}
		r, err := storetest.Put(s, n, size)
		if err != nil {
			t.Fatal(err)
		}
		checkBound()
		if n%40 == 7 {
			kept[n] = r
			continue
		}
		ring = append(ring, r)
		if len(ring) > 20 {
			i := rng.Intn(len(ring))
			r := ring[i]
			ring = slices.Delete(ring, i, i+1)
			if err := s.Commit(t.Context(), []store.Op{store.Delete{Handle: r.Handle}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, r := range ring {
		kept[r.ID.Created.Sequence] = r
	}
	checkAll(t, s, kept)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := badgerstore.Rebuild(dir, o); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir, o)
	checkAll(t, s, kept)
	if st := s.Stats(); st.Quarantined != 0 {
		t.Errorf("%d records are quarantined", st.Quarantined)
	}
	if report, err := s.Verify(t.Context(), nil); err != nil || len(report.Corrupt) > 0 {
		t.Errorf("verify: %+v, %v", report, err)
	}
}

// waitFor waits until n commits are queued.
func waitFor(t *testing.T, s *badgerstore.Store, n int) {
	t.Helper()
	for begin := time.Now(); s.Waiting() < n; runtime.Gosched() {
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("%d commits are waiting, want %d", s.Waiting(), n)
		}
	}
}

// TestGroupCommit holds a sync up: the commits that wait meanwhile share the next
// one, and one that is given up is withdrawn.
func TestGroupCommit(t *testing.T) {
	fs := crashtest.New()
	s := mustOpen(t, indexDir(t), crashOptions(fs))
	begun, hold := make(chan struct{}), make(chan struct{})
	first := true
	fs.SetFail(func(_ int, kind string) error {
		if kind == "sync" && first {
			first = false
			close(begun)
			<-hold
		}
		return nil
	})
	results := make(chan error, 11)
	put := func(ctx context.Context, n uint64) {
		st, err := storetest.Stage(s, storetest.Bytes(n, 50))
		if err != nil {
			results <- err
			return
		}
		r := storetest.Record(n, 50)
		r.Handle = s.NextHandle()
		results <- s.Commit(ctx, []store.Op{store.Put{Record: r, Staged: st}})
	}
	release := sync.OnceFunc(func() { close(hold) })
	defer release()
	go put(context.Background(), 0)
	<-begun
	before := s.Stats().Commits
	ctx, cancel := context.WithCancel(context.Background())
	go put(ctx, 99)
	waitFor(t, s, 1)
	cancel()
	if err := <-results; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v from a commit that was given up", err)
	}
	for n := range uint64(10) {
		go put(context.Background(), 1+n)
	}
	waitFor(t, s, 11) // the ten and the one that was given up
	release()
	for range 11 {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
	if syncs := s.Stats().Commits - before; syncs != 2 { // the first, and one for the other ten
		t.Errorf("%d syncs for 11 commits, want 2", syncs)
	}
	if tr, err := s.Find(storetest.Record(99, 0).ID); err != nil || tr != (store.Trace{}) {
		t.Errorf("a withdrawn commit shows: %+v, %v", tr, err)
	}
	if st := s.Stats(); st.Bundles != 11 {
		t.Errorf("%d bundles, want 11", st.Bundles)
	}
}

// TestStageMemory stages more small bundles than memory is for.
func TestStageMemory(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, badgerstore.Options{StageMemory: 10_000, Reserve: 1 << 20})
	var all []store.Staged
	for n := range uint64(8) {
		st, err := storetest.Stage(s, storetest.Bytes(n, 3000))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, st)
	}
	files, err := os.ReadDir(filepath.Join(dir, "large"))
	if err != nil || len(files) != 5 {
		t.Errorf("%d bundles are staged on disk, %v; want 5", len(files), err)
	}
	for n, st := range all {
		r := storetest.Record(uint64(n), 3000)
		r.Handle = s.NextHandle()
		if err := s.Commit(t.Context(), []store.Op{store.Put{Record: r, Staged: st}}); err != nil {
			t.Fatal(err)
		}
		if err := storetest.Check(s, uint64(n), r); err != nil {
			t.Error(err)
		}
	}
}

// TestOrphans checks that files of bundles that were never committed go.
func TestOrphans(t *testing.T) {
	dir := t.TempDir()
	o := badgerstore.Options{Logger: slog.New(slog.DiscardHandler), SmallLimit: 256 << 10, Reserve: 1 << 20}
	s := mustOpen(t, dir, o)
	r, err := storetest.Put(s, 1, 400_000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := storetest.Stage(s, storetest.Bytes(2, 400_000)); err != nil { // never put
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir, o)
	files, err := os.ReadDir(filepath.Join(dir, "large"))
	if err != nil || len(files) != 1 {
		t.Errorf("%d files of large bundles, %v; want 1", len(files), err)
	}
	if err := storetest.Check(s, 1, r); err != nil {
		t.Error(err)
	}
}
