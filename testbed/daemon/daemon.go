// Package daemon runs perigeed as processes of their own: it writes their
// configuration, starts them, and ends them in an orderly way or by SIGKILL.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
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

// Daemon is one perigeed as a process of its own, in runs that may be many. Its log
// is perigeed.log in its folder, and its socket is named there too.
type Daemon struct {
	name    string
	dir     string
	socket  string
	command Command
	program string
	log     *os.File

	mu     sync.Mutex // guards the rest
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
	dying  bool          // it is being killed
	past   app.Counters  // of runs of the process that have ended
	latest app.Counters  // of the present run, as last seen
}

// Command makes the command of a program that is to run where the daemon runs;
// exec.CommandContext is one.
type Command func(ctx context.Context, program string, args ...string) *exec.Cmd

// New writes the configuration of a daemon to perigeed.toml in dir and opens its log
// there. The configuration's socket must be "socket", beside it. The caller closes
// the daemon.
func New(name, dir, program string, config any, command Command) (*Daemon, error) {
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
	return &Daemon{
		name: name, dir: dir, socket: filepath.Join(dir, "socket"), command: command, program: program, log: log,
	}, nil
}

// Start starts the process and waits until it answers.
func (d *Daemon) Start(ctx context.Context) error {
	exited, err := d.spawn(ctx)
	if err != nil {
		return err
	}
	return d.await(ctx, exited)
}

// Launch starts the process and does not wait until it answers.
func (d *Daemon) Launch(ctx context.Context) error {
	_, err := d.spawn(ctx)
	return err
}

// spawn starts the process. The channel is closed when it has ended.
func (d *Daemon) spawn(ctx context.Context) (<-chan struct{}, error) {
	// The process is ended by Kill or Stop, in its own time, not by ctx.
	cmd := d.command(context.WithoutCancel(ctx), d.program, "--config", filepath.Join(d.dir, "perigeed.toml"))
	cmd.Stdout, cmd.Stderr = d.log, d.log
	// Its own group, so that an interrupt at the terminal reaches only the lab.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the %s: %w", d.name, err)
	}
	exited := make(chan struct{})
	go func() { // owned by Kill and Stop, which wait for it
		_ = cmd.Wait()
		close(exited)
	}()
	d.mu.Lock()
	d.cmd, d.exited = cmd, exited
	d.mu.Unlock()
	return exited, nil
}

// await waits until the daemon answers.
func (d *Daemon) await(ctx context.Context, exited <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		if _, err := d.Status(ctx); err == nil {
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

// Status asks the daemon how it is.
func (d *Daemon) Status(ctx context.Context) (app.Status, error) {
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

// Kill ends the process with SIGKILL.
func (d *Daemon) Kill() {
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
	d.past, d.latest, d.cmd, d.dying = Sum(d.past, d.latest), app.Counters{}, nil, false
}

// Stop ends the process in an orderly way, or kills it when that takes too long.
func (d *Daemon) Stop() error {
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
		d.Kill()
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

// Ended tells whether the process has ended by itself.
func (d *Daemon) Ended() bool {
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

// Counters sums up all runs of the process.
func (d *Daemon) Counters() app.Counters {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Sum(d.past, d.latest)
}

// Name is the name given to New.
func (d *Daemon) Name() string { return d.name }

// Socket is the path of the daemon's socket.
func (d *Daemon) Socket() string { return d.socket }

// Log is the path of the daemon's log.
func (d *Daemon) Log() string { return d.log.Name() }

// PID is the number of the present process, or 0 when there is none.
func (d *Daemon) PID() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cmd == nil {
		return 0
	}
	return d.cmd.Process.Pid
}

// Close closes the log. The process must have ended.
func (d *Daemon) Close() error { return d.log.Close() }

// Sum adds two sets of counters.
func Sum(a, b app.Counters) app.Counters {
	return app.Counters{
		BundlesCreated: a.BundlesCreated + b.BundlesCreated, BundlesReceived: a.BundlesReceived + b.BundlesReceived,
		BundlesSent: a.BundlesSent + b.BundlesSent, BundlesDelivered: a.BundlesDelivered + b.BundlesDelivered,
		BundlesDeleted: a.BundlesDeleted + b.BundlesDeleted, Duplicates: a.Duplicates + b.Duplicates,
		CustodyAccepted: a.CustodyAccepted + b.CustodyAccepted, CustodyReleased: a.CustodyReleased + b.CustodyReleased,
		CustodyRefused: a.CustodyRefused + b.CustodyRefused, Retransmissions: a.Retransmissions + b.Retransmissions,
		SignalsSent: a.SignalsSent + b.SignalsSent, SignalsReceived: a.SignalsReceived + b.SignalsReceived,
		CustodyAlarms: a.CustodyAlarms + b.CustodyAlarms,
	}
}

// FreeAddress returns an address on loopback that nobody listens on.
func FreeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}
