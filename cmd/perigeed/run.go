package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"perigee/bundle/app"
	"perigee/bundle/app/apphttp"
	"perigee/bundle/contact"
)

// engine is the node as the daemon drives it.
type engine interface {
	// Run runs the node until ctx ends and then returns nil.
	Run(ctx context.Context) error
	// Client returns a new client of the node.
	Client() app.Client
	// ReloadPlan replaces the contact plan by the one that read returns.
	ReloadPlan(ctx context.Context, read func() (*contact.Plan, error)) error
}

// application is what runs beside the node, through its client.
type application struct {
	name string
	run  func(ctx context.Context) error
	// report adds what the application says of itself to the status of the node, at
	// any time; nil when it says nothing.
	report func(s *app.Status)
	// rollBack has the network before fly again; nil when the application flies none.
	rollBack func(ctx context.Context, reason string) (app.RolledBack, error)
}

// reporting is a client of the node whose status has the applications' reports, and
// which passes on to them what is theirs.
type reporting struct {
	app.Client
	apps []application
}

// Status implements app.Client.
func (r reporting) Status(ctx context.Context) (app.Status, error) {
	s, err := r.Client.Status(ctx)
	if err != nil {
		return s, err
	}
	for _, a := range r.apps {
		if a.report != nil {
			a.report(&s)
		}
	}
	return s, nil
}

// RollBack implements app.Satellite.
func (r reporting) RollBack(ctx context.Context, reason string) (app.RolledBack, error) {
	for _, a := range r.apps {
		if a.rollBack != nil {
			return a.rollBack(ctx, reason)
		}
	}
	return app.RolledBack{}, fmt.Errorf("%w: the node runs no satellite application; name the socket of one that does", app.ErrNotFound)
}

// daemon is what perigeed runs: a node, its socket and its applications.
type daemon struct {
	config   *config
	node     engine
	apps     []application
	listener net.Listener
	log      *slog.Logger
	hangup   <-chan os.Signal
}

// serve makes a daemon by its configuration and runs it until ctx ends.
func serve(ctx context.Context, c *config, log *slog.Logger, hangup <-chan os.Signal) (err error) {
	if err := os.MkdirAll(c.Node.DataDir, 0o750); err != nil {
		return fmt.Errorf("making the data folder (node.data_dir): %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(c.Node.Socket), 0o755); err != nil {
		return fmt.Errorf("making the folder of the socket (node.socket): %w", err)
	}
	plan, err := c.readPlan()
	if err != nil {
		return err
	}
	run, err := c.openEngines()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, run.close()) }()
	listener, err := apphttp.Listen(ctx, c.Node.Socket, fs.FileMode(c.Node.SocketMode))
	if err != nil {
		return fmt.Errorf("%w (node.socket)", err)
	}
	d := &daemon{config: c, listener: listener, log: log, hangup: hangup}
	if d.node, err = newNode(ctx, c, plan, log); err != nil {
		return errors.Join(err, listener.Close())
	}
	if d.apps, err = newApplications(c, d.node, run, log); err != nil {
		return errors.Join(err, listener.Close())
	}
	return d.run(ctx)
}

// run runs the daemon until ctx ends or a part of it fails. Applications and the
// socket end before the node does, so that what they settle still finds it.
func (d *daemon) run(ctx context.Context) error {
	nodeCtx, stopNode := context.WithCancel(context.WithoutCancel(ctx))
	defer stopNode()
	var nodeErr error // of the node; read after nodeEnd is closed
	nodeEnd := make(chan struct{})
	go func() {
		defer close(nodeEnd)
		nodeErr = d.node.Run(nodeCtx)
	}()

	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		select {
		case <-nodeEnd:
			return errors.New("the node ended by itself") // nodeErr says why
		case <-groupCtx.Done():
			return nil
		}
	})
	client := d.node.Client()
	server := apphttp.NewServer(reporting{client, d.apps}, d.log.With("part", "socket"))
	group.Go(func() error { return server.Serve(groupCtx, d.listener) })
	group.Go(func() error { return d.reload(groupCtx) })
	for _, a := range d.apps {
		group.Go(func() error {
			err := a.run(groupCtx)
			if err == nil && groupCtx.Err() == nil {
				err = errors.New("it ended by itself")
			}
			if err != nil {
				return fmt.Errorf("running the %s application: %w", a.name, err)
			}
			return nil
		})
	}
	d.log.Info("perigeed is running", "node", d.config.Node.ID, "socket", d.config.Node.Socket)
	err := group.Wait()
	d.log.Info("perigeed is ending", "node", d.config.Node.ID)
	stopNode()
	<-nodeEnd
	if nodeErr != nil {
		nodeErr = fmt.Errorf("running the node: %w", nodeErr)
	}
	return errors.Join(err, client.Close(), nodeErr)
}

// reload reads the contact plan and the certificates again at each hangup signal.
// What cannot be used leaves the old in force.
func (d *daemon) reload(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.hangup:
		}
		if err := d.config.loadCredentials(d.log); err != nil {
			d.log.Error("kept the old certificates, because the new ones cannot be used", "error", err)
		}
		if err := d.node.ReloadPlan(ctx, d.config.readPlan); err != nil {
			d.log.Error("kept the old contact plan, because the new one cannot be used", "error", err)
			continue
		}
		d.log.Info("took the contact plan into use", "file", d.config.Node.ContactPlan)
	}
}
