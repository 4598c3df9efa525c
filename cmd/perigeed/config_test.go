package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// check runs perigeed --check on a file.
func check(t *testing.T, path string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = execute(t.Context(), []string{"--config", path, "--check"}, nil, &out, &err)
	return code, out.String(), err.String()
}

func TestExamplesAreValid(t *testing.T) {
	for name, want := range map[string]string{
		"relay.toml":     "node ipn:3.0, relay, 1 listeners, 2 links, 1 routes",
		"satellite.toml": "node ipn:2.0, satellite, 0 listeners, 1 links, 1 routes",
		"ground.toml":    "node ipn:1.0, ground, 1 listeners, 1 links, 1 routes",
		"dtn7.toml":      "node dtn://perigee/, relay, 1 listeners, 1 links, 1 routes",
	} {
		path := filepath.Join("..", "..", "docs", "examples", name)
		code, stdout, stderr := check(t, path)
		if code != exitDone || !strings.Contains(stdout, want) {
			t.Errorf("%s: exit %d, %q, %q, want %q", name, code, stdout, stderr, want)
		}
	}
}

func TestDefaultsAndPaths(t *testing.T) {
	path := write(t, "node.toml", `
node = {id = "dtn://sat-17/", data_dir = "data"}
[satellite]
ground = "ipn:1.0"
source = {list = "/scenes/list.jsonl"}
[custody]
accept = false
`)
	c, err := load(path)
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Dir(path)
	for name, pair := range map[string][2]any{
		"node.id":                  {c.Node.ID, bundle.DTN("sat-17", "")},
		"node.data_dir":            {c.Node.DataDir, filepath.Join(folder, "data")},
		"node.socket":              {c.Node.Socket, defaultSocket},
		"node.socket_mode":         {c.Node.SocketMode, permissions(0o660)},
		"store folder":             {c.storeDir(), filepath.Join(folder, "data", "store")},
		"store.quota":              {c.Store.Quota, size(2_000_000_000)},
		"custody.accept":           {c.Custody.Accept, false},
		"custody.aggregate":        {c.Custody.Aggregate, 5 * dtntime.Second},
		"satellite.data_dir":       {c.Satellite.DataDir, filepath.Join(folder, "data", "satellite")},
		"satellite.source.list":    {c.Satellite.Source.List, "/scenes/list.jsonl"},
		"satellite.batch.samples":  {c.Satellite.Batch.Samples, 32},
		"satellite.updates.golden": {c.Satellite.Updates.Golden, ""},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %v, want %v", name, pair[0], pair[1])
		}
	}
	if c.Ground != nil {
		t.Error("a ground application appeared")
	}
}

// good is a valid configuration to spoil.
const good = `[node]
id = "ipn:2.0"
data_dir = "/d"
socket = "/d/s"
[store]
quota = "2GB"
[[listen]]
address = ":4556"
[[link]]
peer = "ipn:1.0"
address = "host:4556"
mode = "always"
[[route]]
to = "ipn:*"
via = "ipn:1.0"
`

