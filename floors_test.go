package perigee_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// floors gives every package of the house its floor. A package imports only floors below its own.
// A name that ends in "/..." stands for everything under it that has no row of its own.
func floors() map[string]int {
	return map[string]int{
		"perigee/bundle/dtntime":         0,
		"perigee/bundle/internal/cbor":   0,
		"perigee/models/internal/kernel": 0,

		"perigee/bundle":                 1,
		"perigee/bundle/contact/orbit":   1,
		"perigee/bundle/internal/timers": 1,
		"perigee/models":                 1,

		"perigee/bundle/contact":       2,
		"perigee/bundle/store":         2,
		"perigee/bundle/bpsec":         2,
		"perigee/bundle/bundletest":    2,
		"perigee/convergence":          2,
		"perigee/convergence/nodecert": 2,
		"perigee/models/darknet":       2,
		"perigee/models/delta":         2,
		"perigee/models/gate":          2,
		"perigee/models/labels":        2,
		"perigee/models/mining":        2,
		"perigee/models/onnx":          2,
		"perigee/models/safetensors":   2,
		"perigee/models/payload":       2,

		"perigee/bundle/app":               3,
		"perigee/bundle/contact/predict":   3,
		"perigee/bundle/custody":           3,
		"perigee/bundle/route":             3,
		"perigee/bundle/schedule":          3,
		"perigee/bundle/store/badgerstore": 3,
		"perigee/bundle/store/memstore":    3,
		"perigee/bundle/store/storetest":   3,
		"perigee/convergence/convtest":     3,
		"perigee/convergence/ltp":          3,
		"perigee/convergence/tcpcl":        3,
		"perigee/convergence/unacked":      3,
		"perigee/models/lesson":            4,
		"perigee/models/ort":               3,
		"perigee/models/golden":            3,
		"perigee/models/train":             3,
		"perigee/models/enginetest":        3,

		"perigee/convergence/mtcp":                   4,
		"perigee/convergence/stcp":                   4,
		"perigee/convergence/udpcl":                  4,
		"perigee/convergence/dtn7":                   5,
		"perigee/convergence/unacked/unackedtest":    4,
		"perigee/bundle/core":                        4,
		"perigee/bundle/app/apptest":                 4,
		"perigee/bundle/store/badgerstore/crashtest": 4, // under badgerstore in tests
		"perigee/agent/durable":                      4, // shared by the two applications

		"perigee/bundle/node":          5,
		"perigee/bundle/app/apphttp":   5,
		"perigee/bundle/app/dtn7agent": 5,
		"perigee/agent/mail":           5, // shared by the two applications
		"perigee/agent/record":         5, // shared with other applications on board
		"perigee/agent/agenttest":      5,
		"perigee/ground/uplink":        5,

		"perigee/agent":  6,
		"perigee/ground": 6,

		"perigee/ground/dashboard":   7,
		"perigee/testbed/activation": 7,
		"perigee/testbed/assets":     7,
		"perigee/testbed/daemon":     6,
		"perigee/testbed/link":       6,
		"perigee/testbed/scenes":     7,
		"perigee/testbed/sim":        6,
		"perigee/testbed/emu":        7, // runs networks as sim does, of daemons on links

		"perigee/testbed/...": 8,

		"perigee/cmd/...": 9,

		"perigee": 10, // this folder: tests of the whole house
	}
}

// A wall forbids imports that the floors alone would allow. The packages whose names equal "from", or lie under it,
// must not import "to" or what lies under it, unless it is named in "but".
type wall struct {
	from, to string
	but      []string
	why      string
}

