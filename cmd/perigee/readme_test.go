package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"perigee/testbed/lab"
)

// TestSessionsInDocs runs the sessions that the documents show, and holds what they
// print against what the documents say that they print.
func TestSessionsInDocs(t *testing.T) {
	root, programs := moduleRoot(t), t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", programs+string(filepath.Separator),
		"perigee/cmd/perigee", "perigee/cmd/perigeed")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the programs: %v\n%s", err, out)
	}
	for _, name := range []string{"README.md", "docs/quickstart.md", "docs/contacts.md", "docs/routing.md", "docs/security.md"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
			if err != nil {
				t.Fatal(err)
			}
			scripts, outputs := fenced(string(text), "session", "sh"), fenced(string(text), "output", "text")
			if len(scripts) == 0 || len(outputs) == 0 {
				t.Fatalf("%d sessions and %d outputs between markers; want some of each", len(scripts), len(outputs))
			}
			script, built := strings.CutPrefix(strings.Join(scripts, ""), "make build\n")
			if !built {
				t.Fatal(`the session does not begin with "make build"`)
			}
			got := runSession(t, programs, script)
			if got, want := normalized(got), normalized(strings.Join(outputs, "")); !slices.Equal(got, want) {
				t.Errorf("the session printed\n%s\n\nthe document says\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// TestReportIsExplained holds the numbers of a scenario's report against those that
// the quick start explains.
func TestReportIsExplained(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(moduleRoot(t), "docs", "quickstart.md"))
	if err != nil {
		t.Fatal(err)
	}
	report := reflect.TypeFor[lab.Report]()
	for i := range report.NumField() {
		key, _, _ := strings.Cut(report.Field(i).Tag.Get("json"), ",")
		if key == "" || !strings.Contains(string(text), "`"+key+"`") {
			t.Errorf("%s (%q) is not in docs/quickstart.md", report.Field(i).Name, key)
		}
	}
}

// moduleRoot finds the folder of go.mod.
func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
}

// fenced returns the code blocks of a language that follow <!-- marker -->.
func fenced(text, marker, language string) []string {
	pattern := "(?s)<!-- " + marker + " -->\n```" + language + "\n(.*?)```\n"
	var blocks []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// runSession runs a script as somebody would in a clone after "make build" has put
// the programs there, with ports that are free, and returns what it printed.
func runSession(t *testing.T, programs, script string) string {
	t.Helper()
	clone := t.TempDir()
	if err := os.Symlink(programs, filepath.Join(clone, "bin")); err != nil {
		t.Fatal(err)
	}
	output, err := os.Create(filepath.Join(clone, "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close() // only written by the session, which has ended
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	session := exec.CommandContext(ctx, "bash", "-eu", "-o", "pipefail", "-c", freePorts(t, script))
	session.Dir, session.Stdout, session.Stderr = clone, output, output
	session.Env = append(os.Environ(), "TMPDIR="+t.TempDir(), "PERIGEE_SOCKET=")
	// The session and its daemons are one group, so that all end with the test.
	session.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	end := func() error { return syscall.Kill(-session.Process.Pid, syscall.SIGKILL) }
	session.Cancel = end
	err = session.Run()
	if session.Process != nil && end() == nil {
		t.Error("the session left processes behind")
	}
	printed, readErr := os.ReadFile(output.Name())
	if readErr != nil {
		t.Fatal(readErr)
	}
	if err != nil {
		t.Fatalf("the session failed: %v\n%s", err, printed)
	}
	return string(printed)
}

// freePorts puts a free port in the place of each port on loopback.
func freePorts(t *testing.T, script string) string {
	t.Helper()
	chosen := map[string]string{}
	return regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllStringFunc(script, func(address string) string {
		if chosen[address] == "" {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			chosen[address] = l.Addr().String()
		}
		return chosen[address]
	})
}

// normalized returns the lines of text with all that differs from run to run, such as
// times and the widths that follow from them, made equal.
func normalized(text string) []string {
	for _, r := range []struct{ pattern, name string }{
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`, "TIME"},
		{`@\d+\.\d+`, "@ID"},
		{`127\.0\.0\.1:\d+`, "ADDRESS"},
		{`\b\d{9}\.\d+`, "NUMBER"},
		{`[0-9./]+ ms\b`, "TIMES"},
		{`\b(\d+h)?(\d+m)?\d+(\.\d+)?s\b`, "SPAN"},
		{`[ \t]+`, " "},
		{` +\n`, "\n"},
	} {
		text = regexp.MustCompile(r.pattern).ReplaceAllString(text, r.name)
	}
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
