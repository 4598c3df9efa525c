package main

import (
	"os"
	"strings"
	"testing"

	"perigee/bundle"
)

func TestCustodyPeers(t *testing.T) {
	key := write(t, "key", strings.Repeat("07", 48)+"\n")
	c, err := parse([]byte(`
node = {id = "ipn:1.0"}
[[link]]
peer = "ipn:2.0"
custody = "bplib-draft"
[[link]]
peer = "ipn:3.0"
custody = "ion"
[[link]]
peer = "ipn:4.0"
custody = "off"
[[link]]
peer = "ipn:5.0"
[[link]]
peer = "ipn:6.0"
code_points = { cteb = 200, crs = 64300 }
[[custody.key]]
peer = "ipn:3.0"
file = "` + key + `"
`))
	if err != nil {
		t.Fatal(err)
	}
	peers, err := c.custodyPeers()
	if err != nil {
		t.Fatal(err)
	}
	if p := peers[bundle.IPN(2, 0)]; p.Points != bundle.BplibDraftCodePoints() || p.Key != nil {
		t.Errorf("bplib: %+v", p)
	}
	if p := peers[bundle.IPN(3, 0)]; !p.ION || p.Key == nil {
		t.Errorf("ion: %+v", p)
	}
	if p := peers[bundle.IPN(4, 0)]; !p.Off || len(peers) != 4 {
		t.Errorf("off: %+v of %d", p, len(peers))
	}
	if p := peers[bundle.IPN(6, 0)].Points; p.Custody != 200 || p.Reporting != 14 || p.CustodySignal != 13 || p.ReportingSignal != 64300 {
		t.Errorf("other code points: %+v", p)
	}
}

func TestKeyFiles(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"good":     {strings.Repeat("ab", 32), 0o600, ""},
		"readable": {strings.Repeat("ab", 32), 0o640, "chmod 600"},
		"short":    {strings.Repeat("ab", 16), 0o600, "64, 96 or 128"},
		"no hex":   {strings.Repeat("xy", 32), 0o600, "hexadecimal"},
	} {
		path := write(t, "key", tt.text)
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		_, err := readKey(path)
		if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), tt.text)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := readKey(t.TempDir() + "/none"); err == nil {
		t.Error("a key that is not there was read")
	}
}
