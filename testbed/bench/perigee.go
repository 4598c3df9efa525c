package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/pelletier/go-toml/v2"

	"perigee/bundle"
	"perigee/bundle/app/apphttp"
)

// table is a table of a configuration file.
type table = map[string]any

// linkPatience is how long a session between two nodes may take to open, and what
// one owes the other to be settled.
const (
	linkPatience   = 10 * time.Second
	settlePatience = 60 * time.Second
)

// daemon is one perigeed and a client of it.
type daemon struct {
	*process
	node   bundle.EID
	client *apphttp.Client
}

// pair is two daemons with an open TCPCLv4 session on loopback. Bundles go from a
// to b.
type pair struct{ a, b *daemon }

// startPair starts two daemons. The session goes through the address that via makes
// of b's; nil leaves it as it is.
func (b *bench) startPair(ctx context.Context, name string, via func(string) (string, error)) (*pair, error) {
	dir, err := b.folder(name)
	if err != nil {
		return nil, err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	far := table{"listen": []table{{"address": address}}, "link": []table{{"peer": "ipn:1.0", "mode": "always"}}}
	p := &pair{}
	if p.b, err = b.startDaemon(ctx, name+"-b", filepath.Join(dir, "b"), bundle.IPN(2, 0), far); err != nil {
		return nil, err
	}
	dial := address
	if via != nil {
		if dial, err = via(address); err != nil {
			return nil, errors.Join(err, p.stop())
		}
	}
	near := table{"link": []table{{"peer": "ipn:2.0", "address": dial, "mode": "always"}}}
	if p.a, err = b.startDaemon(ctx, name+"-a", filepath.Join(dir, "a"), bundle.IPN(1, 0), near); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	if err := p.a.await(ctx, linkPatience, p.a.linked); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the session: %w", err), p.stop())
	}
	return p, nil
}

// startDaemon starts a perigeed in dir with what config adds.
func (b *bench) startDaemon(ctx context.Context, name, dir string, node bundle.EID, config table) (*daemon, error) {
	return b.startDaemonBy(ctx, exec.CommandContext, name, dir, node, config)
}

// startDaemonBy starts it where run has it. The config may name a contact plan.
func (b *bench) startDaemonBy(ctx context.Context, run command, name, dir string, node bundle.EID, config table) (*daemon, error) {
	own, _ := config["node"].(table)
	if own == nil {
		own = table{}
	}
	own["id"], own["data_dir"], own["socket"] = node.String(), "data", "socket"
	config["node"] = own
	config["log"] = table{"level": "warn"}
	config["store"] = table{"quota": "8GB"}
	config["custody"] = table{"accept": true, "aggregate": "1s", "peer_aggregate": "1s"}
	text, err := toml.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("writing the configuration of %s: %w", name, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of %s: %w", name, err)
	}
	file := filepath.Join(dir, "perigeed.toml")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return nil, fmt.Errorf("writing the configuration of %s: %w", name, err)
	}
	program, err := filepath.Abs(b.perigeed)
	if err != nil {
		return nil, fmt.Errorf("finding %s: %w", b.perigeed, err)
	}
	args := []string{"--config", file}
	if profile := b.profileFile(name); profile != "" {
		args = append(args, "--cpu-profile", profile)
	}
	d := &daemon{node: node, client: apphttp.Dial(filepath.Join(dir, "socket"))}
	d.process, err = launchBy(ctx, run, name, dir, program, func(ctx context.Context) error {
		_, err := d.client.Status(ctx)
		return err
	}, args...)
	if err != nil {
		return nil, errors.Join(err, d.client.Close())
	}
	return d, nil
}

// linked fails while the daemon has no open session.
func (d *daemon) linked(ctx context.Context) error {
	status, err := d.client.Status(ctx)
	if err != nil {
		return err
	}
	for _, l := range status.Links {
		if l.Physical == "up" {
			return nil
		}
	}
	return errors.New("no link is up")
}

// empty fails while the daemon holds bundles.
func (d *daemon) empty(ctx context.Context) error {
	status, err := d.client.Status(ctx)
	if err != nil {
		return err
	}
	if n := status.Store.Bundles; n > 0 {
		return fmt.Errorf("it holds %d bundles", n)
	}
	return nil
}

// settle waits until neither daemon holds a bundle: everything is delivered, and
// the custody of everything released.
func (p *pair) settle(ctx context.Context) error {
	for _, d := range []*daemon{p.a, p.b} {
		if err := d.await(ctx, settlePatience, d.empty); err != nil {
			return fmt.Errorf("waiting until all bundles are delivered and their custody released: %w", err)
		}
	}
	return nil
}

// stop ends both daemons.
func (p *pair) stop() error {
	var errs []error
	for _, d := range []*daemon{p.a, p.b} {
		if d != nil {
			errs = append(errs, d.client.Close(), d.stop())
		}
	}
	return errors.Join(errs...)
}
