package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/app/apphttp"
	"perigee/bundle/app/apptest"
	"perigee/bundle/contact"
)

// startNode runs a node as its configuration makes it, with a store on the disk,
// and returns the daemon.
func startNode(t *testing.T) *daemon {
	t.Helper()
	d, _, _ := newIdle(t)
	c := d.config
	c.Node.DataDir = filepath.Join(t.TempDir(), "data")
	c.Listen = []listenConfig{{Layer: layerTCPCL, Address: "127.0.0.1:0"}}
	c.Link = []linkConfig{{Peer: bundle.IPN(31, 0), Layer: layerTCPCL, Mode: modeAlways}}
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
		return apptest.Subject{Node: bundle.IPN(2, 0), Peer: bundle.IPN(31, 0), Dial: d.node.Client}
	})
}

func TestSuiteOverSocket(t *testing.T) {
	apptest.Run(t, func(t *testing.T) apptest.Subject {
		d := startNode(t)
		return apptest.Subject{Node: bundle.IPN(2, 0), Peer: bundle.IPN(31, 0), Dial: func() app.Client { return apphttp.Dial(d.config.Node.Socket) }}
	})
}

// TestPlanIsKept changes the contact plan through the socket and looks for it where the
// next start does.
func TestPlanIsKept(t *testing.T) {
	d := startNode(t)
	client := apphttp.Dial(d.config.Node.Socket)
	defer client.Close()
	plan, err := contact.Parse(strings.NewReader(
		`{"from":"ipn:2.0","to":"ipn:1.0","start":"2026-03-01T12:00:00Z","end":"2026-03-01T12:08:00Z","rate_bps":100000}`))
	if err != nil {
		t.Fatal(err)
	}
	var none *contact.Plan
	if err := client.SetPlan(t.Context(), plan, none.Generation()); err != nil {
		t.Fatal(err)
	}
	if kept, err := d.config.readPlan(); err != nil || kept.Generation() != plan.Generation() {
		t.Errorf("kept %d contacts, %v; want the plan that was set", kept.Len(), err)
	}

	// A plan that cannot be kept is not taken.
	folder := filepath.Dir(d.config.Node.ContactPlan)
	d.config.Node.ContactPlan = filepath.Join(folder, "missing", "plan.jsonl")
	if err := client.SetPlan(t.Context(), none, plan.Generation()); err == nil || !strings.Contains(err.Error(), "node.contact_plan") {
		t.Errorf("a plan with no folder: %v", err)
	}
	d.config.Node.ContactPlan = ""
	if err := client.SetPlan(t.Context(), none, plan.Generation()); !errors.Is(err, app.ErrRejected) {
		t.Errorf("a plan with no file: %v, want ErrRejected", err)
	}
	if got, err := client.Plan(t.Context()); err != nil || got.Generation() != plan.Generation() {
		t.Errorf("afterwards %d contacts are in force, %v; want the plan that was kept", got.Len(), err)
	}
	left, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		if f.Name() != "s" && f.Name() != "plan.jsonl" {
			t.Errorf("%s is left behind", f.Name())
		}
	}
}
