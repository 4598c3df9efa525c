package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"perigee/convergence/nodecert"
	"perigee/convergence/tcpcl"
)

// makeKeys puts an authority and a certificate of a node into a folder.
func makeKeys(t *testing.T, dir, node string, until time.Time) {
	t.Helper()
	from := until.AddDate(-1, 0, 0)
	ca, err := nodecert.NewCA("lab", from, until.AddDate(1, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	id, err := nodecert.NewNode(ca, nodecert.Names{Node: node}, from, until)
	if err != nil {
		t.Fatal(err)
	}
	key, err := id.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"ca.crt": ca.CertPEM(), "node.crt": id.CertPEM(), "node.key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// secured is the good configuration with certificates beside it.
func secured(t *testing.T, node string, until time.Time) (path string) {
	t.Helper()
	path = write(t, "node.toml", good+"[tls]\ncertificate = \"node.crt\"\nkey = \"node.key\"\nca = [\"ca.crt\"]\n")
	makeKeys(t, filepath.Dir(path), node, until)
	return path
}

func inAYear() time.Time { return time.Now().AddDate(1, 0, 0) }

func TestTLSIsRequiredWithCertificates(t *testing.T) {
	c, err := load(secured(t, "ipn:2.0", inAYear()))
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen[0].TLS != tlsRequire || c.Link[0].TLS != tlsRequire {
		t.Errorf("policies are %q and %q, want %q", c.Listen[0].TLS, c.Link[0].TLS, tlsRequire)
	}
	if s := c.sessions(c.Listen[0].TLS); s.TLS != tcpcl.TLSRequire || s.Admit == nil || s.CanonicalNode == nil {
		t.Errorf("sessions are held with %+v", s.Security)
	}
	if err := c.loadCredentials(slog.New(slog.DiscardHandler)); err != nil || c.credentials.Load() == nil {
		t.Errorf("credentials: %v", err)
	}

	plain, err := load(write(t, "node.toml", good))
	if err != nil {
		t.Fatal(err)
	}
	if plain.Listen[0].TLS != tlsOff || plain.Link[0].TLS != tlsOff {
		t.Errorf("without certificates policies are %q and %q, want %q", plain.Listen[0].TLS, plain.Link[0].TLS, tlsOff)
	}
}

func TestTLSMistakes(t *testing.T) {
	for name, tt := range map[string]struct{ node, old, new, want string }{
		"another node":     {"ipn:3.0", "", "", "it names ipn:3.0, and not node.id, which is ipn:2.0"},
		"an endpoint":      {"ipn:2.7", "", "", "it names no node, but ipn:2.7; make one that names ipn:2.0"},
		"no authority":     {"ipn:2.0", `ca = ["ca.crt"]`, "", "tls needs certificate, key and ca"},
		"missing file":     {"ipn:2.0", `"ca.crt"`, `"none.crt"`, "none.crt"},
		"wrong authority":  {"ipn:2.0", `"ca.crt"`, `"node.crt"`, "not one of an authority"},
		"identity":         {"ipn:2.0", "[tls]", "[tls]\nidentity = \"face\"", `tls.identity is "face"; write "node" or "host"`},
		"policy":           {"ipn:2.0", `address = ":4556"`, "address = \":4556\"\ntls = \"perhaps\"", `listen[0].tls is "perhaps"`},
		"no clock":         {"ipn:2.0", `id = "ipn:2.0"`, "id = \"ipn:2.0\"\nclock = \"none\"", "judged by the date"},
		"contact timeout":  {"ipn:2.0", "[store]", "[tcpcl]\ncontact_timeout = \"1h\"\n[store]", "tcpcl.contact_timeout is 1h"},
		"stall timeout":    {"ipn:2.0", "[store]", "[tcpcl]\nstall_timeout = \"1s\"\n[store]", "tcpcl.stall_timeout is 1s"},
		"segments":         {"ipn:2.0", "[store]", "[tcpcl]\nsegment_mru = \"1KiB\"\n[store]", "tcpcl.segment_mru is 1.0 KiB"},
		"no session":       {"ipn:2.0", "[store]", "[tcpcl]\nmax_sessions = 0\n[store]", "tcpcl.max_sessions is 0"},
		"not for everyone": {"ipn:2.0", "node.key", "open.key", "chmod 600"},
	} {
		t.Run(name, func(t *testing.T) {
			path := secured(t, tt.node, inAYear())
			dir := filepath.Dir(path)
			key, err := os.ReadFile(filepath.Join(dir, "node.key"))
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "open.key"), key, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(strings.Replace(string(text), tt.old, tt.new, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			if code, _, stderr := check(t, path); code != exitUsage || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit %d, %q, want %q", code, stderr, tt.want)
			}
		})
	}
	path := write(t, "bad.toml", strings.Replace(good, `mode = "always"`, "mode = \"always\"\ntls = \"require\"", 1))
	if code, _, stderr := check(t, path); code != exitUsage || !strings.Contains(stderr, "link[0].tls is \"require\", but there are no certificates") {
		t.Errorf("TLS without certificates: exit %d, %q", code, stderr)
	}
}

// An expired certificate keeps no node from running its other links, but is told.
func TestTLSExpired(t *testing.T) {
	path := secured(t, "ipn:2.0", time.Now().Add(-time.Minute))
	c, err := load(path)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if err := c.loadCredentials(slog.New(slog.NewTextHandler(&log, nil))); err != nil || !strings.Contains(log.String(), "will not believe") {
		t.Errorf("got %v, log %q", err, &log)
	}
}

func TestTLSReload(t *testing.T) {
	path := secured(t, "ipn:2.0", inAYear())
	c, err := load(path)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if err := c.loadCredentials(log); err != nil {
		t.Fatal(err)
	}
	first := c.credentials.Load()
	makeKeys(t, filepath.Dir(path), "ipn:3.0", inAYear())
	if err := c.loadCredentials(log); err == nil || c.credentials.Load() != first {
		t.Errorf("a certificate of another node came into force: %v", err)
	}
	makeKeys(t, filepath.Dir(path), "ipn:2.0", inAYear())
	if err := c.loadCredentials(log); err != nil || c.credentials.Load() == first {
		t.Errorf("new certificates are not in force: %v", err)
	}
}

func TestAdmit(t *testing.T) {
	c, err := load(secured(t, "ipn:2.0", inAYear()))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		peer tcpcl.Peer
		ok   bool
	}{
		{tcpcl.Peer{NodeID: "ipn:1.0", Proven: true, Secured: true}, true},
		{tcpcl.Peer{NodeID: "ipn:1.0"}, false},   // at a listener without TLS
		{tcpcl.Peer{NodeID: "ipn:0.1.0"}, false}, // the same node, written otherwise
		{tcpcl.Peer{NodeID: "ipn:5.0"}, true},    // no link of ours
		{tcpcl.Peer{NodeID: "no node ID"}, true}, // the node judges that
		{tcpcl.Peer{NodeID: ""}, true},           // and that
	} {
		if err := c.admit(tt.peer); (err == nil) != tt.ok {
			t.Errorf("%+v: got %v", tt.peer, err)
		}
	}
	for text, want := range map[string]string{
		"ipn:2.0": "ipn:2.0", "ipn:0.2.0": "ipn:2.0", "dtn://gs/": "dtn://gs/", "ipn:2.1": "", "dtn:none": "", "x": "",
	} {
		if got, err := canonicalNode(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v; want %q", text, got, err, want)
		}
	}
}
