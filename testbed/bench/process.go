package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// Patience with a daemon.
const (
	startPatience = 30 * time.Second
	stopPatience  = 20 * time.Second
	askAgain      = 20 * time.Millisecond
)

// process is a daemon that is measured.
type process struct {
	name string
	log  string
	cmd  *exec.Cmd
	end  chan struct{} // closed when it has ended
}

// launch starts program with its configuration in dir and waits until it is ready.
func launch(ctx context.Context, name, dir, program string, ready func(context.Context) error, args ...string) (*process, error) {
	return launchBy(ctx, exec.CommandContext, name, dir, program, ready, args...)
}

// command makes the command of a program that is to run somewhere;
// exec.CommandContext is one.
type command func(ctx context.Context, program string, args ...string) *exec.Cmd

// launchBy starts a program as launch does, where run has it.
func launchBy(ctx context.Context, run command, name, dir, program string, ready func(context.Context) error, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, name+".log"), end: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", name, err)
	}
	defer log.Close() // the process has it too
	// It is ended by stop, in its own time, not by ctx.
	p.cmd = run(context.WithoutCancel(ctx), program, args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, log, log
	// Its own group, so that an interrupt at the terminal reaches only us, and gone
	// with us whatever happens.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() { // owned by stop, which waits for it
		// The kernel takes the end of the thread that started it for ours.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.end)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // stop looks at the state
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	if err := p.await(ctx, startPatience, ready); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// await asks ready again and again until it finds no fault.
func (p *process) await(ctx context.Context, patience time.Duration, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.end:
			return fmt.Errorf("%s has ended; its log says:\n%s", p.name, p.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("waited for %s: %w: %w; its log says:\n%s", p.name, ctx.Err(), err, p.lastWords())
		case <-time.After(askAgain):
		}
	}
}

// lastWords is the end of the log, which goes with the run.
func (p *process) lastWords() string {
	const most = 2000
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	text = bytes.TrimSpace(text)
	return string(text[max(0, len(text)-most):])
}

// stop ends the process, or kills it when that takes too long.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("ending %s: %w", p.name, err)
	}
	select {
	case <-p.end:
		return nil
	case <-time.After(stopPatience):
	}
	_ = p.cmd.Process.Kill() // it may have ended meanwhile
	<-p.end
	return fmt.Errorf("%s did not end within %s and was killed; its log says:\n%s", p.name, stopPatience, p.lastWords())
}

// memory reads a line of the process's status, such as VmRSS or VmHWM, in bytes.
func (p *process) memory(line string) (int64, error) {
	file := fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid)
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("reading the memory of %s: %w", p.name, err)
	}
	return statusLine(text, line)
}

// statusLine finds a size in the text of a /proc/PID/status.
func statusLine(text []byte, name string) (int64, error) {
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		if len(fields) != 3 || string(fields[0]) != name+":" || string(fields[2]) != "kB" {
			continue
		}
		kb, err := strconv.ParseInt(string(fields[1]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading %s: %w", name, err)
		}
		return kb << 10, nil
	}
	return 0, fmt.Errorf("there is no %s in the status of the process", name)
}

// freeAddress returns a TCP address of this machine that nobody listens on. Somebody
// else may take it before it is used, which then fails loudly.
func freeAddress(ctx context.Context) (string, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}
