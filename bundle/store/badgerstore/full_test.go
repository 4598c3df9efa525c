package badgerstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"perigee/bundle/store"
	"perigee/bundle/store/badgerstore"
	"perigee/bundle/store/storetest"
)

// TestSmallDisk fills a real, small file system, index and all, deletes everything
// and fills it again. It needs the right to mount.
func TestSmallDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=80m"); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	// Another program leaves little room, and takes the rest in the end.
	hog, err := os.Create(filepath.Join(dir, "hog"))
	if err != nil {
		t.Fatal(err)
	}
	defer hog.Close()
	path := filepath.Join(dir, "store")
	o := badgerstore.Options{Reserve: 10 << 20, SegmentSize: 1 << 20}
	for round := range 2 {
		s := mustOpen(t, path, o)
		var stored []store.Record
		n := uint64(1000 * round)
		for err = nil; err == nil; n++ {
			size := int64(20_000)
			if n%5 == 0 {
				size = 1 << 20
			}
			var r store.Record
			if r, err = storetest.Put(s, n, size); err == nil {
				stored = append(stored, r)
			}
		}
		if !errors.Is(err, store.ErrFull) || len(stored) < 30 {
			t.Fatalf("after %d bundles: %v", len(stored), err)
		}
		if round == 0 {
			if err := unix.Fallocate(int(hog.Fd()), 0, 0, 8<<20); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, path, o)
		for _, r := range stored {
			if err := storetest.Check(s, r.ID.Created.Sequence, r); err != nil {
				t.Fatal(err)
			}
			g := store.Gone{ID: r.ID, Until: 900000000000}
			if err := s.Commit(t.Context(), []store.Op{store.Delete{Handle: r.Handle, Gone: g}}); err != nil {
				t.Fatalf("delete on a full disk: %v", err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCleaningDamage lets the oldest segment be cleaned with damage in it: the
// bundle that was there is lost and said to be, the others are not.
func TestCleaningDamage(t *testing.T) {
	for name, offset := range map[string]int64{"Data": 100, "Header": -5} {
		t.Run(name, func(t *testing.T) {
			dir := indexDir(t)
			o := badgerstore.Options{SegmentSize: 4 << 10, Reserve: 1 << 20}
			s := mustOpen(t, dir, o)
			kept := map[uint64]store.Record{}
			for n := range uint64(5) {
				r, err := storetest.Put(s, n, 500)
				if err != nil {
					t.Fatal(err)
				}
				kept[n] = r
			}
			r := kept[3]
			r.Attempts = 4
			g := store.Gone{ID: kept[4].ID, Reason: store.GoneExpired, Until: 900000000000}
			if err := s.Commit(t.Context(), []store.Op{
				store.Update{Record: r},
				store.SetCounter{Name: "n", Value: 9},
				store.Delete{Handle: kept[4].Handle, Gone: g},
			}); err != nil {
				t.Fatal(err)
			}
			kept[3] = r
			delete(kept, 4)
			file, at := find(t, dir, 2, 500)
			if err := flip(file, at+offset); err != nil {
				t.Fatal(err)
			}
			delete(kept, 2)
			bad := file + ".bad"
			for n := uint64(100); ; n++ { // churn until the segment is cleaned
				r, err := storetest.Put(s, n, 500)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Commit(t.Context(), []store.Op{store.Delete{Handle: r.Handle}}); err != nil {
					t.Fatal(err)
				}
				if _, err := os.Stat(bad); err == nil {
					break
				}
				if n > 2000 {
					t.Fatal("the damaged segment is not cleaned")
				}
			}
			for range 2 {
				checkAll(t, s, kept)
				if n, err := s.Counter("n"); n != 9 || err != nil {
					t.Errorf("counter is %d, %v", n, err)
				}
				if tr, err := s.Find(g.ID); err != nil || tr.Gone == nil || *tr.Gone != g {
					t.Errorf("bundle that left: %+v, %v", tr, err)
				}
				if s.Stats().Quarantined == 0 && s.Stats().Commits > 1 {
					t.Error("stats tell of nothing quarantined")
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if err := os.RemoveAll(filepath.Join(dir, "index")); err != nil {
					t.Fatal(err)
				}
				s = mustOpen(t, dir, o)
			}
		})
	}
}