func walls() []wall {
	values := []string{
		"perigee/bundle", "perigee/bundle/dtntime",
		"perigee/bundle/app", "perigee/bundle/app/apphttp", "perigee/bundle/app/apptest",
	}
	return []wall{
		{from: "perigee/agent", to: "perigee/bundle", but: values, why: "bundle/app is an application's only door"},
		{from: "perigee/ground", to: "perigee/bundle", but: values, why: "bundle/app is an application's only door"},
		{from: "perigee/agent", to: "perigee/convergence", why: "applications never see a link"},
		{from: "perigee/ground", to: "perigee/convergence", why: "applications never see a link"},
		{
			from: "perigee/bundle/core", to: "perigee/convergence", but: []string{"perigee/convergence"},
			why: "the core names links by ID and never sees a connection",
		},
		{from: "perigee/convergence", to: "perigee/bundle", why: "links carry opaque bytes and never see a block"},
		{
			from: "perigee/models", to: "perigee/bundle", but: []string{"perigee/bundle/dtntime"},
			why: "models are plain values; who carries them is not their business",
		},
	}
}

// listed is what the go command says about one package.
type listed struct {
	ImportPath   string
	Imports      []string // of the package
	TestImports  []string // of its tests in the package
	XTestImports []string // of its tests outside the package
}

// TestFloors holds every package of the module against the floors and the walls.
//
// The code of a package may import lower floors only. Its tests may also import its own floor, and test packages (whose
// names end in "test") from anywhere, because a conformance suite lives beside the contract it checks and above the
// values it needs. Code that ships never imports a test package.
func TestFloors(t *testing.T) {
	lookAt(t, ".")
	packages, err := list(t)
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range check(packages) {
		t.Error(fault)
	}
}

// lookAt reads the folders of the source. What the go command reads is hidden from the cache of test results; reading the
// same folders here makes a change in any of them run this test again.
func lookAt(t *testing.T, root string) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != root && (d.Name()[0] == '.' || d.Name() == "testdata" || d.Name() == "out") {
			return filepath.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatalf("reading the folders of the source: %v", err)
	}
}

// list asks the go command for the packages of this module. It fails rather than return nothing.
func list(t *testing.T) ([]listed, error) {
	var stderr strings.Builder
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the packages with %q: %w; make it work by hand first:\n%s", cmd.Args, err, stderr.String())
	}
	return decode(strings.NewReader(string(stdout)))
}

// decode reads the go command's stream of JSON values.
func decode(r io.Reader) ([]listed, error) {
	var packages []listed
	for d := json.NewDecoder(r); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("reading the output of go list: %w", err)
		}
		packages = append(packages, p)
	}
	if len(packages) < 2 {
		return nil, fmt.Errorf("go list named %d packages; a check of nothing proves nothing", len(packages))
	}
	return packages, nil
}

// check returns one line for every fault.
func check(packages []listed) []string {
	var faults []string
	for _, p := range packages {
		if _, ok := floorOf(p.ImportPath); !ok {
			faults = append(faults, p.ImportPath+" has no floor; give it one in floors()")
			continue
		}
		for _, to := range p.Imports {
			faults = append(faults, checkImport(p.ImportPath, to, false)...)
		}
		tests := slices.Concat(p.TestImports, p.XTestImports)
		slices.Sort(tests)
		for _, to := range slices.Compact(tests) {
			faults = append(faults, checkImport(p.ImportPath, to, true)...)
		}
	}
	return faults
}

// checkImport judges one import of the package from, made by its tests or by its code.
func checkImport(from, to string, byTest bool) []string {
	if !within(to, "perigee") || to == from {
		return nil
	}
	if isTestPackage(to) && (byTest || isTestPackage(from)) {
		return nil
	}
	var faults []string
	if isTestPackage(to) {
		faults = append(faults, fmt.Sprintf("%s imports %s: test packages are for tests", from, to))
	}
	here, _ := floorOf(from)
	there, ok := floorOf(to)
	switch {
	case !ok:
		faults = append(faults, fmt.Sprintf("%s imports %s, which has no floor", from, to))
	case there > here:
		faults = append(faults, fmt.Sprintf("%s (floor %d) imports upward: %s (floor %d)", from, here, to, there))
	case there == here && !byTest && !open(from):
		faults = append(faults, fmt.Sprintf("%s imports sideways: %s (both floor %d)", from, to, here))
	}
	if byTest {
		return faults
	}
	for _, w := range walls() {
		if within(from, w.from) && within(to, w.to) && !within(from, w.to) && !slices.Contains(w.but, to) {
			faults = append(faults, fmt.Sprintf("%s must not import %s: %s", from, to, w.why))
		}
	}
	return faults
}