func TestMistakes(t *testing.T) {
	if code, _, stderr := check(t, write(t, "good.toml", good)); code != exitDone {
		t.Fatalf("the good configuration: %s", stderr)
	}
	if code, _, stderr := check(t, write(t, "mark.toml", "\ufeff"+good)); code != exitDone {
		t.Fatalf("with a byte order mark: %s", stderr)
	}
	tests := []struct {
		name, old, new string
		want           []string // in the message
	}{
		{"unknown key", "quota", "qouta", []string{":6:1: unknown key \"store.qouta\""}},
		{"unknown table", "[store]", "[shop]", []string{":5", "unknown", "shop"}},
		{"unknown satellite key", "[store]", "[satellite]\nsorce = 1\n[store]", []string{":6:1: unknown key \"satellite.sorce\""}},
		{"syntax", `id = "ipn:2.0"`, `id = ipn`, []string{":2:"}},
		{"type", `socket = "/d/s"`, `socket = 2`, []string{":4:10: node.socket: cannot be of type integer; see"}},
		{"type of a table", "[node]", "satellite = 3\n[node]", []string{":1:13: satellite: cannot be of type integer; see"}},
		{"no id", `id = "ipn:2.0"`, "", []string{"node.id is missing"}},
		{"bad id", "ipn:2.0", "ipn:2", []string{":2:", "two or three numbers"}},
		{"endpoint for id", "ipn:2.0", "ipn:2.7", []string{`write the node itself, "ipn:2.0"`}},
		{"local node", "ipn:2.0", "ipn:!.0", []string{"node.id", "number of its own"}},
		{"long socket", "/d/s", "/" + strings.Repeat("d", 110), []string{"node.socket", "at most 103"}},
		{"size", "2GB", "2 gigs", []string{":6:", "is not a size"}},
		{"small quota", "2GB", "1MB", []string{"store.quota", `at least "16 MiB"`}},
		{"no share", "[store]", "[store]\ncustody_percent = 0", []string{"store.custody_percent is 0", "1 to 100"}},
		{"large share", "[store]", "[store]\nbulk_percent = 101", []string{"store.bulk_percent is 101", "1 to 100"}},
		{"socket mode", `socket = "/d/s"`, `socket_mode = "0999"`, []string{":4:", "octal"}},
		{"closed socket", `socket = "/d/s"`, `socket_mode = "0060"`, []string{"node.socket_mode", "0660"}},
		{"level", "[store]", "[log]\nlevel = \"loud\"\n[store]", []string{"log.level", "debug"}},
		{"format", "[store]", "[log]\nformat = \"xml\"\n[store]", []string{"log.format", "json"}},
		{"aggregate", "[store]", "[custody]\naggregate = \"2h\"\n[store]", []string{"custody.aggregate"}},
		{"peer aggregate", "[store]", "[custody]\npeer_aggregate = \"0s\"\n[store]", []string{"custody.peer_aggregate", "1ms"}},
		{"retransmissions", "[store]", "[custody]\nretransmit_percent = 0\n[store]", []string{"custody.retransmit_percent is 0", "1 to 100"}},
		{"clock error", `socket = "/d/s"`, `clock_error = "2h"`, []string{"node.clock_error", "1h"}},
		{"code points", `mode = "always"`, "mode = \"always\"\ncode_points = { cteb = 14 }", []string{"link[0].code_points", "stands for custody and for reporting"}},
		{"taken code point", `mode = "always"`, "mode = \"always\"\ncode_points = { ccs = 1 }", []string{"link[0].code_points", "status report's"}},
		{"duration", "[store]", "[custody]\naggregate = \"soon\"\n[store]", []string{":6:", "custody.aggregate", "is not a duration"}},
		{"negative duration", "[store]", "[custody]\naggregate = \"-5s\"\n[store]", []string{":6:", "custody.aggregate", "negative"}},
		{"tiny duration", "[store]", "[satellite.source]\ninterval = \"1us\"\n[store]", []string{":6:", "satellite.source.interval", "shorter than a millisecond"}},
		{"keepalive", "[store]", "[tcpcl]\nkeepalive = \"1500ms\"\n[store]", []string{"tcpcl.keepalive", "whole seconds"}},
		{"listen port", ":4556", ":port", []string{"listen[0].address", "not a number"}},
		{"no listen address", `address = ":4556"`, "", []string{"listen[0].address is missing"}},
		{"layer", `mode = "always"`, `mode = "always"` + "\nlayer = \"carrier-pigeon\"", []string{"link[0].layer", "tcpcl"}},
		{"listen layer", `address = ":4556"`, `address = ":4556"` + "\nlayer = \"sneakernet\"", []string{"listen[0].layer", "dtn7-mtcp"}},
		{"unnamed without an address", `address = "host:4556"`, `layer = "stcp"`, []string{"link[0] has no address", "do not say who they are"}},
		{"unnamed listener alone", "address = \":4556\"\n[[link]]\npeer = \"ipn:1.0\"\naddress = \"host:4556\"", "layer = \"mtcp\"\naddress = \":4556\"\n[[link]]\npeer = \"ipn:1.0\"", []string{"link[0] has no address", "no [[listen]] for it"}},
		{"dtn7 peer", `mode = "always"`, `mode = "always"` + "\nlayer = \"dtn7-mtcp\"", []string{"link[0].peer", "dtn7-go cannot read", `layer = "mtcp"`}},
		{"dtn7 listener for all", `address = ":4556"`, `address = ":4556"` + "\nlayer = \"dtn7-mtcp\"", []string{"listen[0].address", "dtn7.trust_network"}},
		{"dtn7 listener without a port", `address = ":4556"`, `address = "127.0.0.1:0"` + "\nlayer = \"dtn7-mtcp\"", []string{"listen[0].address", "write a port"}},
		{"listen twice", "[[link]]", "[[listen]]\nlayer = \"mtcp\"\naddress = \":4556\"\n[[link]]", []string{"listen[1].address", "twice"}},
		{"rate", "[store]", "[udp]\nrate_bps = 0\n[store]", []string{"udp.rate_bps is 0"}},
		{"datagram", "[store]", "[udp]\nmax_datagram = 70000\n[store]", []string{"udp.max_datagram is 70000", "65507"}},
		{"LTP datagram", "[store]", "[ltp]\nmtu = 100\n[store]", []string{"ltp.mtu is 100", "65507"}},
		{"LTP margin", "[store]", "[ltp]\nmargin = \"2m\"\n[store]", []string{"ltp.margin is 2m", "1m"}},
		{"LTP dead after", "[store]", "[ltp]\ndead_after = \"100ms\"\n[store]", []string{"ltp.dead_after is 100ms", "ltp.margin"}},
		{"LTP memory", "[store]", "[ltp]\nmax_held = \"1kB\"\n[store]", []string{"ltp.max_held", "1.0 MiB"}},
		{"engine ID elsewhere", `mode = "always"`, "mode = \"always\"\nengine_id = 7", []string{"link[0].engine_id", `layer "ltp"`}},
		{"own engine ID", `mode = "always"`, "mode = \"always\"\nlayer = \"ltp\"\nengine_id = 2", []string{"link[0].engine_id is 2", "another node"}},
		{"no engine ID", `peer = "ipn:1.0"`, "layer = \"ltp\"\npeer = \"dtn://one/\"", []string{"link[0].engine_id is missing", "dtn://one/"}},
		{"LTP listens twice", "[[link]]", "[[listen]]\nlayer = \"ltp\"\naddress = \":1113\"\n[[listen]]\nlayer = \"ltp\"\naddress = \":1114\"\n[[link]]", []string{"one engine serves all"}},
		{"nobody awaited", "address = \"host:4556\"", "layer = \"ltp\"", []string{"link[0] has no address", "no [[listen]] for it"}},
		{"discovery", "[store]", "[dtn7]\ndiscovery = true\n[store]", []string{"dtn7.discovery", "dtn scheme"}},
		{"interval", "[store]", "[dtn7]\ninterval = \"2h\"\n[store]", []string{"dtn7.interval is 2h"}},
		{"interface", "[store]", "[dtn7]\ninterfaces = [\"nowhere0\"]\n[store]", []string{"dtn7.interfaces[0]", "nowhere0"}},
		{"agent for all", "[store]", "[dtn7.agents]\nrest = \":8080\"\n[store]", []string{"dtn7.agents.rest", "loopback"}},
		{"agent elsewhere", "[store]", "[dtn7.agents]\nwebsocket = \"192.0.2.1:8080\"\n[store]", []string{"dtn7.agents.websocket", "loopback"}},
		{"agent port", "[store]", "[dtn7.agents]\nrest = \"localhost\"\n[store]", []string{"dtn7.agents.rest", "HOST:PORT"}},
		{"link host", "host:4556", ":4556", []string{"link[0].address", "host before the port"}},
		{"link address", "host:4556", "host", []string{"link[0].address", "HOST:PORT"}},
		{"self link", `peer = "ipn:1.0"`, `peer = "ipn:2.0"`, []string{"link[0].peer", "this node"}},
		{"mode", `"always"`, `"sometimes"`, []string{"link[0].mode", "scheduled"}},
		{"no plan", `"always"`, `"scheduled"`, []string{"link[0].mode", "no node.contact_plan"}},
		{"class shares", "[store]", "[share]\nbulk_percent = 60\nnormal_percent = 50\n[store]", []string{"share: ", "110 percent"}},
		{"tenant", "[store]", "[[share.tenant]]\nsource = \"ipn:3.0\"\n[store]", []string{"share: ", "weight of ipn:3.0 is 0", "1 to 1000"}},
		{"route via", `via = "ipn:1.0"`, `via = "ipn:9.0"`, []string{"route[0].via", "no [[link]]"}},
		{"route pattern", `"ipn:*"`, `"ipn:1*"`, []string{"route: ", "ipn:NODE.*"}},
		{"satellite", "[store]", "[satellite]\nground=\"ipn:1.0\"\n[store]", []string{"satellite: ", "source: set either folder or list"}},
		{"ground", "[store]", "[ground]\n[store]", []string{"ground: ", "satellites"}},
		{"plan file", `socket = "/d/s"`, `contact_plan = "none.jsonl"`, []string{"node.contact_plan", "none.jsonl"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, "bad.toml", strings.Replace(good, test.old, test.new, 1))
			code, stdout, stderr := check(t, path)
			if code != exitUsage || stdout != "" {
				t.Errorf("exit %d, stdout %q, want %d and nothing; %s", code, stdout, exitUsage, stderr)
			}
			for _, want := range append(test.want, path) {
				if !strings.Contains(stderr, want) {
					t.Errorf("message %q lacks %q", stderr, want)
				}
			}
		})
	}
}

