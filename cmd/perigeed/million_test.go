package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/app/apphttp"
	"perigee/bundle/bundletest"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
	"perigee/bundle/store/badgerstore"
)

var million = flag.Int("million", 0, "measure daemons with this `number` of 1 kB bundles in store")

// asDaemon lets this test program be a daemon: the value is its command line.
const asDaemon = "PERIGEED_CONFIG"

func TestMain(m *testing.M) {
	if file := os.Getenv(asDaemon); file != "" {
		ctx, cancel := context.WithCancel(context.Background())
		interrupt := make(chan os.Signal, 1)
		signal.Notify(interrupt, syscall.SIGTERM)
		go func() {
			<-interrupt
			cancel()
		}()
		os.Exit(execute(ctx, []string{"--config", file}, nil, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// What a daemon with very many bundles in store takes to start, and how much memory
// then and while it sends some of them on. It runs with -million N alone.
func TestManyBundles(t *testing.T) {
	if *million == 0 {
		t.Skip("a measurement; run it with -million 1000000")
	}
	dir := t.TempDir()
	fillStore(t, filepath.Join(dir, "sender", "store"), *million)

	address := freeAddress(t)
	sender := launch(t, filepath.Join(dir, "sender"), fmt.Sprintf(`
		[node]
		id = "ipn:2.0"
		data_dir = "data"
		socket = "s"
		[store]
		quota = "20GB"
		[[link]]
		peer = "ipn:3.0"
		address = %q
		mode = "always"
	`, address))
	s := sender.await(func(s app.Status) bool { return true })
	if s.Custody.Held != int64(*million) {
		t.Errorf("the status tells of %d bundles in custody, want %d", s.Custody.Held, *million)
	}
	sender.report("started with %d bundles", s.Store.Bundles)
	time.Sleep(30 * time.Second) // so that what goes on behind the scenes shows
	sender.report("30 s later")

	receiver := launch(t, filepath.Join(dir, "receiver"), fmt.Sprintf(`
		[node]
		id = "ipn:3.0"
		data_dir = "data"
		socket = "s"
		[store]
		quota = "20GB"
		[[listen]]
		address = %q
	`, address))
	receiver.await(func(s app.Status) bool { return true })
	part := min(uint64(*million)/2, 200_000)
	sender.await(func(s app.Status) bool { return s.Counters.BundlesSent > 0 })
	begun := time.Now()
	s = sender.await(func(s app.Status) bool { return s.Counters.CustodyReleased >= part })
	sender.report("sent on %d, %.0f a second", s.Counters.CustodyReleased, float64(s.Counters.CustodyReleased)/time.Since(begun).Seconds())
	receiver.report("took %d", s.Counters.CustodyReleased)
	if s.Counters.Retransmissions > 0 {
		t.Errorf("%d retransmissions", s.Counters.Retransmissions)
	}
}

// fillStore writes n bundles in custody for ipn:3.1 into a store.
func fillStore(t *testing.T, dir string, n int) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	disk, err := badgerstore.Open(dir, badgerstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	now := new(watchedClock).Now()
	payload := bundletest.Payload(1, 1000)
	counters := []store.Op{store.SetCounter{Name: "custody/last-id", Value: 1}}
	if err := disk.Commit(t.Context(), counters); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < n; {
		var ops []store.Op
		for ; i < n && len(ops) < 1000; i++ {
			b := bundletest.New(bundletest.From(bundle.IPN(2, 1)), bundletest.To(bundle.IPN(3, 1)), bundletest.Flags(bundle.FlagMustNotFragment),
				bundletest.At(now, uint64(i)), bundletest.Lifetime(dtntime.Day))
			b.Payload.Length = uint64(len(payload))
			raw := bundletest.Encode(b, payload)
			staged, err := disk.Stage(int64(len(raw)))
			if err == nil {
				_, err = staged.Write(raw)
			}
			if err != nil {
				t.Fatal(err)
			}
			ops = append(ops, store.Put{Staged: staged, Record: store.Record{
				Handle: disk.NextHandle(), ID: b.ID(), Destination: b.Primary.Destination, Flags: b.Primary.Flags,
				Priority: bundle.PriorityNormal, Duty: store.DutyForward, Received: now, Expiry: b.Expiry(now),
				HeaderLen: int64(b.HeaderLen()), PayloadLen: int64(len(payload)), Size: int64(len(raw)), Custodial: true,
				Own: store.Episode{Custodian: bundle.IPN(2, 0), SeqID: 1, SeqNum: uint64(i)},
			}})
		}
		if err := disk.Commit(t.Context(), ops); err != nil {
			t.Fatal(err)
		}
	}
	if err := disk.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("filled the store in %s", time.Since(begun).Round(time.Second))
}

// launched is a daemon in a process of its own.
type launched struct {
	t      *testing.T
	name   string
	cmd    *exec.Cmd
	begun  time.Time
	client app.Client
}

func launch(t *testing.T, dir, config string) *launched {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "store")); err == nil {
		if err := os.Rename(filepath.Join(dir, "store"), filepath.Join(dir, "data", "store")); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &launched{t: t, name: filepath.Base(dir), cmd: exec.Command(os.Args[0]), begun: time.Now()}
	p.cmd.Env = append(os.Environ(), asDaemon+"="+file)
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.client = apphttp.Dial(filepath.Join(dir, "s"))
	t.Cleanup(func() {
		if err := errors.Join(p.client.Close(), p.cmd.Process.Signal(syscall.SIGTERM), p.cmd.Wait()); err != nil {
			t.Errorf("ending the %s: %v", p.name, err)
		}
	})
	return p
}

// await asks for the status until it is good.
func (p *launched) await(good func(app.Status) bool) app.Status {
	p.t.Helper()
	for {
		s, err := p.client.Status(p.t.Context())
		if err == nil && good(s) {
			return s
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// report prints what happened and how much memory the daemon takes.
func (p *launched) report(format string, args ...any) {
	p.t.Helper()
	rss, peak := p.memory("VmRSS"), p.memory("VmHWM")
	p.t.Logf("%s after %.1f s: %s; RSS %d MB, at most %d MB", p.name, time.Since(p.begun).Seconds(), fmt.Sprintf(format, args...), rss>>20, peak>>20)
	if limit := 200 << 20; peak > limit {
		p.t.Errorf("%s took %d MB, more than %d MB", p.name, peak>>20, limit>>20)
	}
}

// memory reads a line of the status of the process, in bytes.
func (p *launched) memory(line string) int {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for l := range bytes.Lines(text) {
		if f := bytes.Fields(l); len(f) == 3 && string(f[0]) == line+":" {
			kb, err := strconv.Atoi(string(f[1]))
			if err != nil {
				p.t.Fatal(err)
			}
			return kb << 10
		}
	}
	p.t.Fatalf("no %s in the status of the process", line)
	return 0
}

// freeAddress returns an address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
