package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/core"
	"perigee/bundle/dtntime"
	"perigee/bundle/store/badgerstore"
)

// fleet is a registration at a non-singleton endpoint.
func fleet(name string) app.Registration {
	return app.Registration{Endpoint: bundle.DTN("fleet", "~news"), Name: name}
}

// receiveAs takes the next bundle for a registration.
func receiveAs(t *testing.T, n *started, r app.Registration) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	d, err := n.client.ReceiveAs(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := io.ReadAll(d.Payload)
	if err := errors.Join(err, d.Payload.Close(), d.Ack(ctx)); err != nil {
		t.Fatal(err)
	}
	return string(payload)
}

func register(t *testing.T, n *started, list ...app.Registration) {
	t.Helper()
	for _, r := range list {
		if err := n.client.Register(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

// What one node sends to all reaches the registrations of three nodes in a row, each
// once and in a store on disk over a restart, and leaves all of them.
func TestGroupAcrossNodes(t *testing.T) {
	nodeC := bundle.IPN(3, 0)
	dir := t.TempDir()
	la, addressA := listen(t, nodeA)
	lc, addressC := listen(t, nodeC)
	a := start(t, Config{Node: nodeA, Store: memory(), Listeners: []Listener{la}, Links: []Link{{Peer: nodeB, Always: true}}})
	c := start(t, Config{Node: nodeC, Store: memory(), Listeners: []Listener{lc}, Links: []Link{{Peer: nodeB, Always: true}}})
	middle := func() (*started, func()) {
		disk, err := badgerstore.Open(filepath.Join(dir, "store"), badgerstore.Options{Quota: 1 << 28})
		if err != nil {
			t.Fatal(err)
		}
		b := start(t, Config{
			Node: nodeB, Store: disk, RegistrationsFile: filepath.Join(dir, "registrations"),
			Links: []Link{dialling(nodeB, nodeA, addressA, true), dialling(nodeB, nodeC, addressC, true)},
		})
		return b, func() {
			b.stop()
			if err := disk.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	b, end := middle()
	register(t, a, fleet("x"))
	register(t, b, fleet("x"), fleet("y"))
	register(t, c, fleet("x"))
	const count = 5
	for i := range count {
		send(t, a, fleet("").Endpoint, fmt.Appendf(nil, "news %d", i), false)
	}
	all := func(n *started, r app.Registration, from int) {
		t.Helper()
		seen := map[string]bool{}
		for range count - from {
			seen[receiveAs(t, n, r)] = true
		}
		for i := from; i < count; i++ {
			if !seen[fmt.Sprintf("news %d", i)] {
				t.Errorf("%s did not get number %d at %s", r, i, n.cfg.Node)
			}
		}
	}
	all(a, fleet("x"), 0)
	all(c, fleet("x"), 0)
	all(b, fleet("y"), 0)
	for i := range 2 { // the restart comes in between
		if got, want := receiveAs(t, b, fleet("x")), fmt.Sprintf("news %d", i); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	end()
	b, end = middle()
	defer end()
	all(b, fleet("x"), 2)
	for _, n := range []*started{a, b, c} {
		eventually(t, "nothing is left", func() bool { return status(t, n).Store.Bundles == 0 })
		for _, r := range status(t, n).Registrations {
			if r.Waiting != 0 {
				t.Errorf("%d bundles wait for %s at %s", r.Waiting, r, n.cfg.Node)
			}
		}
	}
	if s := status(t, b).Registrations; len(s) != 2 || s[0].Registration != fleet("x") || s[1].Registration != fleet("y") {
		t.Errorf("after the restart the registrations are %v", s)
	}
}

// Whoever waits under a registration learns that it was ended.
func TestUnregisterEndsReceives(t *testing.T) {
	n := start(t, Config{Node: nodeA, Store: memory(), Links: []Link{{Peer: nodeB}}})
	register(t, n, fleet("x"))
	done := make(chan error, 1)
	go func() {
		_, err := n.client.ReceiveAs(t.Context(), fleet("x"))
		done <- err
	}()
	eventually(t, "it waits or has failed", func() bool {
		if err := n.client.Unregister(t.Context(), fleet("x")); err != nil && !errors.Is(err, app.ErrNotFound) {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if !errors.Is(err, app.ErrNotFound) {
				t.Errorf("the receive ended with %v, want ErrNotFound", err)
			}
			return true
		default:
			return false
		}
	})
}

// The file of registrations is read again, never gives a number twice, and is refused
// when it makes no sense.
func TestRegistry(t *testing.T) {
	file := filepath.Join(t.TempDir(), "registrations")
	var told []core.Event
	tell := func(e core.Event) { told = append(told, e) }
	open := func() *registry {
		t.Helper()
		r, err := openRegistry(file)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	now := dtntime.Time(1000 * dtntime.Second)
	r := open()
	first, err := r.register(fleet("a"), now, tell)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := r.register(fleet("a"), now, tell); err != nil || again != first || len(told) != 1 {
		t.Errorf("registered again as %d, %v, told %d times; want %d once", again, err, len(told), first)
	}
	r = open()
	if list := r.forCore(); len(list) != 1 || list[0].Number != first || list[0].Endpoint != fleet("a").Endpoint {
		t.Errorf("read %v", list)
	}
	if err := r.unregister(fleet("a"), tell); err != nil {
		t.Fatal(err)
	}
	if err := r.unregister(fleet("a"), tell); !errors.Is(err, app.ErrNotFound) {
		t.Errorf("unregistered again: %v", err)
	}
	second, err := open().register(fleet("a"), 0, tell)
	if err != nil || second <= first {
		t.Errorf("registered anew as %d, %v; want more than %d", second, err, first)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(bytes.TrimSpace(whole)) {
		if err := os.WriteFile(file, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openRegistry(file); err == nil {
			t.Fatalf("the file cut at %d of %d was read", cut, len(whole))
		}
	}
	bad := bytes.ReplaceAll(whole, []byte("~news"), []byte("news"))
	if err := os.WriteFile(file, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Node: nodeA, Store: memory(), Clock: wallClock{}, RegistrationsFile: file}); err == nil {
		t.Error("a registration at a singleton endpoint was read")
	}
}

// The number of registrations is bounded, and what cannot be kept is not registered.
func TestRegistryLimits(t *testing.T) {
	r, err := openRegistry("")
	if err != nil {
		t.Fatal(err)
	}
	tell := func(core.Event) {}
	for i := range app.MaxRegistrations {
		if _, err := r.register(fleet(fmt.Sprint(i)), 0, tell); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.register(fleet("more"), 0, tell); !errors.Is(err, app.ErrRejected) {
		t.Errorf("beyond the limit: %v", err)
	}
	nowhere, err := openRegistry(filepath.Join(t.TempDir(), "no", "such", "folder"))
	if err != nil {
		t.Fatal(err)
	}
	told := false
	if _, err := nowhere.register(fleet("a"), 0, func(core.Event) { told = true }); !errors.Is(err, app.ErrTryAgain) || told || len(nowhere.all()) != 0 {
		t.Errorf("without a folder: %v, told %v, kept %v", err, told, nowhere.all())
	}
}
