//go:build ort

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"perigee/models/enginetest"
)

// TestONNXRuntime holds the engine that the configuration asks for against the suite
// of all engines.
func TestONNXRuntime(t *testing.T) {
	library := os.Getenv("PERIGEE_ONNXRUNTIME")
	if library == "" {
		var err error
		if library, err = filepath.Abs("../../.cache/assets/libonnxruntime.so.1"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(library); err != nil {
		t.Skipf("onnxruntime is not there (run make onnxruntime): %v", err)
	}
	c, err := load(write(t, "node.toml", good+"[engine]\nname = \"onnxruntime\"\nlibrary = \""+library+"\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	run, err := c.openEngines()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := run.close(); err != nil {
			t.Error(err)
		}
	})
	enginetest.Run(t, run.start)
}

func TestNoONNXRuntimeInTheLibrary(t *testing.T) {
	c := defaultConfig()
	c.Engine = engineConfig{Name: engineONNXRuntime, Library: write(t, "libonnxruntime.so.1", "no library")}
	if _, err := c.openEngines(); err == nil || !strings.Contains(err.Error(), "engine.library") {
		t.Errorf("a file that is no library: %v", err)
	}
}
