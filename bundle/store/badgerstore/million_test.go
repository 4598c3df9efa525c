package badgerstore_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"perigee/bundle/store"
	"perigee/bundle/store/badgerstore"
	"perigee/bundle/store/storetest"
)

var million = flag.Bool("million", false, "measure a store with a million bundles")

// phaseOf names the step of TestMillion that this process is, and its folder.
const (
	phaseOf  = "BADGERSTORE_MILLION_PHASE"
	folderOf = "BADGERSTORE_MILLION_FOLDER"
)

// TestMillion reports the time and the peak memory of what a daemon does with a
// million bundles of 1 kB, each step in a process of its own:
//
//	GOMEMLIMIT=120MiB go test -run TestMillion ./bundle/store/badgerstore -v -million
func TestMillion(t *testing.T) {
	if !*million {
		t.Skip("run with -million to measure")
	}
	dir := t.TempDir()
	for _, phase := range []string{"nothing", "fill", "open", "find", "page", "churn", "drop", "rebuild"} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=TestMillionPhase", "-test.v")
		cmd.Env = append(os.Environ(), phaseOf+"="+phase, folderOf+"="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", phase, err, out)
		}
		for _, line := range strings.Split(string(out), "\n") {
			if _, text, ok := strings.Cut(line, "measured: "); ok {
				t.Log(text)
			}
		}
	}
}

// TestMillionPhase is one step of TestMillion.
func TestMillionPhase(t *testing.T) {
	const all = 1_000_000
	phase := os.Getenv(phaseOf)
	if phase == "" {
		t.Skip("a step of TestMillion")
	}
	dir, o := os.Getenv(folderOf), badgerstore.Options{}
	begin := time.Now()
	var most watcher
	defer most.watch(t)()
	report := func(format string, args ...any) {
		t.Logf("measured: %-8s %6.1f s, %s: %s", phase, time.Since(begin).Seconds(), most.String(), fmt.Sprintf(format, args...))
	}
	switch phase {
	case "nothing":
		report("a process without a store")
		return
	case "rebuild":
		st, err := badgerstore.Rebuild(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		report("%d bundles", st.Bundles)
		return
	}
	s := mustOpen(t, dir, o)
	report("open with %d bundles", s.Stats().Bundles)
	begin = time.Now()
	switch phase {
	case "fill":
		data := storetest.Bytes(1, 1000)
		eachOf(t, all, func(n uint64) error { return putBytes(s, n, data) })
		st := s.Stats()
		report("%.0f puts/s, %d syncs, %d MB on disk", all/time.Since(begin).Seconds(), st.Commits, st.DiskBytes>>20)
	case "find":
		const some = 100_000
		eachOf(t, some, func(n uint64) error {
			tr, err := s.Find(storetest.Record(n*7919%all+1, 0).ID)
			if err == nil && tr.Live == nil {
				err = fmt.Errorf("bundle %d is not there", n)
			}
			return err
		})
		report("%.0f finds/s", some/time.Since(begin).Seconds())
	case "page":
		lanes, err := s.Lanes(store.Lane{}, 10)
		if err != nil || len(lanes) != 1 {
			t.Fatalf("lanes are %v, %v", lanes, err)
		}
		n := 0
		for after := store.Handle(0); ; n += 1024 {
			page, err := s.ScanLane(lanes[0], after, 1024)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			after = page[len(page)-1].Handle
		}
		report("%.0f records/s through ScanLane", float64(n)/time.Since(begin).Seconds())
	case "churn":
		data := storetest.Bytes(1, 1000)
		const some = 200_000
		eachOf(t, some, func(n uint64) error {
			r, err := s.Get(store.Handle(n))
			if err != nil {
				return err
			}
			g := store.Gone{ID: r.ID, Reason: store.GoneReleased, Until: 900000000000}
			if err := s.Commit(t.Context(), []store.Op{store.Delete{Handle: r.Handle, Gone: g}}); err != nil {
				return err
			}
			return putBytes(s, all+n, data)
		})
		report("%.0f deletes and puts/s, %d MB on disk", 2*some/time.Since(begin).Seconds(), s.Stats().DiskBytes>>20)
	case "drop":
		n := 0
		for {
			page, err := s.Scan(0, 256)
			if err != nil {
				t.Fatal(err)
			}
			if n += len(page); len(page) == 0 || n > all/4 {
				break
			}
			var ops []store.Op
			for _, r := range page {
				ops = append(ops, store.Delete{Handle: r.Handle})
			}
			if err := s.Commit(t.Context(), ops); err != nil {
				t.Fatal(err)
			}
		}
		report("%.0f deletes/s in commits of 256, %d MB on disk", float64(n)/time.Since(begin).Seconds(), s.Stats().DiskBytes>>20)
	}
}

// eachOf calls fn with 1 to n, 256 at once.
func eachOf(t *testing.T, n uint64, fn func(uint64) error) {
	t.Helper()
	var next atomic.Uint64
	var wg sync.WaitGroup
	for range 256 {
		wg.Go(func() {
			for i := next.Add(1); i <= n; i = next.Add(1) {
				if err := fn(i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// watcher knows the memory of the process, now and at most, in MB.
type watcher struct {
	mu        sync.Mutex // guards now and most
	now, most map[string]int
}

// watch looks at the memory every few milliseconds until it is stopped.
func (w *watcher) watch(t *testing.T) (stop func()) {
	w.now, w.most = map[string]int{}, map[string]int{}
	w.look(t)
	done := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				w.look(t)
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		wait.Wait()
	}
}

func (w *watcher) look(t *testing.T) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Error(err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) == 3 {
			kb, _ := strconv.Atoi(f[1])
			w.now[f[0]], w.most[f[0]] = kb>>10, max(w.most[f[0]], kb>>10)
		}
	}
}

func (w *watcher) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("RSS %d MB, at most %d (%d anonymous, %d of files)",
		w.now["VmRSS:"], w.most["VmHWM:"], w.most["RssAnon:"], w.most["RssFile:"])
}
