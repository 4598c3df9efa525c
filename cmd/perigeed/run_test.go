package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/renameio/v2"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/app/apphttp"
	"perigee/bundle/contact"
)

// recorder notes what happens in which order.
type recorder struct {
	mu    sync.Mutex // guards notes
	notes []string
}

func (r *recorder) note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, text)
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.notes, ", ")
}

// idleNode is an engine that does nothing until it is told to end.
type idleNode struct {
	recorder
	fail  chan error
	plans chan *contact.Plan
}

func (n *idleNode) Run(ctx context.Context) error {
	defer n.note("node ended")
	select {
	case <-ctx.Done():
		return nil
	case err := <-n.fail:
		return err
	}
}

func (n *idleNode) ReloadPlan(_ context.Context, read func() (*contact.Plan, error)) error {
	plan, err := read()
	if err == nil {
		n.plans <- plan
	}
	return err
}

func (n *idleNode) Client() app.Client { return idleClient{} }

// idleClient answers nothing but Status.
type idleClient struct{ app.Client }

func (idleClient) Close() error { return nil }
func (idleClient) Status(context.Context) (app.Status, error) {
	return app.Status{Node: bundle.IPN(2, 0)}, nil
}

func newIdle(t *testing.T, apps ...application) (*daemon, *idleNode, chan os.Signal) {
	t.Helper()
	dir, err := os.MkdirTemp("", "perigeed")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := defaultConfig()
	c.Node.ID = bundle.IPN(2, 0)
	c.Node.Socket = filepath.Join(dir, "s")
	c.Node.ContactPlan = filepath.Join(dir, "plan.jsonl")
	l, err := apphttp.Listen(t.Context(), c.Node.Socket, 0)
	if err != nil {
		t.Fatal(err)
	}
	node := &idleNode{fail: make(chan error, 1), plans: make(chan *contact.Plan, 1)}
	hangup := make(chan os.Signal, 1)
	return &daemon{
		config: &c, node: node, apps: apps, listener: l,
		log: slog.New(slog.NewTextHandler(io.Discard, nil)), hangup: hangup,
	}, node, hangup
}

func start(ctx context.Context, d *daemon) <-chan error {
	done := make(chan error, 1)
	go func() { done <- d.run(ctx) }()
	return done
}

func wait(t *testing.T, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("the daemon did not end")
		return nil
	}
}

