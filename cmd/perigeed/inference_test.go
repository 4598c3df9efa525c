package main

import (
	"strings"
	"testing"
)

func TestEngineMistakes(t *testing.T) {
	library := write(t, "libonnxruntime.so.1", "")
	onnxruntime := "name = \"onnxruntime\"\nlibrary = \"" + library + "\""
	tests := []struct {
		name, table string
		want        []string // in the message; none: it is valid
	}{
		{"none", "", nil},
		{"default", `name = "default"`, nil},
		{"unknown", `name = "tensorrt"`, []string{`engine.name is "tensorrt"`, `write "default" or "onnxruntime"`}},
		{"library of the default", `library = "x.so"`, []string{"engine.library is", "x.so", "needs none"}},
		{"unknown key", `threads = 2`, []string{`unknown key "engine.threads"`}},
	}
	if hasONNXRuntime {
		tests = append(tests, []struct {
			name, table string
			want        []string
		}{
			{"onnxruntime", onnxruntime, nil},
			{"no library", `name = "onnxruntime"`, []string{"engine.library is missing", "libonnxruntime.so.1"}},
			{"absent library", "name = \"onnxruntime\"\nlibrary = \"no.so\"", []string{"engine.library cannot be used", "no.so"}},
		}...)
	} else {
		tests = append(tests, struct {
			name, table string
			want        []string
		}{"not built in", onnxruntime, []string{"was built without it", "CGO_ENABLED=1 go build -tags ort ./cmd/perigeed"}})
	}
	for _, test := range tests {
		code, _, stderr := check(t, write(t, "node.toml", good+"[engine]\n"+test.table+"\n"))
		want := exitUsage
		if test.want == nil {
			want = exitDone
		}
		if code != want {
			t.Errorf("%s: exit %d, want %d; %s", test.name, code, want, stderr)
		}
		for _, part := range test.want {
			if !strings.Contains(stderr, part) {
				t.Errorf("%s: message %q lacks %q", test.name, stderr, part)
			}
		}
	}
}
