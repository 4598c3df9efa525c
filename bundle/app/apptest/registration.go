package apptest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"perigee/bundle"
	"perigee/bundle/app"
)

// fleet is a non-singleton endpoint that names no node of the suite.
func fleet(name string) app.Registration {
	return app.Registration{Endpoint: bundle.DTN("fleet", "~news"), Name: name}
}

// as waits for a bundle under a registration.
func (c *checker) as(client app.Client, r app.Registration) *app.Delivery {
	c.t.Helper()
	d, err := client.ReceiveAs(c.ctx, r)
	if err != nil {
		c.t.Fatalf("ReceiveAs %s: %v", r, err)
	}
	return d
}

// nothingAs checks that nothing is delivered under a registration.
func (c *checker) nothingAs(r app.Registration) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, moment)
	defer cancel()
	if d, err := c.client.ReceiveAs(ctx, r); !errors.Is(err, context.DeadlineExceeded) {
		c.t.Fatalf("ReceiveAs %s gave %v, %v; want the context's error", r, d, err)
	}
}

func (c *checker) register(list ...app.Registration) {
	c.t.Helper()
	for _, r := range list {
		if err := c.client.Register(c.ctx, r); err != nil {
			c.t.Fatalf("Register %s: %v", r, err)
		}
	}
}

// Each registration gets a copy of its own; receivers of one share it.
func registrationsGetCopies(t *testing.T, c *checker) {
	c.register(fleet("a"), fleet("b"), fleet("a"), fleet(""))
	payload := []byte("to all")
	id := c.send(fleet("").Endpoint, payload)
	first := c.as(c.client, fleet("a"))
	if first.ID != id || first.Destination != fleet("").Endpoint {
		t.Errorf("delivered %s to %s", first.ID, first.Destination)
	}
	c.nothingAs(fleet("a")) // one delivery at a time
	c.take(first, payload)
	c.nothingAs(fleet("a"))
	c.take(c.as(c.dial(), fleet("b")), payload)
	c.take(c.receive(c.client, fleet("").Endpoint), payload) // the one without a name
	for _, name := range []string{"a", "b", ""} {
		c.nothingAs(fleet(name))
	}
}

// A copy that is given back comes again to its registration alone.
func registrationGetsItsCopyBack(t *testing.T, c *checker) {
	c.register(fleet("a"), fleet("b"))
	c.send(fleet("").Endpoint, []byte("again"))
	other := c.Dial()
	first := c.as(other, fleet("a"))
	c.read(first, []byte("again"))
	if err := first.Release(c.ctx); err != nil {
		t.Fatalf("Release: %v", err)
	}
	c.read(c.as(other, fleet("a")), []byte("again"))
	if err := other.Close(); err != nil { // without settling it
		t.Fatalf("Close: %v", err)
	}
	c.take(c.as(c.client, fleet("a")), []byte("again"))
	c.take(c.as(c.client, fleet("b")), []byte("again"))
	c.nothingAs(fleet("b"))
}

// A registration lasts until it is ended, whoever made it, and shows in the status.
func registrationsLast(t *testing.T, c *checker) {
	other := c.Dial()
	if err := other.Register(c.ctx, fleet("a")); err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	c.send(fleet("").Endpoint, []byte("kept"))
	c.register(fleet("late"))
	want := []app.Registered{{Registration: fleet("a"), Waiting: 1}, {Registration: fleet("late")}}
	c.eventually(func() error {
		s, err := c.client.Status(c.ctx)
		if err != nil || fmt.Sprint(s.Registrations) != fmt.Sprint(want) {
			return fmt.Errorf("the status shows %v, %w; want %v", s.Registrations, err, want)
		}
		return nil
	})
	c.nothingAs(fleet("late")) // it gets what comes after it
	c.take(c.as(c.client, fleet("a")), []byte("kept"))
	if err := c.client.Unregister(c.ctx, fleet("a")); err != nil {
		t.Errorf("Unregister: %v", err)
	}
	if err := c.client.Unregister(c.ctx, fleet("a")); !errors.Is(err, app.ErrNotFound) {
		t.Errorf("Unregister again: %v, want ErrNotFound", err)
	}
	c.send(fleet("").Endpoint, []byte("missed"))
	c.nothingAs(fleet("a")) // which registers it anew
}

// What cannot be registered is refused with a reason.
func registrationsAreChecked(t *testing.T, c *checker) {
	for name, r := range map[string]app.Registration{
		"a singleton endpoint": {Endpoint: c.endpoint(1), Name: "a"},
		"the null endpoint":    {},
		"a name with a space":  fleet("a b"),
		"a long name":          fleet(strings.Repeat("a", app.MaxRegistrationName+1)),
		"a long endpoint":      {Endpoint: bundle.DTN("fleet", "~"+strings.Repeat("x", 300))},
	} {
		if err := c.client.Register(c.ctx, r); !errors.Is(err, app.ErrRejected) {
			t.Errorf("%s: Register: %v, want ErrRejected", name, err)
		}
		if _, err := c.client.ReceiveAs(c.ctx, r); !errors.Is(err, app.ErrRejected) {
			t.Errorf("%s: ReceiveAs: %v, want ErrRejected", name, err)
		}
	}
}