func TestOrderlyEnd(t *testing.T) {
	var node *idleNode
	app := application{name: "test", run: func(ctx context.Context) error {
		<-ctx.Done()
		node.note("application ended")
		return nil
	}}
	d, n, _ := newIdle(t, app)
	node = n
	ctx, cancel := context.WithCancel(t.Context())
	done := start(ctx, d)
	client := apphttp.Dial(d.config.Node.Socket)
	defer client.Close()
	if status, err := client.Status(t.Context()); err != nil || status.Node != d.config.Node.ID {
		t.Fatalf("Status over the socket: %+v, %v", status, err)
	}
	cancel()
	if err := wait(t, done); err != nil {
		t.Errorf("the end: %v", err)
	}
	if got, want := node.String(), "application ended, node ended"; got != want {
		t.Errorf("order %q, want %q", got, want)
	}
	if _, err := os.Lstat(d.config.Node.Socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestStatusHasReports: the status over the socket has what the applications say.
func TestStatusHasReports(t *testing.T) {
	idle := func(ctx context.Context) error { <-ctx.Done(); return nil }
	slot := app.Slot{Slot: "b", Active: true, Network: "sha256:00", Version: 3, Update: 17, PicturesLeft: 5}
	d, _, _ := newIdle(t,
		application{name: "silent", run: idle},
		application{name: "satellite", run: idle, report: func(s *app.Status) { s.OnBoard = &app.OnBoard{Slots: []app.Slot{slot}} }})
	ctx, cancel := context.WithCancel(t.Context())
	done := start(ctx, d)
	client := apphttp.Dial(d.config.Node.Socket)
	defer client.Close()
	status, err := client.Status(t.Context())
	if err != nil || status.OnBoard == nil || len(status.OnBoard.Slots) != 1 || status.OnBoard.Slots[0] != slot || status.OnGround != nil {
		t.Errorf("status %+v, %v", status, err)
	}
	cancel()
	if err := wait(t, done); err != nil {
		t.Error(err)
	}
}

// TestRollBackReachesTheSatellite asks over the socket, with an application that flies
// networks and without.
func TestRollBackReachesTheSatellite(t *testing.T) {
	idle := func(ctx context.Context) error { <-ctx.Done(); return nil }
	swapped := app.RolledBack{Was: app.Slot{Slot: "b", Version: 2, Update: 11}, Flies: app.Slot{Slot: "a", Active: true}}
	var reasons []string // the daemon answers one request after the other
	satellite := application{name: "satellite", run: idle, rollBack: func(_ context.Context, reason string) (app.RolledBack, error) {
		reasons = append(reasons, reason)
		if len(reasons) > 1 {
			return app.RolledBack{}, fmt.Errorf("%w: there is no network before", app.ErrRejected)
		}
		return swapped, nil
	}}
	for _, tt := range []struct {
		apps []application
		want []error
	}{
		{[]application{{name: "silent", run: idle}, satellite}, []error{nil, app.ErrRejected}},
		{[]application{{name: "silent", run: idle}}, []error{app.ErrNotFound}},
	} {
		d, _, _ := newIdle(t, tt.apps...)
		ctx, cancel := context.WithCancel(t.Context())
		done := start(ctx, d)
		client := apphttp.Dial(d.config.Node.Socket)
		for _, want := range tt.want {
			done, err := client.RollBack(t.Context(), "sees ships & clouds")
			if !errors.Is(err, want) || (err == nil) != (done == swapped) {
				t.Errorf("%d applications: %+v, %v, want %v", len(tt.apps), done, err, want)
			}
		}
		cancel()
		if err := errors.Join(wait(t, done), client.Close()); err != nil {
			t.Error(err)
		}
	}
	if len(reasons) != 2 || reasons[0] != "sees ships & clouds" {
		t.Errorf("the application was told %q", reasons)
	}
}

func TestFailuresEndTheDaemon(t *testing.T) {
	broken := errors.New("disk on fire")
	t.Run("node", func(t *testing.T) {
		stopped := make(chan struct{})
		d, node, _ := newIdle(t, application{name: "test", run: func(ctx context.Context) error {
			<-ctx.Done()
			close(stopped)
			return nil
		}})
		node.fail <- broken
		if err := wait(t, start(t.Context(), d)); !errors.Is(err, broken) {
			t.Errorf("the end: %v, want the node's error", err)
		}
		<-stopped
	})
	t.Run("application", func(t *testing.T) {
		d, node, _ := newIdle(t, application{name: "test", run: func(context.Context) error { return broken }})
		err := wait(t, start(t.Context(), d))
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), "the test application") {
			t.Errorf("the end: %v, want the application's error", err)
		}
		if node.String() != "node ended" {
			t.Errorf("notes %q, want the node's end", node)
		}
	})
}

func TestHangupReloadsThePlan(t *testing.T) {
	d, node, hangup := newIdle(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := start(ctx, d)
	good := `{"from":"ipn:1.0","to":"ipn:2.0","start":1000,"end":2000,"rate_bps":1000}` + "\n"
	for _, text := range []string{"nonsense\n", good} {
		// A plan is replaced whole, as an operator does it.
		if err := renameio.WriteFile(d.config.Node.ContactPlan, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		hangup <- syscall.SIGHUP
	}
	// Whatever became of the first signal, a plan that is used is the good one.
	select {
	case plan := <-node.plans:
		var text strings.Builder
		if _, err := plan.WriteTo(&text); err != nil || !strings.Contains(text.String(), "ipn:1.0") {
			t.Errorf("plan %q, %v", text.String(), err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("no plan was set")
	}
	cancel()
	for {
		select {
		case <-node.plans:
			continue
		case err := <-done:
			if err != nil {
				t.Errorf("the end: %v", err)
			}
			return
		}
	}
}
