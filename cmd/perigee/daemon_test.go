package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// buildDaemon builds perigeed and returns its path.
func buildDaemon(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "perigeed")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "perigee/cmd/perigeed")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building perigeed: %v\n%s", err, out)
	}
	return program
}

// TestDaemonScripts runs scripts against the real perigeed, which it builds.
func TestDaemonScripts(t *testing.T) {
	programs := filepath.Dir(buildDaemon(t))
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "daemon"),
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", programs+string(os.PathListSeparator)+e.Getenv("PATH"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":     checkCode,
			"weights":  writeWeights,
			"retrain":  retrain,
			"ready":    func(ts *testscript.TestScript, _ bool, _ []string) { untilOutput(ts, "node", "perigee", "status") },
			"setenv":   setenvFromFile,
			"freeport": freePort,
			"expand":   expandFile,
			"until": func(ts *testscript.TestScript, _ bool, args []string) {
				if len(args) < 3 || args[1] != "exec" {
					ts.Fatalf("usage: until PATTERN exec COMMAND [ARGS...]")
				}
				untilOutput(ts, args[0], args[2:]...)
			},
		},
	})
}

// untilOutput runs a command again and again until it succeeds and its output
// matches the pattern.
func untilOutput(ts *testscript.TestScript, pattern string, command ...string) {
	want := regexp.MustCompile(pattern)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ts.Exec(command[0], command[1:]...)
		if err == nil && want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			ts.Fatalf("%v never printed %q; the last: %v\n%s%s", command, pattern, err, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
		}
	}
}

// setenvFromFile puts the contents of a file into a variable: setenv NAME FILE.
func setenvFromFile(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: setenv NAME FILE")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

// freePort puts a free TCP port into a variable: freeport NAME.
func freePort(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	ts.Check(err)
	ts.Setenv(args[0], port)
}

// expandFile replaces variables in a file: expand FILE.
func expandFile(ts *testscript.TestScript, _ bool, args []string) {
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}
