package main

import (
	"os"

	"perigee/models"
)

// Engines that run networks.
const (
	engineDefault     = "default"     // of package models
	engineONNXRuntime = "onnxruntime" // of package models/ort
)

// engineConfig is the table [engine]: what runs the networks of the applications.
type engineConfig struct {
	Name    string `toml:"name"`    // "default" or "onnxruntime"; default
	Library string `toml:"library"` // file libonnxruntime.so.1; required for onnxruntime
}

// engines is what runs networks, and how it is given back once no engine is left.
type engines struct {
	start func(n *models.Network, threads int) (models.Engine, error)
	close func() error
}

func (c *config) validateEngine(p *problems) {
	e := c.Engine
	switch {
	case e.Name == engineDefault && e.Library != "":
		p.add("engine.library is %q, but engine.name is %q, which needs none; leave it out or write name = %q", e.Library, engineDefault, engineONNXRuntime)
	case e.Name == engineDefault:
	case e.Name != engineONNXRuntime:
		p.add("engine.name is %q; write %q or %q", e.Name, engineDefault, engineONNXRuntime)
	case !hasONNXRuntime:
		p.add("engine.name is %q, but this perigeed was built without it; build it with CGO_ENABLED=1 go build -tags ort ./cmd/perigeed, "+
			"which needs a C compiler, or write %q", e.Name, engineDefault)
	case e.Library == "":
		p.add("engine.library is missing; name the file libonnxruntime.so.1 (make onnxruntime fetches one into .cache/assets)")
	default:
		if _, err := os.Stat(e.Library); err != nil {
			p.add("engine.library cannot be used: %w; name the file libonnxruntime.so.1", err)
		}
	}
}

// openEngines makes what runs networks ready. A library that cannot be loaded is
// found here, before the node starts.
func (c *config) openEngines() (engines, error) {
	if c.Engine.Name == engineONNXRuntime {
		return openONNXRuntime(c.Engine.Library)
	}
	return engines{models.NewEngine, func() error { return nil }}, nil
}
