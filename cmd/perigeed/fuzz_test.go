package main

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzConfig reads configurations and checks what was read, seeded with the examples.
func FuzzConfig(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("..", "..", "docs", "examples", "*.toml"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no examples: %v", err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(_ *testing.T, text []byte) {
		c, err := parse(text)
		if err != nil {
			return
		}
		c.complete("/etc/perigee")
		_ = c.validate() // either way it returns
	})
}