// One port may be listened at over TCP and over UDP, and trusted networks may reach
// what is for them.
func TestLayersSideBySide(t *testing.T) {
	path := write(t, "node.toml", `node = {id = "dtn://sat-17/"}
[[listen]]
address = ":4556"
[[listen]]
layer = "udp"
address = ":4556"
[[listen]]
layer = "dtn7-mtcp"
address = ":16162"
[[link]]
peer = "dtn://gs/"
layer = "udp"
address = "gs:4556"
mode = "always"
[dtn7]
trust_network = true
agents = { rest = "0.0.0.0:8080", websocket = "[::1]:8081" }
`)
	if code, _, stderr := check(t, path); code != exitDone {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestAllMistakesAreNamed(t *testing.T) {
	path := write(t, "bad.toml", "[node]\n[[link]]\n[[route]]\n")
	_, _, stderr := check(t, path)
	for _, want := range []string{"node.id", "link[0].peer", "link[0].mode", "route[0].to"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("message lacks %s:\n%s", want, stderr)
		}
	}
}

func TestBadPlanNamesItsLine(t *testing.T) {
	plan := write(t, "plan.jsonl", "# fine\n{\"from\":1}\n")
	path := write(t, "node.toml", strings.Replace(good, `socket = "/d/s"`, `contact_plan = "`+plan+`"`, 1))
	code, _, stderr := check(t, path)
	if code != exitUsage || !strings.Contains(stderr, "line 2") || !strings.Contains(stderr, plan) {
		t.Errorf("exit %d, %q, want line 2 of %s", code, stderr, plan)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"--check"}, {"--config"}, {"--nonsense"}, {"--config", "/nowhere/x.toml"}, {"extra", "--config", "x"}} {
		var out, err bytes.Buffer
		if code := execute(t.Context(), args, nil, &out, &err); code != exitUsage || !strings.Contains(err.String(), "see perigeed --help") {
			t.Errorf("perigeed %v: exit %d, %q, want %d and a message", args, code, err.String(), exitUsage)
		}
	}
}
