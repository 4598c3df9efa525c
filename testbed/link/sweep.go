package link

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// namePrefix begins the name of every namespace that this package names. The
// process that made it follows, then the link and the part of it, or the node that it
// is for: pg1234-1-l, pg1234-2-n-svalbard.
const namePrefix = "pg"

var ownName = regexp.MustCompile(`^` + namePrefix + `([1-9][0-9]{0,9})-[0-9]+-(?:[lmr]|` + partNode + `.+)$`)

// mark is the alias of the loopback interface in a namespace whose name was given by
// somebody: the only thing about it that tells whose it is.
func mark(pid int) string { return "perigee link of process " + strconv.Itoa(pid) }

var ownMark = regexp.MustCompile(`^perigee link of process ([1-9][0-9]{0,9})$`)

// Sweep removes the namespaces that links of processes now dead have left behind,
// and returns their names. It touches no others. It works through run, RunCommand if
// nil.
func Sweep(ctx context.Context, run Runner) ([]string, error) {
	if run == nil {
		run = RunCommand
	}
	return sweep(ctx, run, alive)
}

// alive tells whether a process exists. Its number may be another's by now; then
// the namespaces stay until that one ends too.
func alive(pid int) bool {
	_, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid)))
	return !errors.Is(err, os.ErrNotExist)
}

func sweep(ctx context.Context, run Runner, alive func(pid int) bool) (removed []string, err error) {
	there, err := namespaces(ctx, run)
	if err != nil {
		return nil, fmt.Errorf("sweeping up after links: %w", err)
	}
	for _, name := range sortedKeys(there) {
		pid, ok := maker(ctx, run, name)
		if !ok || alive(pid) {
			continue
		}
		if _, e := run(ctx, "ip", "netns", "del", name); e != nil {
			err = errors.Join(err, fmt.Errorf("sweeping up after links: %w", e))
			continue
		}
		removed = append(removed, name)
	}
	return removed, err
}

// maker returns the process that made a namespace, if it was one for a link.
func maker(ctx context.Context, run Runner, namespace string) (pid int, ok bool) {
	match := ownName.FindStringSubmatch(namespace)
	if match == nil {
		// One that cannot be looked into is not ours, or just going away.
		text, err := run(ctx, "ip", "-n", namespace, "-j", "link", "show", "dev", "lo")
		if err != nil {
			return 0, false
		}
		match = ownMark.FindStringSubmatch(parseAlias(text))
	}
	if match == nil {
		return 0, false
	}
	pid, err := strconv.Atoi(match[1])
	return pid, err == nil
}

// parseAlias finds the alias of one device in the output of ip -j link show. It is
// empty when there is none.
func parseAlias(text []byte) string {
	var devices []struct {
		Alias string `json:"ifalias"`
	}
	if err := json.Unmarshal(text, &devices); err != nil || len(devices) != 1 {
		return ""
	}
	return devices[0].Alias
}

func sortedKeys(m map[string]bool) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
