package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"perigee/bundle/app/apphttp"
	"perigee/bundle/dtntime"
)

// Sizes of the large payload and of what a daemon may take for it.
const (
	largeBytes      = 300 << 20
	largeShortBytes = 32 << 20 // under -short
	maxPeakRSS      = 150 << 20
)

// testDaemon is a running perigeed.
type testDaemon struct {
	socket string
	cmd    *exec.Cmd
	log    *bytes.Buffer
}

func startDaemon(t *testing.T, program, dir, name, config string) *testDaemon {
	t.Helper()
	file := filepath.Join(dir, name+".toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	d := &testDaemon{socket: filepath.Join(dir, name+".sock"), log: &bytes.Buffer{}}
	d.cmd = exec.Command(program, "--config", file)
	d.cmd.Stderr = d.log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.stop(t) })
	client := apphttp.Dial(d.socket)
	defer client.Close()
	deadline := time.Now().Add(30 * time.Second)
	for {
		if _, err := client.Status(t.Context()); err == nil {
			return d
		} else if time.Now().After(deadline) {
			t.Fatalf("%s does not answer: %v", name, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// stop ends the daemon in an orderly way. A second call does nothing.
func (d *testDaemon) stop(t *testing.T) {
	if d.cmd.ProcessState != nil {
		return
	}
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Errorf("ending perigeed: %v", err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("perigeed: %v", err)
	}
	if t.Failed() {
		t.Logf("log of %s:\n%s", d.socket, d.log)
	}
}

// peakRSS is the most memory that the daemon has ever had, in bytes.
func (d *testDaemon) peakRSS(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil {
		t.Skipf("peak memory is not known here: %v", err)
	}
	match := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if match == nil {
		t.Skip("peak memory is not known here: no VmHWM in /proc")
	}
	kB, err := strconv.ParseInt(string(match[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kB << 10
}

// writeLarge writes a file of pseudo-random bytes and returns its digest.
func writeLarge(t *testing.T, file string, size int64) []byte {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, sum), rand.NewChaCha8([32]byte{7}), size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return sum.Sum(nil)
}

func digest(t *testing.T, file string) []byte {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		t.Fatal(err)
	}
	return sum.Sum(nil)
}

// perigee runs the command line against a daemon.
func (d *testDaemon) perigee(t *testing.T, args ...string) string {
	t.Helper()
	e, out, errs := testEnv("")
	e.now = func() dtntime.Time { return dtntime.FromTime(time.Now()) }
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if code := run(ctx, append([]string{"--socket", d.socket}, args...), e); code != exitDone {
		t.Fatalf("perigee %v: exit %d: %s", args, code, errs)
	}
	return strings.TrimSpace(out.String())
}

// TestLargeFile sends a large file under custody from one daemon to another, and
// looks at what each took of memory at most.
func TestLargeFile(t *testing.T) {
	size := int64(largeBytes)
	if testing.Short() {
		size = largeShortBytes
	}
	dir := t.TempDir()
	program := buildDaemon(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	common := "data_dir=\"%[1]s\"\nsocket=\"%[1]s.sock\"\n[custody]\naggregate=\"100ms\"\n"
	b := startDaemon(t, program, dir, "b", fmt.Sprintf("[node]\nid=\"ipn:2.0\"\n"+common, "b")+
		"[[listen]]\naddress=\""+address+"\"\n[[link]]\npeer=\"ipn:1.0\"\nmode=\"always\"\n")
	a := startDaemon(t, program, dir, "a", fmt.Sprintf("[node]\nid=\"ipn:1.0\"\n"+common, "a")+
		"[[link]]\npeer=\"ipn:2.0\"\naddress=\""+address+"\"\nmode=\"always\"\n")
	file := filepath.Join(dir, "large")
	want := writeLarge(t, file, size)
	start := time.Now()
	id := a.perigee(t, "send", "--to", "ipn:2.42", "--from", "ipn:1.9", "--custody", file)
	accepted := time.Since(start)
	got := filepath.Join(dir, "got")
	b.perigee(t, "recv", "--endpoint", "ipn:2.42", "--out", got, "--timeout", "4m")
	t.Logf("%d MiB: accepted in %v, received after %v", size>>20, accepted.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))
	files, err := filepath.Glob(filepath.Join(got, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("received files %v, %v, want one", files, err)
	}
	if !bytes.Equal(digest(t, files[0]), want) {
		t.Errorf("bundle %s was changed on the way", id)
	}
	for name, d := range map[string]*testDaemon{"sender": a, "receiver": b} {
		peak := d.peakRSS(t)
		t.Logf("peak memory of the %s: %d MiB", name, peak>>20)
		if peak > maxPeakRSS {
			t.Errorf("the %s took %d MiB, more than %d MiB", name, peak>>20, maxPeakRSS>>20)
		}
	}
	deadline := time.Now().Add(30 * time.Second)
	for !strings.Contains(a.perigee(t, "trace", "-o", "json", id), `"released"`) {
		if time.Now().After(deadline) {
			t.Fatalf("the sender was never released of custody: %s", a.perigee(t, "trace", id))
		}
		time.Sleep(50 * time.Millisecond)
	}
}
