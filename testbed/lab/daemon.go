package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/pelletier/go-toml/v2"

	"perigee/bundle/app"
	"perigee/bundle/app/apphttp"
)

// Patience with a daemon.
const (
	startPatience = 30 * time.Second
	stopPatience  = 20 * time.Second
)

// daemon is one perigeed as a process of its own.
type daemon struct {
	name    string
	dir     string
	socket  string
	command func(ctx context.Context, name string, args ...string) *exec.Cmd
	program string
	log     *os.File

	mu     sync.Mutex // guards the rest
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
	dying  bool          // it is being killed
	past   app.Counters  // of runs of the process that have ended
	latest app.Counters  // of the present run, as last seen
}

// newDaemon writes the configuration and opens the log.
func newDaemon(name, dir, program string, config any, command func(context.Context, string, ...string) *exec.Cmd) (*daemon, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of the %s: %w", name, err)
	}
	text, err := toml.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("writing the configuration of the %s: %w", name, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "perigeed.toml"), text, 0o644); err != nil {
		return nil, fmt.Errorf("writing the configuration of the %s: %w", name, err)
	}
	log, err := os.OpenFile(filepath.Join(dir, "perigeed.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the log of the %s: %w", name, err)
	}
	return &daemon{
		name: name, dir: dir, socket: filepath.Join(dir, "socket"), command: command, program: program, log: log,
	}, nil
}

// start starts the process and waits until it answers.
func (d *daemon) start(ctx context.Context) error {
	// The process is ended by kill or stop, in its own time, not by ctx.
	cmd := d.command(context.WithoutCancel(ctx), d.program, "--config", filepath.Join(d.dir, "perigeed.toml"))
	cmd.Stdout, cmd.Stderr = d.log, d.log
	// Its own group, so that an interrupt at the terminal reaches only the lab.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the %s: %w", d.name, err)
	}
	exited := make(chan struct{})
	go func() { // owned by kill and stop, which wait for it
		_ = cmd.Wait()
		close(exited)
	}()
	d.mu.Lock()
	d.cmd, d.exited = cmd, exited
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		if _, err := d.status(ctx); err == nil {
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("the %s ended at once; see %s", d.name, d.log.Name())
		case <-ctx.Done():
			return fmt.Errorf("the %s does not answer; see %s: %w", d.name, d.log.Name(), ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// status asks the daemon how it is.
func (d *daemon) status(ctx context.Context) (app.Status, error) {
	client := apphttp.Dial(d.socket)
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s, err := client.Status(ctx)
	if err == nil {
		d.mu.Lock()
		d.latest = s.Counters
		d.mu.Unlock()
	}
	return s, err
}

// kill ends the process with SIGKILL.
func (d *daemon) kill() {
	d.mu.Lock()
	cmd, exited := d.cmd, d.exited
	d.dying = cmd != nil
	d.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may have ended by itself
	<-exited
	d.mu.Lock()
	defer d.mu.Unlock()
	d.past, d.latest, d.cmd, d.dying = sum(d.past, d.latest), app.Counters{}, nil, false
}

// stop ends the process in an orderly way, or kills it when that takes too long.
func (d *daemon) stop() error {
	d.mu.Lock()
	cmd, exited := d.cmd, d.exited
	d.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("ending the %s: %w", d.name, err)
	}
	select {
	case <-exited:
	case <-time.After(stopPatience):
		d.kill()
		return fmt.Errorf("the %s did not end within %s and was killed", d.name, stopPatience)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cmd = nil
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the %s ended with exit code %d; see %s", d.name, code, d.log.Name())
	}
	return nil
}

// ended tells whether the process has ended by itself.
func (d *daemon) ended() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cmd == nil || d.dying {
		return false
	}
	select {
	case <-d.exited:
		return true
	default:
		return false
	}
}

// counters sums up all runs of the process.
func (d *daemon) counters() app.Counters {
	d.mu.Lock()
	defer d.mu.Unlock()
	return sum(d.past, d.latest)
}

func sum(a, b app.Counters) app.Counters {
	return app.Counters{
		BundlesCreated: a.BundlesCreated + b.BundlesCreated, BundlesReceived: a.BundlesReceived + b.BundlesReceived,
		BundlesSent: a.BundlesSent + b.BundlesSent, BundlesDelivered: a.BundlesDelivered + b.BundlesDelivered,
		BundlesDeleted: a.BundlesDeleted + b.BundlesDeleted, Duplicates: a.Duplicates + b.Duplicates,
		CustodyAccepted: a.CustodyAccepted + b.CustodyAccepted, CustodyReleased: a.CustodyReleased + b.CustodyReleased,
		CustodyRefused: a.CustodyRefused + b.CustodyRefused, Retransmissions: a.Retransmissions + b.Retransmissions,
		SignalsSent: a.SignalsSent + b.SignalsSent, SignalsReceived: a.SignalsReceived + b.SignalsReceived,
	}
}