// floorOf finds a package's own row, or else the nearest "/..." row above it.
func floorOf(name string) (int, bool) {
	table := floors()
	if floor, ok := table[name]; ok {
		return floor, true
	}
	for {
		cut := strings.LastIndexByte(name, '/')
		if cut < 0 {
			return 0, false
		}
		name = name[:cut]
		if floor, ok := table[name+"/..."]; ok {
			return floor, true
		}
	}
}

// open says whether a package shares its floor with others by a "/..." row; those may import each other.
func open(name string) bool {
	_, own := floors()[name]
	return !own
}

// within says whether a package is parent or lies under it.
func within(name, parent string) bool {
	return name == parent || strings.HasPrefix(name, parent+"/")
}

// isTestPackage says whether a package exists for tests only: its last element ends in "test".
func isTestPackage(name string) bool {
	return strings.HasSuffix(name, "test")
}

func TestCheckFindsFaults(t *testing.T) {
	tests := []struct {
		name string
		p    listed
		want string // part of the only fault, or empty for none
	}{
		{"down", listed{ImportPath: "perigee/bundle", Imports: []string{"io", "perigee/bundle/dtntime"}}, ""},
		{"up", listed{ImportPath: "perigee/bundle", Imports: []string{"perigee/bundle/store"}}, "upward"},
		{"sideways", listed{ImportPath: "perigee/bundle/route", Imports: []string{"perigee/bundle/custody"}}, "sideways"},
		{"no floor", listed{ImportPath: "perigee/attic"}, "no floor"},
		{"into no floor", listed{ImportPath: "perigee/cmd/perigee", Imports: []string{"perigee/attic"}}, "no floor"},
		{"test up", listed{ImportPath: "perigee/bundle", TestImports: []string{"perigee/bundle/store"}}, "upward"},
		{"outer test up", listed{ImportPath: "perigee/bundle", XTestImports: []string{"perigee/bundle/store"}}, "upward"},
		{"test sideways", listed{ImportPath: "perigee/models/delta", TestImports: []string{"perigee/models/darknet"}}, ""},
		{"test to test package", listed{ImportPath: "perigee/bundle", XTestImports: []string{"perigee/bundle/bundletest"}}, ""},
		{"code to test package", listed{ImportPath: "perigee/bundle/core", Imports: []string{"perigee/bundle/bundletest"}}, "for tests"},
		{"open floor", listed{ImportPath: "perigee/testbed/lab", Imports: []string{"perigee/testbed/report"}}, ""},
		{"application past its door", listed{ImportPath: "perigee/agent", Imports: []string{"perigee/bundle/core"}}, "only door"},
		{"application through its door", listed{ImportPath: "perigee/ground", Imports: []string{"perigee/bundle/app"}}, ""},
		{"core to a connection", listed{ImportPath: "perigee/bundle/core", Imports: []string{"perigee/convergence/tcpcl"}}, "never sees a connection"},
		{"core to the link contract", listed{ImportPath: "perigee/bundle/core", Imports: []string{"perigee/convergence"}}, ""},
		{"link to a block", listed{ImportPath: "perigee/convergence/tcpcl", Imports: []string{"perigee/bundle"}}, "opaque bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := check([]listed{tt.p})
			switch {
			case tt.want == "" && len(got) != 0:
				t.Errorf("faults %q, want none", got)
			case tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)):
				t.Errorf("faults %q, want one with %q", got, tt.want)
			}
		})
	}
}

func TestDecodeRefusesNothing(t *testing.T) {
	for _, in := range []string{"", `{"ImportPath":"perigee"}`, `{"ImportPath":`} {
		if got, err := decode(strings.NewReader(in)); err == nil {
			t.Errorf("decode(%q) = %v, want an error", in, got)
		}
	}
}
