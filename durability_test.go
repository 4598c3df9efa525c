package perigee_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDurabilityIsProved holds docs/durability.md against the tests that it names: every
// promise names at least one, and all exist.
func TestDurabilityIsProved(t *testing.T) {
	text, err := os.ReadFile("docs/durability.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`([a-z0-9/]+)\\.(Test[A-Za-z0-9]+)`")
	promises := 0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| Promise |") {
			continue
		}
		promises++
		proofs := named.FindAllStringSubmatch(line, -1)
		if len(proofs) == 0 {
			t.Errorf("no test proves: %s", line)
		}
		for _, proof := range proofs {
			if !hasTest(t, proof[1], proof[2]) {
				t.Errorf("docs/durability.md names %s.%s, which does not exist", proof[1], proof[2])
			}
		}
	}
	if promises < 15 {
		t.Errorf("%d promises found; a check of few proves little", promises)
	}
}

// hasTest tells whether a folder has a test of that name.
func hasTest(t *testing.T, folder, name string) bool {
	files, err := filepath.Glob(filepath.Join(filepath.FromSlash(folder), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+name+"(t *testing.T)") {
			return true
		}
	}
	return false
}
