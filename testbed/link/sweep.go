package link

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// namePrefix begins the name of every namespace that this package makes. The
// process that made it follows, then the link and the part of it: pg1234-1-l.
const namePrefix = "pg"

var ownName = regexp.MustCompile(`^` + namePrefix + `([1-9][0-9]{0,9})-[0-9]+-[lmr]$`)

// Sweep removes the namespaces that links of processes now dead have left behind,
// and returns their names. It touches no others.
func (b *NetnsBackend) Sweep(ctx context.Context) ([]string, error) {
	return sweep(ctx, b.run, alive)
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
		match := ownName.FindStringSubmatch(name)
		if match == nil {
			continue
		}
		pid, e := strconv.Atoi(match[1])
		if e != nil || alive(pid) {
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

// namespaces returns the names of all network namespaces.
func namespaces(ctx context.Context, run Runner) (map[string]bool, error) {
	text, err := run(ctx, "ip", "netns", "list")
	if err != nil {
		return nil, err
	}
	names := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		// A number may follow the name: "pg1-1-l (id: 0)".
		if fields := strings.Fields(line); len(fields) > 0 {
			names[fields[0]] = true
		}
	}
	return names, nil
}

func sortedKeys(m map[string]bool) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
