package main

import (
	"encoding"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"perigee/agent"
	"perigee/ground"
)

// TestEveryKeyIsDocumented holds the keys that a configuration may have against those
// that docs/configuration.md explains.
func TestEveryKeyIsDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+(?:\\.[a-z0-9_]+)+)` \\|").FindAllSubmatch(text, -1) {
		documented = append(documented, string(row[1]))
	}
	keys := keysOf(reflect.TypeFor[config](), "")
	if len(keys) < 50 {
		t.Fatalf("%d keys found in the configuration; a check of few proves little", len(keys))
	}
	for _, key := range keys {
		if !slices.Contains(documented, key) {
			t.Errorf("%s is not in docs/configuration.md", key)
		}
	}
	for i, key := range documented {
		if !slices.Contains(keys, key) {
			t.Errorf("docs/configuration.md explains %s, which does not exist", key)
		}
		if slices.Contains(documented[:i], key) {
			t.Errorf("docs/configuration.md explains %s twice", key)
		}
	}
}

// TestDocumentedDefaultsHold reads the defaults that docs/configuration.md names as a
// configuration, which must then be the default one.
func TestDocumentedDefaultsHold(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `((?:node|log|store|custody|tcpcl|tls|ltp|udp|dtn7|engine|satellite|ground)\\.[a-z0-9_.]+)` \\|[^|]*\\| (`\"[^|`]*\"`|`true`|`false`|[0-9.]+) \\|")
	var explicit strings.Builder
	rows := row.FindAllSubmatch(text, -1)
	if len(rows) < 50 {
		t.Fatalf("%d defaults found; a check of few proves little", len(rows))
	}
	for _, m := range rows {
		explicit.WriteString(string(m[1]) + " = " + strings.Trim(string(m[2]), "`") + "\n")
	}
	got, err := parse([]byte(explicit.String()))
	if err != nil {
		t.Fatal(err)
	}
	want, satellite, station := defaultConfig(), agent.DefaultConfig(), ground.DefaultConfig()
	want.Satellite, want.Ground = &satellite, &station
	if diff := cmp.Diff(&want, got, cmp.Exporter(func(reflect.Type) bool { return true })); diff != "" {
		t.Errorf("defaults in force (-) and in docs/configuration.md (+) differ:\n%s", diff)
	}
}

// keysOf returns the dotted names of the keys that TOML reads into a value of type of.
func keysOf(of reflect.Type, prefix string) []string {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice && !isText(of) {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct || isText(of) {
		return []string{prefix}
	}
	var keys []string
	for i := range of.NumField() {
		if !of.Field(i).IsExported() {
			continue
		}
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("toml"), ",")
		if prefix != "" {
			name = prefix + "." + name
		}
		keys = append(keys, keysOf(of.Field(i).Type, name)...)
	}
	return keys
}

// isText tells whether values of a type are written as one string.
func isText(of reflect.Type) bool {
	return reflect.PointerTo(of).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}
