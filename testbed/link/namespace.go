package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// A Runner runs a command to its end and returns what it printed. Its error says
// what the command complained of.
type Runner func(ctx context.Context, name string, args ...string) (stdout []byte, err error)

// RunCommand is the Runner that runs commands of this machine.
func RunCommand(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(complaint.Bytes()))
	}
	return out, nil
}

// command is a command line.
type command []string

func runAll(ctx context.Context, run Runner, commands []command) error {
	for _, c := range commands {
		if _, err := run(ctx, c[0], c[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// Namespace is a network namespace at an end of a link.
type Namespace struct {
	Name   string     // for ip netns
	Device string     // its interface to the link
	Addr   netip.Addr // of Device
}

// Command returns a command that will run in the namespace, as exec.CommandContext
// does. The process is the program's own, so that signals reach it.
func (n Namespace) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", n.Name, program}, args...)...)
}

// Do runs f in the namespace: sockets that f makes stay in it for good, for instance
// those of net.Dialer and net.ListenConfig with addresses that need no resolving. It
// needs root. Goroutines that f starts are elsewhere.
func (n Namespace) Do(f func() error) error {
	done := make(chan error, 1)
	go func() { // ends before Do returns
		done <- n.do(f)
	}()
	return <-done
}

// do runs f on a thread that it moves into the namespace and back. It unlocks the
// thread only once that is as it was, so that no other goroutine runs elsewhere than
// it believes.
func (n Namespace) do(f func() error) error {
	runtime.LockOSThread()
	home, err := openNamespace("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() { _ = unix.Close(home) }()
	// Where ip netns puts them.
	there, err := openNamespace(filepath.Join("/var/run/netns", n.Name))
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() { _ = unix.Close(there) }()
	if err := unix.Setns(there, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("entering network namespace %s: %w", n.Name, err)
	}
	err = f()
	if e := unix.Setns(home, unix.CLONE_NEWNET); e != nil {
		return errors.Join(err, fmt.Errorf("leaving network namespace %s: %w", n.Name, e))
	}
	runtime.UnlockOSThread()
	return err
}

func openNamespace(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("opening network namespace %s: %w", path, err)
	}
	return fd, nil
}

// spaces are the namespaces of one link.
type spaces struct {
	run  Runner
	made []string // in the order in which they were made
}

// Parts of a link, which end the names of their namespaces, and what begins the end of
// the name of one for a node.
const (
	partLeft   = "l"
	partMiddle = "m"
	partRight  = "r"
	partNode   = "n-"
)

// add makes the namespaces of a link, one for each part, and returns their names. On
// failure those that were made are still to be removed.
func (s *spaces) add(ctx context.Context, c Config, pid int, parts ...string) (names []string, err error) {
	there, err := namespaces(ctx, s.run)
	if err != nil {
		return nil, err
	}
	chosen := map[string]string{partLeft: c.Left, partRight: c.Right}
	base := unusedBase(pid, there)
	for _, part := range parts {
		name := chosen[part]
		if there[name] {
			return nil, fmt.Errorf("there is a network namespace %s already: choose another name, or remove it with ip netns del %s", name, name)
		}
		given := name != ""
		if !given {
			name = base + part
		}
		_, err := s.run(ctx, "ip", "netns", "add", name)
		if err == nil || ctx.Err() != nil { // when given up, it may be there
			s.made = append(s.made, name)
		}
		if err != nil {
			return nil, err
		}
		if given {
			if _, err := s.run(ctx, "ip", "-n", name, "link", "set", "dev", "lo", "alias", mark(pid)); err != nil {
				return nil, err
			}
		}
		names = append(names, name)
	}
	return names, nil
}

// unusedBase returns the beginning of names of which none is in use.
func unusedBase(pid int, there map[string]bool) string {
	for i := 1; ; i++ {
		base := fmt.Sprintf("%s%d-%d-", namePrefix, pid, i)
		used := false
		for name := range there {
			used = used || strings.HasPrefix(name, base)
		}
		if !used {
			return base
		}
	}
}

// remove removes the namespaces that were made and are still there.
func (s *spaces) remove(ctx context.Context) error {
	if len(s.made) == 0 {
		return nil
	}
	there, err := namespaces(ctx, s.run)
	if err != nil {
		return err
	}
	for _, name := range s.made {
		if !there[name] {
			continue
		}
		if _, e := s.run(ctx, "ip", "netns", "del", name); e != nil {
			err = errors.Join(err, e)
		}
	}
	return err
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
