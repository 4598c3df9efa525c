package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"perigee/bundle/bundletest"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/testbed/link"
)

// scriptNow is the time in the scripts: 2026-06-01T00:10:00Z.
const scriptNow = bundletest.Created + dtntime.Time(10*dtntime.Minute)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"perigee": func() {
			os.Exit(run(context.Background(), os.Args[1:], &env{
				in: os.Stdin, out: os.Stdout, err: os.Stderr,
				getenv: os.Getenv,
				now:    func() dtntime.Time { return scriptNow },
			}))
		},
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"code": checkCode, "weights": writeWeights, "retrain": retrain},
		Condition: func(name string) (bool, error) {
			if name != "links" {
				return false, fmt.Errorf("there is no condition %q", name)
			}
			return link.NewTun(nil).Probe(t.Context()) == nil, nil
		},
	})
}

// retrain writes a network whose head differs a little from that of another one:
// retrain FILE OUT.
func retrain(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: retrain FILE OUT")
	}
	n, err := models.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	head := n.HeadParams()
	for i := range head {
		head[i] += float32(i%3-1) / 64
	}
	n, err = n.WithHead(head)
	ts.Check(err)
	ts.Check(models.WriteFile(ts.MkAbs(args[1]), n))
}

// checkCode runs a command and requires its exit code: code 65 perigee ...
func checkCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N command [args...]")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("exit code is %s, want %s", got, args[0])
	}
}

// writeWeights writes a file of Darknet weights with the numbers 1, 2, 3 and so on,
// divided by 8: weights FILE COUNT.
func writeWeights(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: weights FILE COUNT")
	}
	count, err := strconv.Atoi(args[1])
	ts.Check(err)
	file := make([]byte, 20)
	file[4] = 2 // version 0.2
	for i := range count {
		file = models.AppendFloats(file, []float32{float32(i+1) / 8})
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), file, 0o666))
}

// testEnv is an env whose streams are in memory.
func testEnv(in string) (*env, *bytes.Buffer, *bytes.Buffer) {
	var out, errs bytes.Buffer
	return &env{
		in: strings.NewReader(in), out: &out, err: &errs,
		getenv: func(string) string { return "" },
		now:    func() dtntime.Time { return scriptNow },
		output: formatTable,
	}, &out, &errs
}

func TestCanceledInspectStops(t *testing.T) {
	name := filepath.Join(t.TempDir(), "bundle")
	if err := os.WriteFile(name, bundletest.Bytes(1, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	e, _, _ := testEnv("")
	if code := run(ctx, []string{"bundle", "inspect", name}, e); code != exitFailed {
		t.Fatalf("exit code is %d, want %d", code, exitFailed)
	}
}

func TestFailedOutputIsReported(t *testing.T) {
	e, _, errs := testEnv("820da1018183030701")
	e.out = brokenWriter{}
	if code := run(context.Background(), []string{"bundle", "inspect", "-"}, e); code != exitFailed {
		t.Fatalf("exit code is %d, want %d", code, exitFailed)
	}
	if !strings.Contains(errs.String(), "write output") {
		t.Fatalf("message is %q", errs)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestSocketComesFromEnvironment(t *testing.T) {
	for _, test := range []struct {
		env, flag, want string
	}{
		{"", "", defaultSocket},
		{"/tmp/a.sock", "", "/tmp/a.sock"},
		{"/tmp/a.sock", "/tmp/b.sock", "/tmp/b.sock"},
	} {
		e, _, _ := testEnv("")
		e.getenv = func(name string) string {
			if name == "PERIGEE_SOCKET" {
				return test.env
			}
			return ""
		}
		args := []string{"bundle"}
		if test.flag != "" {
			args = append(args, "--socket", test.flag)
		}
		if code := run(context.Background(), args, e); code != exitDone {
			t.Fatalf("exit code %d", code)
		}
		if e.socket != test.want {
			t.Errorf("socket is %s, want %s", e.socket, test.want)
		}
	}
}
