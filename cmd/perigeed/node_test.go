package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/app/apphttp"
	"perigee/bundle/app/apptest"
)

// startNode runs a node as its configuration makes it, with a store on the disk,
// and returns the daemon.
func startNode(t *testing.T) *daemon {
	t.Helper()
	d, _, _ := newIdle(t)
	c := d.config
	c.Node.DataDir = filepath.Join(t.TempDir(), "data")
	c.Node.ContactPlan = ""
	c.Listen = []listenConfig{{Layer: layerTCPCL, Address: "127.0.0.1:0"}}
	log := slog.New(slog.DiscardHandler)
	node, err := newNode(t.Context(), c, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	d.node = node
	ctx, cancel := context.WithCancel(context.Background())
	done := start(ctx, d)
	t.Cleanup(func() {
		cancel()
		if err := wait(t, done); err != nil {
			t.Errorf("the end: %v", err)
		}
	})
	return d
}

func TestSuiteInProcess(t *testing.T) {
	apptest.Run(t, func(t *testing.T) apptest.Subject {
		d := startNode(t)
		return apptest.Subject{Node: bundle.IPN(2, 0), Dial: d.node.Client}
	})
}

func TestSuiteOverSocket(t *testing.T) {
	apptest.Run(t, func(t *testing.T) apptest.Subject {
		d := startNode(t)
		return apptest.Subject{Node: bundle.IPN(2, 0), Dial: func() app.Client { return apphttp.Dial(d.config.Node.Socket) }}
	})
}
