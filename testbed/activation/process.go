package activation

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Command makes the command that runs Fly for a folder, with marks on its standard
// output.
type Command func(ctx context.Context, dir string) *exec.Cmd

// process is a satellite application as a process.
type process struct {
	cmd  *exec.Cmd
	up   chan struct{} // closed when it starts its engine
	end  chan struct{} // closed when it has ended and its marks are read
	log  bytes.Buffer  // read once it has ended
	from time.Time     // when it was started

	mu    sync.Mutex // guards phase
	phase Phase
}

// Phase is what a satellite is at.
type Phase string

// The phases, in order.
const (
	PhaseStart   Phase = "start"   // with the self-test of a network on probation, until there is something to do
	PhaseReceive Phase = "receive" // of parts
	PhaseApply   Phase = "apply"   // from the last part to the checked network
	PhaseStore   Phase = "store"   // of the network into a free slot
	PhaseTrial   Phase = "trial"   // self-test and canary
	PhaseSwap    Phase = "swap"    // from the pointer file to the last receipt
	PhaseAfter   Phase = "after"   // the update has ended
)

// Phases lists all, in order.
func Phases() []Phase {
	return []Phase{PhaseStart, PhaseReceive, PhaseApply, PhaseStore, PhaseTrial, PhaseSwap, PhaseAfter}
}

// follow returns the phase behind a mark.
func follow(now Phase, mark string) Phase {
	op, path, _ := strings.Cut(mark, " ")
	dir, name := filepath.Split(path)
	switch {
	case mark == markTrial:
		return PhaseTrial
	case op == "write" && name == "progress.json":
		return PhaseApply
	case op == "write" && strings.HasPrefix(path, "/"+dataName+"/models/") && name != "active.json":
		return PhaseStore
	case op == "write" && name == "active.json" && now == PhaseTrial:
		return PhaseSwap
	case op == "remove" && dir == "/"+dataName+"/updates/":
		return PhaseAfter
	case op == "write" && strings.HasPrefix(name, "part-"):
		return PhaseReceive
	}
	return now
}

func start(ctx context.Context, command Command, dir string) (*process, error) {
	p := &process{cmd: command(ctx, dir), up: make(chan struct{}), end: make(chan struct{}), phase: PhaseStart, from: time.Now()}
	p.cmd.Stderr = &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	marks, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the satellite: %w", err)
	}
	go func() { // owned by kill, which waits for it
		defer close(p.end)
		p.read(marks)
		_ = p.cmd.Wait() // it was killed, or its log says why it ended
	}()
	return p, nil
}

// read follows the marks until the process has ended.
func (p *process) read(marks io.Reader) {
	for lines := bufio.NewScanner(marks); lines.Scan(); {
		if lines.Text() == markReady {
			close(p.up)
		}
		p.mu.Lock()
		p.phase = follow(p.phase, lines.Text())
		p.mu.Unlock()
	}
}

// waitUp waits until the process starts its engine.
func (p *process) waitUp(ctx context.Context) error {
	select {
	case <-p.up:
	case <-p.end:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// kill ends the process by SIGKILL and returns at what. It fails when the process
// had ended before.
func (p *process) kill() (Phase, error) {
	err := p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.end
	if errors.Is(err, os.ErrProcessDone) || !p.killed() {
		return "", fmt.Errorf("the satellite ended by itself: %v; it said:\n%s", p.cmd.ProcessState, p.lastWords())
	}
	return p.phase, err
}

func (p *process) killed() bool {
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// lastWords is the end of the log.
func (p *process) lastWords() string {
	const most = 4000
	text := p.log.String()
	return text[max(0, len(text)-most):]
}
