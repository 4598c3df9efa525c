package powercut

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// freezePatience is how long the kernel may take to stop a process.
const freezePatience = 10 * time.Second

// freeze stops every thread of a process. Without syncing it returns when no thread
// runs any program, though the kernel may still be at work for some; with syncing it
// also waits until the kernel has finished what they asked of it.
//
// The ext4 shutdown needs that. When a sync is under way during the shutdown, Linux
// (seen with 6.18) may tell the caller that it succeeded, and a daemon that runs on
// would pass the lie on. A machine without power tells nobody anything.
func freeze(ctx context.Context, pid int, syncing bool) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stopping process %d: %w", pid, err)
	}
	halted := "TtZXD"
	if syncing {
		halted = "TtZX"
	}
	for deadline := time.Now().Add(freezePatience); ; {
		states, err := threadStates(pid)
		if err != nil {
			return fmt.Errorf("stopping process %d: %w", pid, err)
		}
		if strings.Trim(states, halted) == "" {
			return nil
		}
		if time.Now().After(deadline) || !sleep(ctx, 100*time.Microsecond) {
			return fmt.Errorf("stopping process %d: its threads are still in states %s", pid, states)
		}
	}
}

// thaw lets a process go on.
func thaw(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		return fmt.Errorf("letting process %d go on: %w", pid, err)
	}
	return nil
}

// threadStates returns the state letters of all threads (proc(5), field 3 of stat).
func threadStates(pid int) (string, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(files) == 0 {
		return "", fmt.Errorf("process %d has no threads: %w", pid, errors.Join(err, fs.ErrNotExist))
	}
	var states strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(filepath.Clean(f))
		if err != nil {
			continue // the thread has ended
		}
		// The name before the state is in parentheses and may hold anything.
		if end := bytes.LastIndexByte(text, ')'); end >= 0 && end+2 < len(text) {
			states.WriteByte(text[end+2])
		}
	}
	return states.String(), nil
}
