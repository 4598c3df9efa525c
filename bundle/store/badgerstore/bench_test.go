package badgerstore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"perigee/bundle/store"
	"perigee/bundle/store/badgerstore"
	"perigee/bundle/store/storetest"
)

// BenchmarkCommit measures durable puts of 1 kB bundles by so many at once.
func BenchmarkCommit(b *testing.B) {
	for _, workers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("1kB/%d", workers), func(b *testing.B) {
			s := mustOpen(b, b.TempDir(), badgerstore.Options{})
			data := storetest.Bytes(1, 1000)
			b.ResetTimer()
			var next atomic.Int64
			var wg sync.WaitGroup
			for range workers {
				wg.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						if err := putBytes(s, uint64(n), data); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
			b.ReportMetric(float64(s.Stats().Commits)/b.Elapsed().Seconds(), "syncs/s")
		})
	}
}

func putBytes(s store.Store, n uint64, data []byte) error {
	st, err := s.Stage(int64(len(data)))
	if err != nil {
		return err
	}
	if _, err := st.Write(data); err != nil {
		return err
	}
	r := storetest.Record(n, int64(len(data)))
	r.Handle = s.NextHandle()
	return s.Commit(context.Background(), []store.Op{store.Put{Record: r, Staged: st}})
}

// BenchmarkMegabyte measures durable puts of 1 MB bundles, by so many at once,
// against a file that is written and synced in steps of as many.
func BenchmarkMegabyte(b *testing.B) {
	data := storetest.Bytes(1, 1<<20)
	for _, workers := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("plain/%d", workers), func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "plain"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			b.SetBytes(int64(len(data)))
			n := 0
			for b.Loop() {
				if _, err := f.Write(data); err != nil {
					b.Fatal(err)
				}
				if n++; n%workers == 0 {
					if err := f.Sync(); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
		b.Run(fmt.Sprintf("store/%d", workers), func(b *testing.B) {
			s := mustOpen(b, b.TempDir(), badgerstore.Options{})
			b.SetBytes(int64(len(data)))
			b.ResetTimer()
			var next atomic.Int64
			var wg sync.WaitGroup
			for range workers {
				wg.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						if err := putBytes(s, uint64(n), data); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}
