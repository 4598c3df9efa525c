package badgerstore_test

import (
	"bytes"
	"context"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"perigee/bundle/store"
	"perigee/bundle/store/badgerstore"
	"perigee/bundle/store/badgerstore/crashtest"
	"perigee/bundle/store/storetest"
)

// churn puts bundles of n..., each of which pushes an older one out, until the store
// fails or count are put. It keeps five bundles in live.
func churn(s store.Store, live map[uint64]store.Record, from, count uint64) error {
	for n := from; n < from+count; n++ {
		r := storetest.Record(n, 900)
		r.Handle = s.NextHandle()
		st, err := storetest.Stage(s, storetest.Bytes(n, r.Size))
		if err != nil {
			return err
		}
		if err := s.Commit(context.Background(), []store.Op{store.Put{Record: r, Staged: st}}); err != nil {
			return err
		}
		live[n] = r
		old, ok := live[n-5]
		if !ok {
			continue
		}
		delete(live, n-5) // it may be gone, or not, when the next commit fails
		if err := s.Commit(context.Background(), []store.Op{store.Delete{Handle: old.Handle}}); err != nil {
			return err
		}
	}
	return nil
}

// TestSegmentsAreUsedAgain lets segments come and go, cuts the power at every operation
// of that, and wants everything there that was not deleted.
func TestSegmentsAreUsedAgain(t *testing.T) {
	const count = 400
	begin := func(t *testing.T, dir string) (*crashtest.FS, *badgerstore.Store, map[uint64]store.Record) {
		fs := crashtest.New()
		s, live := mustOpen(t, dir, crashOptions(fs)), map[uint64]store.Record{}
		if err := churn(s, live, 0, count/2); err != nil {
			t.Fatal(err)
		}
		return fs, s, live
	}
	fs, s, live := begin(t, indexDir(t))
	creates := 0
	fs.SetFail(func(_ int, kind string) error {
		if kind == "create" {
			creates++
		}
		return nil
	})
	if err := churn(s, live, count/2, count/2); err != nil {
		t.Fatal(err)
	}
	if most := count / 2 / 4 / 3; creates > most { // a segment holds four bundles
		t.Errorf("%d files were made for %d bundles; at most %d are expected, as segments are used again", creates, count/2, most)
	}
	rng := rand.New(rand.NewSource(5))
	for cut := 1; cut < 90; cut += 1 + rng.Intn(5) {
		dir := indexDir(t)
		fs, s, live := begin(t, dir)
		first := fs.Count()
		fs.SetFail(func(op int, _ string) error {
			if op >= first+cut {
				return crashtest.ErrCut
			}
			return nil
		})
		if err := churn(s, live, count/2, count); err == nil {
			t.Fatal("nothing failed after the power was cut")
		}
		how := crashtest.Torn(rng.Intn(int(crashtest.TornModes)))
		_ = s.Close() // the power is cut
		if cut%2 == 0 {
			if err := os.RemoveAll(filepath.Join(dir, "index")); err != nil {
				t.Fatal(err)
			}
		}
		again := mustOpen(t, dir, crashOptions(fs.Crash(how)))
		for n, r := range live {
			if err := storetest.Check(again, n, r); err != nil {
				t.Errorf("cut at operation %d, mode %d: bundle %d: %v", cut, how, n, err)
			}
		}
		if st := again.Stats(); st.Quarantined != 0 || st.Bundles > int64(len(live))+1 {
			t.Errorf("cut at operation %d, mode %d: %+v, of %d bundles", cut, how, st, len(live))
		}
	}
}

// TestReadWhatWasUsedAgain reads a bundle that left, and whose segment is gone, long
// after it was opened.
func TestReadWhatWasUsedAgain(t *testing.T) {
	fs := crashtest.New()
	o := crashOptions(fs)
	o.SegmentSize = 128 << 10 // more than is kept in memory, together
	s := mustOpen(t, indexDir(t), o)
	const size, count = 19_000, 2000
	var handles []store.Handle
	put := func(n uint64) {
		r := storetest.Record(n, size)
		r.Handle = s.NextHandle()
		st, err := storetest.Stage(s, storetest.Bytes(n, size))
		if err == nil {
			err = s.Commit(context.Background(), []store.Op{store.Put{Record: r, Staged: st}})
		}
		if err != nil {
			t.Fatal(err)
		}
		handles = append(handles, r.Handle)
	}
	drop := func(from, to int) {
		for _, h := range handles[from:to] {
			if err := s.Commit(context.Background(), []store.Op{store.Delete{Handle: h}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for n := range uint64(count) {
		put(n)
	}
	content, err := s.Open(handles[0])
	if err != nil {
		t.Fatal(err)
	}
	drop(0, count-5)
	for n := uint64(count); n < count+100; n++ {
		put(n)
		drop(int(n)-5, int(n)-4)
	}
	if segments := s.Stats().Segments; segments > 10 {
		t.Fatalf("%d segments are left; the log was not cleaned", segments)
	}
	got, err := io.ReadAll(io.NewSectionReader(content, 0, size))
	if err != nil || !bytes.Equal(got, storetest.Bytes(0, size)) {
		t.Errorf("bundle that was opened before it left: %d bytes, %v; want those of the bundle", len(got), err)
	}
	if err := content.Close(); err != nil {
		t.Error(err)
	}
	if rep, err := s.Verify(context.Background(), nil); err != nil || len(rep.Corrupt) > 0 {
		t.Errorf("verify: %+v, %v", rep, err)
	}
	if n := files(t, fs, s, ".spare"); n > badgerstore.LeastSpares {
		t.Errorf("%d files wait to be used again", n)
	}
}

// files is how many files with an ending are in the folder of the log.
func files(t *testing.T, fs *crashtest.FS, s *badgerstore.Store, ending string) int {
	t.Helper()
	names, err := fs.ReadDir(s.LogDir())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for name := range names {
		if strings.HasSuffix(name, ending) {
			n++
		}
	}
	return n
}

// TestSparesOfABurst lets many segments become free at once. As many wait as the quota
// allows, and most are given back when none comes or goes any more.
func TestSparesOfABurst(t *testing.T) {
	const bundles = 200 // in some 50 segments
	for _, tt := range []struct {
		name  string
		quota int64 // in segments
		want  int
	}{
		{"no quota", 0, badgerstore.LeastSpares},
		{"small quota", 60, 60 / 8},
		{"large quota", 1000, badgerstore.MostSpares},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fs := crashtest.New()
			o := crashOptions(fs)
			o.Quota = tt.quota * o.SegmentSize
			s := mustOpen(t, indexDir(t), o)
			var all []store.Op
			for n := range uint64(bundles) {
				r, err := storetest.Put(s, n, 900)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, store.Delete{Handle: r.Handle})
			}
			if err := s.Commit(t.Context(), all); err != nil {
				t.Fatal(err)
			}
			for files(t, fs, s, ".seg") > 1 || files(t, fs, s, ".spare") != s.Spares() {
				runtime.Gosched() // the janitor is at work
			}
			check := func(when string, want int) {
				t.Helper()
				if n := files(t, fs, s, ".spare"); n != want {
					t.Errorf("%s %d files wait to be used again; want %d", when, n, want)
				}
			}
			check("after the burst", tt.want)
			s.RestSpares()
			check("right after it", tt.want)
			s.RestSpares()
			check("later", badgerstore.LeastSpares)
			if _, err := storetest.Put(s, bundles, 900); err != nil {
				t.Fatal(err)
			}
			s.RestSpares()
			check("later still", badgerstore.LeastSpares)
		})
	}
}
